"""Nearest neighbours: every training row's distance in float64, from direct differences."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.links import normalized
from onnxpress.converters.from_sklearn.steps import EPS64, first_of_largest, row_sum

EMITTERS = Registry()

# Training cells (rows times features) that one served row may be compared with: a millisecond or so.
CELLS = 200_000
ORDERS = {"euclidean": 2.0, "l2": 2.0, "manhattan": 1.0, "cityblock": 1.0, "l1": 1.0, "chebyshev": np.inf}


def neighbors(g: Emission, model: Any, value: Value) -> tuple[str, str]:
    """The weights [rows, k] and the training rows' numbers [rows, k] of the k nearest."""
    if model.weights not in ("uniform", "distance"):
        raise g.refused("its weights are a function of one's own: use uniform or distance")
    metric = model.effective_metric_
    order = model.effective_metric_params_.get("p", 2.0) if metric == "minkowski" else ORDERS.get(metric)
    if order is None or model.effective_metric_params_.get("w") is not None:
        raise g.refused(f"its metric {metric!r} is not supported: use minkowski, euclidean, manhattan or chebyshev")
    known = np.asarray(model._fit_X, np.float64) if not hasattr(model._fit_X, "toarray") else model._fit_X.toarray()  # noqa: SLF001
    if known.size > CELLS:
        raise g.refused(
            f"every answer would read {known.size:,} training cells, more than {CELLS:,}: train on fewer rows"
        )
    away = g.add("Abs", g.add("Sub", g.add("Unsqueeze", g.whole(value), g.int64(1)), g.double(known[None])))
    if order == np.inf:
        distance = g.add("ReduceMax", away, g.int64(2), keepdims=0)
    elif order == 1.0:
        distance = g.add("ReduceSum", away, g.int64(2), keepdims=0)
    elif order == 2.0:
        distance = g.add("Sqrt", g.add("ReduceSum", g.add("Mul", away, away), g.int64(2), keepdims=0))
    else:
        powers = g.add("ReduceSum", g.add("Pow", away, g.double(order)), g.int64(2), keepdims=0)
        distance = g.add("Pow", powers, g.double(1.0 / order))
    nearest, places = g.add_many("TopK", distance, g.int64(model.n_neighbors), outputs=2, largest=0, axis=1)
    if model.weights == "uniform":
        return g.add("Add", g.add("Mul", nearest, g.double(0.0)), g.double(1.0)), places
    hits = g.add("Equal", nearest, g.double(0.0))
    exact = g.add("Greater", row_sum(g, g.cast(hits, 11)), g.double(0.0))
    return g.add("Where", exact, g.cast(hits, 11), g.add("Div", g.double(1.0), nearest)), places


@EMITTERS.regressor("KNeighborsRegressor")
def neighbors_regressor(g: Emission, model: Any, value: Value) -> str:
    weights, places = neighbors(g, model, value)
    targets = np.asarray(model._y, np.float64).reshape(len(model._y), -1)  # noqa: SLF001
    said = g.add("Gather", g.double(targets), places, axis=0)
    total = g.add("ReduceSum", g.add("Mul", g.add("Unsqueeze", weights, g.int64(2)), said), g.int64(1), keepdims=0)
    return g.add("Div", total, row_sum(g, weights))


@EMITTERS.classifier("KNeighborsClassifier")
def neighbors_classifier(g: Emission, model: Any, value: Value) -> Scores:
    weights, places = neighbors(g, model, value)
    own = np.eye(len(model.classes_))[np.asarray(model._y, np.int64).ravel()]  # noqa: SLF001
    said = g.add("Gather", g.double(own), places, axis=0)
    votes = g.add("ReduceSum", g.add("Mul", g.add("Unsqueeze", weights, g.int64(2)), said), g.int64(1), keepdims=0)
    return Scores(normalized(g, votes), first_of_largest(g, votes))


@EMITTERS.error_bound("KNeighborsClassifier", "KNeighborsRegressor")
def neighbors_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The error of sums of k weights; any answer is accepted where the last neighbour ties with the next."""
    known = min(model.n_neighbors + 1, model.n_samples_fit_)
    distance, _ = model.kneighbors(rows, n_neighbors=known)
    scale = np.abs(np.asarray(model._y, np.float64)).max() if not hasattr(model, "classes_") else 1.0  # noqa: SLF001
    lost = np.full((len(distance), 1), 64 * EPS64 * scale)
    if model.weights == "distance":
        lost = lost + 1e-12 * scale
    if known > model.n_neighbors:
        gap = distance[:, -1] - distance[:, -2]
        reach = np.abs(np.asarray(rows, np.float64)).max(axis=1) if not hasattr(rows, "toarray") else 1.0
        tie = gap <= 64 * EPS64 * (distance[:, -1] + reach)
        lost[:, 0] += np.where(tie, 2 * scale, 0.0)
    return lost
