"""The kernel against ONNX Runtime, bit for bit, on ensembles and rows that are made to tell them apart."""

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxpress.converters.forest.compile import compile_forest
from onnxpress.packages.errors import RunError
from onnxpress.packages.forest.agreement import BATCHES
from onnxpress.packages.forest.engine import NO_KERNEL, ForestEngine
from onnxpress.packages.runtime import Session
from tests.converters.forest.ensembles import MODES, Ensemble, Shape
from tests.server_process import ROOT

SIZES = (1, 2, 7, 8, 16, 33, 128)

shapes = st.builds(
    Shape,
    features=st.integers(1, 6),
    targets=st.integers(1, 4),
    trees=st.integers(1, 40),
    depth=st.integers(1, 14),
    double=st.booleans(),
    vectors=st.booleans(),
    modes=st.sampled_from([(mode,) for mode in MODES] + [MODES[:2], MODES]),
)


def same_bits(ensemble: Ensemble, sizes: tuple[int, ...]) -> None:
    session, engine = Session(ensemble.onnx), ForestEngine(compile_forest(onnx.load_from_string(ensemble.onnx)))
    for size in sizes:
        rows = {"x": ensemble.rows(size)}
        (expected,), (actual,) = session.run(rows), engine.run(rows)
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        assert actual.tobytes() == expected.tobytes()


@pytest.mark.kernel
@settings(max_examples=60, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_bits_are_those_of_onnx_runtime(shape: Shape, seed: int) -> None:
    """Every mode of split, infinite and denormal thresholds, values one ulp beside them, missing values, any batch."""
    same_bits(Ensemble(shape, seed), SIZES)


@pytest.mark.kernel
@pytest.mark.long
@settings(max_examples=2000, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_bits_are_those_of_onnx_runtime_in_2000_ensembles(shape: Shape, seed: int) -> None:
    """The same, for as many ensembles as are needed to trust it."""
    same_bits(Ensemble(shape, seed), (*BATCHES, 8, 24))


@pytest.fixture(scope="module")
def engine() -> ForestEngine:
    return ForestEngine(compile_forest(onnx.load_from_string(Ensemble(Shape(features=3), 1).onnx)))


@pytest.mark.kernel
@pytest.mark.parametrize(
    "feeds",
    [
        {"x": np.zeros((2, 3), np.int64)},
        {"x": np.zeros((2, 3), np.float64)},
        {"x": np.zeros((2, 1), np.float32)},
        {"x": np.zeros(3, np.float32)},
        {"z": np.zeros((2, 3), np.float32)},
    ],
)
def test_wrong_inputs_are_run_errors(engine: ForestEngine, feeds: dict[str, NDArray[Any]]) -> None:
    """Another datatype, width or rank, or another name, is an error of the run and not of the process."""
    with pytest.raises(RunError, match="the compiled forest"):
        engine.run(feeds)


def test_without_a_kernel() -> None:
    """Where there was no compiler, the module imports, and the engine says why it cannot run."""
    script = (
        "import sys; sys.modules['onnxpress.packages.forest._kernel'] = None\n"
        "import onnx\n"
        "from onnxpress.converters.forest.compile import compile_forest\n"
        "from onnxpress.packages.forest.engine import ForestEngine\n"
        "from tests.converters.forest.ensembles import Ensemble, Shape\n"
        "ForestEngine(compile_forest(onnx.load_from_string(Ensemble(Shape(), 1).onnx)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.endswith(f"onnxpress.packages.errors.ForestError: {NO_KERNEL}\n")
