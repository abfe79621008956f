"""Running the original: refused rows are found one by one, and refused kinds by one row."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from onnxpress.converters.family import Answer, Column, Schema
from onnxpress.converters.gate.original import Original, joined_answer, taken
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Layout, Task

EVER = float("inf")


class Subject:
    """An original that doubles x and refuses negative rows; it counts its calls."""

    schema = Schema((Column("x", "FP64"),), Layout.COLUMNS, Task.REGRESSOR)

    def __init__(self) -> None:
        self.calls: list[int] = []

    def answer(self, rows: pd.DataFrame) -> Answer:
        self.calls.append(len(rows))
        x = rows["x"].to_numpy()
        if (x < 0).any():
            raise ValueError(f"negative: {x[x < 0][0]}\nsecond line")
        return Answer({"prediction": (2 * x).reshape(-1, 1)}, {"prediction": np.array(0.5)})


def rows(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"x": np.array(values, float)})


def test_rows_that_are_accepted_together_cost_one_call() -> None:
    """A block without refused rows needs one call of the original."""
    subject = Subject()
    answer, kept = Original(subject).answer(rows(1, 2, 3), None, (), EVER)
    assert subject.calls == [3]
    assert kept.all()
    assert answer is not None
    assert answer.outputs["prediction"].ravel().tolist() == [2, 4, 6]


def test_a_refused_row_costs_itself_only_and_is_counted_by_its_message() -> None:
    """Bisection keeps all other rows in their order and counts the refused one by its message."""
    original = Original(Subject())
    answer, kept = original.answer(rows(1, 2, -3, 4, -3, 6), None, (), EVER)
    assert kept.tolist() == [True, True, False, True, False, True]
    assert answer is not None
    assert answer.outputs["prediction"].ravel().tolist() == [2, 4, 8, 12]
    assert original.refused == {"negative: -3.0": 2}


def test_a_kind_that_is_refused_once_is_not_tried_again() -> None:
    """One row of the kind is run; later blocks omit rows of the kind without a call."""
    subject = Subject()
    original = Original(subject)
    kind = np.array([-1, 0, 0, 0])
    answer, kept = original.answer(rows(1, -1, -2, -3), kind, ("negatives",), EVER)
    assert kept.tolist() == [True, False, False, False]
    assert answer is not None
    assert original.refused_kinds == {"negatives": "negative: -1.0"}
    assert original.refused == {}
    subject.calls.clear()
    answer, kept = original.answer(rows(-1, -2), np.array([0, 0]), ("negatives",), EVER)
    assert (answer, kept.tolist(), subject.calls) == (None, [False, False], [])


def test_after_its_time_the_rest_of_a_block_is_left_out() -> None:
    """Rows that are not classified in time are neither kept nor counted as refused."""
    original = Original(Subject())
    answer, kept = original.answer(rows(1, -1), None, (), float("-inf"))
    assert (answer, kept.tolist(), original.refused) == (None, [False, False], {})


def test_a_refusal_to_convert_is_not_a_refused_row() -> None:
    """ConversionRefused ends the conversion."""

    class Broken(Subject):
        def answer(self, rows: pd.DataFrame) -> Answer:
            raise ConversionRefused("no bound")

    with pytest.raises(ConversionRefused, match="no bound"):
        Original(Broken()).answer(rows(1), None, (), EVER)


def test_answers_join_and_are_restricted_by_row() -> None:
    """Tolerances of one number are broadcast first, so that both keep one entry for each output entry."""
    one: Any = Subject().answer(rows(1, 2))
    two: Any = Subject().answer(rows(3))
    whole = joined_answer([one, two])
    assert whole is not None
    assert whole.outputs["prediction"].ravel().tolist() == [2, 4, 6]
    assert whole.tolerance["prediction"].shape == (3, 1)
    part = taken(whole, slice(1, 3))
    assert part.outputs["prediction"].ravel().tolist() == [4, 6]
    assert part.tolerance["prediction"].shape == (2, 1)
    assert joined_answer([]) is None
