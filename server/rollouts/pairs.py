"""Compares what two versions answer to the same rows. Pure, but for `Kept`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxpress.server.serving.tensors import LENGTH_BYTES, Flat, Signature, TensorSpec

# Rows that are kept of a rollout, those that differ most.
KEPT_MAX: Final = 20
# Characters of a text of a kept row.
TEXT_MAX: Final = 200

Columns = Sequence[NDArray[Any]]  # one [rows, elements] for each output, in the order of the signature


@dataclass(frozen=True)
class Pairs:
    """Rows that both versions answered. flips: those whose labels differ; largest: finite difference of a score."""

    rows: int = 0
    flips: int = 0
    largest: float = 0.0

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(self.rows + other.rows, self.flips + other.flips, max(self.largest, other.largest))


NO_PAIRS: Final = Pairs()


class KeptRow(NamedTuple):
    """A row that both versions answered, and how much the answers differ; values by name, one list each."""

    flipped: bool
    difference: float
    inputs: Mapping[str, list[Any]]
    champion: Mapping[str, list[Any]]
    candidate: Mapping[str, list[Any]]


class Comparison:
    """How the answers of two signatures are compared: outputs of the same name, datatype and row shape.

    label: place in both of the first such output of integers or text; scores: places of those of floating-point
    numbers.
    """

    def __init__(self, champion: Signature, candidate: Signature) -> None:
        self._champion, self._candidate = champion, candidate
        places = {spec.name: place for place, spec in enumerate(candidate.outputs)}
        common = [
            (place, places[spec.name])
            for place, spec in enumerate(champion.outputs)
            if spec.name in places and _alike(spec, candidate.outputs[places[spec.name]])
        ]
        scores = {pair for pair in common if is_float(champion.outputs[pair[0]])}
        self.scores = [pair for pair in common if pair in scores]
        self.label = next((pair for pair in common if pair not in scores), None)

    @property
    def unanswerable(self) -> str:
        """Why the candidate cannot answer the champion's rows as they are; empty if it can."""
        if not (self._champion.batchable and self._candidate.batchable):
            return "the rows of one of the versions depend on each other"
        offered = {spec.name: spec for spec in self._champion.inputs}
        for spec in self._candidate.inputs:
            if spec.name not in offered or not _alike(spec, offered[spec.name]):
                return f"the candidate has another input {spec.name!r}"
        return ""

    def compare(
        self, champion: Columns, candidate: Columns, inputs: Mapping[str, NDArray[Any]], kept: "Kept | None" = None
    ) -> Pairs:
        """Compares the answers to the rows of `inputs`, and adds those that differ most to `kept`."""
        rows = len(next(iter(inputs.values())))
        flipped, difference = np.zeros(rows, bool), np.zeros(rows)
        if self.label is not None:
            ours, theirs = self.label
            flipped = (champion[ours] != candidate[theirs]).any(axis=1)
        for ours, theirs in self.scores:
            difference = np.maximum(difference, _differences(champion[ours], candidate[theirs]))
        if kept is not None:
            kept.add(
                [
                    KeptRow(
                        bool(flipped[row]),
                        float(difference[row]),
                        {name: _values(values[row]) for name, values in inputs.items()},
                        _named(self._champion, champion, row),
                        _named(self._candidate, candidate, row),
                    )
                    for row in kept.wanted(flipped, difference)
                ]
            )
        finite = difference[np.isfinite(difference)]  # a NaN of one version is an invalid answer
        return Pairs(rows, int(flipped.sum()), float(finite.max(initial=0.0)))


class Kept:
    """The rows that differ most: first those with other labels, then by difference.

    Owned by the thread that adds; `rows` is replaced as a whole and read by any thread.
    """

    def __init__(self, most: int = KEPT_MAX) -> None:
        self._most = most
        self.rows: Sequence[KeptRow] = ()  # those that differ most first

    def wanted(self, flipped: NDArray[np.bool_], difference: NDArray[np.float64]) -> list[int]:
        """The rows that differ more than the least of those that are kept, if there is no room for them."""
        differs = np.flatnonzero(flipped | (difference > 0))
        first = differs[np.lexsort((-difference[differs], ~flipped[differs]))][: self._most].tolist()
        least = _badness(self.rows[-1]) if len(self.rows) >= self._most else (False, 0.0)
        return [row for row in first if (bool(flipped[row]), float(difference[row])) > least]

    def add(self, rows: Sequence[KeptRow]) -> None:
        if rows:
            self.rows = worst(self.rows, rows, most=self._most)


def worst(*rows: Sequence[KeptRow], most: int = KEPT_MAX) -> Sequence[KeptRow]:
    """Those that differ most first."""
    return sorted(chain.from_iterable(rows), key=_badness, reverse=True)[:most]


def _badness(row: KeptRow) -> tuple[bool, float]:
    return row.flipped, row.difference


def columns(outputs: Sequence[Flat], specs: Sequence[TensorSpec], rows: int) -> list[NDArray[Any]]:
    """Flat outputs of `rows` rows as arrays [rows, elements]; texts as encoded for BYTES."""
    made: list[NDArray[Any]] = []
    for flat, spec in zip(outputs, specs, strict=True):
        if spec.datatype == "BYTES":
            values = np.empty(len(flat), object)
            values[:] = flat
        else:
            values = np.frombuffer(flat, spec.dtype)
        made.append(values.reshape(rows, -1))
    return made


def is_float(spec: TensorSpec) -> bool:
    return spec.datatype.startswith("FP")


def _alike(one: TensorSpec, other: TensorSpec) -> bool:
    return (one.datatype, one.shape[1:]) == (other.datatype, other.shape[1:])


def _differences(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """The largest difference of each row; infinite where only one of two numbers is a NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    difference[(ours == theirs) | (np.isnan(ours) & np.isnan(theirs))] = 0.0
    return np.asarray(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(axis=1, initial=0.0))


def _named(signature: Signature, outputs: Columns, row: int) -> dict[str, list[Any]]:
    return {spec.name: _values(values[row]) for spec, values in zip(signature.outputs, outputs, strict=True)}


def _values(row: NDArray[Any]) -> list[Any]:
    """The values of a row as JSON has them; texts cut to TEXT_MAX characters."""
    return [_text(value) if isinstance(value, bytes | str) else value for value in np.atleast_1d(row).ravel().tolist()]


def _text(value: bytes | str) -> str:
    """Elements of inputs are texts; those of outputs are encoded with their length."""
    text = value if isinstance(value, str) else value[LENGTH_BYTES:].decode(errors="replace")
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"
