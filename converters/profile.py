"""The reference statistics of the training rows and of the model's own answers: profile.json."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters.family import Schema, Tensors
from onnxpress.protos.package_pb2 import Category, CategoryProfile, FeatureProfile, NumericProfile, Profile

BINS = 20
# A column with at most this many distinct numbers, such as a count or a flag, gets a bin for each number.
DISTINCT_MAX = 32
CATEGORIES_MAX = 100


def profile_of(rows: pd.DataFrame, schema: Schema, answers: Tensors) -> Profile:
    """Statistics of typed `rows` (see `onnxpress.converters.sample.typed`) and of the original's `answers` on them.

    Outputs are named `proba_<class>` for classifiers, `prediction` (of several targets `prediction_<index>`) otherwise.
    """
    features = [feature(column.name, column.datatype, rows[column.name].to_numpy()) for column in schema.columns]
    if schema.classes:
        names = [f"proba_{name}" for name in schema.classes]
        values = answers["probabilities"]
    else:
        names = ["prediction"] if schema.targets == 1 else [f"prediction_{index}" for index in range(schema.targets)]
        values = answers["prediction"]
    outputs = [feature(name, "FP32", values[:, index]) for index, name in enumerate(names)]
    return Profile(rows=len(rows), features=features, outputs=outputs)


def feature(name: str, datatype: str, values: NDArray[Any]) -> FeatureProfile:
    """Statistics of one column: categories for BYTES, numbers (booleans as 0 and 1) for everything else."""
    if datatype == "BYTES":
        present = values[np.array([value is not None for value in values], dtype=bool)]
        found, counts = np.unique(present.astype(str), return_counts=True)
        order = np.lexsort((found, -counts))
        top = [Category(value=str(found[index]), count=int(counts[index])) for index in order[:CATEGORIES_MAX]]
        other = int(counts.sum()) - sum(category.count for category in top)
        return FeatureProfile(
            name=name,
            datatype=datatype,
            missing_rate=1 - len(present) / len(values),
            constant=len(found) <= 1 and len(present) in (0, len(values)),
            categories=CategoryProfile(top=top, other=other, distinct=len(found)),
        )
    numbers = values.astype(np.float64)
    present = numbers[~np.isnan(numbers)]
    return FeatureProfile(
        name=name,
        datatype=datatype,
        missing_rate=1 - len(present) / len(numbers),
        constant=len(np.unique(present)) <= 1 and len(present) in (0, len(numbers)),
        numeric=_numeric(present) if len(present) else None,
    )


def _numeric(values: NDArray[np.float64]) -> NumericProfile:
    finite = values[np.isfinite(values)]
    edges = _edges(finite)
    bins = np.searchsorted(edges, values, side="right")
    spread = finite if len(finite) else np.zeros(1)
    low, high = np.quantile(spread, [0.001, 0.999])
    with np.errstate(over="ignore"):
        mean, std = float(spread.mean()), float(spread.std())
    return NumericProfile(
        min=float(spread.min()),
        max=float(spread.max()),
        mean=mean if np.isfinite(mean) else 0.0,
        std=std if np.isfinite(std) else 0.0,
        p001=float(low),
        p999=float(high),
        integral=bool(np.all(spread == np.floor(spread))),
        edges=edges.tolist(),
        counts=np.bincount(bins, minlength=len(edges) + 1).tolist(),
    )


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    distinct = np.unique(values)
    if len(distinct) <= DISTINCT_MAX:
        return distinct[1:]
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    return np.asarray(edges[edges > distinct[0]], dtype=np.float64)
