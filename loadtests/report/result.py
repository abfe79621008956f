"""The result of a test as one document, from which report.json, the page, JUnit and the text are written."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.measure.answers import Outcome
from onnxpress.loadtests.measure.samples import Samples
from onnxpress.loadtests.measure.tally import Tally, Window
from onnxpress.loadtests.report.junit import junit
from onnxpress.loadtests.report.page import page
from onnxpress.loadtests.settings import Settings
from onnxpress.loadtests.verdict.slo import (
    Check,
    Exit,
    Verdict,
    invalid_reasons,
    latency_checks,
    overload_checks,
    phase_checks,
    swap_checks,
    version_checks,
)
from onnxpress.loadtests.verdict.swaps import Swap, SwapReport, analyse
from onnxpress.loadtests.workload.shapes import Trial, capacity

FORMAT = 2
VERDICTS = {Exit.HELD: "held", Exit.BROKEN: "broken", Exit.INVALID: "invalid"}
LIBRARIES = ("locust", "grpcio", "uvloop", "hdrhistogram", "numpy", "protobuf")
SCHEMA = "onnxpress.loadtest/v2"
TOTALS = (
    "due", "answered", "refused", "errors", "answered_per_second", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms",
    "lag_p99_ms", "observation_delay_p99_ms",
)  # fmt: skip
CHECK_FACTS = ("where", "name", "measured", "relation", "limit", "unit", "held")
Document = dict[str, Any]


def judge(
    settings: Settings, tally: Tally, trials: Sequence[Trial], swaps: Sequence[Swap], swap: SwapReport | None
) -> Verdict:
    """Every objective of the suite, and every reason why the measurement is invalid."""
    objectives, checks, looked_at = settings.objectives, [], list(range(len(tally.phases)))
    if settings.suite == "ramp":
        found = capacity(trials)
        checks.append(Check("capacity", "ramp", found, ">=", max(objectives.capacity_min, 1.0), "requests/s"))
        wrong = sum(window.outcomes[Outcome.WRONG] for window in tally.by_phase)
        checks.append(Check("wrong answers", "whole test", wrong, "<=", 0, "requests", about_answers=True))
        looked_at = [index for index, phase in enumerate(tally.phases) if phase.name.startswith("confirming")][-1:]
    else:
        if settings.suite != "overload" and sum(phase.judged for phase in tally.phases) > 1:
            checks += latency_checks(tally.total(), objectives, "all judged phases")
        for phase, window in zip(tally.phases, tally.by_phase, strict=True):
            checks += phase_checks(phase, window, objectives)
    checks += version_checks(tally, settings.expected_versions())
    if swap:
        failed = sum(bool(each.problem) for each in swaps)
        checks += swap_checks(swap, failed, len(swaps) - failed, objectives)
    if settings.suite == "overload":
        checks += overload_checks(tally, settings.capacity, objectives)
    return Verdict(tuple(checks), tuple(invalid_reasons(tally, looked_at, settings.validity, objectives)))


def _summary(window: Window, seconds: float) -> Document:
    latencies = window.latencies
    return {
        "due": window.due,
        "answered": window.answered,
        "refused": window.refused,
        "errors": window.errors,
        "outcomes": {Outcome(outcome).name: count for outcome, count in sorted(window.outcomes.items())},
        "rows": window.rows,
        "answered_per_second": window.answered / seconds if seconds else 0.0,
        "rows_per_second": window.rows / seconds if seconds else 0.0,
        "p50_ms": latencies.percentile_us(50) / 1000,
        "p95_ms": latencies.percentile_us(95) / 1000,
        "p99_ms": latencies.percentile_us(99) / 1000,
        "p999_ms": latencies.percentile_us(99.9) / 1000,
        "max_ms": latencies.max_us() / 1000,
        "mean_ms": latencies.mean_us() / 1000,
        "lag_p50_ms": window.lags.percentile_us(50) / 1000,
        "lag_p99_ms": window.lags.percentile_us(99) / 1000,
        "lag_max_ms": window.lags.max_us() / 1000,
        "observation_delay_p99_ms": window.observation_delays.percentile_us(99) / 1000,
    }


@dataclass(frozen=True)
class Result:
    verdict: Verdict
    document: Document
    report_dir: Path | None
    output: str

    @classmethod
    def make(
        cls,
        settings: Settings,
        tally: Tally,
        *,
        trials: Sequence[Trial] = (),
        swaps: Sequence[Swap] = (),
        first: int = 0,
        extra: Sequence[str] = (),
        generator_limit: float = 0.0,
    ) -> "Result":
        """Judges what was measured.

        `extra`: reasons why the measurement is invalid that only the conductor knows. `generator_limit`: the lowest
        rate in a ramp at which the generator exceeded its limits; 0: it never did.
        """
        swap = analyse(Samples.join(tally.kept), swaps, first) if settings.suite == "swap" else None
        judged = judge(settings, tally, trials, swaps, swap)
        more = list(extra)
        # Close to the generator's limit, the rate found may be that limit and not the server's capacity.
        if generator_limit and generator_limit <= capacity(trials) * (1 + 2 * settings.resolution):
            more.append(
                f"the generator exceeded its limits at {generator_limit:.0f}/s: the server's capacity may be higher"
            )
        elif generator_limit and not capacity(trials):
            more.append(f"the generator exceeded its limits at {generator_limit:.0f}/s, before any rate was confirmed")
        verdict = Verdict(judged.checks, (*judged.invalid_reasons, *more))
        document = {
            "format": FORMAT,
            "suite": settings.suite,
            "verdict": VERDICTS[verdict.exit],
            "exit": int(verdict.exit),
            "invalid_reasons": list(verdict.invalid_reasons),
            "checks": [{**asdict(check), "held": check.held} for check in verdict.checks],
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": _settings(settings),
            "environment": _environment(),
            **_measured(tally),
            "swaps": [asdict(each) for each in swaps],
            "swap": _swap(swap),
            "ramp": {"capacity": capacity(trials), "trials": [asdict(trial) for trial in trials]} if trials else None,
            "baseline": _baseline(settings.baseline),
        }
        return cls(verdict, document, settings.report_dir, settings.output)

    def publish(self) -> Exit:
        """Writes the files and prints the result; the exit code of the process."""
        if self.report_dir:
            self.report_dir.mkdir(parents=True, exist_ok=True)
            stored = {key: value for key, value in self.document.items() if key != "baseline"}
            (self.report_dir / "report.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
            (self.report_dir / "junit.xml").write_text(junit(self.document), encoding="utf-8")
            (self.report_dir / "report.html").write_text(page(self.document), encoding="utf-8")
        sys.stdout.write(json.dumps(self.facts(), indent=2) + "\n" if self.output == "json" else self.text())
        sys.stdout.flush()
        return self.verdict.exit

    def facts(self) -> Document:
        """The content of `text` in the documented shape `onnxpress.loadtest/v2`."""
        document, total = self.document, self.document["total"]
        return {
            "schema": SCHEMA,
            **{name: document[name] for name in ("suite", "verdict", "exit")},
            "invalid_reasons": document["invalid_reasons"],
            **{name: total[name] for name in TOTALS},
            "generator_busiest": document["generator"]["busiest"],
            "capacity": document["ramp"]["capacity"] if document["ramp"] else None,
            "checks": [{name: check[name] for name in CHECK_FACTS} for check in document["checks"]],
            "messages": [{"message": message, "count": count} for message, count in document["messages"]],
        }

    def text(self) -> str:
        """The summary that is printed at the end of a test."""
        total = self.document["total"]
        generator = self.document["generator"]
        lines = [
            "",
            (
                f"{self.document['suite']}: {total['due']} requests, {total['answered']} answered right, "
                f"{total['refused']} refused, {total['errors']} errors, {total['answered_per_second']:.1f}/s"
            ),
            (
                f"latency from the intended send time: p50 {total['p50_ms']:.2f}, p95 {total['p95_ms']:.2f}, "
                f"p99 {total['p99_ms']:.2f}, p99.9 {total['p999_ms']:.2f}, max {total['max_ms']:.2f} ms"
            ),
            (
                f"generator: lag p99 {total['lag_p99_ms']:.2f} ms, observation delay p99 "
                f"{total['observation_delay_p99_ms']:.2f} ms, busiest process {generator['busiest']:.0%} of a core"
            ),
        ]
        if self.document["ramp"]:
            lines.append(f"capacity: {self.document['ramp']['capacity']:.0f} requests/s")
        for check in self.verdict.checks:
            mark = "held  " if check.held else "BROKEN"
            lines.append(
                f"  {mark} {check.where}: {check.name} {check.measured:.6g} {check.relation} {check.limit:g} "
                f"{check.unit}"
            )
        lines += [f"  INVALID  {reason}" for reason in self.verdict.invalid_reasons]
        for message, count in self.document["messages"][:5]:
            lines.append(f"  {count} x {message}")
        lines += [f"{self.document['verdict']} (exit {self.document['exit']})", ""]
        return "\n".join(lines)


def _measured(tally: Tally) -> Document:
    total = tally.total()
    seconds = sum(phase.seconds for phase in tally.phases if phase.judged)
    by_phase = zip(tally.phases, tally.by_phase, strict=True)
    kinds = []
    for index, kind in enumerate(tally.kinds):
        window = Window()
        for phase, windows in zip(tally.phases, tally.by_kind, strict=True):
            if phase.judged:
                window.merge(windows[index])
        kinds.append({"name": kind.name, "rows_each": kind.rows, **_summary(window, seconds)})
    shares = [share for phase in tally.phases if phase.judged for share in tally.cpu(phase).values()]
    return {
        "total": {**_summary(total, seconds), "curve": total.latencies.curve(), "hdr": total.latencies.encode()},
        "phases": [{**asdict(phase), **_summary(window, phase.seconds)} for phase, window in by_phase],
        "kinds": kinds,
        "seconds": [asdict(second) for second in tally.seconds()],
        "versions": [
            {"model": tally.kinds[kind].model, "version": number, "answers": count}
            for (kind, number), count in sorted(tally.versions.items())
        ],
        "messages": tally.messages.most_common(20),
        "generator": {
            "busiest": max(shares, default=0.0),
            "processes": sorted({usage.process for usage in tally.usage}),
            "usage": [{"at": round(usage.at, 2), "cpu": round(usage.cpu, 4)} for usage in tally.usage],
        },
    }


def _swap(swap: SwapReport | None) -> Document | None:
    if swap is None:
        return None
    return {
        "breaches": swap.breaches,
        "flips": swap.flips,
        "p99_ms_during": swap.during.percentile_us(99) / 1000,
        "p99_ms_steady": swap.steady.percentile_us(99) / 1000,
    }


def _settings(settings: Settings) -> Document:
    return {
        "target": settings.target,
        "rps": settings.rps,
        "duration": settings.duration,
        "warmup": settings.warmup,
        "connections": settings.connections,
        "arrivals": settings.arrivals,
        "deadline_ms": settings.deadline * 1000,
        "seed": settings.seed,
        "capacity": settings.capacity,
        "packages": [f"{package.model}/{package.version}" for package in settings.packages],
        "objectives": asdict(settings.objectives),
        "validity": asdict(settings.validity),
    }


def _environment() -> Document:
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **{name: version(name) for name in LIBRARIES},
    }


def _baseline(path: Path | None) -> Document | None:
    if path is None:
        return None
    try:
        document: Document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"--baseline {path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT or "total" not in document:
        raise UsageError(f"--baseline {path} is not a report.json of format {FORMAT}")
    return document
