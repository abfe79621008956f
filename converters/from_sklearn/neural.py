"""Multi-layer perceptrons: products and activations in float64."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.links import sigmoid
from onnxpress.converters.from_sklearn.steps import EPS64, both_sides, dense, first_of_largest, first_of_two

EMITTERS = Registry()

NETWORKS = ("MLPClassifier", "MLPRegressor")


def activated(g: Emission, tensor: str, name: str) -> str:
    """One of scikit-learn's activations by its name."""
    if name == "identity":
        return tensor
    if name == "logistic":
        return sigmoid(g, tensor)
    if name == "softmax":
        return g.add("Softmax", tensor, axis=1)
    if name == "exp":  # the output of the poisson loss
        return g.add("Exp", tensor)
    operators = {"tanh": "Tanh", "relu": "Relu"}
    if name not in operators:
        raise g.refused(f"its activation {name!r} is not known")
    return g.add(operators[name], tensor)


def layers(g: Emission, model: Any, value: Value) -> tuple[str, str]:
    """The last layer before its activation and after it."""
    tensor = g.whole(value)
    margin = tensor
    for index, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        made = g.add("MatMul", tensor, g.double(weights))
        margin = g.add("Add", made, g.double(np.asarray(biases).reshape(1, -1)))
        last = index + 1 == len(model.coefs_)
        tensor = activated(g, margin, model.out_activation_ if last else model.activation)
    return margin, tensor


@EMITTERS.regressor("MLPRegressor")
def network_regressor(g: Emission, model: Any, value: Value) -> str:
    return layers(g, model, value)[1]


@EMITTERS.classifier("MLPClassifier")
def network_classifier(g: Emission, model: Any, value: Value) -> Scores:
    margin, made = layers(g, model, value)
    if model._label_binarizer.y_type_.startswith("multilabel"):  # noqa: SLF001 -- the only record of it
        raise g.refused("it answers several labels at once: train a classifier for each")
    if model.n_outputs_ == 1:
        return Scores(both_sides(g, made), first_of_two(g, margin))
    return Scores(made, first_of_largest(g, made))


@EMITTERS.error_bound(*NETWORKS)
def network_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """Each layer adds n * eps64 * sum |w x| and passes on its inputs' error through |w|; no slope is above 1."""
    signal, lost = np.abs(dense(rows)), 4 * EPS64 * np.abs(dense(rows))
    for weights, biases in zip(model.coefs_, model.intercepts_, strict=True):
        magnitude = signal @ np.abs(weights) + np.abs(biases)
        lost = lost @ np.abs(weights) + 4 * (len(weights) + 1) * EPS64 * magnitude
        signal = magnitude
    if model.out_activation_ == "exp":
        return np.abs(np.asarray(model.predict(rows)).reshape(len(lost), -1)) * np.expm1(lost)
    return 2 * lost.max(axis=1, keepdims=True)
