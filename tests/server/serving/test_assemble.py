"""Inputs of one run from many requests, and outputs in the form of the wire, against arrays made by numpy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxpress.server.serving.assemble import assemble, assemble_uniform, run
from onnxpress.server.serving.batching import Part
from onnxpress.server.serving.request import Parsed, Request, UniformBatch
from onnxpress.server.serving.runtime import RunError
from onnxpress.server.serving.tensors import ANY, Signature, TensorSpec

NUMBERS = TensorSpec("x", "FP32", (ANY, 2))
TEXT = TensorSpec("t", "BYTES", (ANY, 1))
OUTPUT = TensorSpec("y", "FP32", (ANY, 1))
BOTH = Signature((NUMBERS, TEXT), (OUTPUT,))


class Planted:
    """Answers with the arrays that it was made with."""

    def __init__(self, *arrays: NDArray[Any]) -> None:
        self._arrays = arrays

    def run(self, _feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        return self._arrays


def request(numbers: NDArray[np.float32], text: list[str]) -> Request:
    rows = len(numbers)
    parsed = Parsed("m", "", BOTH, rows, [numbers.tobytes(), text], 0, None, None, "")
    return Request(parsed, None, "", None, None, 0)  # type: ignore[arg-type]


A = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([[5, 6], [7, 8], [9, 10]], np.float32)


def test_rows_of_requests_follow_each_other() -> None:
    """Numbers are joined in the order of the requests, and strings keep their rows."""
    feeds = assemble(BOTH, [request(A, ["a", "b"]), request(B, ["c", "d", "e"])], None)
    assert np.array_equal(feeds["x"], np.concatenate([A, B]))
    assert feeds["t"].tolist() == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_a_part_comes_last_with_its_own_rows() -> None:
    """Of a request that is split, the rows from start to stop, of every datatype."""
    feeds = assemble(BOTH, [request(A, ["a", "b"])], Part(request(B, ["c", "d", "e"]), 1, 3))
    assert np.array_equal(feeds["x"], np.concatenate([A, B[1:]]))
    assert feeds["t"].ravel().tolist() == ["a", "b", "d", "e"]


def test_the_callers_shape_holds_where_requests_run_alone() -> None:
    """A signature whose dimensions vary takes the shapes of the one request."""
    free = Signature((TensorSpec("x", "FP32", (ANY, ANY)),), (OUTPUT,))
    parsed = Parsed("m", "", free, 1, [A.tobytes()], 0, [(1, 4)], None, "")
    feeds = assemble(free, [Request(parsed, None, "", None, None, 0)], None)  # type: ignore[arg-type]
    assert feeds["x"].tolist() == [[1, 2, 3, 4]]


def test_uniform_calls_are_joined() -> None:
    """The one tensor of each call, in their order."""
    signature = Signature((NUMBERS,), (OUTPUT,))
    uniform = UniformBatch("m", "", signature, 2, [A.tobytes(), B[:2].tobytes()], 0, None)
    assert np.array_equal(assemble_uniform(signature, uniform)["x"], np.concatenate([A, B[:2]]))


def test_outputs_have_the_form_of_the_wire() -> None:
    """Numbers are bytes; each string has its length in UTF-8 before it."""
    signature = Signature((NUMBERS,), (OUTPUT, TensorSpec("label", "BYTES", (ANY,))))
    scores, labels = np.array([[0.5], [1.5]], np.float32), np.array(["ja", "né"], object)
    flats, shapes = run(Planted(scores, labels), signature, {}, 2)  # type: ignore[arg-type]
    assert flats == [scores.tobytes(), [b"\2\0\0\0ja", b"\3\0\0\0n\xc3\xa9"]]
    assert shapes == [(2, 1), (2,)]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_run_of_another_number_of_rows_is_an_error(rows: int) -> None:
    """A model that keeps or adds rows would give callers each other's answers."""
    with pytest.raises(RunError, match=r"output 'y' has shape \[2, 1\]"):
        run(Planted(A[:, :1]), Signature((NUMBERS,), (OUTPUT,)), {}, rows)  # type: ignore[arg-type]
