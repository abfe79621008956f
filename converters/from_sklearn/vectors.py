"""Support vector machines: kernels in float64 against the support vectors."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.coupling import coupled
from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.links import sigmoid
from onnxpress.converters.from_sklearn.steps import EPS64, dense, first_of_largest, flat, one_hot, row_sum, tie_mask
from onnxpress.converters.graph.builder import INT64

EMITTERS = Registry()

CLASSIFIERS = ("SVC", "NuSVC")
REGRESSORS = ("SVR", "NuSVR")
# Training cells that one served row may be compared with.
CELLS = 200_000
KERNELS = ("linear", "poly", "rbf", "sigmoid")


def kernel(g: Emission, model: Any, value: Value) -> str:
    """DOUBLE [rows, support vectors]."""
    if model.kernel not in KERNELS:
        raise g.refused(f"its kernel {model.kernel!r} is a function of one's own: use one of {', '.join(KERNELS)}")
    vectors = dense(model.support_vectors_)
    tensor = g.whole(value)
    if model.kernel == "rbf":
        # A translation does not change distances, and numbers near 0 lose fewer digits by cancellation.
        center = vectors.mean(axis=0, keepdims=True)
        moved, vectors = g.add("Sub", tensor, g.double(center)), vectors - center
        products = g.add("MatMul", moved, g.double(np.ascontiguousarray(-2.0 * vectors.T)))
        norms = g.add("Add", row_sum(g, g.add("Mul", moved, moved)), g.double((vectors**2).sum(axis=1).reshape(1, -1)))
        squares = g.add("Max", g.add("Add", norms, products), g.double(0.0))
        return g.add("Exp", g.add("Mul", squares, g.double(-model._gamma)))  # noqa: SLF001 -- gamma as a number
    products = g.add("MatMul", tensor, g.double(np.ascontiguousarray(vectors.T)))
    if model.kernel == "linear":
        return products
    scaled = g.add("Mul", products, g.double(float(model._gamma)))  # noqa: SLF001
    inner = g.add("Add", scaled, g.double(float(model.coef0)))
    return g.add("Tanh", inner) if model.kernel == "sigmoid" else g.add("Pow", inner, g.double(float(model.degree)))


def weights_of(model: Any) -> Any:
    """[support vectors, outputs]: for classifiers an output for each pair of classes, above 0 for the first of them."""
    dual = dense(model._dual_coef_)
    if not hasattr(model, "classes_"):
        return dual.T
    ends = np.cumsum(model._n_support)  # noqa: SLF001
    starts = ends - model._n_support  # noqa: SLF001
    columns = []
    for first, second in pairs_of(len(model.classes_)):
        column = np.zeros(dual.shape[1])
        column[starts[first] : ends[first]] = dual[second - 1, starts[first] : ends[first]]
        column[starts[second] : ends[second]] = dual[first, starts[second] : ends[second]]
        columns.append(column)
    return np.stack(columns, axis=1)


def pairs_of(classes: int) -> list[tuple[int, int]]:
    return [(first, second) for first in range(classes) for second in range(first + 1, classes)]


def outputs(g: Emission, model: Any, value: Value) -> str:
    """Libsvm's decision values, DOUBLE [rows, outputs]."""
    made = g.add("MatMul", kernel(g, model, value), g.double(np.ascontiguousarray(weights_of(model))))
    return g.add("Add", made, g.double(np.reshape(model._intercept_, (1, -1))))


@EMITTERS.regressor("KernelRidge")
def kernel_ridge(g: Emission, model: Any, value: Value) -> str:
    """The same kernels against every training row."""
    return g.add("MatMul", kernel(g, ridge_vectors(g, model), value), g.double(_columns(model.dual_coef_)))


def ridge_vectors(g: Emission, model: Any) -> Any:
    """A KernelRidge as a machine whose support vectors are its training rows."""
    names = {"polynomial": "poly"}
    if model.kernel not in (*KERNELS, *names) or model.kernel_params:
        raise g.refused(f"its kernel {model.kernel!r} is not supported: use one of {', '.join(KERNELS)}")
    if model.X_fit_.size > CELLS:
        raise g.refused(f"every answer would read {model.X_fit_.size:,} training cells, more than {CELLS:,}")
    return _machine(model, names.get(model.kernel, model.kernel))


def _machine(model: Any, name: str) -> Any:
    gamma = 1.0 / model.n_features_in_ if model.gamma is None else model.gamma
    facts = {"coef0": model.coef0, "degree": model.degree, "_gamma": gamma, "kernel": name}
    machine = SimpleNamespace(support_vectors_=model.X_fit_, _dual_coef_=_columns(model.dual_coef_).T, **facts)
    machine._intercept_ = np.zeros(machine._dual_coef_.shape[0])
    return machine


def _columns(array: Any) -> Any:
    return dense(array).reshape(len(array), -1)


@EMITTERS.error_bound("KernelRidge")
def kernel_ridge_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return _lost(_machine(model, {"polynomial": "poly"}.get(model.kernel, model.kernel)), dense(rows))[0]


@EMITTERS.regressor(*REGRESSORS)
def vectors_regressor(g: Emission, model: Any, value: Value) -> str:
    return outputs(g, model, value)


@EMITTERS.classifier("OneClassSVM")
def one_class(g: Emission, model: Any, value: Value) -> Scores:
    decision = outputs(g, model, value)
    place = flat(g, g.cast(g.add("Greater", decision, g.double(0.0)), INT64))
    return Scores(one_hot(g, place, 2), place, decision)


@EMITTERS.classifier(*CLASSIFIERS)
def vectors_classifier(g: Emission, model: Any, value: Value) -> Scores:
    classes = len(model.classes_)
    decision = outputs(g, model, value)
    first_wins = g.cast(g.add("Greater", decision, g.double(0.0)), 11)
    mine, other, confidence = (np.zeros((len(pairs_of(classes)), classes)) for _ in range(3))
    for index, (first, second) in enumerate(pairs_of(classes)):
        mine[index, first], other[index, second] = 1.0, 1.0
        confidence[index, first], confidence[index, second] = 1.0, -1.0
    lost = g.add("Sub", g.double(1.0), first_wins)
    votes = g.add("Add", g.add("MatMul", first_wins, g.double(mine)), g.add("MatMul", lost, g.double(other)))
    spread = g.add("MatMul", decision, g.double(confidence))
    below = g.add("Mul", g.double(3.0), g.add("Add", g.add("Abs", spread), g.double(1.0)))
    ranked = g.add("Add", votes, g.add("Div", spread, below))
    by_rank = model.break_ties and model.decision_function_shape == "ovr" and classes > 2
    place = first_of_largest(g, ranked if by_rank else votes)
    said = g.add("Neg", decision) if classes == 2 else ranked
    if model.decision_function_shape == "ovo" and classes > 2:
        said = ""  # its columns are pairs, not classes
    if not hasattr(model, "predict_proba"):
        return Scores(one_hot(g, place, classes), place, said)
    scaled = g.add("Mul", decision, g.double(np.reshape(model.probA_, (1, -1))))
    pairwise = sigmoid(g, g.add("Neg", g.add("Add", scaled, g.double(np.reshape(model.probB_, (1, -1))))))
    return Scores(coupled(g, pairwise, pairs_of(classes), classes), place, said)


@EMITTERS.error_bound(*REGRESSORS, *CLASSIFIERS, "OneClassSVM")
def vectors_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """Kernels and their sum in float64; 1 (either label is accepted) where a pair's decision is within that of 0."""
    lost, decision = _lost(model, dense(rows))
    if type(model).__name__ in REGRESSORS:
        return lost
    free = (np.abs(decision) < lost).any(axis=1, keepdims=True).astype(np.float64)
    if hasattr(model, "classes_") and len(model.classes_) > 2 and model.break_ties:
        free = np.maximum(free, tie_mask(dense(model.decision_function(rows)), lost))
    if not hasattr(model, "predict_proba"):
        return free
    return 64 * EPS64 + 8 * (lost * np.abs(model.probA_)).max(axis=1, keepdims=True)


def _lost(model: Any, rows: Any) -> tuple[Any, Any]:
    """How far decision values may be off, and they themselves: [rows, outputs] each."""
    vectors, weights = dense(model.support_vectors_), weights_of(model)
    terms = 8 * (rows.shape[1] + 2) * EPS64
    with np.errstate(over="ignore", invalid="ignore"):
        if model.kernel == "rbf":
            center = vectors.mean(axis=0)
            reach = ((rows - center) ** 2).sum(axis=1)[:, None] + ((vectors - center) ** 2).sum(axis=1)
            squares = np.maximum(reach - 2 * (rows - center) @ (vectors - center).T, 0.0)
            kernels = np.exp(-model._gamma * squares)  # noqa: SLF001
            moved = kernels * np.expm1(np.minimum(model._gamma * terms * reach, 700.0))  # noqa: SLF001
        else:
            reach = np.abs(rows) @ np.abs(vectors).T
            kernels, moved = reach, terms * reach
            if model.kernel != "linear":
                inner = abs(model._gamma) * reach + abs(model.coef0)  # noqa: SLF001
                power = inner**model.degree if model.kernel == "poly" else np.ones_like(inner)
                grown = model.degree * power if model.kernel == "poly" else inner
                kernels, moved = power, terms * grown + 64 * EPS64 * power
        lost = (moved + 4 * len(vectors) * EPS64 * kernels) @ np.abs(weights) + 8 * EPS64 * np.abs(model._intercept_)
        decision = (
            dense(model._decision_function(rows)) if hasattr(model, "_decision_function") else np.zeros(len(rows))  # noqa: SLF001
        )
    return np.nan_to_num(lost), decision.reshape(len(rows), -1)
