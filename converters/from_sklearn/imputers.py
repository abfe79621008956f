"""Missing cells: SimpleImputer and MissingIndicator, for numbers and for text.

Clients send a missing text as the empty string.
"""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import MISSING_TEXT, Emission, Part, Registry, Value
from onnxpress.converters.from_sklearn.encoders import UNSEEN_TEXT, is_missing
from onnxpress.converters.graph.builder import DOUBLE, ML

EMITTERS = Registry()

BOOL = 9


@EMITTERS.transformer("SimpleImputer", keeps_sparse=True)
def simple(g: Emission, model: Any, value: Value) -> Value:
    parts: list[Part] = []
    for index, filler in enumerate(model.statistics_):
        single = g.take(value, [index]).parts[0]
        if is_missing(filler):
            if not getattr(model, "keep_empty_features", False):
                continue  # a column that had no value in training is dropped
            filler = 0.0 if model.strategy != "constant" else model.fill_value  # noqa: PLW2901
        parts.append(_filled(g, single, missing(g, single, model.missing_values), filler))
    if model.add_indicator and model.indicator_.features_.size:
        parts.append(indicated(g, model.indicator_, value))
    if not parts:
        raise g.refused("it drops every column: none had a value in training")
    return Value(tuple(parts))


def missing(g: Emission, part: Part, mark: Any) -> str:
    """BOOL [rows, 1]: where the cell counts as missing."""
    if part.text:
        key = str(mark)
        if is_missing(mark):
            key = MISSING_TEXT if g.is_missing_marker(part.origins[0], mark) else UNSEEN_TEXT
        found = g.add("LabelEncoder", part.tensor, domain=ML, keys_strings=[key], values_int64s=[1], default_int64=0)
        return g.cast(found, BOOL)
    if is_missing(mark):
        return g.add("IsNaN", part.tensor)
    return g.add("Equal", part.tensor, g.double(float(mark)))


def _filled(g: Emission, part: Part, hole: str, filler: Any) -> Part:
    if part.text:
        constant = g.constant(np.array(str(filler)))
        return Part(g.add("Where", hole, constant, part.tensor), part.origins, text=True)
    if isinstance(filler, str):
        raise g.refused(f"it fills a column of numbers with the text {filler!r}: give that column as text")
    return Part(g.add("Where", hole, g.double(float(filler)), part.tensor), part.origins)


def indicated(g: Emission, model: Any, value: Value) -> Part:
    holes = [
        g.cast(missing(g, g.take(value, [int(column)]).parts[0], model.missing_values), DOUBLE)
        for column in model.features_
    ]
    return Part(g.concat(holes), (None,) * len(holes))


@EMITTERS.transformer("MissingIndicator")
def indicator(g: Emission, model: Any, value: Value) -> Value:
    if not len(model.features_):
        raise g.refused("it gives no columns: nothing was missing in training")
    return Value((indicated(g, model, value),))
