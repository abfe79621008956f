"""The inputs of one run from many requests, and its flat outputs, compared with arrays made by numpy."""

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
    """A session that returns the given arrays."""

    def __init__(self, *arrays: NDArray[Any]) -> None:
        self._arrays = arrays

    def run(self, _feeds: Mapping[str, NDArray[Any]], _rows: int) -> Sequence[NDArray[Any]]:
        return self._arrays


def request(numbers: NDArray[np.float32], text: list[str]) -> Request:
    rows = len(numbers)
    parsed = Parsed("m", "", BOTH, rows, [numbers.tobytes(), text], 0, None, None, "")
    return Request(parsed, None, "", None, None, 0)  # type: ignore[arg-type]


A = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([[5, 6], [7, 8], [9, 10]], np.float32)


def test_requests_are_joined_in_order() -> None:
    """The numbers and strings of all requests are joined in the order of the requests."""
    feeds = assemble(BOTH, [request(A, ["a", "b"]), request(B, ["c", "d", "e"])], None)
    assert np.array_equal(feeds["x"], np.concatenate([A, B]))
    assert feeds["t"].tolist() == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_a_part_is_joined_last() -> None:
    """The rows `start` to `stop` of a split request, of every datatype, follow those of the whole requests."""
    feeds = assemble(BOTH, [request(A, ["a", "b"])], Part(request(B, ["c", "d", "e"]), 1, 3))
    assert np.array_equal(feeds["x"], np.concatenate([A, B[1:]]))
    assert feeds["t"].ravel().tolist() == ["a", "b", "d", "e"]


def test_a_signature_that_is_not_batchable_keeps_the_requests_shape() -> None:
    """If dimensions other than the rows vary, the inputs have the shapes of the one request."""
    free = Signature((TensorSpec("x", "FP32", (ANY, ANY)),), (OUTPUT,))
    parsed = Parsed("m", "", free, 1, [A.tobytes()], 0, [(1, 4)], None, "")
    feeds = assemble(free, [Request(parsed, None, "", None, None, 0)], None)  # type: ignore[arg-type]
    assert feeds["x"].tolist() == [[1, 2, 3, 4]]


def test_uniform_calls_are_joined() -> None:
    """The single tensors of a uniform batch are joined in the order of the calls."""
    signature = Signature((NUMBERS,), (OUTPUT,))
    uniform = UniformBatch("m", "", signature, 2, [A.tobytes(), B[:2].tobytes()], 0, None)
    assert np.array_equal(assemble_uniform(signature, uniform)["x"], np.concatenate([A, B[:2]]))


def test_outputs_are_encoded_for_the_wire() -> None:
    """Number outputs become bytes; string outputs a list of UTF-8 strings, each with its length before it."""
    signature = Signature((NUMBERS,), (OUTPUT, TensorSpec("label", "BYTES", (ANY,))))
    scores, labels = np.array([[0.5], [1.5]], np.float32), np.array(["ja", "né"], object)
    flats, shapes = run(Planted(scores, labels), signature, {}, 2)  # type: ignore[arg-type]
    assert flats == [scores.tobytes(), [b"\2\0\0\0ja", b"\3\0\0\0n\xc3\xa9"]]
    assert shapes == [(2, 1), (2,)]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_wrong_number_of_output_rows_is_an_error(rows: int) -> None:
    """An output with fewer or more rows than the inputs raises, since callers would get each other's rows."""
    with pytest.raises(RunError, match=r"output 'y' has shape \[2, 1\]"):
        run(Planted(A[:, :1]), Signature((NUMBERS,), (OUTPUT,)), {}, rows)  # type: ignore[arg-type]
