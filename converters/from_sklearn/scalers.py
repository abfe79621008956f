"""Scalers: one monotone function for each column, in float64 with scikit-learn's own order of operations."""

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Doubles, Emission, Registry, Value

EMITTERS = Registry()

# (operator, constant of each column): applied one after another.
Chain = list[tuple[str, Any]]
NUMPY: dict[str, Callable[..., Any]] = {
    "Sub": np.subtract,
    "Div": np.divide,
    "Mul": np.multiply,
    "Add": np.add,
    "Max": np.maximum,
    "Min": np.minimum,
}


def chained(g: Emission, value: Value, chain: Chain) -> Value:
    """The columns after a chain of operations with a constant for each column; splits are carried through it."""
    tensor = g.whole(value)
    filled = [
        (operator, np.broadcast_to(np.asarray(numbers, np.float64), (value.width,))) for operator, numbers in chain
    ]
    for operator, numbers in filled:
        tensor = g.add(operator, tensor, g.double(numbers.reshape(1, -1)))

    def step(column: int) -> Callable[[Doubles], Doubles]:
        def forward(values: Doubles) -> Doubles:
            for operator, numbers in filled:
                values = NUMPY[operator](values, numbers[column])
            return values

        return forward

    return g.mapped(value, tensor, step)


@EMITTERS.transformer("StandardScaler", keeps_sparse=True)
def standard(g: Emission, model: Any, value: Value) -> Value:
    chain: Chain = []
    if model.with_mean:
        chain.append(("Sub", model.mean_))
    if model.with_std:
        chain.append(("Div", model.scale_))
    return chained(g, value, chain)


@EMITTERS.transformer("MinMaxScaler")
def min_max(g: Emission, model: Any, value: Value) -> Value:
    chain: Chain = [("Mul", model.scale_), ("Add", model.min_)]
    if model.clip:
        chain += [("Max", model.feature_range[0]), ("Min", model.feature_range[1])]
    return chained(g, value, chain)


@EMITTERS.transformer("MaxAbsScaler", keeps_sparse=True)
def max_abs(g: Emission, model: Any, value: Value) -> Value:
    chain: Chain = [("Div", model.scale_)]
    if getattr(model, "clip", False):
        chain += [("Max", -1.0), ("Min", 1.0)]
    return chained(g, value, chain)


@EMITTERS.transformer("RobustScaler", keeps_sparse=True)
def robust(g: Emission, model: Any, value: Value) -> Value:
    chain: Chain = []
    if model.with_centering:
        chain.append(("Sub", model.center_))
    if model.with_scaling:
        chain.append(("Div", model.scale_))
    return chained(g, value, chain)
