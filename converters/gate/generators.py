"""The rows that the gate evaluates: each generator targets one kind of fault.

R the sample, T thresholds, N missing values, Z extreme numbers, C categories, D doubles, W exchanged columns. B
(batches) and O (shape, labels, sums) check the same rows in another way, in `converters/gate/parity.py`.
"""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.gate.probe_rows import Integers, Plan, ProbeRows, joined, no_value
from onnxpress.converters.gate.split_paths import EnsembleInput, plans

Doubles = NDArray[np.float64]

DESCRIPTIONS = {
    "R": "rows of the sample",
    "T": "each split's threshold and the adjacent representable numbers",
    "N": "missing values, alone and together",
    "Z": "zeros, infinities, denormals, huge numbers, integers beyond 2^24",
    "C": "known categories, and categories absent from training",
    "D": "doubles that float32 cannot represent: the original receives the double, the compiled model its float32",
    "B": "the same rows in batches of 1, 2, 49, 50, 51, 128, 129 and all: bitwise equal outputs",
    "W": "values exchanged between columns, and inputs of the wrong shape or type",
    "O": "labels, ties, and probabilities that sum to 1",
}

SPLITS_MAX = 20_000  # paths to splits are looked up one by one, about 50 µs each
SPLITS_SECONDS = 3.0
THRESHOLDS_MAX = 50_000
DENSE_ROWS = 4_000  # rows with every column at one of its thresholds
NEAREST = 2
RANDOM = 2
MISSING_ROWS = 4_000  # over all columns
MISSING_TOGETHER_ROWS = 256
CATEGORIES_MAX = 2_000  # a column
UNSEEN_KIND = "unseen categories"
UNSEEN = ("", "unseen", "ünsehbar ß", " ", "nan", "None", "0")
FLOATS = (0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-40, 3e38, -3e38, 16777217.0, 2147483648.0, 1e15)
DOUBLES = (1e-310, 1e300, 9007199254740993.0)
INTEGERS = (0, -1, 2**24 + 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))


def from_graph(
    found: list[EnsembleInput], probe: ProbeRows, random: np.random.Generator
) -> tuple[list[Plan], list[Plan], str]:
    """T rows and N rows on the path to the splits of the graph, and what was sampled if not all."""
    started = time.monotonic()
    total = sum(len(ensemble.splits.feature) for ensemble in found)
    thresholds, missing, done = [], [], 0
    for place, ensemble in enumerate(found):
        count = len(ensemble.splits.feature)
        share = count if total <= SPLITS_MAX else max(1, SPLITS_MAX * count // total)
        chosen = random.choice(count, share, replace=False)
        # Time that one ensemble does not use is left for the next.
        until = time.monotonic() + (started + SPLITS_SECONDS - time.monotonic()) / (len(found) - place)
        at, without, looked_up = plans(ensemble, probe, chosen, until)
        thresholds.append(at)
        missing.append(without)
        done += looked_up
    note = f"T, N: {done:,} of {total:,} splits, drawn at random" if done < total else ""
    return thresholds, missing, note


def at_values(splits: dict[str, Doubles], probe: ProbeRows, random: np.random.Generator) -> list[Plan]:
    """T rows for the thresholds of `Subject.splits`: in the nearest and in random rows, and in all columns at once."""
    found, tried = [], {}
    total = sum(len(values) for values in splits.values())
    for name, values in splits.items():
        index = probe.names.index(name)
        unique = np.unique(values[np.isfinite(values)])
        if not len(unique) or probe.datatypes[index] == "BYTES":
            continue
        if total > THRESHOLDS_MAX:
            share = max(1, THRESHOLDS_MAX * len(unique) // total)
            unique = random.choice(unique, min(share, len(unique)), replace=False)
        around = np.concatenate([near(unique, step, probe.datatypes[index]) for step in (-1, 0, 1)])
        tried[index] = np.unique(around)
        base = _bases(probe, index, np.tile(unique, 3), random)
        found.append(_one_column(base.ravel(), index, np.repeat(around, base.shape[1])))
    return [*found, *_dense(tried, probe, random)]


def near(values: Doubles, step: int, datatype: str) -> Doubles:
    """The values themselves (0), or the next representable ones of the datatype below (-1) or above (1)."""
    if datatype in ("INT64", "BOOL"):
        low, high = (0.0, 1.0) if datatype == "BOOL" else (-(2.0**62), 2.0**62)
        return np.asarray(np.clip(np.floor(values) + step, low, high), dtype=np.float64)
    if datatype == "FP64":
        return np.asarray(np.nextafter(values, step * np.inf) if step else values, dtype=np.float64)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
        narrow = np.nextafter(narrow, np.float32(step * np.inf)) if step else narrow
    return np.asarray(narrow, dtype=np.float64)


def _bases(probe: ProbeRows, index: int, values: Doubles, random: np.random.Generator) -> Integers:
    """For each value the rows of the sample that are nearest to it in that column, and some at random."""
    column = probe.column(index).astype(np.float64)
    order = np.argsort(column, kind="stable")
    order = order[: np.count_nonzero(~np.isnan(column))]
    drawn = random.integers(0, probe.rows, (len(values), RANDOM))
    if not len(order):
        return drawn
    place = np.searchsorted(column[order], values)
    nearest = [order[np.clip(place + shift - NEAREST // 2, 0, len(order) - 1)] for shift in range(NEAREST)]
    return np.concatenate([np.stack(nearest, axis=1), drawn], axis=1)


def _dense(tried: dict[int, Doubles], probe: ProbeRows, random: np.random.Generator) -> list[Plan]:
    if not tried:
        return []
    rows = min(DENSE_ROWS, max(len(values) for values in tried.values()))
    base = random.integers(0, probe.rows, rows)
    drawn = [random.choice(values, rows) for values in tried.values()]
    return [
        Plan(base, np.tile(np.arange(rows), len(tried)), np.repeat(list(tried), rows), np.concatenate(drawn)),
    ]


def _one_column(base: Integers, index: int, values: NDArray[Any], kind: str = "") -> Plan:
    """Rows that differ from their base in one column."""
    count = len(base)
    kinds = (np.zeros(count, np.int64), (kind,)) if kind else (None, ())
    return Plan(base, np.arange(count), np.full(count, index), values, *kinds)


def missing(probe: ProbeRows, nullable: Iterable[int], random: np.random.Generator) -> list[Plan]:
    """N rows: NaN in each column alone, or None in the `nullable` ones among the text columns."""
    able = _may_miss(probe, nullable)
    each = int(np.clip(MISSING_ROWS // max(len(able), 1), 2, 64))
    return [
        _one_column(
            random.integers(0, probe.rows, each), index, np.full(each, empty, object), no_value(probe.names[index])
        )
        for index, empty in able.items()
    ]


def missing_together(
    probe: ProbeRows, nullable: Iterable[int], random: np.random.Generator, refused: Iterable[str]
) -> list[Plan]:
    """N rows: no value in several columns at once and in all, of those where the original does not refuse it."""
    able = {
        index: empty
        for index, empty in _may_miss(probe, nullable).items()
        if no_value(probe.names[index]) not in refused
    }
    if not able:
        return []
    rows = MISSING_TOGETHER_ROWS
    share = random.choice([0.2, 0.5, 1.0], (rows, 1))
    row, place = np.nonzero(random.random((rows, len(able))) < share)
    column = np.array(list(able))[place]
    value = _objects(list(able.values()))[place]
    return [Plan(random.integers(0, probe.rows, rows), row, column, value)]


def _may_miss(probe: ProbeRows, nullable: Iterable[int]) -> dict[int, float | None]:
    able: dict[int, float | None] = {index: np.nan for index in range(len(probe.names)) if probe.floats(index)}
    return able | dict.fromkeys(nullable)


def extremes(probe: ProbeRows, random: np.random.Generator) -> list[Plan]:
    """Z rows: each extreme number in each column, and in all columns at once."""
    found = []
    for index, datatype in enumerate(probe.datatypes):
        values: tuple[float, ...] = {
            "FP32": FLOATS,
            "FP64": FLOATS + DOUBLES,
            "INT64": INTEGERS,
            "BOOL": (0, 1),
            "BYTES": (),
        }[datatype]
        for value in values:
            base = random.integers(0, probe.rows, 2)
            kind = (
                f"infinity in {probe.names[index]!r}"
                if abs(value) == np.inf
                else f"{value:g} in {probe.names[index]!r}"
            )
            found.append(_one_column(base, index, np.full(2, value, object), kind))
    able = np.flatnonzero([probe.floats(index) for index in range(len(probe.names))])
    for value in FLOATS if len(able) > 1 else ():
        base, row = random.integers(0, probe.rows, 1), np.zeros(len(able), np.int64)
        kinds = (f"{_shown(value)} in all columns",)
        found.append(Plan(base, row, able, np.full(len(able), value, object), np.zeros(1, np.int64), kinds))
    return found


def _shown(value: float) -> str:
    return "infinity" if abs(value) == np.inf else f"{value:g}"


def categories(known: dict[str, tuple[Any, ...]], probe: ProbeRows, random: np.random.Generator) -> list[Plan]:
    """C rows: every category known to a step or present in the sample, and similar values that are unknown."""
    found = []
    for index, name in enumerate(probe.names):
        seen, unseen = seen_and_unseen(known.get(name, ()), probe, index)
        if not seen and not unseen:
            continue
        seen = [seen[place] for place in random.permutation(len(seen))[:CATEGORIES_MAX]]
        base = random.integers(0, probe.rows, 2 * len(seen))
        found.append(_one_column(base, index, _objects([*seen, *seen])))
        for value in unseen:
            two = random.integers(0, probe.rows, 2)
            found.append(_one_column(two, index, _objects([value, value]), unseen_kind(name, value)))
    return found


def unseen_kind(name: str, value: Any) -> str:
    """The kind of rows with an unknown category in a column."""
    return f"{UNSEEN_KIND} such as {value!r} in {name!r}"


def seen_and_unseen(known: tuple[Any, ...], probe: ProbeRows, index: int) -> tuple[list[Any], list[Any]]:
    """The categories of a column, and similar values that are unknown; both empty where it has no categories."""
    seen = list(dict.fromkeys(known))
    if probe.datatypes[index] == "BYTES":
        held = sorted({value for value in probe.column(index) if value is not None})
        seen = list(dict.fromkeys([*seen, *held]))
        return seen, [value for value in dict.fromkeys((*UNSEEN, *_variants(seen))) if value not in seen]
    return seen, _codes(seen, whole=probe.datatypes[index] in ("INT64", "BOOL")) if seen else []


def _objects(values: list[Any]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _variants(seen: list[Any]) -> list[str]:
    texts = [str(value) for value in seen[:3]]
    return [variant for text in texts for variant in (text.swapcase(), f" {text}", f"{text} ", text[:-1])]


def _codes(seen: list[Any], *, whole: bool) -> list[Any]:
    numbers = sorted(float(value) for value in seen if value == value)  # noqa: PLR0124 -- NaN is no code
    if not numbers:
        return []
    around = {numbers[0] - 1, numbers[-1] + 1, -1.0, *(number + 1 for number in numbers[:20])} - set(numbers)
    codes: list[Any] = [int(value) if whole else value for value in sorted(around)]
    return codes if whole else [*codes, *(number + fraction for number in numbers[:5] for fraction in (0.5, -0.25))]


def exchanged(probe: ProbeRows, random: np.random.Generator, rows: int) -> list[Plan]:
    """W rows: values exchanged between columns of the same datatype."""
    base = random.integers(0, probe.rows, rows)
    row, column, value = [], [], []
    for datatype in sorted(set(probe.datatypes) - {"BYTES"}):
        places = np.flatnonzero(np.array(probe.datatypes) == datatype)
        for index, other in zip(places, np.roll(places, 1), strict=True):
            row.append(np.arange(rows))
            column.append(np.full(rows, index))
            value.append(probe.column(int(other))[base].astype(object))
    if not row:
        return []
    return [Plan(base, np.concatenate(row), np.concatenate(column), np.concatenate(value))]


def doubles(splits: dict[str, Doubles], probe: ProbeRows, random: np.random.Generator) -> list[Plan]:
    """D rows: the sample as doubles, and the doubles next to each threshold in columns that clients send as FP32."""
    found = [Plan(np.arange(probe.rows))]
    for name, values in splits.items():
        index = probe.names.index(name)
        unique = np.unique(values[np.isfinite(values)])
        if probe.datatypes[index] == "FP32" and len(unique):
            unique = random.permutation(unique)[: THRESHOLDS_MAX // len(splits) + 1]
            around = np.concatenate([near(unique, step, "FP64") for step in (-1, 0, 1)])
            found.append(_one_column(random.integers(0, probe.rows, len(around)), index, around))
    return found


def plan_of(parts: list[Plan], random: np.random.Generator) -> Plan:
    """All rows of a generator in random order; empty when it has none."""
    kept = [part for part in parts if len(part)]
    return joined(kept).shuffled(random) if kept else Plan(np.zeros(0, np.int64))
