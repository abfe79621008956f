"""Windows that a real server has recorded: kill -9 in the middle of a step loses none, and a rollout replays."""

import re
from pathlib import Path

import pytest

from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos import deployment_pb2
from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.server.rollouts.controller import ACTOR
from onnxpress.server.rollouts.records import Entry, entry_of, lost
from onnxpress.server.rollouts.replay import replay
from onnxpress.server.sources.folder import FolderSource
from onnxpress.server.versions.desired import DesiredStore
from onnxpress.server.versions.rollout import Rollout
from tests.e2e import candidates
from tests.e2e.test_crash import read_audit
from tests.e2e.test_rollouts import MODEL, Traffic, begin, ended, plan, serving
from tests.inference_calls import DEADLINE_S, administered, connected, request
from tests.server_process import ServerProcess

FLAGS = ("--latency-target-ms", "1000")
CALLS, ROUNDS_MAX = 25, 2000


def told(admin: AdminStub) -> pb.GetDeploymentResponse:
    return admin.GetDeployment(pb.GetDeploymentRequest(model=MODEL), timeout=DEADLINE_S)


def counted(server: ServerProcess, calls: int, *, sending: bool = True) -> pb.GetDeploymentResponse:
    """The state once the server has counted so many calls in the current step; they are sent meanwhile."""
    message = request({"x": candidates.rows(1, 1)}, MODEL)
    with administered(server.admin) as admin, connected(server.grpc) as stub:
        for _ in range(ROUNDS_MAX):
            for _ in range(CALLS * sending):
                stub.ModelInfer(message, timeout=DEADLINE_S)
            state = told(admin)
            if state.progress.guards and state.progress.step_calls >= calls:
                return state
    raise AssertionError(f"{calls} calls were never counted: {state.progress}")


def recorded(repository: Path) -> list[Entry]:
    """The windows of the only record."""
    (path,) = (repository / ".onnxpress" / "rollouts" / MODEL).glob("*.jsonl")
    return [entry_of(line) for line in path.read_bytes().splitlines(keepends=True)[1:]]


def rollout_of(repository: Path) -> Rollout:
    desired = DesiredStore(FolderSource(repository)).read(MODEL)
    assert desired is not None
    assert desired.rollout is not None
    return desired.rollout


def numbers(state: pb.GetDeploymentResponse) -> list[int]:
    """The counts in the first guard's sentence: failed calls and calls of the candidate, and of the champion."""
    return [int(number.replace(",", "")) for number in re.findall(r"[\d,]+\d|\d", state.progress.guards[0].text)]


def test_a_killed_server_goes_on_with_its_evidence(tmp_path: Path) -> None:
    """kill -9 three times in the second step: its calls and the evidence only grow; other packages begin anew."""
    with serving(tmp_path, "good") as server, administered(server.admin) as admin:
        begin(server, plan(10, 50, baking_s=600))
        counted(server, 100)
        admin.ChangeRollout(pb.ChangeRolloutRequest(model=MODEL, action="ROLLOUT_ACTION_ADVANCE"), timeout=DEADLINE_S)
        before = counted(server, 200)
        server.kill()
    for _ in range(2):
        with ServerProcess(tmp_path, *FLAGS) as server:
            server.ready().wait_for(r"goes on with \d+ recorded windows")
            after = counted(server, 0, sending=False)
            assert after.progress.step_calls >= before.progress.step_calls
            assert after.rollout.step == 1
            assert all(new >= old for new, old in zip(numbers(after), numbers(before), strict=True))
            assert numbers(after)[1] >= after.progress.step_calls + 100, "the first step's calls count as evidence"
            before = counted(server, after.progress.step_calls + 100)
            server.kill()
    assert lost(recorded(tmp_path)) == 0
    (tmp_path / MODEL / "2" / "model.onnx").unlink()
    (tmp_path / MODEL / "2").rmdir()
    candidates.write(tmp_path, MODEL, 2, "shifted")
    with ServerProcess(tmp_path, *FLAGS) as server:
        server.ready().wait_for("is about other packages")
        assert counted(server, 0, sending=False).progress.step_calls == 0


@pytest.mark.parametrize(("kind", "count"), [("good", 2), ("failing", 1)])
def test_a_recorded_rollout_replays(kind: str, count: int, tmp_path: Path) -> None:
    """From its windows on disk come the decisions that the server made: action, sentence and numbers."""
    with serving(tmp_path, kind) as server, Traffic(server.grpc):
        begin(server, plan(20, 50))
        assert ended(server).rollout.state in (
            deployment_pb2.ROLLOUT_STATE_PROMOTED, deployment_pb2.ROLLOUT_STATE_ROLLED_BACK
        )  # fmt: skip
        assert server.stop() == 0
    replayed = list(replay(rollout_of(tmp_path), recorded(tmp_path)))
    assert all(one.as_made for one in replayed)
    decided = [(one.decision.action.value, one.decision.reason) for one in replayed if one.decision.action]
    assert len(decided) == count
    audit = [record for record in read_audit(tmp_path) if record["actor"] == ACTOR and record["state"] == "committed"]
    assert decided == [(record["action"], record["reason"]) for record in audit]
