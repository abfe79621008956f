"""Checks of the compiled model alone: the same bits in every batch, and an error for malformed inputs."""

import time

import numpy as np

from onnxpress.converters.family import Tensors
from onnxpress.converters.runtime import Session
from onnxpress.packages.bits import same_bits
from onnxpress.packages.errors import RunError

SIZES = (1, 2, 49, 50, 51, 128, 129)


def batch_differences(session: Session, inputs: Tensors, seconds: float) -> tuple[int, int, str]:
    """Rows run, rows whose bits depend on their batch, and a note on the sizes not tried within `seconds`."""
    rows = len(next(iter(inputs.values())))
    whole = session.run(inputs)
    differs = np.zeros(rows, dtype=bool)
    run = rows
    until = time.monotonic() + seconds
    for size in (rows, *SIZES):
        for first in range(0, rows, size):
            if time.monotonic() > until:
                return run, int(differs.sum()), f"batches of {size} not all tried in {seconds:.0f} s"
            part = slice(first, min(first + size, rows))
            answers = session.run({name: values[part] for name, values in inputs.items()})
            run += part.stop - part.start
            for name, values in answers.items():
                if len(values) != part.stop - part.start:
                    differs[part] = True
                else:
                    differs[part] |= ~same_bits(values, whole[name][part])
    return run, int(differs.sum()), ""


def odd_inputs(session: Session, inputs: Tensors) -> list[str]:
    """Descriptions of the inputs of a wrong shape, type or name that did not raise an error."""
    row = {name: values[:1] for name, values in inputs.items()}
    first = next(iter(row))
    wide = np.concatenate([row[first], row[first]], axis=1)
    numbers = row[first].dtype.kind != "O"
    other = row[first].astype(object).astype(str).astype(object) if numbers else np.zeros(row[first].shape, np.float32)
    tried = {
        f"{wide.shape[1]} columns in {first!r}": row | {first: wide},
        f"no columns in {first!r}": row | {first: row[first][:, :0]},
        f"{'text' if numbers else 'numbers'} in {first!r}": row | {first: other},
        f"no {first!r}": {name: values for name, values in row.items() if name != first},
    }
    return [f"{what}: no error was raised" for what, feeds in tried.items() if _runs(session, feeds)]


def _runs(session: Session, feeds: Tensors) -> bool:
    try:
        session.run(feeds)
    except RunError:
        return False
    return True
