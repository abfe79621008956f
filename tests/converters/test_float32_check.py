"""Whether rounding to float32 changes the model's decisions on the training rows."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from onnxpress.converters import float32_check
from onnxpress.converters import sample as samples
from onnxpress.converters.convert import family_of


def changed(model: object, rows: np.ndarray) -> int:
    frame = samples.frame_of(rows)
    subject = family_of(model).open(model, frame, "matrix")
    return float32_check.decisions_changed(subject, samples.typed(frame, subject.schema))


@pytest.mark.parametrize("rows", [300, float32_check.ROWS_MAX + 700])
def test_counts_rows_on_the_other_side_of_a_split(rows: int) -> None:
    """Rows of seconds since 1970 are counted if they change branch; of large samples a part is evaluated."""
    times = np.column_stack([1.7e9 + np.arange(float(rows)), np.zeros(rows)])
    target = np.arange(rows) // (rows // 10) % 2
    assert changed(HistGradientBoostingRegressor(max_iter=5).fit(times, target), times) > 0


def test_rounding_of_a_sum_is_no_decision() -> None:
    """A linear model's answers change by rounding only, so the layout stays a matrix."""
    rows = np.random.default_rng(0).normal(size=(300, 4))
    assert changed(LinearRegression().fit(rows, rows.sum(axis=1)), rows) == 0


def test_numbers_that_float32_holds_need_no_evaluation() -> None:
    """For whole numbers and float32 samples nothing changes."""
    rows = np.random.default_rng(0).integers(0, 9, (50, 2)).astype(np.float64)
    assert changed(LinearRegression().fit(rows, rows[:, 0]), rows) == 0
