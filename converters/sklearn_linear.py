"""Linear models: one product in float64, and the link of each."""

from typing import Any

import numpy as np

from converters.sklearn_emission import Emission, Value
from converters.sklearn_steps import (
    EPS64,
    Scores,
    both_sides,
    classifier,
    first_of_largest,
    slack,
)


def product(g: Emission, value: Value, coefficients: Any, intercept: Any) -> str:
    """DOUBLE [rows, outputs]: rows @ coefficients.T + intercept."""
    weights = np.atleast_2d(np.asarray(coefficients, np.float64))
    made = g.add("MatMul", g.whole(value), g.double(np.ascontiguousarray(weights.T)))
    offset = np.broadcast_to(np.asarray(intercept, np.float64).reshape(1, -1), (1, len(weights)))
    return str(g.add("Add", made, g.double(offset)))


def winner_of(g: Emission, decision: str, outputs: int) -> str:
    """The place of the label: the largest score, or whether the only one is above 0."""
    if outputs > 1:
        return first_of_largest(g, decision)
    return first_of_two(g, decision)


def product_slack(model: Any, rows: Any) -> Any:
    """Sums of n products in another order: n * eps64 * sum |w x|, [rows, outputs]; fourfold for the steps before."""
    weights = np.atleast_2d(np.abs(np.asarray(model.coef_, np.float64)))
    dense = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows, np.float64)
    magnitude = np.abs(dense) @ weights.T + np.abs(np.asarray(model.intercept_, np.float64)).reshape(1, -1)
    return 4 * (weights.shape[1] + 1) * EPS64 * magnitude


@classifier("LogisticRegression", "LogisticRegressionCV")
def logistic(g: Emission, model: Any, value: Value) -> Scores:
    decision = product(g, value, model.coef_, model.intercept_)
    outputs = len(np.atleast_2d(model.coef_))
    winner = winner_of(g, decision, outputs)
    if outputs == 1:
        return Scores(both_sides(g, sigmoid(g, decision)), winner, decision)
    return Scores(g.add("Softmax", decision, axis=1), winner, decision)


@slack("LogisticRegression", "LogisticRegressionCV")
def logistic_slack(model: Any, rows: Any) -> Any:
    """A link whose slope is at most 1 of margins that are right within `product_slack`."""
    return product_slack(model, rows).max(axis=1, keepdims=True)
