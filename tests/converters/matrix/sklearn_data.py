"""Small training sets with a fixed seed: numbers, text, missing cells, several kinds of targets."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ROWS = 240
Array = NDArray[Any]


def numbers(features: int = 5, rows: int = ROWS, seed: int = 0) -> Array:
    """Float64 that float32 cannot hold, on scales from 1e-2 to 1e3, the last column small integers."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, features)) * 10.0 ** rng.integers(-2, 3, features) + rng.normal(size=features)
    values[:, -1] = rng.integers(0, 6, rows)
    return values


def with_missing(values: Array, share: float = 0.15, seed: int = 1) -> Array:
    holes = np.random.default_rng(seed).random(values.shape) < share
    return np.where(holes, np.nan, values)


def standard(values: Array) -> Array:
    filled = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    return (filled - filled.mean(axis=0)) / filled.std(axis=0)


def margin(values: Array, seed: int = 2) -> Array:
    """A noisy, not quite linear target."""
    rng = np.random.default_rng(seed)
    scaled = standard(values)
    return scaled @ rng.normal(size=values.shape[1]) + np.sin(2 * scaled[:, 0]) + 0.3 * rng.normal(size=len(values))


def binary(values: Array) -> Array:
    return (margin(values) > 0).astype(np.int64)


def classes(values: Array, count: int = 3) -> Array:
    edges = np.quantile(margin(values), np.linspace(0, 1, count + 1)[1:-1])
    return np.digitize(margin(values), edges)


def text_classes(values: Array, count: int = 3) -> Array:
    return np.array(["ja", "nein", "vielleicht", "müßig"])[classes(values, count)]


def positive(values: Array) -> Array:
    return np.exp(0.5 * margin(values)) + 0.01


def counts(values: Array) -> Array:
    return np.floor(positive(values)).astype(np.float64)


def targets(values: Array) -> Array:
    return np.column_stack([margin(values, 2), 100 * margin(values, 3)])


def customers(rows: int = ROWS, seed: int = 5, *, missing: bool = False) -> pd.DataFrame:
    """Text, numbers, whole numbers and booleans under names as people give them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "plan": rng.choice(["basic", "plus", "größer", "pro"], rows, p=[0.5, 0.3, 0.15, 0.05]),
            "payment method": rng.choice(["card", "bank transfer (auto)", "Scheck"], rows),
            "tenure": rng.integers(0, 72, rows),
            "Größe in m²": rng.normal(50, 20, rows),
            "monthly": np.round(rng.gamma(3, 20, rows), 2),
            "paperless": rng.random(rows) < 0.5,
        }
    )
    if missing:
        frame["plan"] = pd.Series(np.where(rng.random(rows) < 0.1, None, frame["plan"].astype(object)), dtype=object)
        frame["monthly"] = frame["monthly"].where(rng.random(rows) > 0.1)
    return frame


def churned(frame: pd.DataFrame) -> Array:
    rng = np.random.default_rng(9)
    score = frame["tenure"].to_numpy() / 36 - frame["monthly"].fillna(60).to_numpy() / 60 + rng.normal(size=len(frame))
    return np.where(score + (frame["plan"] == "pro").to_numpy() < 0, "Yes", "No")
