"""Encoders of categories: a cell is mapped to its index in the list of known categories, and that to a row of a table.

The table is not derived from the estimator's options (drop, min_frequency, handle_unknown, ...): it holds the fitted
estimator's outputs for each known category and for an unknown one. Categories that it refuses have a row of NaN.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.from_sklearn.emission import MISSING_TEXT, Doubles, Emission, Part, Registry, Value
from onnxpress.converters.from_sklearn.steps import row_sum
from onnxpress.converters.graph.builder import INT64, ML

EMITTERS = Registry()

UNSEEN_TEXT = "\x00never seen"


@EMITTERS.transformer("OneHotEncoder")
def one_hot(g: Emission, model: Any, value: Value) -> Value:
    widths = [int(width) for width in model._n_features_outs]  # noqa: SLF001 -- the only record of it
    edges = np.concatenate([[0], np.cumsum(widths)])
    made = tabulated(g, model, value, lambda index: slice(int(edges[index]), int(edges[index + 1])))
    return replace(made, sparse=bool(model.sparse_output))


@EMITTERS.transformer("OrdinalEncoder")
def ordinal(g: Emission, model: Any, value: Value) -> Value:
    return tabulated(g, model, value, lambda index: slice(index, index + 1))


@EMITTERS.transformer("TargetEncoder")
def target(g: Emission, model: Any, value: Value) -> Value:
    """With several classes the outputs of one column are adjacent, one for each class."""
    width = len(model.classes_) if model.target_type_ == "multiclass" else 1
    return tabulated(g, model, value, lambda index: slice(index * width, (index + 1) * width))


def tabulated(g: Emission, model: Any, value: Value, place: Callable[[int], slice]) -> Value:
    """Every column mapped by its table; `place(column)` is where its outputs are in the estimator's own output."""
    parts = []
    tables = _tables(model, place)
    for index, categories in enumerate(model.categories_):
        single = g.take(value, [index]).parts[0]
        code = coded(g, single, list(categories))
        if tables[index].shape[1]:
            tensor = g.add("Gather", g.double(tables[index]), code, axis=0)
            parts.append(Part(tensor, (None,) * tables[index].shape[1]))
    if not parts:
        raise g.refused("it gives no columns")
    return Value(tuple(parts))


def coded(g: Emission, part: Part, categories: Sequence[Any]) -> str:
    """INT64 [rows] of a column [rows, 1]: the index of its cell in `categories`, or their number if it is unknown."""
    origin = part.origins[0]
    g.known(origin, [category for category in categories if not is_missing(category)])
    missing = [place for place, category in enumerate(categories) if is_missing(category)]
    if part.text:
        spelled = [place for place in missing if g.is_missing_marker(origin, categories[place])]
        code = _text_code(g, part.tensor, categories, spelled)
    else:
        code = _number_code(g, part.tensor, categories)
    return str(g.add("Reshape", code, g.int64(-1)))


def is_missing(category: Any) -> bool:
    """None or NaN."""
    return category is None or (isinstance(category, float | np.floating) and bool(np.isnan(category)))


def _text_code(g: Emission, tensor: str, categories: Sequence[Any], missing: Sequence[int]) -> str:
    keys: list[str] = []
    places: list[int] = []
    for place, category in enumerate(categories):
        if is_missing(category) and place not in missing:
            continue  # None where missing cells are NaN, or the reverse: a client cannot send it
        key = MISSING_TEXT if is_missing(category) else category
        if not isinstance(key, str):
            raise g.refused(f"it has the category {category!r} in a column of text: train it on text only")
        if key in keys and is_missing(category):
            continue  # the empty text is a category of its own: a missing cell cannot be sent
        keys.append(key)
        places.append(place)
    return str(
        g.add("LabelEncoder", tensor, domain=ML, keys_strings=keys, values_int64s=places, default_int64=len(categories))
    )


def _number_code(g: Emission, tensor: str, categories: Sequence[Any]) -> str:
    if any(isinstance(category, str) for category in categories):
        raise g.refused(
            "it was trained on text, and the sample has numbers: give a sample with the text of the training rows"
        )
    count = len(categories)
    numbers = np.array([np.nan if is_missing(category) else float(category) for category in categories])
    places = np.arange(count, dtype=np.float64) - count
    hit = g.add("Equal", tensor, g.double(numbers.reshape(1, -1)))
    if np.isnan(numbers).any():
        at_missing = g.add("And", g.add("IsNaN", tensor), g.constant(np.isnan(numbers).reshape(1, -1)))
        hit = g.add("Or", hit, at_missing)
    chosen = row_sum(g, g.add("Where", hit, g.double(places.reshape(1, -1)), g.double(0.0)))
    return g.cast(g.add("Add", chosen, g.double(float(count))), INT64)


def _tables(model: Any, place: Callable[[int], slice]) -> list[Doubles]:
    """For each column [categories + 1, outputs]: the estimator's outputs for each category, the unknown one last."""
    first = [categories[0] for categories in model.categories_]
    known: list[list[Any]] = []
    unknown: list[list[Any]] = []
    for index, categories in enumerate(model.categories_):
        known.extend([*first[:index], cell, *first[index + 1 :]] for cell in categories)
        unknown.append([*first[:index], _unseen(categories), *first[index + 1 :]])
    made = _answers(model, known)
    ends = np.cumsum([len(categories) for categories in model.categories_])
    tables = []
    for index, end in enumerate(ends):
        seen = made[end - len(model.categories_[index]) : end, place(index)]
        try:
            unseen = _answers(model, [unknown[index]])[:, place(index)]
        except ValueError:  # handle_unknown="error"
            unseen = np.full((1, seen.shape[1]), np.nan)
        tables.append(np.vstack([seen, unseen]))
    return tables


def _answers(model: Any, rows: list[list[Any]]) -> Doubles:
    kinds = {np.asarray(categories).dtype.kind for categories in model.categories_}
    dtype: Any = np.float64 if kinds <= set("iufb") else object
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of unknown categories
        made = model.transform(_framed(model, np.array(rows, dtype=dtype)))
    return np.asarray(made.toarray() if hasattr(made, "toarray") else made, np.float64)


def _framed(model: Any, cells: NDArray[Any]) -> Any:
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return cells
    import pandas as pd  # noqa: PLC0415 -- only where the model was trained on a frame

    return pd.DataFrame(cells, columns=names, dtype=cells.dtype)  # text is unchanged: None stays None


def _unseen(categories: NDArray[Any]) -> Any:
    if np.asarray(categories).dtype.kind in "iufb":
        known = {float(category) for category in categories if not is_missing(category)}
        return next(float(number) for number in range(-2, len(known) + 1) if float(number) not in known)
    return UNSEEN_TEXT
