"""Lanes of the versions in tests/e2e/candidates.py, outside a server."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxpress.server.serving.assemble import run
from onnxpress.server.serving.contract import Contract
from onnxpress.server.serving.cost import CostModel
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.runtime import Session
from tests.e2e import candidates

MODEL = "m"
BATCH_ROWS = 64


def lane(folder: Path, version: int, kind: str, contract: Contract = Contract()) -> Lane:  # noqa: B008 -- immutable
    """A loaded version of `kind`, with batches of up to 64 rows."""
    candidates.write(folder, MODEL, version, kind)
    session = Session((folder / MODEL / str(version) / "model.onnx").read_bytes())
    cost = CostModel({1: 1.0}, 1e9)
    cost.batch_rows = cost.unsplit_rows_max = BATCH_ROWS
    return Lane(MODEL, version, session, f"digest {version}", contract, cost)


def outputs(of: Lane, x: NDArray[np.float32]) -> list[bytes]:
    """What a version answers, flat."""
    return run(of.session, of.signature, {"x": x}, len(x))[0]
