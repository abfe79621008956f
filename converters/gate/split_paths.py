"""Rows that reach chosen splits: reads the path from the root in the graph and sets the values that satisfy it.

A random row misses most splits of a deep tree. Here every split gets the base row that satisfies most of its path, and
the client columns that the tree reads unchanged, or through a linear map, get values that satisfy the rest.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import helper

from onnxpress.converters.family import Schema
from onnxpress.converters.gate.probe_rows import Integers, Plan, ProbeRows, no_value
from onnxpress.converters.gate.splits import Splits, splits_of
from onnxpress.converters.runtime import Session
from onnxpress.converters.sample import feeds

Doubles = NDArray[np.float64]

# The number of base rows among which the start of a path is chosen.
BASE_ROWS = 256
# Linear maps (a scaler) are found from the base rows; so many float32 steps around the threshold's image are tried.
STEPS_SCALED = (-2, -1, 0, 1, 2)


@dataclass(frozen=True)
class EnsembleInput:
    """The input of one ensemble: its tensor on the base rows, and the client column behind each tensor column."""

    splits: Splits
    tensor: Doubles  # [base rows, tensor columns]
    dtype: type[np.floating]
    column: Integers  # [tensor columns]: the client's column, -1 when it is no linear map of one
    slope: Doubles  # [tensor columns]: value = slope * column + offset
    offset: Doubles


def ensemble_inputs(model: onnx.ModelProto, schema: Schema, rows: pd.DataFrame) -> list[EnsembleInput]:
    """The input of each ensemble of the graph on the first BASE_ROWS of `rows`."""
    found = splits_of(model)
    sources = sorted({splits.source for splits in found})
    if not sources:
        return []
    base = rows.iloc[:BASE_ROWS]
    given = feeds(base, schema)
    inner = [source for source in sources if source not in given]
    tensors = dict(given)
    if inner:
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        present = {output.name for output in opened.graph.output}
        opened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner if name not in present)
        tensors |= Session(opened.SerializeToString()).run(given, tuple(inner))
    probe = ProbeRows(base, schema)
    links = {source: _links(tensors[source], probe) for source in sources}
    return [_ensemble_input(splits, tensors[splits.source], links[splits.source]) for splits in found]


def _ensemble_input(
    splits: Splits, tensor: NDArray[np.floating], links: tuple[Integers, Doubles, Doubles]
) -> EnsembleInput:
    dtype: type[np.floating] = np.float64 if tensor.dtype == np.float64 else np.float32
    return EnsembleInput(splits, tensor.astype(np.float64), dtype, *links)


def _links(tensor: NDArray[np.floating], probe: ProbeRows) -> tuple[Integers, Doubles, Doubles]:
    """The client column behind each column of a tensor, unchanged or through a linear map."""
    width = tensor.shape[1]
    column, slope, offset = np.full(width, -1), np.ones(width), np.zeros(width)
    numeric = [index for index in range(len(probe.names)) if probe.datatypes[index] != "BYTES"]
    clients = {index: probe.column(index).astype(np.float64) for index in numeric}
    for place in range(width):
        values = tensor[:, place].astype(np.float64)
        # The likeliest is the column at the same place.
        for index in sorted(numeric, key=lambda index: index != place):
            fit = _fit(clients[index], values, tensor.dtype)
            if fit is not None:
                column[place], slope[place], offset[place] = index, *fit
                break
    return column, slope, offset


def _fit(client: Doubles, values: Doubles, dtype: np.dtype[np.floating]) -> tuple[float, float] | None:
    """Slope and offset of `values` over `client`; None when it is not linear. Rows with NaN are ignored."""
    both = np.isfinite(client) & np.isfinite(values)
    x, y = client[both], values[both]
    if len(x) < 2 or x.min() == x.max():
        return None
    if np.array_equal(x.astype(dtype), y.astype(dtype)):
        return 1.0, 0.0
    low, high = x.argmin(), x.argmax()
    if y[low] == y[high] or len(np.unique(x)) < 3:
        return None
    slope = (y[high] - y[low]) / (x[high] - x[low])
    offset = y[low] - slope * x[low]
    scale = np.abs(y).max() + np.abs(offset)
    return (float(slope), float(offset)) if np.allclose(slope * x + offset, y, rtol=0, atol=1e-5 * scale) else None


def plans(ensemble: EnsembleInput, probe: ProbeRows, chosen: Integers, until: float) -> tuple[Plan, Plan, int]:
    """Rows at, just above and just below each chosen split's threshold, and rows with NaN at it, all on its path.

    Stops at `until` (monotonic seconds); the last result is the number of splits processed.
    """
    base: list[int] = []
    row: list[int] = []
    column: list[int] = []
    value: list[float] = []
    tests: list[int] = []
    done = 0
    for split in chosen:
        if time.monotonic() > until:
            break
        done += 1
        feature = int(ensemble.splits.feature[split])
        path = _path(ensemble, int(split))
        start, changes = _fitted(ensemble, path)
        if changes is None or ensemble.column[feature] < 0:
            continue
        here = len(base)
        base.append(start)
        tests.append(int(split))
        for place, wanted in changes:
            row.append(here)
            column.append(int(ensemble.column[place]))
            value.append(_client(ensemble, probe, place, wanted))
    path_rows = Plan(
        np.array(base, np.int64), np.array(row, np.int64), np.array(column, np.int64), np.array(value, float)
    )
    split = np.array(tests, np.int64)
    return _at_thresholds(ensemble, probe, path_rows, split), _at_missing(ensemble, probe, path_rows, split), done


# Tensor column -> lowest and highest value, and the (split, branch) pairs that require it.
SplitPath = dict[int, tuple[float, float, list[tuple[int, bool]]]]


def _path(ensemble: EnsembleInput, split: int) -> SplitPath:
    """The conditions that the splits above a split put on a row."""
    splits, found = ensemble.splits, SplitPath()
    while splits.parent[split] >= 0:
        branch, split = bool(splits.on_true[split]), int(splits.parent[split])
        place = int(splits.feature[split])
        low, high, required = found.get(place, (-np.inf, np.inf, []))
        more = _bounds(str(splits.mode[split]), float(splits.threshold[split]), branch, ensemble.dtype)
        found[place] = (max(low, more[0]), min(high, more[1]), [*required, (split, branch)])
    return found


def _bounds(mode: str, threshold: float, branch: bool, dtype: type[np.floating]) -> tuple[float, float]:
    above = float(np.nextafter(dtype(threshold), dtype(np.inf)))
    below = float(np.nextafter(dtype(threshold), dtype(-np.inf)))
    bounds = {
        ("BRANCH_LEQ", True): (-np.inf, threshold),
        ("BRANCH_LEQ", False): (above, np.inf),
        ("BRANCH_LT", True): (-np.inf, below),
        ("BRANCH_LT", False): (threshold, np.inf),
        ("BRANCH_GTE", True): (threshold, np.inf),
        ("BRANCH_GTE", False): (-np.inf, below),
        ("BRANCH_GT", True): (above, np.inf),
        ("BRANCH_GT", False): (-np.inf, threshold),
        ("BRANCH_EQ", True): (threshold, threshold),
        ("BRANCH_NEQ", False): (threshold, threshold),
    }
    return bounds.get((mode, branch), (-np.inf, np.inf))


def _fitted(ensemble: EnsembleInput, path: SplitPath) -> tuple[int, list[tuple[int, float]] | None]:
    """The base row that needs the fewest changes for a path, and the tensor values to set; None if no row can fit."""
    if any(low > high for low, high, _ in path.values()):
        return 0, None
    places = list(path)
    values = ensemble.tensor[:, places]
    low = np.array([path[place][0] for place in places])
    high = np.array([path[place][1] for place in places])
    with np.errstate(invalid="ignore"):
        fits = (values >= low) & (values <= high)
    for index, place in enumerate(places):
        missing = np.isnan(values[:, index])
        if missing.any():
            tracks = ensemble.splits.missing_true
            fits[missing, index] = all(bool(tracks[split]) == branch for split, branch in path[place][2])
    settable = ensemble.column[places] >= 0
    # Values that cannot be set must fit already. Of the rows for which they do, take the one with the fewest changes.
    score = (fits[:, ~settable] * len(places) * 2).sum(axis=1) + fits[:, settable].sum(axis=1)
    start = int(np.argmax(score))
    changes = []
    for index in np.flatnonzero(~fits[start] & settable).tolist():
        wanted = low[index] if np.isnan(values[start, index]) or values[start, index] < low[index] else high[index]
        changes.append((places[index], float(wanted if np.isfinite(wanted) else high[index])))
    return start, changes


def _client(ensemble: EnsembleInput, probe: ProbeRows, place: int, wanted: float) -> float:
    """The client's value that maps to `wanted` in the tensor, as near as its datatype allows."""
    value = (wanted - ensemble.offset[place]) / ensemble.slope[place]
    datatype = probe.datatypes[ensemble.column[place]]
    if datatype in ("INT64", "BOOL"):
        return float(np.rint(value))
    with np.errstate(over="ignore"):
        return float(np.float32(value)) if datatype == "FP32" else float(value)


def _repeated(plan: Plan, times: int) -> tuple[Plan, Integers]:
    """Each row `times` times in a row, and the number of every new row."""
    count = len(plan)
    copies = np.arange(times)
    row = (plan.row[:, np.newaxis] * times + copies).ravel()
    repeated = Plan(np.repeat(plan.base, times), row, np.repeat(plan.column, times), np.repeat(plan.value, times))
    return repeated, np.arange(count * times)


def _with(plan: Plan, row: Integers, column: Integers, value: Doubles) -> Plan:
    return Plan(
        plan.base,
        np.concatenate([plan.row, row]),
        np.concatenate([plan.column, column]),
        np.concatenate([plan.value, value]),
    )


def _at_thresholds(ensemble: EnsembleInput, probe: ProbeRows, plan: Plan, split: Integers) -> Plan:
    place = ensemble.splits.feature[split]
    column = ensemble.column[place]
    exact = (ensemble.slope[place] == 1) & (ensemble.offset[place] == 0)
    image = (ensemble.splits.threshold[split] - ensemble.offset[place]) / ensemble.slope[place]
    whole = np.array([probe.datatypes[index] in ("INT64", "BOOL") for index in column], dtype=bool)
    wide = np.array([probe.datatypes[index] == "FP64" for index in column], dtype=bool)
    steps = STEPS_SCALED if not exact.all() else (-1, 0, 1)
    repeated, rows = _repeated(plan, len(steps))
    tried = np.stack([_stepped(image, step, whole, wide & (ensemble.dtype == np.float64)) for step in steps], axis=1)
    return _with(repeated, rows, np.repeat(column, len(steps)), tried.ravel())


def _stepped(values: Doubles, step: int, whole: NDArray[np.bool_], wide: NDArray[np.bool_]) -> Doubles:
    """The values so many representable steps away: of float64, float32 or the whole numbers."""
    with np.errstate(over="ignore"):
        near, far = values.astype(np.float32), values.copy()
    for _ in range(abs(step)):
        near = np.nextafter(near, np.float32(np.sign(step) * np.inf))
        far = np.nextafter(far, np.sign(step) * np.inf)
    return np.where(whole, np.floor(values) + step, np.where(wide, far, near.astype(np.float64)))


def _at_missing(ensemble: EnsembleInput, probe: ProbeRows, plan: Plan, split: Integers) -> Plan:
    column = ensemble.column[ensemble.splits.feature[split]]
    rows = np.flatnonzero([probe.floats(index) for index in column])
    changed = _with(plan, rows, column[rows], np.full(len(rows), np.nan))
    kinds = tuple(no_value(name) for name in probe.names)
    return replace(changed, kind=column, kinds=kinds)
