"""Compares two answers on the same rows: which rows differ by more than the tolerance, and by how much."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.family import (
    Answer,
    Schema,
    Tensors,
)
from onnxpress.packages.errors import ConversionRefused
from onnxpress.packages.golden import Scores, labels_off, values_off

FLOATS = ("probabilities", "prediction")
# Float32 rounding of the sum of a row of probabilities, for every model.
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
    """How far the probabilities or predictions are apart, and where farther than the golden rule allows."""
    name = next(name for name in FLOATS if name in answer.outputs)
    original = answer.outputs[name].astype(np.float64)
    tolerance = np.broadcast_to(answer.tolerance[name], original.shape).astype(np.float64)
    actual = compiled[name].astype(np.float64)
    outside = values_off(actual, original, tolerance)
    with np.errstate(invalid="ignore"):
        size = np.abs(actual - original)
        # Infinite or NaN where one of the two is: there the difference is 0 if the answer is right, else infinite.
        size = np.where(np.isfinite(size), size, np.where(outside, np.inf, 0.0))
        excess = np.nan_to_num(size - tolerance, nan=np.inf)
    # The entry to report is the one farthest beyond its tolerance; of a row without any, the largest difference.
    worst = np.argmax(np.where(outside.any(axis=1, keepdims=True), np.where(outside, excess, -np.inf), size), axis=1)
    index = np.arange(len(worst))
    return Difference(name, np.asarray(outside.any(axis=1)), size[index, worst], tolerance[index, worst])


def label_difference(answer: Answer, compiled: Tensors, schema: Schema) -> Difference:
    """Where a label is not the original's by the golden rule."""
    scores = Scores(
        answer.outputs["probabilities"],
        compiled["probabilities"],
        answer.tolerance["probabilities"],
        [str(value) for value in schema.classes],
    )
    outside = labels_off(compiled["label"], answer.outputs["label"], scores)
    return Difference("label", outside, outside.astype(np.float64), np.zeros(len(outside)))


def sum_difference(answer: Answer, compiled: Tensors) -> Difference:
    """How far each row of probabilities is from the sum of the original's, where that is 1."""
    original, actual = answer.outputs["probabilities"], compiled["probabilities"].astype(np.float64)
    allowed = np.broadcast_to(answer.tolerance["probabilities"], original.shape).sum(axis=1)
    with np.errstate(invalid="ignore"):
        normal = np.abs(original.astype(np.float64).sum(axis=1) - 1) <= SUM_ERROR_BOUND
        size = np.where(normal, np.abs(actual.sum(axis=1) - 1), 0.0)
    # Where a family's arithmetic overflowed, the tolerance adds nothing.
    tolerance = np.nan_to_num(allowed, nan=0.0, posinf=np.inf) + SUM_ERROR_BOUND
    return Difference("probabilities", ~(size <= tolerance), size, tolerance)
