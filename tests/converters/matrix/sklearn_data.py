"""Small training sets with a fixed seed: numbers, text, missing cells, several kinds of targets."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ROWS = 240
Array = NDArray[Any]
Build = Callable[[], tuple[Any, Any]]


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
    """Text, numbers, whole numbers and booleans under realistic column names."""
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


def labels(values: Array) -> Array:
    """Two yes-or-no targets at once."""
    return np.column_stack([binary(values), binary(values[:, ::-1])])


def trained(model: Any, target: Callable[[Array], Array], features: int = 5) -> Build:
    """Trained on rows of `numbers`."""
    return lambda: _fitted(model, numbers(features), target)


def scaled(model: Any, target: Callable[[Array], Array]) -> Build:
    """Trained on columns of mean 0 and variance 1."""
    return lambda: _fitted(model, standard(numbers()), target)


def whole(model: Any, target: Callable[[Array], Array], limit: int = 5) -> Build:
    """Trained on small whole numbers, 0 to limit - 1."""
    return lambda: _fitted(model, np.random.default_rng(4).integers(0, limit, (ROWS, 5)).astype(np.float64), target)


def _fitted(model: Any, rows: Array, target: Callable[[Array], Array]) -> tuple[Any, Array]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few iterations do not converge, which does not matter here
        return model.fit(rows, target(rows)), rows


def spread(model: Any, target: Callable[[Array], Array]) -> Build:
    """Trained on positive numbers."""
    return lambda: _fitted(model, np.exp(0.7 * standard(numbers())), target)


def holed(model: Any, target: Callable[[Array], Array]) -> Build:
    """Trained on rows with missing cells."""
    return lambda: _fitted(model, with_missing(numbers()), lambda _: target(numbers()))


def fractions(model: Any, target: Callable[[Array], Array]) -> Build:
    """Trained on rows with missing cells and no whole numbers, whose distances would tie."""
    return lambda: _fitted(model, with_missing(numbers())[:, :4], lambda _: target(numbers()))


def marked(model: Any, target: Callable[[Array], Array]) -> Build:
    """Trained on rows whose missing cells are -999."""
    return lambda: _fitted(model, np.nan_to_num(with_missing(numbers()), nan=-999.0), lambda _: target(numbers()))


def emptied(model: Any, target: Callable[[Array], Array]) -> Build:
    """Trained on rows whose second column is empty."""
    rows = with_missing(numbers())
    rows[:, 1] = np.nan
    return lambda: _fitted(model, rows, lambda _: target(numbers()))


def single(model: Any, target: Callable[[Array], Array]) -> Build:
    """Trained on one column."""
    return lambda: _fitted(model, numbers()[:, :1], lambda rows: target(numbers()) + rows[:, 0])


def transformed(model: Any, rows: pd.DataFrame) -> dict[str, Array]:
    """The output of a transformer for the rows."""
    made = model.transform(rows.to_numpy())
    return {"prediction": np.asarray(made.toarray() if hasattr(made, "toarray") else made, np.float64)}


def frozen(freeze: Any, calibrate: Any, model: Any) -> tuple[Any, Array]:
    """A classifier that is trained first and calibrated afterwards."""
    rows = numbers()
    half = model.fit(rows[::2], binary(rows)[::2])
    return calibrate(freeze(half)).fit(rows, binary(rows)), rows


def encoded_targets(model: Any, target: Callable[[Array], Array]) -> tuple[Any, pd.DataFrame]:
    """Customers with a target of numbers."""
    frame = customers()
    return model.fit(frame, target(frame[["tenure", "Größe in m²", "monthly"]].to_numpy())), frame
