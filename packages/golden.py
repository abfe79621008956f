"""The golden rule, for gate, server and load tests: when answers count as equal to the original model's."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
LABEL, PROBABILITIES = "label", "probabilities"
GROUPS = ("inputs", "outputs", "tolerance")


@dataclass(frozen=True)
class Difference:
    """The first answer that breaks the golden rule."""

    output: str
    row: int
    original: Any  # the row's entries: a scalar of a label, an array of numbers
    answer: Any


@dataclass(frozen=True)
class Golden:
    """Stored rows, the original model's answers to them, and the tolerances of those answers.

    Every array's first axis is the row. `inputs` by name of the compiled model's input, in the client's datatype
    (BYTES as numpy text); `outputs` by name of the output, float64, labels int64 or text; `tolerance` by name of each
    output of numbers: absolute, float64, of the output's shape.
    """

    inputs: Arrays
    outputs: Arrays
    tolerance: Arrays

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()), ()))

    def row(self, index: int) -> "Golden":
        """One row as a Golden."""
        groups = ({name: array[index : index + 1] for name, array in group.items()} for group in self._groups())
        return Golden(*groups)

    def feeds(self) -> dict[str, NDArray[Any]]:
        """The inputs as ONNX Runtime takes them."""
        return {name: as_feed(array) for name, array in self.inputs.items()}

    def first_difference(self, answers: Arrays, classes: Sequence[str]) -> Difference | None:
        """The first row of `answers` (outputs by name) that breaks the golden rule; None where all rows hold.

        `classes`: the labels in the order of the columns of `probabilities`, as a manifest has them. An output that
        `answers` lacks is a difference in row 0, and so is one of another shape.
        """
        for name in sorted(self.outputs, key=lambda name: name not in self.tolerance):  # labels follow the numbers
            original, answer = self.outputs[name], answers.get(name)
            if answer is None or answer.shape != original.shape:
                shape = "no such output" if answer is None else f"shape {list(answer.shape)}"
                return Difference(name, 0, f"shape {list(original.shape)}", shape)
            if name in self.tolerance:
                off = values_off(answer, original, self.tolerance[name])
                wrong = off.reshape(len(off), -1).any(axis=1)
            else:
                wrong = labels_off(answer, original, self._scores(answers, classes) if name == LABEL else None)
            if wrong.any():
                row = int(np.argmax(wrong))
                return Difference(name, row, original[row], answer[row])
        return None

    def to_bytes(self) -> bytes:
        """golden.npz: arrays named inputs/<name>, outputs/<name> and tolerance/<name>, nothing pickled."""
        arrays = {
            f"{group}/{name}": array.astype(str) if array.dtype.kind == "O" else array
            for group, named in zip(GROUPS, self._groups(), strict=True)
            for name, array in named.items()
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Golden":
        """Reads golden.npz. Raises ValueError, OSError, EOFError or KeyError for any other content."""
        groups: dict[str, dict[str, NDArray[Any]]] = {group: {} for group in GROUPS}
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for key in arrays.files:
                group, _, name = key.partition("/")
                if group in groups:
                    groups[group][name] = arrays[key]
        return cls(*groups.values())

    def _scores(self, answers: Arrays, classes: Sequence[str]) -> "Scores | None":
        original, answer = self.outputs.get(PROBABILITIES), answers.get(PROBABILITIES)
        tolerance = self.tolerance.get(PROBABILITIES)
        if original is None or answer is None or tolerance is None:
            return None
        return Scores(original, answer, tolerance, list(classes)) if answer.shape == original.shape else None

    def _groups(self) -> tuple[Arrays, Arrays, Arrays]:
        return self.inputs, self.outputs, self.tolerance


@dataclass(frozen=True)
class Scores:
    """The probabilities [rows, classes] of both models and their tolerance, which decide which labels tie."""

    original: NDArray[Any]
    answer: NDArray[Any]
    tolerance: NDArray[Any]
    classes: Sequence[str]  # of the columns


def as_feed(array: NDArray[Any]) -> NDArray[Any]:
    """The array as ONNX Runtime takes it, with text as objects."""
    return array.astype(object) if array.dtype.kind == "U" else array


def values_off(answer: NDArray[Any], original: NDArray[Any], tolerance: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers differ from the original's by more than their absolute tolerance, entry by entry.

    NaN equals NaN only, and an infinity the same infinity; where the original is beyond the range of float32, the
    infinity that it rounds to is accepted.
    """
    numbers, said = original.astype(np.float64), answer.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(said - numbers) <= tolerance
        same = (said == numbers) | (said == numbers.astype(np.float32)) | (np.isnan(said) & np.isnan(numbers))
    return np.asarray(~(near | same))


def labels_off(answer: NDArray[Any], original: NDArray[Any], scores: Scores | None) -> NDArray[np.bool_]:
    """Which rows [rows] have a label that the golden rule does not accept.

    A label may differ from the original's only where the original's largest probabilities tie within their tolerance,
    and then both labels must be among the classes that tie. Where the two tie exactly in both models, a rule of the
    model decides the label and not rounding, so it must be the same.
    """
    text = not (answer.dtype.kind in "iu" and original.dtype.kind in "iu")
    wrong: NDArray[np.bool_] = np.asarray(answer.astype(str) != original.astype(str) if text else answer != original)
    if scores is not None:
        for row in np.flatnonzero(wrong):
            wrong[row] = not _tie(scores, int(row), str(original[row]), str(answer[row]))
    return wrong


def _tie(scores: Scores, row: int, original: str, answer: str) -> bool:
    if original not in scores.classes or answer not in scores.classes:
        return False
    columns = [scores.classes.index(original), scores.classes.index(answer)]
    numbers = scores.original[row].astype(np.float64)
    tolerance = np.broadcast_to(scores.tolerance, scores.original.shape)[row].astype(np.float64)
    best = int(np.argmax(numbers))  # NaN is the largest, and ties with nothing
    with np.errstate(invalid="ignore"):
        tied = numbers[best] - numbers[columns] <= tolerance[best] + tolerance[columns]
    mine, other = numbers[columns]
    one, two = scores.answer[row, columns]
    return bool(tied.all() and not (mine == other and one == two))
