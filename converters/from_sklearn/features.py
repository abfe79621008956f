"""Transformers that combine or select features: polynomials, norms, projections, selections."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, Registry, Value
from onnxpress.converters.from_sklearn.steps import row_sum

EMITTERS = Registry()

# These return a sparse matrix for a sparse matrix; the others are supported on dense rows only.
SPARSE_SELECTORS = ("SelectKBest", "SelectPercentile", "SelectFromModel", "VarianceThreshold")
SELECTORS = (
    "SelectFpr",
    "SelectFdr",
    "SelectFwe",
    "GenericUnivariateSelect",
    "SequentialFeatureSelector",
    "RFE",
    "RFECV",
)


@EMITTERS.transformer(*SPARSE_SELECTORS, keeps_sparse=True)
@EMITTERS.transformer(*SELECTORS)
def selected(g: Emission, model: Any, value: Value) -> Value:
    kept = np.flatnonzero(model.get_support())
    if not len(kept):
        raise g.refused("it keeps no column")
    return g.take(value, [int(column) for column in kept])


@EMITTERS.transformer("Normalizer", keeps_sparse=True)
def normalizer(g: Emission, model: Any, value: Value) -> Value:
    tensor = g.whole(value)
    if model.norm == "l1":
        norm = row_sum(g, g.add("Abs", tensor))
    elif model.norm == "l2":
        norm = g.add("Sqrt", row_sum(g, g.add("Mul", tensor, tensor)))
    else:
        norm = g.add("ReduceMax", g.add("Abs", tensor), g.int64(1), keepdims=1)
    # scikit-learn divides by 1 where a norm is almost 0.
    tiny = g.add("Less", norm, g.double(10 * float(np.finfo(np.float64).eps)))
    return g.opaque(g.add("Div", tensor, g.add("Where", tiny, g.double(1.0), norm)), value.width)


@EMITTERS.transformer("PolynomialFeatures", keeps_sparse=True)
def polynomial(g: Emission, model: Any, value: Value) -> Value:
    """A product of degree d is a column times one of degree d - 1, as scikit-learn builds it: the same bits."""
    wanted = [tuple(int(c) for c in np.repeat(np.arange(len(row)), row)) for row in model.powers_]
    tensor = g.whole(value)
    levels: dict[int, list[tuple[int, ...]]] = {}
    for term in wanted:
        for start in range(len(term)):
            level = levels.setdefault(len(term) - start, [])
            if term[start:] not in level:
                level.append(term[start:])
    made: dict[tuple[int, ...], tuple[int, int]] = {}
    tensors: list[str] = []
    for degree in sorted(levels):
        terms = levels[degree]
        block = g.columns(tensor, [term[0] for term in terms])
        if degree > 1:
            before = [made[term[1:]][1] for term in terms]
            block = g.add("Mul", g.columns(tensors[-1], before), block)
        made.update({term: (degree, place) for place, term in enumerate(terms)})
        tensors.append(block)
    starts = np.cumsum([0, *(len(levels[degree]) for degree in sorted(levels))])
    one = g.add("Add", g.add("Mul", g.columns(tensor, [0]), g.double(0.0)), g.double(1.0))
    places = [0 if not term else 1 + int(starts[made[term][0] - 1]) + made[term][1] for term in wanted]
    return g.opaque(g.columns(g.concat([one, *tensors]), places), len(wanted))


@EMITTERS.transformer("PCA", "IncrementalPCA")
def principal(g: Emission, model: Any, value: Value) -> Value:
    tensor = g.whole(value)
    if model.mean_ is not None:
        tensor = g.add("Sub", tensor, g.double(model.mean_.reshape(1, -1)))
    made = _turned(g, tensor, model.components_)
    if model.whiten:
        scale = np.maximum(np.sqrt(model.explained_variance_), np.finfo(np.float64).eps)
        made = g.add("Div", made, g.double(scale.reshape(1, -1)))
    return g.opaque(made, len(model.components_))


@EMITTERS.transformer("TruncatedSVD", "GaussianRandomProjection", "SparseRandomProjection")
def projected(g: Emission, model: Any, value: Value) -> Value:
    components = model.components_
    return g.opaque(_turned(g, g.whole(value), components), components.shape[0])


@EMITTERS.transformer("FastICA")
def independent(g: Emission, model: Any, value: Value) -> Value:
    tensor = g.whole(value)
    if model.whiten:
        tensor = g.add("Sub", tensor, g.double(model.mean_.reshape(1, -1)))
    return g.opaque(_turned(g, tensor, model.components_), len(model.components_))


@EMITTERS.transformer("LinearDiscriminantAnalysis")
def discriminants(g: Emission, model: Any, value: Value) -> Value:
    if model.solver == "lsqr":
        raise g.refused("its solver lsqr has no transform")
    tensor = g.whole(value)
    if model.solver == "svd":
        tensor = g.add("Sub", tensor, g.double(np.asarray(model.xbar_).reshape(1, -1)))
    scalings = np.asarray(model.scalings_)[:, : model._max_components]  # noqa: SLF001 -- set by fit, read by transform
    return g.opaque(_turned(g, tensor, scalings.T), scalings.shape[1])


def _turned(g: Emission, tensor: str, components: Any) -> str:
    matrix = np.asarray(components.toarray() if hasattr(components, "toarray") else components, np.float64)
    return g.add("MatMul", tensor, g.double(np.ascontiguousarray(matrix.T)))
