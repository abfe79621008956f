"""A compiled forest in memory and as a file: the arrays that the kernel walks, and the graphs around them."""

import io
import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.errors import ForestError

# Of the arrays, which kernel.c reads as they are. A file of another format stays unused, and ONNX Runtime answers.
FORMAT: Final = 1
# What a Walk may be: nodes of 8 bytes, nodes of 12 bytes, nodes with float64 thresholds and leaves.
NARROW, WIDE, DOUBLE = 0, 1, 2
NODES: Final = (
    np.dtype([("threshold", "<f4"), ("column", "<u2"), ("left", "<u2")]),
    np.dtype([("threshold", "<f4"), ("column", "<u4"), ("left", "<u4")]),
    np.dtype([("threshold", "<f8"), ("column", "<u4"), ("left", "<u4")]),
)
TREES: Final = np.dtype([("root", "<u4"), ("depth", "<u4"), ("target", "<u4"), ("width", "<u4")])
COLUMNS: Final = np.dtype([("feature", "<u4"), ("kind", "<u4")])
ARRAYS: Final = ("nodes", "trees", "columns", "vectors")


@dataclass(frozen=True)
class Walk:
    """The trees of one TreeEnsembleRegressor, which sum `source` [rows, features] to `target` [rows, targets].

    kind: NARROW, WIDE or DOUBLE. nodes: of all trees, dtype NODES[kind]. trees: dtype TREES. columns: what splits
    compare, dtype COLUMNS. vectors: the leaves of trees that add to several targets, one after the other.
    converters/forest/flatten.py says what the fields hold.
    """

    source: str
    target: str
    kind: int
    targets: int
    nodes: NDArray[np.void]
    trees: NDArray[np.void]
    columns: NDArray[np.void]
    vectors: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class CompiledForest:
    """A graph in three parts: `before` gives what the trees take, the walks are the trees, `after` gives the outputs.

    before, after: ONNX models; empty where there is nothing to compute. outputs: the tensor of each output of the
    graph, in its order.
    """

    before: bytes
    walks: tuple[Walk, ...]
    after: bytes
    outputs: tuple[str, ...]

    @property
    def trees(self) -> int:
        return sum(len(walk.trees) for walk in self.walks)

    @property
    def nodes(self) -> int:
        return sum(len(walk.nodes) for walk in self.walks)

    def to_bytes(self) -> bytes:
        """The content of forest.npz; nothing in it is pickled."""
        layout = {
            "format": FORMAT,
            "outputs": self.outputs,
            "walks": [[walk.source, walk.target, walk.kind, walk.targets] for walk in self.walks],
        }
        texts = {"layout": json.dumps(layout).encode(), "before": self.before, "after": self.after}
        arrays: dict[str, NDArray[Any]] = {name: np.frombuffer(text, np.uint8) for name, text in texts.items()}
        for place, walk in enumerate(self.walks):
            arrays |= {f"{place}/{name}": getattr(walk, name) for name in ARRAYS}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "CompiledForest":
        """Reads forest.npz. Raises ForestError for another format; ValueError, OSError, EOFError or KeyError if broken.

        The kernel checks the arrays themselves.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            layout = json.loads(arrays["layout"].tobytes())
            if layout["format"] != FORMAT:
                raise ForestError(
                    f"compiled for format {layout['format']}, this onnxpress reads {FORMAT}: convert it again"
                )
            walks = tuple(
                Walk(*stated, *(arrays[f"{place}/{name}"] for name in ARRAYS))
                for place, stated in enumerate(layout["walks"])
            )
            return cls(arrays["before"].tobytes(), walks, arrays["after"].tobytes(), tuple(layout["outputs"]))
