"""Tests whether the rows of a foreign model are independent: only then may requests share a run (P1, P3).

Rows of several kinds run alone and then in random batches, shuffled, split and repeated. Every output bit must equal
that of the row alone. This can falsify independence but not prove it; packages of our own
converters carry the proof (generator B of parity.json) and are not tested here.
"""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.graph import Constants
from onnxpress.server.serving.cost import Sharing
from onnxpress.server.serving.runtime import RunError
from onnxpress.server.serving.tensors import TensorSpec

Feeds = dict[str, NDArray[Any]]
Run = Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]
# Batch sizes that are tried; they include those at which kernels and graphs are likely to change their algorithm.
SIZES = (
    2, 3, 4, 7, 8, 9, 16, 17, 31, 32, 33, 64, 65, 100, 127, 128, 129, 255, 256, 257, 500, 511, 512, 513, 1000, 1024,
)  # fmt: skip
POOL_ROWS = 768
BLOCK = POOL_ROWS // 6
FEW_ROWS = 5  # that make whole batches of repetitions
TAME_ROWS = 4 * BLOCK  # the rows before it hold neither NaN nor infinity, which would mask other effects of a batch
SECONDS_MAX = 3.0
EXTREMES = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40)
TEXTS = ("", "a", "b", "nan", "0", "unseen", "größe")


def sharing_of(
    run: Run,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[str],
    constants: Constants,
    rows_max: int,
    now: Callable[[], float] = monotonic,
) -> Sharing:
    """Runs rows alone and in batches of up to `rows_max`; sizes not tried within SECONDS_MAX are not shared.

    `run` takes arrays [rows, …] by input name and returns one array for each of `outputs`. `constants` are values that
    the graph may compare its inputs with, so that rows on both sides of a comparison are tried.
    """
    until = now() + SECONDS_MAX
    pool = _pool(inputs, constants, np.random.default_rng(0))
    alone: dict[int, list[NDArray[Any]]] = {}
    for row in np.random.default_rng(0).permutation(POOL_ROWS).tolist():
        feeds = {name: array[row : row + 1] for name, array in pool.items()}
        try:
            answer = [np.array(array) for array in run(feeds)]
            again = run(feeds)
        except RunError:
            continue  # the model refuses this value, so no request with it is answered
        for name, once, twice in zip(outputs, answer, again, strict=True):
            if not _same(once, np.asarray(twice)):
                return Sharing(1, f"output {name!r} differs between two runs of the same row: not deterministic")
        alone[row] = answer
        if now() > until - SECONDS_MAX / 2 and len(alone) > 1:
            break
    if not alone:
        return Sharing(1, "it answers none of the rows that were tried alone")
    return _in_batches(run, pool, alone, outputs, rows_max, until, now)


def _in_batches(
    run: Run,
    pool: Feeds,
    alone: Mapping[int, Sequence[NDArray[Any]]],
    outputs: Sequence[str],
    rows_max: int,
    until: float,
    now: Callable[[], float],
) -> Sharing:
    random, tested = np.random.default_rng(1), 1
    usable = np.array(list(alone))
    for size in sorted({min(size, rows_max) for size in SIZES} | {rows_max}):
        for among in (usable, usable[usable < TAME_ROWS], usable[:FEW_ROWS]) if size > 1 else ():
            if now() > until:
                return Sharing(tested, "" if tested > 1 else "its batches are too slow to be tried")
            if not len(among):
                continue
            rows = random.choice(among, size)
            try:
                answer = run({name: array[rows] for name, array in pool.items()})
            except RunError as error:
                return Sharing(1, f"a batch of {size} rows fails, its rows alone do not: {str(error)[:200]}")
            for place, (name, got) in enumerate(zip(outputs, answer, strict=True)):
                expected = np.concatenate([alone[row][place] for row in rows.tolist()])
                if not _same(np.asarray(got), expected):
                    return Sharing(1, f"output {name!r} of a row differs in a batch of {size} rows from the row alone")
        tested = size
    return Sharing(tested)


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Bitwise equal, where any NaN equals any other."""
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    unsigned = np.dtype(f"u{one.dtype.itemsize}")
    return bool(np.all((one.view(unsigned) == other.view(unsigned)) | (np.isnan(one) & np.isnan(other))))


def _pool(inputs: Sequence[TensorSpec], constants: Constants, random: np.random.Generator) -> Feeds:
    """Rows that are likely to take every branch of a graph.

    A sixth each: normal, large and whole numbers; the graph's constants and adjacent numbers; extremes; and all of
    these mixed cell by cell.
    """
    feeds: Feeds = {}
    for spec in inputs:
        shape = (POOL_ROWS, *spec.shape[1:])
        if spec.datatype == "BYTES":
            feeds[spec.name] = random.choice(np.array([*TEXTS, *constants.strings], object), shape)
            continue
        known = np.array(constants.numbers or (0.0,))
        beside = np.concatenate(
            [known, np.nextafter(known, np.inf), np.nextafter(known, -np.inf), known + 1, known - 1]
        )
        part = (BLOCK, *shape[1:])
        kinds = [
            random.normal(size=part),
            random.normal(size=part) * 10.0 ** random.integers(0, 5, part),
            random.integers(-3, 20, part).astype(np.float64),
            random.choice(beside, part),
            random.choice(np.array(EXTREMES), part),
        ]
        mixed = np.stack(kinds)[random.integers(0, len(kinds), part), *np.indices(part)]
        feeds[spec.name] = _typed(np.concatenate([*kinds, mixed]), spec)
    return feeds


def _typed(values: NDArray[np.float64], spec: TensorSpec) -> NDArray[Any]:
    if spec.dtype.kind == "b":
        return values > 0
    if spec.dtype.kind in "iu":
        limits = np.iinfo(spec.dtype)
        # float64 cannot represent the int64 limits exactly, so half of them are used.
        return np.clip(np.nan_to_num(values), limits.min / 2, limits.max / 2).astype(spec.dtype)
    with np.errstate(over="ignore"):
        return values.astype(spec.dtype)
