"""Limits, tables and the plot of the engines."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.engines import report
from benchmarks.engines.contenders import CHOICE, FOREST, ORIGINAL, RUNTIME
from benchmarks.engines.models import MODELS


def at(forest: float, choice: float = 0.5) -> dict[str, list[float]]:
    return {RUNTIME: [4e-6] * 3, FOREST: [forest * 4e-6] * 3, CHOICE: [choice * 4e-6] * 3, ORIGINAL: [8e-6] * 3}


COSTS = {"xgboost-100x6": {1: at(1.2, 1.0), 8: at(0.39), 16: at(0.30), 64: at(0.37)}}


def measured(costs: report.Costs) -> dict[str, tuple[float | None, str]]:
    return {promise.text: (promise.measured, promise.verdict) for promise in report.promises(costs)}


def test_the_worst_size_counts() -> None:
    """0.37 at 64 rows breaks a limit of 0.36 from 16 rows on, whatever the other sizes reach."""
    found = measured(COSTS)
    assert found["forest / ONNX Runtime, xgboost-100x6, from 8 rows on"] == (pytest.approx(0.39), "ok")
    assert found["forest / ONNX Runtime, xgboost-100x6, from 16 rows on"] == (pytest.approx(0.37), "NOT REACHED")
    assert found["forest / ONNX Runtime, xgboost-1000x8, from 8 rows on"] == (None, "not measured")


def test_the_choice_is_judged_at_every_size() -> None:
    """A wrong choice at one row is a broken promise."""
    text = "what onnxpress chooses / ONNX Runtime, every model and size"
    assert measured(COSTS)[text] == (pytest.approx(1.0), "ok")
    assert measured({"sklearn-300": {1: at(0.2, 1.1)}})[text][1] == "NOT REACHED"
    assert measured({})[text][1] == "not measured"


def test_table_and_page_show_micros_and_who_is_missing() -> None:
    """One row per batch size, an empty column for nobody, the reason of those that could not run."""
    rows = report.table(COSTS["xgboost-100x6"])
    assert rows[0] == ("rows", "forest / ONNX Runtime", RUNTIME, FOREST, CHOICE, ORIGINAL)
    assert rows[2] == ("8", "0.39", "4.00", "1.56", "2.00", "8.00")
    page = report.page(COSTS, {"oneDAL": "not installed"}, {"cpu": "Some CPU"}, "3 rounds.")
    for expected in ("- oneDAL: not installed", "| cpu | Some CPU |", MODELS["xgboost-100x6"].title, "3 rounds."):
        assert expected in page


def test_the_plot_is_the_same_svg_for_the_same_figures(tmp_path: Path) -> None:
    """Two drawings of one result differ in no byte, and name model and engines."""
    for name in ("a.svg", "b.svg"):
        report.draw(COSTS, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    text = "".join(ET.fromstring(drawn).itertext())
    assert all(name in text for name in (MODELS["xgboost-100x6"].title, RUNTIME, FOREST, ORIGINAL))
