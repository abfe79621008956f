"""Runs the original model on blocks of rows and finds, one by one, the rows that it refuses."""

import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters.family import (
    Answer,
    Subject,
    Tensors,
)
from onnxpress.converters.gate import compare
from onnxpress.converters.gate.probe_rows import Integers
from onnxpress.packages.errors import ConversionRefused

Kept = NDArray[np.bool_]


@dataclass
class Original:
    """The original model. `refused` counts the rows outside the contract by the message of the original's error."""

    subject: Subject
    refused: dict[str, int] = field(default_factory=dict)
    # Kinds of rows that it refuses, by their name in `Plan.kinds` -> the message of its error.
    refused_kinds: dict[str, str] = field(default_factory=dict)

    def answer(
        self, rows: pd.DataFrame, kind: Integers | None, kinds: tuple[str, ...], until: float
    ) -> tuple[Answer | None, Kept]:
        """The answer on the rows that the original accepts, and a mask of them [rows].

        When the block as a whole is refused, one row of each `kind` is tried first. After `until` (monotonic seconds)
        rows that are not yet classified are left out.
        """
        kept = np.ones(len(rows), dtype=bool)
        if kind is not None and self.refused_kinds:
            known = [number for number, name in enumerate(kinds) if name in self.refused_kinds]
            kept = ~np.isin(kind, known)
        answer = self._whole(rows[kept]) if kept.any() else None
        if answer is None or isinstance(answer, Answer):
            return answer, kept
        if kind is not None:
            for number in np.unique(kind[kept & (kind >= 0)]):
                scout = int(np.flatnonzero(kind == number)[0])
                reason = self._whole(rows.iloc[scout : scout + 1])
                if isinstance(reason, str):
                    self.refused_kinds.setdefault(kinds[number], reason)
                    kept &= kind != number
        places = np.flatnonzero(kept)
        pieces = self._pieces(rows, places, until)
        kept[:] = False
        for taken, _ in pieces:
            kept[taken] = True
        return joined_answer([piece for _, piece in pieces]), kept

    def _pieces(self, rows: pd.DataFrame, places: Integers, until: float) -> list[tuple[Integers, Answer]]:
        """Answers by bisection: a refused block is halved until single rows are refused."""
        if not len(places) or time.monotonic() > until:
            return []
        answer = self._whole(rows.iloc[places])
        if isinstance(answer, Answer):
            return [(places, answer)]
        if len(places) == 1:
            self.refused[answer] = self.refused.get(answer, 0) + 1
            return []
        half = len(places) // 2
        return self._pieces(rows, places[:half], until) + self._pieces(rows, places[half:], until)

    def _whole(self, rows: pd.DataFrame) -> Answer | str:
        """The answer on all rows, or the message of the error that the original raised."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                answer = self.subject.answer(rows)
            except ConversionRefused:
                raise
            except Exception as refusal:  # noqa: BLE001 -- originals refuse rows with whatever their library raises
                return (str(refusal).strip() or type(refusal).__name__).splitlines()[0]
        compare.check_answer(answer, self.subject.schema, len(rows))
        return answer


def joined_answer(answers: list[Answer]) -> Answer | None:
    """The answers concatenated; None for an empty list."""
    if not answers:
        return None

    def glued(parts: list[Tensors]) -> Tensors:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    shaped = [
        Answer(a.outputs, {n: np.broadcast_to(t, a.outputs[n].shape) for n, t in a.tolerance.items() if n != "label"})
        for a in answers
    ]
    return Answer(glued([answer.outputs for answer in shaped]), glued([answer.tolerance for answer in shaped]))


def taken(answer: Answer, rows: Any) -> Answer:
    """The answer restricted to some of its rows (a slice or a mask)."""
    tolerance = {
        name: np.broadcast_to(values, answer.outputs[name].shape)[rows]
        for name, values in answer.tolerance.items()
        if name != "label"
    }
    return Answer({name: values[rows] for name, values in answer.outputs.items()}, tolerance)
