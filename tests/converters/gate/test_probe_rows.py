"""Plans of rows, and the rows that are built from them."""

import numpy as np
import pandas as pd

from onnxpress.converters.family import Column, Schema
from onnxpress.converters.gate.probe_rows import Plan, ProbeRows, joined
from onnxpress.protos.package_pb2 import Layout, Task


def probe(**columns: tuple[str, list]) -> ProbeRows:
    schema = Schema(
        tuple(Column(name, datatype) for name, (datatype, _) in columns.items()), Layout.COLUMNS, Task.REGRESSOR
    )
    dtypes = {"FP64": np.float64, "FP32": np.float64, "INT64": np.int64, "BYTES": object}
    return ProbeRows(
        pd.DataFrame({name: pd.Series(values, dtype=dtypes[kind]) for name, (kind, values) in columns.items()}), schema
    )


def plan(base: list[int], changes: list[tuple[int, int, object]], kind: list[int] | None = None, kinds=()) -> Plan:
    row, column, value = zip(*changes, strict=True)
    return Plan(
        np.array(base),
        np.array(row),
        np.array(column),
        np.array(value, object),
        None if kind is None else np.array(kind),
        kinds,
    )


def test_rows_are_their_base_rows_with_some_cells_replaced() -> None:
    """Numeric columns, built as one block, and mixed columns, built one by one, give the same rows."""
    numbers = probe(a=("FP64", [1.0, 2.0]), b=("FP64", [10.0, 20.0]))
    made = plan([1, 0, 1], [(0, 0, 5.0), (2, 1, np.nan)])
    frame = numbers.frame(made, slice(0, 3))
    assert frame["a"].tolist() == [5.0, 1.0, 2.0]
    assert frame["b"].tolist()[:2] == [20.0, 10.0]
    assert np.isnan(frame["b"][2])
    mixed = probe(a=("INT64", [1, 2]), b=("BYTES", ["x", None]))
    frame = mixed.frame(plan([0, 1], [(0, 1, None), (1, 0, 7)]), slice(0, 2))
    assert frame["a"].tolist() == [1, 7]
    assert frame["b"].tolist() == [None, None]
    assert (frame["a"].dtype, frame["b"].dtype) == (np.int64, object)


def test_blocks_join_to_the_whole() -> None:
    """Rows do not depend on the block size, and base rows stay unchanged."""
    rows = probe(a=("FP64", [1.0, 2.0, 3.0]), b=("BYTES", ["x", "y", "z"]))
    made = plan([0, 1, 2, 0, 1], [(1, 0, 9.0), (3, 1, "w"), (4, 0, 8.0)])
    whole = rows.frame(made, slice(0, 5))
    parts = pd.concat([part for part, _ in rows.frames(made, 2)], ignore_index=True)
    pd.testing.assert_frame_equal(whole, parts)
    assert rows.column(0).tolist() == [1.0, 2.0, 3.0]


def test_shuffling_keeps_each_rows_changes_and_kind() -> None:
    """Shuffling changes the order of rows only."""
    rows = probe(a=("FP64", [0.0]), b=("FP64", [0.0]))
    made = plan(
        [0] * 9, [(index, index % 2, float(index + 1)) for index in range(9)], list(range(9)), tuple("abcdefghi")
    )
    mixed = made.shuffled(np.random.default_rng(3))
    frame = rows.frame(mixed, slice(0, 9))
    assert frame["a"].tolist() != rows.frame(made, slice(0, 9))["a"].tolist()
    changed = frame.sum(axis=1).astype(int)
    assert sorted(changed) == list(range(1, 10))
    assert mixed.kind is not None
    assert (mixed.kind + 1).tolist() == changed.tolist()


def test_joined_plans_keep_their_rows_and_kinds_apart() -> None:
    """Row and kind numbers are shifted; a plan without kinds gets -1."""
    whole = joined(
        [plan([0], [(0, 0, 1.0)], [0], ("first",)), plan([1], [(0, 0, 2.0)]), plan([2], [(0, 0, 3.0)], [0], ("third",))]
    )
    assert whole.base.tolist() == [0, 1, 2]
    assert whole.row.tolist() == [0, 1, 2]
    assert whole.kind is not None
    assert whole.kind.tolist() == [0, -1, 1]
    assert whole.kinds == ("first", "third")
