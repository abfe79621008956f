"""Small training sets for boosters: numbers with missing values and zeros, codes, text categories."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.converters.matrix.sklearn_data import Array, margin, numbers, with_missing

WORDS = ("rot", "grün", "blau", "gelb", "weiß")
ASCII_WORDS = ("red", "green", "blue", "yellow", "white")


def rows(missing: float = 0.1) -> Array:
    """Numbers on several scales, some missing, many zeros in column 3."""
    values = numbers(features=6)
    values[::3, 3] = 0.0
    return with_missing(values, missing) if missing else values


def small_rows() -> NDArray[np.float32]:
    """The same numbers rounded to float32."""
    return rows().astype(np.float32)


def named(values: Array) -> pd.DataFrame:
    """Columns with names that are hard for converters: spaces, umlauts, patterns in the wrong order."""
    return pd.DataFrame(values, columns=["annual income", "größe", "f4", "f3", "f0", "2nd"])


def coded(values: Array, vocabulary: int = 12) -> Array:
    """Two columns of category codes, one with missing ones, before two of numbers."""
    rng = np.random.default_rng(7)
    codes = rng.integers(0, vocabulary, (len(values), 2)).astype(np.float64)
    codes[::11, 1] = np.nan
    return np.concatenate([codes, values[:, :2]], axis=1)


def coded_target(values: Array) -> Array:
    """A target for which the effect of the categories does not follow the order of their codes."""
    codes = np.nan_to_num(values, nan=5.0)
    return np.sin(codes[:, 0] * 7.0) + (codes[:, 1] % 3 == 1) + 0.1 * margin(values)


def mixed(words: tuple[str, ...] = ASCII_WORDS, *, missing: bool = True, seed: int = 5) -> pd.DataFrame:
    """Text categories, whole-number categories, numbers, booleans and integers."""
    rng = np.random.default_rng(seed)
    values = numbers(features=2)
    colours = rng.choice(np.array(words, dtype=object), len(values))
    if missing:
        colours[::9] = None
    return pd.DataFrame(
        {
            "colour": pd.Categorical(colours, categories=list(words)),
            "shop": pd.Categorical(rng.choice([3, 7, 100], len(values))),
            "income": values[:, 0],
            "member": rng.random(len(values)) > 0.5,
            "visits": rng.integers(0, 40, len(values)),
        }
    )


def mixed_target(frame: pd.DataFrame) -> Array:
    codes = frame["colour"].cat.codes.to_numpy()
    shops = frame["shop"].cat.codes.to_numpy()
    income = frame["income"].to_numpy()
    return np.sin(codes * 2.5) + (shops == 1) + 0.3 * income / np.abs(income).max() + 0.2 * frame["member"].to_numpy()
