"""The report as one HTML page without external resources, for mail and CI artefacts."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from onnxpress.loadtests.report.charts import Axis, Band, Series, chart, linear_axis, log_axis

Document = dict[str, Any]
LEAST_MS = 0.01
NINES = ((0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"), (99.99, "99.99"), (99.999, "99.999"))
HEADLINES = {
    "held": "Every objective was held.",
    "broken": "At least one objective was broken.",
    "invalid": "The measurement is invalid: it says nothing about the server.",
}
COMPARED = (
    ("p50", "p50_ms", "ms"),
    ("p95", "p95_ms", "ms"),
    ("p99", "p99_ms", "ms"),
    ("p99.9", "p999_ms", "ms"),
    ("answered", "answered_per_second", "/s"),
    ("errors", "errors", ""),
)


def page(document: Document) -> str:
    """The whole page. `document` is what report.json holds, and `baseline`, which may be None."""
    baseline = document.get("baseline")
    style = files("onnxpress.loadtests.report").joinpath("page.css").read_text(encoding="utf-8")
    title = f"onnxpress load test: {document['suite']}"
    sections = [
        _head(document, title),
        _section("Objectives", _checks(document)),
        _section("Latency by percentile", _curve(document, baseline)),
        _section("Latency over time", _latency(document)),
        _section("Throughput", _throughput(document)),
        _ramp(document),
        _section("Generator", _generator(document)),
        _section("Compared with the baseline", _comparison(document, baseline)) if baseline else "",
        _section("Phases", _windows("phase", document["phases"])),
        _section("Classes of requests, judged phases", _windows("class", document["kinds"])),
        _section("Versions that answered", _versions(document)),
        _section("Swaps", _swaps(document)) if document["swaps"] else "",
        _section("Errors", _errors(document)) if document["messages"] else "",
        _section("Settings", _settings(document)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f'<body class="{document["verdict"]}"><main>{"".join(sections)}</main></body></html>\n'
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], styles: Sequence[str] = ()) -> str:
    """Cells are text, escaped here; `styles` is a CSS class for each row."""
    body = []
    for index, row in enumerate(rows):
        style = f' class="{styles[index]}"' if styles else ""
        body.append(f"<tr{style}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _head(document: Document, title: str) -> str:
    total = document["total"]
    figures = [
        (f"{total['answered_per_second']:,.0f}/s", "answered right"),
        (f"{total['p50_ms']:.2f} ms", "p50"),
        (f"{total['p95_ms']:.2f} ms", "p95"),
        (f"{total['p99_ms']:.2f} ms", "p99"),
        (f"{total['errors']:,}", "errors"),
        (f"{total['refused']:,}", "refused"),
    ]
    if document["ramp"]:
        figures.insert(0, (f"{document['ramp']['capacity']:,.0f}/s", "capacity"))
    tiles = "".join(f"<div><b>{escape(figure)}</b><span>{escape(name)}</span></div>" for figure, name in figures)
    invalid_reasons = "".join(f"<li>{escape(reason)}</li>" for reason in document["invalid_reasons"])
    return (
        f'<header><h1>{escape(title)}</h1><p class="verdict">{escape(document["verdict"])}'
        f"<span>{HEADLINES[document['verdict']]}</span></p>{f'<ul>{invalid_reasons}</ul>' if invalid_reasons else ''}"
        f'<div class="tiles">{tiles}</div><p class="note">{escape(document["finished_at"])}. Latency counts from the '
        "moment a request was due, not from when it was sent.</p></header>"
    )


def _checks(document: Document) -> str:
    rows = [
        (
            "held" if check["held"] else "broken",
            check["where"],
            check["name"],
            f"{check['measured']:,.6g}",
            f"{check['relation']} {check['limit']:,g}",
            check["unit"],
        )
        for check in document["checks"]
    ]
    return _table(("", "where", "objective", "measured", "limit", "unit"), rows, [row[0] for row in rows])


def _nines(percent: float) -> float:
    """How many nines a percentile has: 90 is 1, 99 is 2."""
    return -math.log10(max(1 - percent / 100, 1e-6))


def _curve_points(document: Document) -> list[tuple[float, float]]:
    curve = document["total"]["curve"]
    last = max((_nines(percent) for percent, _ in curve if percent < 100), default=0.0)
    return [(_nines(percent) if percent < 100 else last + 0.15, us / 1000) for percent, us in curve]


def _curve(document: Document, baseline: Document | None) -> str:
    points = _curve_points(document)
    if not points:
        return "<p>Nothing was answered.</p>"
    series = [Series("this run", "c1", points)]
    if baseline:
        series.append(Series("baseline", "c2", _curve_points(baseline)))
    reach = max(px for line in series for px, _ in line.points)
    ticks = [(_nines(percent), text) for percent, text in NINES if _nines(percent) <= reach]
    x = Axis("percentile", 0.0, reach, ticks=ticks)
    y = log_axis("ms", [py for line in series for _, py in line.points], LEAST_MS)
    objectives = document["settings"]["objectives"]
    limits = sorted({objectives[name] for name in ("p50_ms", "p95_ms", "p99_ms") if objectives[name]})
    return chart("latency by percentile", series, x, y, limits=[(limit, f"objective {limit:g} ms") for limit in limits])


def _time_axis(document: Document) -> Axis:
    end = max([phase["start"] + phase["seconds"] for phase in document["phases"]] or [1.0])
    return Axis("seconds since the beginning", 0.0, end)


def _bands_of(document: Document) -> list[Band]:
    return [
        Band(phase["start"], phase["start"] + phase["seconds"], phase["name"], shaded=index % 2 == 1)
        for index, phase in enumerate(document["phases"])
    ]


def _marks_of(document: Document) -> list[tuple[float, str]]:
    return [(swap["begin"], f"swap to {swap['version']}") for swap in document["swaps"]]


def _line(document: Document, name: str, style: str, key: str, scale: float = 1.0) -> Series:
    points = [(second["at"] + 0.5, second[key] * scale) for second in document["seconds"]]
    return Series(name, style, [point for point in points if not key.endswith("_us") or point[1] > 0])


def _latency(document: Document) -> str:
    series = [
        _line(document, "slowest", "c4", "max_us", 1e-3),
        _line(document, "p99", "c3", "p99_us", 1e-3),
        _line(document, "p95", "c2", "p95_us", 1e-3),
        _line(document, "p50", "c1", "p50_us", 1e-3),
    ]
    limit = document["settings"]["objectives"]["p99_ms"]
    values = [py for line in series for _, py in line.points]
    y = log_axis("ms, by the second in which a request was due", [*values, *([limit] if limit else [])], LEAST_MS)
    limits = [(limit, f"p99 objective {limit:g} ms")] if limit else []
    return chart(
        "latency over time",
        series,
        _time_axis(document),
        y,
        limits=limits,
        marks=_marks_of(document),
        bands=_bands_of(document),
    )


def _throughput(document: Document) -> str:
    series = [
        _line(document, "due", "c5", "due"),
        _line(document, "answered right", "c1", "answered"),
        _line(document, "refused", "c2", "refused"),
        _line(document, "errors", "c4", "errors"),
    ]
    series = [line for line in series if line.style in ("c5", "c1") or any(py for _, py in line.points)]
    y = linear_axis("requests per second", [py for line in series for _, py in line.points])
    x = _time_axis(document)
    return chart("throughput", series, x, y, marks=_marks_of(document), bands=_bands_of(document))


def _ramp(document: Document) -> str:
    if not document["ramp"]:
        return ""
    rows = [
        (f"{trial['rate']:,.0f}/s", "held" if trial["held"] else "broken", "confirming" if trial["confirming"] else "")
        for trial in document["ramp"]["trials"]
    ]
    return _section("Search for the capacity", _table(("rate", "objectives", ""), rows, [row[1] for row in rows]))


def _generator(document: Document) -> str:
    total, generator = document["total"], document["generator"]
    lag = _line(document, "lag p99", "c3", "lag_p99_us", 1e-3)
    y = linear_axis("ms that requests were sent late", [py for _, py in lag.points])
    note = (
        f"{len(generator['processes'])} process(es), the busiest used {generator['busiest']:.0%} of a core. Lag p50 "
        f"{total['lag_p50_ms']:.2f} ms, p99 {total['lag_p99_ms']:.2f} ms, longest {total['lag_max_ms']:.2f} ms; "
        f"observation delay p99 {total['observation_delay_p99_ms']:.2f} ms. Both are part of every latency above."
    )
    return f"<p>{escape(note)}</p>" + chart("generator lag", [lag], _time_axis(document), y)


def _comparison(document: Document, baseline: Document) -> str:
    rows = []
    for name, key, unit in COMPARED:
        before, now = baseline["total"][key], document["total"][key]
        change = f"{now / before - 1:+.1%}" if before else ""
        rows.append((name, f"{before:,.6g} {unit}", f"{now:,.6g} {unit}", change))
    note = f"Baseline: {baseline['suite']} of {baseline['finished_at']}."
    return f"<p>{escape(note)}</p>" + _table(("", "baseline", "this run", "change"), rows)


def _windows(what: str, windows: Sequence[Document]) -> str:
    heads = (
        what,
        "due",
        "answered/s",
        "rows/s",
        "refused",
        "errors",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
    )
    rows = [
        (
            window["name"],
            f"{window['due']:,}",
            f"{window['answered_per_second']:,.1f}",
            f"{window['rows_per_second']:,.0f}",
            f"{window['refused']:,}",
            f"{window['errors']:,}",
            *(f"{window[key]:,.2f}" for key in ("p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")),
        )
        for window in windows
    ]
    return _table(heads, rows)


def _versions(document: Document) -> str:
    rows = [(each["model"], str(each["version"]), f"{each['answers']:,}") for each in document["versions"]]
    return _table(("model", "version", "answers"), rows)


def _swaps(document: Document) -> str:
    swap = document["swap"]
    note = (
        f"p99 around swaps {swap['p99_ms_during']:.2f} ms, elsewhere {swap['p99_ms_steady']:.2f} ms. Barrier breaches: "
        f"{swap['breaches']}, flips back: {swap['flips']}."
    )
    rows = [
        (
            f"{each['begin']:.2f} s",
            str(each["version"]),
            f"{(each['end'] - each['begin']) * 1000:.1f} ms",
            each["problem"],
        )
        for each in document["swaps"]
    ]
    return f"<p>{escape(note)}</p>" + _table(("called at", "version", "took", "problem"), rows)


def _errors(document: Document) -> str:
    return _table(("times", "message"), [(f"{count:,}", message) for message, count in document["messages"]])


def _settings(document: Document) -> str:
    known = {**document["settings"], **document["environment"]}
    plain = {name: value for name, value in known.items() if not isinstance(value, dict)}
    return _table(("setting", "value"), [(name, _shown(value)) for name, value in plain.items()])


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
