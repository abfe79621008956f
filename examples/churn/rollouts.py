"""Rollouts under load: a version that is worse is taken out by the server itself, a good one is promoted."""

from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import grpc
import joblib

from examples.churn import train
from onnxpress.protos import admin_pb2, deployment_pb2
from onnxpress.protos.admin_pb2_grpc import AdminStub

# Short steps, since this is a demo: `onnxpress deploy --canary` takes five minutes for each.
WEIGHTS, BAKING_S, CALLS_MIN = (10.0, 50.0), 2, 200
PATIENCE_S = 120.0
PROMOTED, ROLLED_BACK = "promoted", "rolled back"
ENDED = {deployment_pb2.ROLLOUT_STATE_PROMOTED: PROMOTED, deployment_pb2.ROLLOUT_STATE_ROLLED_BACK: ROLLED_BACK}


@dataclass(frozen=True)
class Ended:
    """How a rollout ended, after how many seconds, and the server's reason."""

    version: int
    state: str
    seconds: float
    reason: str
    live: int  # the version that was live afterwards


def train_exchanged(folder: Path) -> Path:
    """Trains a model that calls every customer who stays a churner, as a mistake in a label column does."""
    rows, churned = train.read()
    path = folder / "exchanged.joblib"
    joblib.dump(train.build(train.MODELS[0], rows).fit(rows, 1 - churned), path)
    return path


def roll_out(admin: str, model: str, version: int, actor: tuple[tuple[str, str], ...]) -> Ended:
    """Begins a rollout and waits for its end. Raises grpc.RpcError."""
    plan = admin_pb2.RolloutPlan()
    for weight in WEIGHTS:
        plan.steps.add(weight=weight, baking_s=BAKING_S, calls_min=CALLS_MIN)
    with grpc.insecure_channel(admin) as channel:
        stub = AdminStub(channel)  # type: ignore[no-untyped-call]  # generated code
        request = admin_pb2.DeployRequest(model=model, version=version, rollout=plan, reason="to show it")
        stub.Deploy(request, timeout=PATIENCE_S, metadata=actor)
        began = monotonic()
        for state in stub.WatchDeployments(admin_pb2.WatchDeploymentsRequest(model=model), timeout=PATIENCE_S):
            if state.rollout.state in ENDED:
                ended = ENDED[state.rollout.state]
                return Ended(version, ended, monotonic() - began, state.rollout.reason, state.live_version)
    raise RuntimeError(f"the rollout of version {version} did not end")
