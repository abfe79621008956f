"""The checks of a compiled model alone: batches and malformed inputs."""

from typing import Any

import numpy as np

from onnxpress.converters.gate.batch_invariance import SIZES, batch_differences, odd_inputs
from onnxpress.packages.errors import RunError

ROWS = {"input": np.linspace(-1, 1, 150, dtype=np.float32).reshape(150, 1)}


class Session:
    """A session whose outputs are computed by a function of the input."""

    def __init__(self, compute: Any) -> None:
        self.compute = compute

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return {"output": self.compute(feeds["input"])}


def test_a_model_of_single_rows_is_the_same_in_every_batch() -> None:
    """A model with independent rows has no differences at any batch size."""
    run, outside, note = batch_differences(Session(lambda x: x * 2), ROWS, 60.0)
    assert (outside, note) == (0, "")
    assert run == 150 * (2 + len(SIZES))


def test_an_output_that_depends_on_its_batch_is_found() -> None:
    """A single bit that differs at one size is found, and so is a wrong number of rows."""
    bit = Session(lambda x: np.nextafter(x, np.float32(9)) if len(x) == 50 else x)
    assert batch_differences(bit, ROWS, 60.0)[1] == 150
    short = Session(lambda x: x[:-1] if len(x) == 129 else x)
    assert batch_differences(short, ROWS, 60.0)[1] == 129


def test_bits_count_and_not_values() -> None:
    """0.0 and -0.0 differ; equal NaN do not."""
    zeros = Session(lambda x: np.where(len(x) == 1, np.float32(-0.0), np.float32(0.0)) * np.ones_like(x))
    assert batch_differences(zeros, ROWS, 60.0)[1] == 150
    assert batch_differences(Session(lambda x: x * np.float32(np.nan)), ROWS, 60.0)[1] == 0


def test_sizes_beyond_the_time_limit_are_noted() -> None:
    """Without time only the whole batch is run, and the note names the sizes that were not tried."""
    run, _, note = batch_differences(Session(lambda x: x), ROWS, -1.0)
    assert run == 150
    assert note.startswith("batches of 150 not all tried")


def test_malformed_inputs_that_raise_no_error_are_listed() -> None:
    """A wrong width, no columns, text and a missing input are listed if accepted; a strict model has none."""

    def strict(x: Any) -> Any:
        if x.dtype != np.float32 or x.shape[1] != 1:
            raise RunError("wrong input")
        return x

    class Strict(Session):
        def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
            if "input" not in feeds:
                raise RunError("no input")
            return super().run(feeds)

    assert odd_inputs(Strict(strict), ROWS) == []
    found = odd_inputs(Strict(lambda x: x), ROWS)
    assert [text.split(":")[0] for text in found] == [
        "2 columns in 'input'",
        "no columns in 'input'",
        "text in 'input'",
    ]
