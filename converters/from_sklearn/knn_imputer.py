"""KNNImputer: a missing cell is the mean of the nearest training rows that have it, by the cells both rows have.

If training rows are equally near, scikit-learn's choice depends on its own rounding. Whole numbers often tie, and the
gate then refuses the model.
"""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, Part, Registry, Value
from onnxpress.converters.from_sklearn.imputers import indicated
from onnxpress.converters.from_sklearn.neighbors import CELLS
from onnxpress.converters.from_sklearn.steps import row_sum
from onnxpress.converters.graph.builder import DOUBLE

EMITTERS = Registry()


@EMITTERS.transformer("KNNImputer")
def nearest(g: Emission, model: Any, value: Value) -> Value:
    known = np.asarray(model._fit_X, np.float64)  # noqa: SLF001 -- the only place of the training rows
    if known.size > CELLS:
        raise g.refused(
            f"every answer would read {known.size:,} training cells, more than {CELLS:,}: train on fewer rows"
        )
    if model.metric != "nan_euclidean" or model.weights != "uniform":
        raise g.refused(
            "weights by distance depend on how scikit-learn rounds a distance of 0, and other metrics are not "
            "supported: use nan_euclidean and uniform"
        )
    if not (isinstance(model.missing_values, float) and np.isnan(model.missing_values)):
        raise g.refused("its missing_values is not NaN: replace that value by NaN before the model is called")
    tensor = g.whole(value)
    distance = _squares(g, tensor, known)
    parts: list[Part] = []
    for column, valid in enumerate(model._valid_mask):  # noqa: SLF001 -- columns that had a value in training
        own = g.columns(tensor, [column])
        origin = value.origins[column]
        if valid:
            filler = _mean(g, model, distance, known[:, column])
            parts.append(Part(g.add("Where", g.add("IsNaN", own), filler, own), (origin,)))
        elif model.keep_empty_features:
            parts.append(Part(g.add("Where", g.add("IsNaN", own), g.double(0.0), g.double(0.0)), (None,)))
    if model.add_indicator and model.indicator_.features_.size:
        parts.append(indicated(g, model.indicator_, value))
    return Value(tuple(parts))


def _squares(g: Emission, tensor: str, known: Any) -> str:
    """Squared distances to every training row over shared cells, scaled to all cells; infinite if none is shared."""
    absent = g.add("IsNaN", tensor)
    present = g.add("Unsqueeze", g.cast(g.add("Not", absent), DOUBLE), g.int64(1))
    filled = g.add("Unsqueeze", g.add("Where", absent, g.double(0.0), tensor), g.int64(1))
    shared = g.add("Mul", present, g.double(~np.isnan(known)[None]))
    away = g.add("Mul", g.add("Sub", filled, g.double(np.nan_to_num(known)[None])), shared)
    total = g.add("ReduceSum", g.add("Mul", away, away), g.int64(2), keepdims=0)
    count = g.add("ReduceSum", shared, g.int64(2), keepdims=0)
    scaled = g.add("Div", g.add("Mul", total, g.double(float(known.shape[1]))), count)
    return g.add("Where", g.add("Equal", count, g.double(0.0)), g.double(np.inf), scaled)


def _mean(g: Emission, model: Any, distance: str, cells: Any) -> str:
    """The mean of a column over the nearest rows that have it, [rows, 1]; over all of them if none is comparable."""
    donors = np.flatnonzero(~np.isnan(cells))
    count = min(model.n_neighbors, len(donors))
    squares, places = g.add_many(
        "TopK", g.columns(distance, donors.tolist()), g.int64(count), outputs=2, largest=0, axis=1
    )
    weights = g.cast(g.add("Not", g.add("IsInf", squares)), DOUBLE)
    said = g.add("Gather", g.double(cells[donors]), places, axis=0)
    total = row_sum(g, weights)
    mean = g.add("Div", row_sum(g, g.add("Mul", weights, said)), total)
    return g.add("Where", g.add("Equal", total, g.double(0.0)), g.double(float(cells[donors].mean())), mean)
