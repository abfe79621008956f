"""Rows derived from base rows: which base row each starts from, and which of its cells are replaced."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters.family import Schema
from onnxpress.converters.sample import assembled

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Rows to evaluate. `base` [rows] is the row each starts from; `row`, `column`, `value` list the replaced cells."""

    base: Integers
    row: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    column: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    value: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    # [rows]: rows of one kind are refused by the original for one reason, which `kinds` names; -1: no kind.
    kind: Integers | None = None
    kinds: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.base)

    def shuffled(self, random: np.random.Generator) -> "Plan":
        """The same rows in random order, so that every prefix is a uniform sample of all."""
        order = random.permutation(len(self.base))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        row = place[self.row]
        by_row = np.argsort(row, kind="stable")
        kind = None if self.kind is None else self.kind[order]
        return Plan(self.base[order], row[by_row], self.column[by_row], self.value[by_row], kind, self.kinds)


def no_value(column: str) -> str:
    """The kind of rows with a missing value in a column."""
    return f"missing values in {column!r}"


def joined(plans: list[Plan]) -> Plan:
    """The plans concatenated; their kinds remain distinct."""
    rows, kinds, shift = 0, 0, []
    for plan in plans:
        shift.append((rows, kinds))
        rows, kinds = rows + len(plan), kinds + len(plan.kinds)
    any_object = any(plan.value.dtype == object for plan in plans)
    return Plan(
        np.concatenate([plan.base for plan in plans]),
        np.concatenate([plan.row + first for plan, (first, _) in zip(plans, shift, strict=True)]),
        np.concatenate([plan.column for plan in plans]),
        np.concatenate([plan.value.astype(object) if any_object else plan.value for plan in plans]),
        np.concatenate(
            [
                np.full(len(plan), -1) if plan.kind is None else np.where(plan.kind >= 0, plan.kind + first, -1)
                for plan, (_, first) in zip(plans, shift, strict=True)
            ]
        ),
        tuple(kind for plan in plans for kind in plan.kinds),
    )


class ProbeRows:
    """The base rows as arrays, from which the rows of a plan are built in blocks."""

    def __init__(self, rows: pd.DataFrame, schema: Schema) -> None:
        self.names = [column.name for column in schema.columns]
        self.datatypes = [column.datatype for column in schema.columns]
        self.rows = len(rows)
        self._numbers = None
        if all(datatype in ("FP32", "FP64") for datatype in self.datatypes):
            self._numbers = rows.to_numpy(dtype=np.float64)
        self._columns = [rows[name].to_numpy() for name in self.names]

    def column(self, index: int) -> NDArray[Any]:
        """The values of one column in the base rows."""
        return self._columns[index]

    def floats(self, index: int) -> bool:
        """Whether a column holds numbers with fractions, and so may hold NaN."""
        return self.datatypes[index] in ("FP32", "FP64")

    def frames(self, plan: Plan, size: int) -> Iterator[tuple[pd.DataFrame, slice]]:
        """The plan's rows in blocks of at most `size`; the changes must be in the order of rows."""
        for first in range(0, len(plan), size):
            part = slice(first, min(first + size, len(plan)))
            yield self.frame(plan, part), part

    def frame(self, plan: Plan, part: slice) -> pd.DataFrame:
        """Some of the plan's rows."""
        low, high = np.searchsorted(plan.row, [part.start, part.stop])
        row, column, value = plan.row[low:high] - part.start, plan.column[low:high], plan.value[low:high]
        base = plan.base[part]
        if self._numbers is not None:
            block = self._numbers[base]
            block[row, column] = value.astype(np.float64)
            return pd.DataFrame(block, columns=self.names)
        columns = {}
        for index, name in enumerate(self.names):
            values = self._columns[index][base]
            here = column == index
            if here.any():
                values[row[here]] = value[here].astype(values.dtype)
            columns[name] = values
        return assembled(columns)
