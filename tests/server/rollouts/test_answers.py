"""What a version answers outside the data plane, and which rows it cannot answer."""

from pathlib import Path

import numpy as np
import pytest

from onnxpress.server.rollouts.answers import FAILED_MAX, answer, not_finite
from onnxpress.server.rollouts.pairs import columns
from onnxpress.server.serving.contract import Column, Contract
from onnxpress.server.serving.tensors import TensorSpec
from tests.e2e import candidates
from tests.server.rollouts.lanes import lane, outputs


def test_all_rows_in_one_run(tmp_path: Path) -> None:
    """A version that answers everything answers as its session does."""
    good, x = lane(tmp_path, 1, "good"), candidates.rows(1, 40)
    told = answer(good, {"x": x})
    ((part, answered),) = told.parts
    assert part == slice(0, 40)
    for mine, theirs in zip(answered, columns(outputs(good, x), good.signature.outputs, 40), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not (told.failed | told.refused | told.untried).any()


def test_the_rows_that_fail(tmp_path: Path) -> None:
    """Exactly the rows with the fault, whatever else is in the run; all others are answered, once."""
    failing, x = lane(tmp_path, 1, "failing"), candidates.rows(2, 500)
    told = answer(failing, {"x": x})
    at_fault = x[:, 1] > candidates.FAILING
    assert at_fault.sum() > 10
    np.testing.assert_array_equal(told.failed, at_fault)
    answered = np.zeros(500, int)
    for part, columns_ in told.parts:
        answered[part] += 1
        np.testing.assert_array_equal(columns_[1], x[part, :1])
    np.testing.assert_array_equal(answered, ~at_fault)
    assert not (told.refused | told.untried).any()


def test_a_version_that_fails_everything_is_given_up(tmp_path: Path) -> None:
    """After so many failures the rest is not tried, and is told as such."""
    failing, x = lane(tmp_path, 1, "failing"), candidates.rows(3, 1000)
    x[:, 1] = 1.0
    told = answer(failing, {"x": x})
    assert not told.parts
    assert told.failed.sum() == FAILED_MAX
    np.testing.assert_array_equal(told.untried, ~told.failed)


def test_the_rows_that_the_contract_refuses(tmp_path: Path) -> None:
    """A value that the version does not accept is a refusal of its row, and no failure."""
    spec = TensorSpec("x", "FP32", (-1, candidates.FEATURES))
    narrow = lane(tmp_path, 1, "good", Contract((Column("third", spec, 0, 2, ("0.0", "1.0")),)))
    x = candidates.rows(4, 20)
    x[:, 2] = 1.0
    x[[3, 11], 2] = 0.5
    told = answer(narrow, {"x": x})
    assert np.flatnonzero(told.refused).tolist() == [3, 11]
    assert not told.failed.any()


@pytest.mark.parametrize(("kind", "rows"), [("good", []), ("invalid", [1])])
def test_rows_that_are_not_finite(kind: str, rows: list[int], tmp_path: Path) -> None:
    """Those with a NaN in a floating-point output."""
    of, x = lane(tmp_path, 1, kind), np.full((3, candidates.FEATURES), 0.5, np.float32)
    x[1, 1] = 1.0
    ((_, answered),) = answer(of, {"x": x}).parts
    assert np.flatnonzero(not_finite(answered, of.signature.outputs)).tolist() == rows
