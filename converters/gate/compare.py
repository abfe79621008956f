"""Two answers on the same rows: which rows differ by more than a faithful copy may, and by how much."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.family import (
    Answer,
    Schema,
    Tensors,
)
from onnxpress.packages.errors import ConversionRefused

FLOATS = ("probabilities", "prediction")
# What float32 rounding may take from the sum of a row of probabilities, whatever the model.
SUM_ERROR_BOUND = 1e-6


@dataclass(frozen=True)
class Difference:
    """Of one output and a block of rows: arrays of one entry a row."""

    output: str
    outside: NDArray[np.bool_]
    size: NDArray[np.float64]  # the largest |compiled - original| of the row's entries
    tolerance: NDArray[np.float64]  # of that entry


def check_answer(answer: Answer, schema: Schema, rows: int) -> None:
    """Raises ConversionRefused unless the original's answers have the shapes that the schema names."""
    expected = {"label": (rows,), "probabilities": (rows, len(schema.classes))}
    expected = expected if schema.classes else {"prediction": (rows, schema.targets)}
    found = {name: values.shape for name, values in answer.outputs.items()}
    if found != expected:
        raise ConversionRefused(f"the original answers with shapes {found}, where {expected} was expected")


def check_compiled(compiled: Tensors, schema: Schema, rows: int) -> None:
    """Raises ConversionRefused unless the compiled model's answers have the names, shapes and types of the design."""
    text = bool(schema.classes) and isinstance(schema.classes[0], str)
    expected: dict[str, tuple[tuple[int, ...], str]] = {"prediction": ((rows, schema.targets), "f")}
    if schema.classes:
        expected = {"label": ((rows,), "OU" if text else "i"), "probabilities": ((rows, len(schema.classes)), "f")}
    if set(compiled) != set(expected):
        raise ConversionRefused(f"the compiled model gives {sorted(compiled)}, where {sorted(expected)} was expected")
    for name, (shape, kinds) in expected.items():
        values = compiled[name]
        if values.shape != shape or values.dtype.kind not in kinds:
            raise ConversionRefused(
                f"output {name!r} of the compiled model is {values.dtype} of shape {list(values.shape)}, "
                f"where shape {list(shape)} was expected"
            )


def float_difference(answer: Answer, compiled: Tensors) -> Difference:
    """How far the probabilities or predictions are apart; NaN and infinities must be met by the same."""
    name = next(name for name in FLOATS if name in answer.outputs)
    original = answer.outputs[name].astype(np.float64)
    tolerance = np.broadcast_to(answer.tolerance[name], original.shape).astype(np.float64)
    copy = compiled[name].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        # Beyond float32's range the compiled model says infinity, as anything that answers in float32 must.
        narrow = original.astype(np.float32).astype(np.float64)
        size = np.abs(copy - original)
        same = (copy == original) | (copy == narrow) | (np.isnan(copy) & np.isnan(original))
        outside = ~same & ~(size <= tolerance)
    size = np.where(same, 0.0, np.where(np.isnan(size), np.inf, size))
    # The entry to report is the one farthest beyond its tolerance.
    worst = np.argmax(np.where(outside, 1.0, 0.0) * 1e300 + np.minimum(size, 1e200), axis=1)
    index = np.arange(len(worst))
    return Difference(name, outside.any(axis=1), size[index, worst], tolerance[index, worst])


def label_difference(answer: Answer, compiled: Tensors, schema: Schema) -> Difference:
    """Where the labels differ, unless their two probabilities tie within their tolerance.

    A tie that is exact on both sides excuses nothing: there the label is a rule of the model, not of rounding.
    """
    labels = answer.outputs["label"]
    copy = compiled["label"].astype(labels.dtype) if labels.dtype.kind in "iu" else compiled["label"].astype(str)
    differs = labels.astype(copy.dtype) != copy
    outside = differs.copy()
    for row in np.flatnonzero(differs):
        outside[row] = not _excused(answer, compiled, int(row), _places(labels[row], copy[row], schema))
    return Difference("label", outside, outside.astype(np.float64), np.zeros(len(labels)))


def _places(original: object, copy: object, schema: Schema) -> list[int]:
    """The columns of two labels, fewer when one is no class."""
    texts = [str(value) for value in schema.classes]
    return [texts.index(str(label)) for label in (original, copy) if str(label) in texts]


def _excused(answer: Answer, compiled: Tensors, row: int, places: list[int]) -> bool:
    if len(places) < 2:
        return False
    mine, other = answer.outputs["probabilities"][row, places].astype(np.float64)
    reach = np.broadcast_to(answer.tolerance["probabilities"], answer.outputs["probabilities"].shape)[row, places].sum()
    one, two = compiled["probabilities"][row, places]
    return bool(abs(mine - other) <= reach and not (mine == other and one == two))


def sum_difference(answer: Answer, compiled: Tensors) -> Difference:
    """How far each row of probabilities is from the sum of the original's, where that is 1."""
    original, copy = answer.outputs["probabilities"], compiled["probabilities"].astype(np.float64)
    allowed = np.broadcast_to(answer.tolerance["probabilities"], original.shape).sum(axis=1)
    with np.errstate(invalid="ignore"):
        normal = np.abs(original.astype(np.float64).sum(axis=1) - 1) <= SUM_ERROR_BOUND
        size = np.where(normal, np.abs(copy.sum(axis=1) - 1), 0.0)
    # Where a family's arithmetic overflowed there is no tolerance to add.
    tolerance = np.nan_to_num(allowed, nan=0.0, posinf=np.inf) + SUM_ERROR_BOUND
    return Difference("probabilities", ~(size <= tolerance), size, tolerance)
