"""What a version answers to rows outside the data plane, and which rows it cannot answer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.rollouts.pairs import Columns, columns, is_float
from onnxpress.server.serving.assemble import run
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.tensors import Flat, TensorSpec

# Rows of one call that a version fails or refuses; the rest is not tried, since each costs several runs.
FAILED_MAX: Final = 200


class Answers(NamedTuple):
    """What a version answers to rows: parts of them with their outputs, and which rows have none.

    untried: because too many were refused or failed.
    """

    parts: list[tuple[slice, Columns]]
    refused: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    untried: NDArray[np.bool_]


def answer(lane: Lane, feeds: Mapping[str, NDArray[Any]]) -> Answers:
    """Runs a version on rows outside the data plane. A run that fails is halved until the rows at fault are known."""
    total = len(next(iter(feeds.values())))
    refused, failed, untried = np.zeros(total, bool), np.zeros(total, bool), np.zeros(total, bool)
    answered: list[tuple[slice, Columns]] = []
    parts = [slice(0, total)]
    while parts:
        part = parts.pop()
        rows = part.stop - part.start
        if refused.sum() + failed.sum() >= FAILED_MAX:
            untried[part] = True
            continue
        try:
            answered.append((part, _run(lane, {name: values[part] for name, values in feeds.items()}, rows)))
        except Exception as error:  # noqa: BLE001 -- whatever it was, it is the version's
            if rows > 1:
                middle = part.start + rows // 2
                parts += [slice(middle, part.stop), slice(part.start, middle)]
            else:
                (refused if isinstance(error, InvalidRequestError) else failed)[part] = True
    return Answers(answered, refused, failed, untried)


def _run(lane: Lane, feeds: dict[str, NDArray[Any]], rows: int) -> Columns:
    """Raises what the candidate would answer a caller with."""
    inputs = lane.signature.inputs
    if lane.contract.columns:
        lane.contract.check([_flat(feeds[spec.name], spec) for spec in inputs])
    outputs, _ = run(lane.session, lane.signature, {spec.name: feeds[spec.name] for spec in inputs}, rows)
    return columns(outputs, lane.signature.outputs, rows)


def _flat(values: NDArray[Any], spec: TensorSpec) -> Flat:
    return values.ravel().tolist() if spec.datatype == "BYTES" else values.tobytes()


def not_finite(outputs: Columns, specs: Sequence[TensorSpec]) -> NDArray[np.bool_]:
    """Which rows have a NaN or an infinity."""
    wrong = np.zeros(len(outputs[0]), bool)
    for values, spec in zip(outputs, specs, strict=True):
        if is_float(spec):
            wrong |= ~np.isfinite(values).all(axis=1)
    return wrong
