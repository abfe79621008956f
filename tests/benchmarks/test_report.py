"""Promises are judged and shown as they are."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benchmarks import machine, plot, report, targets
from benchmarks.acceptance import Promise, promises
from benchmarks.figures import Run
from benchmarks.generator import Load, Shape
from benchmarks.rounds import OWN_IDS, cell_name

USUAL = cell_name("light", 1, Shape(8, 16))


def runs(rate: int, rounds: int = 3, refused: int = 0) -> list[Run]:
    return [Run(rate, refused, 1.0, 0.5, 0.1, 1000.0, 2000.0, 3000.0, 4000.0) for _ in range(rounds)]


PEERS = cell_name("light", 1, Shape(8, 16), peers=True)
CELLS = {
    USUAL: {"echo": runs(1000), "onnxpress": runs(790)},
    PEERS: {"onnxpress": runs(900), "triton": runs(100), "mlserver": runs(10)},
}


def by_text(cells: dict[str, dict[str, list[Run]]], figures: dict[str, float]) -> dict[str, Promise]:
    return {promise.text: promise for promise in promises(cells, figures)}


def test_what_was_not_measured_is_neither_kept_nor_broken() -> None:
    """Without any figures every promise says so."""
    assert {promise.verdict for promise in promises({}, {})} == {"not measured"}


def test_promises_follow_the_cells() -> None:
    """0.79 of the echo is not 0.80; other servers are compared within their own rounds."""
    found = by_text(CELLS, {})
    assert found["served / echo, 8x16"].measured == pytest.approx(0.79)
    assert found["served / echo, 8x16"].verdict == "NOT REACHED"
    assert found["served / Triton, same model"].verdict == "ok"
    assert found["served / MLServer at its best settings"].measured == pytest.approx(90)


def test_upper_limits_are_upper_limits() -> None:
    """A CPU ratio of 1.4 keeps a limit of 1.5, one of 1.6 does not."""
    name = "batching: CPU of heavy single rows / bare loop, 64x16"
    assert by_text({}, {"batching 1 64x16": 1.4})[name].verdict == "ok"
    assert by_text({}, {"batching 1 64x16": 1.6})[name].verdict == "NOT REACHED"


def test_own_ids_are_compared_with_the_same_without() -> None:
    """The promise is about what an id costs: the ratio of two ratios."""
    cells = {**CELLS, cell_name("light", 1, Shape(8, 16), OWN_IDS): {"echo": runs(1000), "onnxpress": runs(711)}}
    assert by_text(cells, {})["the same with own ids / without, 8x16"].measured == pytest.approx(0.9)


def test_table_shows_refusals_and_medians() -> None:
    """One line per server, medians in milliseconds, refusals summed."""
    rows = report.table({"heavy, 1 row, 64x16": {"onnxpress": runs(5000, refused=7)}})
    assert rows[1] == (
        "heavy, 1 row, 64x16", "onnxpress", "5,000", "0%", "1.00", "2.00", "3.00", "4.00", "0.100", "21",
    )  # fmt: skip
    lines = report.aligned(rows).splitlines()
    assert lines[0].split()[0] == "load"
    assert "5,000" in lines[1]


def test_page_names_machine_promises_and_notes() -> None:
    """The generated page holds all that a figure depends on."""
    page = report.page(CELLS, promises(CELLS, {}), {"cpu": "Some CPU", "h2load": "1.52"}, ["a note"], "3 rounds.")
    for expected in (
        "| cpu | Some CPU |",
        "- a note",
        "NOT REACHED",
        report.PLOT,
        "3 rounds.",
        f"| {PEERS} | triton |",
    ):
        assert expected in page


def test_plot_is_the_same_svg_for_the_same_figures(tmp_path: Path) -> None:
    """Two drawings of one result differ in no byte, and name every server."""
    for name in ("a.svg", "b.svg"):
        plot.draw({**CELLS[USUAL], **CELLS[PEERS]}, USUAL, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    text = "".join(ET.fromstring(drawn).itertext())
    assert all(name in text for name in ("echo", "onnxpress", "triton", "mlserver", "900"))


def test_errors_behind_http_200_are_found_in_the_servers_own_counts() -> None:
    """Every status but OK counts as refused; calls that the generator cut off at its end count as neither."""
    before = targets.count_answers(exposition(OK=10, INTERNAL=1))
    after = targets.count_answers(exposition(OK=90, INTERNAL=3, RESOURCE_EXHAUSTED=5, CANCELLED=8))
    assert before == {"OK": 10, "INTERNAL": 1}
    assert targets.share_answered(before, after) == 80 / 87
    assert targets.share_answered(before, before) == 0
    assert targets.share_answered(None, None) == 1
    run = targets.to_run(Load(1000, 2.0, 0.1, np.array([5.0])), 0.75, 0.5)
    assert (run.answered, run.refused, run.rate) == (750, 250, 375.0)


def exposition(**counts: int) -> str:
    head = "# HELP onnxpress_requests_total x\n# TYPE onnxpress_requests_total counter\n"
    return head + "".join(
        f'onnxpress_requests_total{{model="light",version="1",code="{code}"}} {count}\n'
        for code, count in counts.items()
    )


def test_cpu_is_named_with_its_family() -> None:
    """Clouds hide the model's name: family and number tell it."""
    cpuinfo = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel\t\t: 9\n"
    assert machine.cpu_model(cpuinfo) == "AMD EPYC, cpu family 26, model 2"
