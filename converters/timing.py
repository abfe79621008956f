"""Times a compiled model, for the table at the end of a conversion."""

import time
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.runtime import Session
from onnxpress.packages.golden import Arrays

RUNS = 100
BUDGET_SECONDS = 0.5


def microseconds(session: Session, inputs: Arrays, rows: int) -> float:
    """The median time of a run on that many of the stored rows, repeated to fill, one thread."""
    batch = {name: _filled(values, rows) for name, values in inputs.items()}
    taken: list[float] = []
    until = time.perf_counter() + BUDGET_SECONDS
    while len(taken) < RUNS and (not taken or time.perf_counter() < until):
        started = time.perf_counter()
        session.run(batch)
        taken.append((time.perf_counter() - started) * 1e6)
    return median(taken)


def _filled(values: NDArray[Any], rows: int) -> NDArray[Any]:
    plain = values.astype(object) if values.dtype.kind == "U" else values
    return np.ascontiguousarray(np.resize(plain, (rows, plain.shape[1])))
