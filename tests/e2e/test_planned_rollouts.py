"""A dry run over the socket: it is refused as the deploy would be, tells the rate of the calls, and changes nothing."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos.admin_pb2_grpc import AdminStub
from tests.e2e import candidates
from tests.e2e.test_rollouts import MODEL, begin, plan, serving
from tests.inference_calls import DEADLINE_S, administered, connected, request
from tests.server_process import ServerProcess

CALLS, ROWS = 200, 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Version 1 is live, version 2 is good."""
    with serving(tmp_path_factory.mktemp("models"), "good") as server:
        yield server


def planned(server: ServerProcess, made: pb.RolloutPlan, version: int = 2, **more: int) -> pb.PlanRolloutResponse:
    with administered(server.admin) as admin:
        asked = pb.PlanRolloutRequest(model=MODEL, version=version, rollout=made, **more)
        return admin.PlanRollout(asked, timeout=DEADLINE_S)


def on_disk(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_plan_tells_the_rate(server: ServerProcess) -> None:
    """Calls and rows that were answered, what each step makes of them, and no byte on disk is another one."""
    before = on_disk(server.repository)
    idle = planned(server, plan(10, 50))
    assert (idle.calls_per_s, {one.unseen_because for one in idle.steps[0].faults}) == (0, {"there are no calls"})
    message = request({"x": candidates.rows(1, ROWS)}, MODEL)
    with connected(server.grpc) as stub:
        for _ in range(CALLS):
            stub.ModelInfer(message, timeout=DEADLINE_S)
    told = planned(server, plan(10, 50))
    assert (told.model, told.version, told.live_version, told.epoch) == (MODEL, 2, 1, 1)
    assert told.calls_per_s * told.minutes * 60 == pytest.approx(CALLS)
    assert told.rows_per_s == pytest.approx(ROWS * told.calls_per_s)
    assert [(one.weight, one.calls_min) for one in told.steps] == [(10, 100), (50, 100)]
    assert [one.calls_per_s for one in told.steps] == pytest.approx([told.calls_per_s / 10, told.calls_per_s / 2])
    assert all(one.median_s <= one.p99_s for step in told.steps for one in step.faults)
    assert {one.guard for one in told.guards if not one.off} == {
        "errors", "refused", "invalid", "slow", "scores", "disagree"
    }  # fmt: skip
    assert on_disk(server.repository) == before


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (pb.PlanRolloutRequest(model="nosuch", version=2, rollout=plan(10)), "NOT_FOUND"),
        (pb.PlanRolloutRequest(model=MODEL, version=7, rollout=plan(10)), "NOT_FOUND"),
        (pb.PlanRolloutRequest(model=MODEL, version=0, rollout=plan(10)), "INVALID_ARGUMENT"),
        (pb.PlanRolloutRequest(model=MODEL, version=2, rollout=plan(50, 10)), "INVALID_ARGUMENT"),
        (pb.PlanRolloutRequest(model=MODEL, version=2), "INVALID_ARGUMENT"),
        (pb.PlanRolloutRequest(model=MODEL, version=2, rollout=plan(10), expected_epoch=5), "ABORTED"),
        (pb.PlanRolloutRequest(model=MODEL, version=1, rollout=plan(10)), "FAILED_PRECONDITION"),
    ],
)
def test_a_plan_is_refused_as_its_deploy_would_be(
    server: ServerProcess, asked: pb.PlanRolloutRequest, code: str
) -> None:
    """With the same status and the same words; unlike that deploy's, its refusal is not in the audit log."""

    def refused(call: "grpc.UnaryUnaryMultiCallable[object, object]", message: object) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call(message, timeout=DEADLINE_S)
        return caught.value.code().name, caught.value.details()

    with administered(server.admin) as admin:
        before = on_disk(server.repository)
        dry = refused(admin.PlanRollout, asked)
        assert dry[0] == code
        assert on_disk(server.repository) == before
        deploy = pb.DeployRequest(model=asked.model, version=asked.version, rollout=asked.rollout)
        if asked.HasField("expected_epoch"):
            deploy.expected_epoch = asked.expected_epoch
        assert refused(admin.Deploy, deploy) == dry


def test_a_plan_beside_an_active_rollout_is_refused(server: ServerProcess) -> None:
    """A model has one at a time."""
    begin(server, plan(10, baking_s=600))
    with administered(server.admin) as admin:
        with pytest.raises(grpc.RpcError, match="is being rolled out"):
            planned(server, plan(10), version=2)
        abort(admin)


def abort(admin: AdminStub) -> None:
    admin.ChangeRollout(pb.ChangeRolloutRequest(model=MODEL, action="ROLLOUT_ACTION_ABORT"), timeout=DEADLINE_S)
