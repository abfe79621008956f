"""The kernel alone: arrays that it must refuse, calls that it must refuse, and rows on several threads."""

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from onnxpress.packages.forest.compiled import COLUMNS, DOUBLE, NARROW, NODES, TREES, WIDE
from onnxpress.packages.forest.engine import Forest
from tests.server_process import PATIENCE_S, ROOT

pytestmark = pytest.mark.kernel
LEAF = 1  # the column of leaves: one more than there are


def stump(kind: int = NARROW) -> dict[str, Any]:
    """x < 0.5 gives 1, anything else 2."""
    return {
        "kind": kind,
        "targets": 1,
        "nodes": np.array([(0.5, 0, 1), (1, LEAF, 1), (2, LEAF, 2)], NODES[kind]),
        "trees": np.array([(0, 1, 0, 1)], TREES),
        "columns": np.array([(0, 0)], COLUMNS),
        "vectors": np.zeros(0, np.float64 if kind == DOUBLE else np.float32),
    }


def run(forest: Any, rows: NDArray[Any], targets: int = 1) -> NDArray[np.float32]:
    out = np.empty((len(rows), targets), np.float32)
    forest.run(rows, rows.shape[1], out)
    return out


@pytest.mark.parametrize("kind", [NARROW, WIDE, DOUBLE])
def test_a_stump(kind: int) -> None:
    """Each kind of node answers every row by itself, in every batch size up to several chunks."""
    forest = Forest(**stump(kind))
    values = np.random.default_rng(0).normal(size=(1100, 2)).astype(np.float64 if kind == DOUBLE else np.float32)
    for size in (0, 1, 7, 8, 9, 16, 24, 31, 1100):
        rows = values[:size]
        assert run(forest, rows)[:, 0].tolist() == np.where(rows[:, 0] >= 0.5, 2.0, 1.0).tolist()


def test_leaves_that_are_vectors() -> None:
    """A tree of width 2 adds its leaf's vector to two targets, from its first target on."""
    arrays = stump() | {"targets": 3, "trees": np.array([(0, 1, 1, 2)], TREES)}
    arrays["nodes"]["threshold"][1:] = np.array([0, 2], np.uint32).view(np.float32)
    arrays["vectors"] = np.array([1, 2, 3, 4], np.float32)
    answers = run(Forest(**arrays), np.array([[0], [1]], np.float32), targets=3)
    assert answers.tolist() == [[0, 1, 2], [0, 3, 4]]


def edited(array: str, place: int, field: str, value: int) -> dict[str, Any]:
    arrays = stump()
    arrays[array][field][place] = value
    return arrays


WRONG = {
    "kind": stump() | {"kind": 7},
    "negative kind": stump() | {"kind": -1},
    "no targets": stump() | {"targets": 0},
    "no trees": stump() | {"trees": np.zeros(0, TREES)},
    "no nodes": stump() | {"nodes": np.zeros(0, NODES[NARROW])},
    "half a node": stump() | {"nodes": stump()["nodes"].tobytes()[:-1]},
    "half a tree": stump() | {"trees": stump()["trees"].tobytes()[:-1]},
    "half a column": stump() | {"columns": stump()["columns"].tobytes()[:-1]},
    "half a vector": stump() | {"vectors": b"abc"},
    "root beyond the nodes": edited("trees", 0, "root", 3),
    "target beyond the targets": edited("trees", 0, "target", 1),
    "width of none": edited("trees", 0, "width", 0),
    "width beyond the targets": edited("trees", 0, "width", 2),
    "child beyond the tree": edited("nodes", 0, "left", 2),
    "child far beyond the tree": edited("nodes", 0, "left", 65535),
    "split on a column that does not exist": edited("nodes", 0, "column", LEAF),
    "leaf that may move": edited("nodes", 1, "column", 0),
    "split that leads back": stump() | {
        "nodes": np.array([(0, 0, 1), (0, 0, 3), (1, LEAF, 2), (0, 0, 1), (1, LEAF, 4)], NODES[NARROW])
    },
    "deeper than the tree says": edited("trees", 0, "depth", 0),
    "trees out of order": stump() | {"trees": np.array([(1, 0, 0, 1), (0, 1, 0, 1)], TREES)},
    "vector beyond the vectors": stump() | {
        "targets": 2, "trees": np.array([(0, 1, 0, 2)], TREES), "vectors": np.zeros(2, np.float32)
    },
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_arrays_that_are_refused(what: str) -> None:
    """The arrays come from a file: whatever could lead a walk out of them is a ValueError before any row is run."""
    with pytest.raises(ValueError):  # noqa: PT011 -- the messages are the kernel's own, one for each check
        Forest(**WRONG[what])


HOSTILE = """
import numpy as np
import onnx
from onnxpress.converters.forest.compile import compile_forest
from onnxpress.packages.forest._kernel import Forest
from onnxpress.packages.forest.compiled import ARRAYS
from tests.converters.forest.ensembles import Ensemble, Shape

rng = np.random.default_rng(0)
refused = walked = 0
for seed in range(3000):
    double, vectors = bool(seed % 2), bool(seed % 4 >= 2)
    shape = Shape(targets=2, trees=3, depth=3, double=double, vectors=vectors)
    if seed % 300 < 4:
        walk = compile_forest(onnx.load_from_string(Ensemble(shape, seed).onnx)).walks[0]
    arrays = {name: getattr(walk, name).copy() for name in ARRAYS}
    for _ in range(rng.integers(0, 3)):
        array = arrays[rng.choice(["nodes", "trees", "columns"])]
        field, place = rng.choice(array.dtype.names), rng.integers(len(array))
        whole = np.iinfo(array.dtype[field]).max if array.dtype[field].kind == "u" else 9
        array[field][place] = rng.choice([0, 1, 2, 5, len(array), len(array) + 1, whole, int(array[field][0] == 1)])
    try:
        forest = Forest(walk.kind, walk.targets, *arrays.values())
        rows = rng.normal(size=(40, 3)).astype(np.float64 if walk.kind == 2 else np.float32)
        forest.run(rows, 3, np.empty((40, walk.targets), np.float32))
        walked += 1
    except ValueError:
        refused += 1
print(refused, walked)
"""


def test_damaged_arrays_never_crash() -> None:
    """Arrays with random faults are refused or can be walked; in a child process, so that a crash fails this test."""
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    refused, walked = map(int, done.stdout.split())
    assert min(refused, walked) > 500


def test_buffers_that_do_not_fit() -> None:
    """Rows and answers must have the sizes that their counts say; answers must be writable."""
    forest = Forest(**stump())
    rows, out = np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32)
    for wrong in ((rows, 3, out), (rows, 0, out), (rows[:3], 2, out), (rows, 2, out[:3]), (rows, 2, out.tobytes()[:7])):
        with pytest.raises((ValueError, BufferError, TypeError)):
            forest.run(*wrong)
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError, TypeError)):
        forest.run(rows, 2, out)


def test_threads_run_side_by_side() -> None:
    """One forest answers two threads at once, each with its own rows; the GIL is released meanwhile."""
    rng = np.random.default_rng(1)
    trees = 3000
    nodes = np.tile(stump()["nodes"], trees)
    roots = np.array([(3 * tree, 1, 0, 1) for tree in range(trees)], TREES)
    forest = Forest(**(stump() | {"nodes": nodes, "trees": roots}))
    rows = [rng.normal(size=(20_000, 1)).astype(np.float32) for _ in range(2)]
    answers: dict[int, NDArray[np.float32]] = {}
    running, counted = threading.Event(), []

    def walk(place: int) -> None:
        running.set()
        answers[place] = run(forest, rows[place])

    threads = [threading.Thread(target=walk, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    running.wait(PATIENCE_S)
    while any(thread.is_alive() for thread in threads):
        counted.append(len(counted))  # needs the GIL
    for place in range(2):
        assert answers[place][:, 0].tolist() == (trees * np.where(rows[place][:, 0] >= 0.5, 2.0, 1.0)).tolist()
    assert len(counted) > 1000, "this thread hardly ran while the kernel did"


def test_nothing_is_kept() -> None:
    """Ten thousand forests that are made, run and dropped leave no memory behind."""
    arrays = stump() | {"nodes": np.tile(stump()["nodes"], 300)}
    arrays["trees"] = np.array([(3 * tree, 1, 0, 1) for tree in range(300)], TREES)
    rows, process = np.zeros((40, 1), np.float32), psutil.Process()
    run(Forest(**arrays), rows)
    before = process.memory_info().rss
    for _ in range(10_000):
        run(Forest(**arrays), rows)
    assert process.memory_info().rss - before < 20e6, "10,000 forests of 12 kB"
