"""The gate runs the second engine on every row, and leaves it out of the package at the first difference."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxpress.converters.gate import engines
from onnxpress.converters.gate.engines import Engines
from onnxpress.packages.errors import RunError
from onnxpress.packages.forest.agreement import BATCHES
from onnxpress.packages.forest.engine import ForestEngine
from onnxpress.packages.runtime import Session
from tests.converters.forest.ensembles import Ensemble, Shape

pytestmark = pytest.mark.kernel

ROWS = 1200


class Observed(ForestEngine):
    """Remembers the sizes of its batches; `wrong` adds one ulp to answers of rows where it holds."""

    sizes: list[int] = []  # noqa: RUF012 -- reset by the fixture
    wrong: float | None = None
    fails = False

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        self.sizes.append(len(feeds["x"]))
        (answers,) = super().run(feeds)
        if self.fails:
            raise RunError("no memory")
        if self.wrong is not None:
            off = feeds["x"][:, 0] == self.wrong
            answers[off] = np.nextafter(answers[off], np.float32(np.inf))
        return [answers]


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> type[Observed]:
    monkeypatch.setattr(engines, "ForestEngine", Observed)
    monkeypatch.setattr(Observed, "sizes", [])
    return Observed


def compared(ensemble: Ensemble, *, each_size: bool = False) -> tuple[Engines, NDArray[Any]]:
    rows = np.random.default_rng(5).normal(size=(ROWS, ensemble.shape.features)).astype(np.float32)
    both, session = Engines(onnx.load_from_string(ensemble.onnx)), Session(ensemble.onnx)
    both.compare({"x": rows}, session.answers({"x": rows}), each_size=each_size)
    return both, rows


def test_all_rows_in_batches_of_every_size(observed: type[Observed]) -> None:
    """The sizes come in turn until all rows are covered, or each covers all rows; the report counts the rows."""
    both, _ = compared(Ensemble(Shape(trees=20), 1))
    assert observed.sizes[: len(BATCHES)] == list(BATCHES)
    assert sum(observed.sizes) >= ROWS
    assert (both.report().rows, both.report().reason, both.forest[:2]) == (ROWS, "", b"PK")
    observed.sizes.clear()
    compared(Ensemble(Shape(trees=20), 1), each_size=True)
    assert {size: observed.sizes.count(size) for size in BATCHES} == {size: -(-ROWS // size) for size in BATCHES}


@pytest.mark.parametrize("row", [0, 3, 700, ROWS - 1])
def test_one_wrong_bit_drops_the_forest(observed: type[Observed], monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    """Wherever the row lies, the package gets no forest, and its report has the row and both answers."""
    rows = np.random.default_rng(5).normal(size=(ROWS, 3)).astype(np.float32)
    monkeypatch.setattr(observed, "wrong", float(rows[row, 0]))
    both, _ = compared(Ensemble(Shape(trees=20), 1))
    report = both.report()
    assert (both.forest, report.rows) == (b"", 0)
    assert report.reason == "the engines differ on a row that the gate tried"
    assert report.difference.startswith(f"row {row} in a batch of ")
    assert report.difference.endswith(f"the row is {{'x': {rows[row].tolist()}}}")


def test_a_failing_forest_is_dropped(observed: type[Observed], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the second engine alone is no reason to refuse the conversion."""
    monkeypatch.setattr(observed, "fails", True)
    both, _ = compared(Ensemble(Shape(trees=2), 1))
    assert (both.forest, both.report().reason) == (b"", "it fails on rows that ONNX Runtime answers: no memory")


def test_a_model_without_trees_says_so() -> None:
    """The report has the reason, and comparing does nothing."""
    both = Engines(onnx.ModelProto())
    both.compare({}, {"y": np.zeros((1, 1), np.float32)})
    assert (both.forest, both.report().reason) == (b"", "it has no trees")
