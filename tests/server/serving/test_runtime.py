"""Which engine of a session runs a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress.packages.forest.compiled import CompiledForest
from onnxpress.packages.forest.engine import ForestEngine
from onnxpress.server.serving.runtime import NEVER, Session
from tests.model_repository import Models


class CountingForest(ForestEngine):
    """Remembers the sizes of the batches that it ran."""

    def __init__(self, forest: CompiledForest) -> None:
        super().__init__(forest)
        self.sizes: list[int] = []

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        self.sizes.append(len(feeds["input"]))
        return super().run(feeds)


@pytest.mark.kernel
def test_the_engine_follows_from_the_rows(models: Models) -> None:
    """From `forest_rows` rows on the forest runs a batch, and the answers have the same bits on both sides of it."""
    package = onnxpress.load(models.root / "numbers/1")
    session, alone = Session(package.onnx), Session(package.onnx)
    forest = CountingForest(CompiledForest.from_bytes(package.forest))
    assert session.forest_rows == NEVER
    session.use_forest(forest, 4)
    rows = np.random.default_rng(0).normal(size=(9, 30)).astype(np.float32)
    for size in (1, 3, 4, 9):
        feeds = {"input": rows[:size]}
        for expected, actual in zip(alone.run(feeds), session.run(feeds, size), strict=True):
            assert actual.tobytes() == expected.tobytes()
    assert forest.sizes == [4, 9]


@pytest.mark.kernel
def test_the_engine_is_named(models: Models) -> None:
    """For people: from how many rows on, or why not."""
    package = onnxpress.load(models.root / "numbers/1")
    session = Session(package.onnx)
    session.use_forest(ForestEngine(CompiledForest.from_bytes(package.forest)), 1)
    assert session.engine == "compiled forest from batch size 1 on"
    session.use_forest(None, NEVER, "it has no trees")
    assert session.engine == "ONNX Runtime (it has no trees)"
