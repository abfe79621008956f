"""Whether sending doubles as float32 would change the model's decisions on its own training rows."""

import warnings

import numpy as np
import pandas as pd

from onnxpress.converters.family import Subject
from onnxpress.converters.gate.compare import FLOATS
from onnxpress.converters.sample import sent
from onnxpress.packages.errors import ConversionRefused

ROWS_MAX = 5_000
# A change of decision, as a share of the outputs' range: far above the rounding of a sum, far below a step of a tree.
DECISION = 1e-3


def decisions_changed(subject: Subject, rows: pd.DataFrame) -> int:
    """How many of the typed rows (at most ROWS_MAX are tried) change by more than DECISION when rounded to float32."""
    some = rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), ROWS_MAX)).astype(int)]
    narrow = sent(some, subject.schema)
    differs = ~((narrow == some) | (narrow.isna() & some.isna())).to_numpy().all(axis=1)
    places = np.flatnonzero(differs)
    if not len(places):
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exact = subject.answer(some.iloc[places]).outputs
            rounded = subject.answer(narrow.iloc[places]).outputs
        except ConversionRefused:
            raise
        except Exception:  # noqa: BLE001 -- the original refuses a row of the sample: the gate finds out which
            return 0
    name = next(name for name in FLOATS if name in exact)
    finite = np.where(np.isfinite(exact[name]), exact[name], 0.0)
    spread = finite.max(axis=0) - finite.min(axis=0)
    with np.errstate(invalid="ignore"):
        moved = np.abs(rounded[name] - exact[name]) > DECISION * spread
    return int(moved.any(axis=1).sum())
