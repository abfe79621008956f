"""Equality of answers bit for bit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def same_bits(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows have the same bits [rows]; NaN equals NaN of the same bits, and 0.0 is not -0.0."""
    if one.dtype.kind == "f":
        unsigned = f"u{one.dtype.itemsize}"
        one, other = np.ascontiguousarray(one).view(unsigned), np.ascontiguousarray(other).view(unsigned)
    return np.asarray((one == other).reshape(len(one), -1).all(axis=1), dtype=bool)
