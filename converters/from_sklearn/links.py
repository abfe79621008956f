"""Links from margins to answers in float64, and the effect of a margin's error on the answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from onnxpress.converters.from_sklearn.emission import Doubles, Emission


def sigmoid(g: Emission, margin: str, scale: float = 1.0) -> str:
    """1 / (1 + exp(-scale * margin)): in its tail the operator Sigmoid has five correct digits only."""
    negative = g.add("Neg", margin) if scale == 1.0 else g.add("Mul", margin, g.double(-scale))
    return g.add("Div", g.double(1.0), g.add("Add", g.double(1.0), g.add("Exp", negative)))


def normalized(g: Emission, scores: str) -> str:
    """Each row divided by its sum."""
    return g.add("Div", scores, g.add("ReduceSum", scores, g.int64(1), keepdims=1))


# The name of a loss's link class -> (its inverse as a graph, its inverse on numbers).
INVERSES: dict[str, tuple[Callable[[Emission, str], str], Callable[[Doubles], Any]]] = {
    "IdentityLink": (lambda _, margin: margin, lambda margin: margin),
    "LogLink": (lambda g, margin: g.add("Exp", margin), np.exp),
    "LogitLink": (sigmoid, expit),
    "HalfLogitLink": (lambda g, margin: sigmoid(g, margin, 2.0), lambda margin: expit(2 * margin)),
    "MultinomialLogit": (lambda g, margin: g.add("Softmax", margin, axis=1), lambda margin: softmax(margin, axis=1)),
}


def carried(link: str, margin: Doubles, lost: Doubles) -> Any:
    """How far answers may differ if their margins differ by up to `lost`; both [rows, outputs]."""
    apply = INVERSES[link][1]
    with np.errstate(all="ignore"):
        if link == "MultinomialLogit":  # each factor moves by e^lost, and so does their sum
            grown = np.expm1(np.minimum(2 * np.max(lost, axis=-1, keepdims=True), 700.0))
            return np.minimum(apply(margin) * grown, 1.0)
        exact = apply(margin)
        moved = np.maximum(np.abs(apply(margin + lost) - exact), np.abs(apply(margin - lost) - exact))
    return np.where(np.isnan(moved), 0.0, moved)
