"""The second engine: the kernel walks the trees, and ONNX Runtime runs what precedes and follows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages import runtime
from onnxpress.packages.errors import ForestError, RefusedPackageError, RunError
from onnxpress.packages.forest.compiled import DOUBLE, NODES, CompiledForest, Walk

try:
    from onnxpress.packages.forest._kernel import Forest
except ImportError:  # onnxpress was installed where there was no C compiler
    Forest = None  # type: ignore[assignment, misc]

NO_KERNEL = "onnxpress was installed without a C compiler"


class ForestEngine:
    """Answers what a Session of the same model answers, bit for bit. May be called from several threads at once.

    The kernel releases the GIL. Immutable.
    """

    def __init__(self, forest: CompiledForest) -> None:
        """Raises ForestError: this installation cannot run it, with the reason."""
        try:
            self._walks = [_Walking(walk) for walk in forest.walks]
            # Their tensors are few and small: without an arena a run is 2 to 5 % cheaper, a version 0.8 MiB smaller.
            self._before = runtime.Session(forest.before, arena=False) if forest.before else None
            self._after = runtime.Session(forest.after, arena=False) if forest.after else None
        except (RefusedPackageError, ValueError, TypeError, IndexError) as error:
            raise ForestError(f"its compiled forest is not valid: {error}") from error
        self._before_takes = [port.name for port in self._before.inputs] if self._before else []
        self._before_gives = [port.name for port in self._before.outputs] if self._before else []
        self._after_takes = [port.name for port in self._after.inputs] if self._after else []
        self._after_gives = [port.name for port in self._after.outputs] if self._after else []
        self._outputs = forest.outputs
        self._only = self._only_walk()

    def _only_walk(self) -> "_Walking | None":
        """The walk, if there is nothing but one walk and a graph that takes its sums and gives all outputs."""
        if self._before is not None or len(self._walks) != 1 or self._after is None:
            return None
        (walking,) = self._walks
        simple = self._after_takes == [walking.target] and self._after_gives == list(self._outputs)
        return walking if simple else None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Every output, in the graph's order. Raises RunError."""
        try:
            if self._only is not None and self._after is not None:  # most models; names cost 2 µs a run
                return self._after.run({self._only.target: self._only.run(feeds[self._only.source])})
            known: dict[str, NDArray[Any]] = dict(feeds)
            if self._before is not None:
                given = self._before.run({name: known[name] for name in self._before_takes})
                known.update(zip(self._before_gives, given, strict=True))
            for walking in self._walks:
                known[walking.target] = walking.run(known[walking.source])
            if self._after is not None:
                given = self._after.run({name: known[name] for name in self._after_takes})
                known.update(zip(self._after_gives, given, strict=True))
            return [known[name] for name in self._outputs]
        except (KeyError, ValueError) as error:
            raise RunError(f"the compiled forest: {error}") from error


class _Walking:
    """The trees of one Walk in the kernel."""

    def __init__(self, walk: Walk) -> None:
        if Forest is None:
            raise ForestError(NO_KERNEL)
        if walk.nodes.dtype != NODES[walk.kind]:
            raise ForestError(f"nodes of {walk.nodes.dtype}")
        arrays = (walk.nodes, walk.trees, walk.columns, walk.vectors)
        self._forest = Forest(walk.kind, walk.targets, *(np.ascontiguousarray(array) for array in arrays))
        self._dtype = np.dtype(np.float64 if walk.kind == DOUBLE else np.float32)
        self._targets = walk.targets
        self.source, self.target = walk.source, walk.target

    def run(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        if rows.dtype != self._dtype:
            if rows.dtype != np.float32:
                raise ValueError(f"rows of {rows.dtype} where {self._dtype} is needed")
            rows = rows.astype(self._dtype)
        if rows.ndim != 2:
            raise ValueError(f"rows of shape {list(rows.shape)}")
        out = np.empty((len(rows), self._targets), np.float32)
        self._forest.run(np.ascontiguousarray(rows), rows.shape[1], out)
        return out
