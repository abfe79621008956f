"""P5 for rollouts: kill -9 at random moments of their steps; state, routes and audit log agree each time."""

import random
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos import deployment_pb2
from onnxpress.protos.admin_pb2_grpc import AdminStub
from tests.e2e import candidates
from tests.e2e.test_crash import read_audit
from tests.inference_calls import DEADLINE_S, administered, connected, request
from tests.model_repository import deploy_on_disk
from tests.server_process import ServerProcess

MODEL = "m"
ACTIVE = {deployment_pb2.ROLLOUT_STATE_RUNNING, deployment_pb2.ROLLOUT_STATE_PAUSED}
ACTIONS = ("ADVANCE", "PAUSE", "RESUME", "ROLL_BACK", "ABORT", "PROMOTE")
# A kill comes this long after the last change was sent, in seconds at most.
KILL_S = 0.05


def begin(admin: AdminStub, live: int) -> pb.DeployResponse:
    plan = pb.RolloutPlan()
    for weight in (30, 60):
        plan.steps.add(weight=weight, baking_s=3600, calls_min=1)
    return admin.Deploy(pb.DeployRequest(model=MODEL, version=3 - live, rollout=plan), timeout=DEADLINE_S)


def step(admin: AdminStub, state: pb.GetDeploymentResponse, chance: random.Random) -> grpc.Future:
    """A change that is sent and not awaited."""
    if state.rollout.state not in ACTIVE:
        plan = pb.RolloutPlan()
        plan.steps.add(weight=30, baking_s=3600, calls_min=1)
        return admin.Deploy.future(pb.DeployRequest(model=MODEL, version=3 - state.live_version, rollout=plan))
    action = f"ROLLOUT_ACTION_{chance.choice(ACTIONS)}"
    return admin.ChangeRollout.future(pb.ChangeRolloutRequest(model=MODEL, action=action))


def check_routes(server: ServerProcess, state: pb.GetDeploymentResponse) -> None:
    """Calls without a version go to those versions that the deployment says, and to no other."""
    message = request({"x": candidates.rows(1, 1)}, MODEL)
    with connected(server.grpc) as stub:
        versions = {int(stub.ModelInfer(message, timeout=DEADLINE_S).model_version) for _ in range(60)}
    expected = {state.live_version} | ({state.rollout.candidate} if state.rollout.state in ACTIVE else set())
    assert versions == expected


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_killed_in_its_steps(kills: int, tmp_path: Path) -> None:
    """After each kill the next start has every acknowledged change, and the log says what became of each."""
    for version in (1, 2):
        candidates.write(tmp_path, MODEL, version, "good")
    deploy_on_disk(tmp_path, MODEL, live=1)
    chance, acknowledged, states = random.Random(11), 1, set()
    for _ in range(kills):
        with ServerProcess(tmp_path) as server, administered(server.ready().admin) as admin:
            state = admin.GetDeployment(pb.GetDeploymentRequest(model=MODEL), timeout=DEADLINE_S)
            assert state.epoch >= acknowledged
            check_routes(server, state)
            states.add((state.rollout.state, state.rollout.step))
            if state.rollout.state not in ACTIVE:
                acknowledged = begin(admin, state.live_version).epoch
                state = admin.GetDeployment(pb.GetDeploymentRequest(model=MODEL), timeout=DEADLINE_S)
            change = step(admin, state, chance)
            with suppress(grpc.FutureTimeoutError, grpc.RpcError):
                change.result(timeout=chance.random() * KILL_S)
            server.kill()
            with suppress(grpc.RpcError):
                acknowledged = max(acknowledged, change.result(timeout=DEADLINE_S).epoch)
        records = read_audit(tmp_path)
        carried_out = {record["epoch"] for record in records if record["state"] in ("intent", "committed")}
        assert acknowledged in carried_out | {1}
    with ServerProcess(tmp_path) as server, administered(server.ready().admin) as admin:
        state = admin.GetDeployment(pb.GetDeploymentRequest(model=MODEL), timeout=DEADLINE_S)
        assert server.stop() == 0
    records = read_audit(tmp_path)
    outcomes = {record["change"] for record in records if record["state"] != "intent"}
    assert {record["change"] for record in records} == outcomes, "every intent has its outcome"
    # The epochs of what was carried out are all there, each once, up to the one on disk.
    committed = [record["epoch"] for record in records if record["state"] == "committed"]
    assert committed == list(range(2, state.epoch + 1))
    assert len(states) >= 2
