"""Whether sending doubles as float32 would change what the model decides on its own training rows."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from onnxpress.converters.family import (
    Family,
    Schema,
)
from onnxpress.converters.gate.compare import FLOATS
from onnxpress.converters.sample import sent
from onnxpress.packages.errors import ConversionRefused

ROWS_MAX = 5_000
# A share of the answers' spread: far above what rounding the inputs does to a sum, far below a step of a tree.
DECISION = 1e-3


def decisions_changed(family: Family, model: Any, schema: Schema, rows: pd.DataFrame) -> int:
    """Rows (typed, at most ROWS_MAX of them) whose answer moves by a decision when doubles become float32."""
    some = rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), ROWS_MAX)).astype(int)]
    narrow = sent(some, schema)
    differs = ~((narrow == some) | (narrow.isna() & some.isna())).to_numpy().all(axis=1)
    places = np.flatnonzero(differs)
    if not len(places):
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exact = family.answer(model, schema, some.iloc[places]).outputs
            rounded = family.answer(model, schema, narrow.iloc[places]).outputs
        except ConversionRefused:
            raise
        except Exception:  # noqa: BLE001 -- the original refuses some row of the sample: the gate will tell which
            return 0
    name = next(name for name in FLOATS if name in exact)
    finite = np.where(np.isfinite(exact[name]), exact[name], 0.0)
    spread = finite.max(axis=0) - finite.min(axis=0)
    with np.errstate(invalid="ignore"):
        moved = np.abs(rounded[name] - exact[name]) > DECISION * spread
    return int(moved.any(axis=1).sum())
