"""Rollouts over the socket: a worse candidate is rolled back by itself, a good one is promoted, no call is lost."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Self

import grpc
import pytest

from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos import deployment_pb2
from onnxpress.protos.admin_pb2_grpc import AdminStub
from tests.conftest import FRONTS
from tests.e2e import candidates
from tests.inference_calls import DEADLINE_S, administered, connected, request
from tests.model_repository import deploy_on_disk
from tests.server_process import PATIENCE_S, ServerProcess

MODEL, CALLERS = "m", 2
ENDED = {deployment_pb2.ROLLOUT_STATE_PROMOTED, deployment_pb2.ROLLOUT_STATE_ROLLED_BACK}


class Traffic:
    """Closed loops of single rows; counts answers by version, and errors."""

    def __init__(self, address: str) -> None:
        self._address, self._stop, self._lock = address, threading.Event(), threading.Lock()
        self.answers: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(CALLERS)
        self._loops = [self._pool.submit(self._loop, place) for place in range(CALLERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for loop in self._loops:
            loop.result(DEADLINE_S)
        self._pool.shutdown()

    def _loop(self, place: int) -> None:
        messages = [request({"x": row.reshape(1, -1)}, MODEL) for row in candidates.rows(place, 1000)]
        number = 0
        with connected(self._address) as stub:
            while not self._stop.is_set():
                number += 1
                try:
                    version = stub.ModelInfer(messages[number % len(messages)], timeout=DEADLINE_S).model_version
                except grpc.RpcError as error:
                    with self._lock:
                        self.errors[error.code().name] += 1
                else:
                    with self._lock:
                        self.answers[version] += 1


@contextmanager
def serving(repository: Path, kind: str, front: str = "native") -> Iterator[ServerProcess]:
    """Version 1 is good and live; version 2 is of `kind`."""
    candidates.write(repository, MODEL, 1, "good")
    candidates.write(repository, MODEL, 2, kind)
    deploy_on_disk(repository, MODEL, live=1)
    with ServerProcess(repository, "--latency-target-ms", "1000", front=front) as server:
        yield server.ready()


def plan(*weights: float, baking_s: int = 1, calls_min: int = 100, **policy: float) -> pb.RolloutPlan:
    made = pb.RolloutPlan()
    for weight in weights:
        made.steps.add(weight=weight, baking_s=baking_s, calls_min=calls_min)
    for guard, floor in policy.items():
        made.guards.add(guard=guard, floor=floor)
    return made


def ended(server: ServerProcess) -> pb.GetDeploymentResponse:
    """The deployment once its rollout has ended, from the watch stream."""
    with administered(server.admin) as admin:
        for state in admin.WatchDeployments(pb.WatchDeploymentsRequest(model=MODEL), timeout=PATIENCE_S * 4):
            if state.rollout.state in ENDED:
                return state
    raise AssertionError("the stream ended first")


def begin(server: ServerProcess, made: pb.RolloutPlan) -> None:
    with administered(server.admin) as admin:
        admin.Deploy(pb.DeployRequest(model=MODEL, version=2, rollout=made), timeout=DEADLINE_S)


# The number of calls of the candidate after which 99 of 100 such faults are found, and what three windows take.
@pytest.mark.parametrize(
    ("kind", "guard", "calls_max"),
    [("failing", "errors", 214), ("exchanged", "disagree", 150), ("invalid", "invalid", 1032), ("slow", "slow", 150)],
)
def test_a_worse_candidate_is_rolled_back(kind: str, guard: str, calls_max: int, tmp_path: Path) -> None:
    """By itself, within as many calls as its fault needs; no call of the champion fails."""
    with serving(tmp_path, kind) as server, Traffic(server.grpc) as traffic:
        begin(server, plan(10, 50, baking_s=600))
        state = ended(server)
        assert state.rollout.state == deployment_pb2.ROLLOUT_STATE_ROLLED_BACK
        assert state.rollout.reason.startswith(f"{guard}: ")
        assert state.live_version == 1
        # What the candidate is charged with may be more by the calls of one tick and of the answers on their way.
        calls = traffic.answers["2"] + traffic.errors["INTERNAL"]
        failed = traffic.errors.copy()
    assert calls <= calls_max + 200, (calls, state.rollout.reason)
    assert set(failed) <= ({"INTERNAL"} if kind == "failing" else set())


@pytest.mark.parametrize("front", FRONTS)
def test_a_good_candidate_is_promoted(front: str, tmp_path: Path) -> None:
    """Through its steps to all calls, and no call fails on the way."""
    with serving(tmp_path, "good", front) as server, Traffic(server.grpc) as traffic:
        begin(server, plan(10, 50))
        state = ended(server)
        assert state.rollout.state == deployment_pb2.ROLLOUT_STATE_PROMOTED, state.rollout.reason
        assert (state.live_version, state.previous_version) == (2, 1)
    assert not traffic.errors
    assert traffic.answers["1"] > 0
    assert traffic.answers["2"] > 0


def test_a_retrained_model_is_not_blamed_for_its_scores(tmp_path: Path) -> None:
    """Another distribution of scores within the floor is legitimate; status says how far it has moved."""
    with serving(tmp_path, "shifted") as server, Traffic(server.grpc) as traffic:
        begin(server, plan(10))
        state = ended(server)
    assert state.rollout.state == deployment_pb2.ROLLOUT_STATE_PROMOTED, state.rollout.reason
    assert not traffic.errors


def test_keys_stay_while_the_weight_grows(tmp_path: Path) -> None:
    """Callers with a route key that get the candidate at 10 % keep it at 50 %; a barrier lies between the steps."""
    with serving(tmp_path, "good") as server, administered(server.admin) as admin, connected(server.grpc) as stub:
        message = request({"x": candidates.rows(1, 1)}, MODEL)

        def versions() -> list[str]:
            keys = [(("route-key", f"customer-{number}"),) for number in range(300)]
            return [stub.ModelInfer(message, metadata=key, timeout=DEADLINE_S).model_version for key in keys]

        begin(server, plan(10, 50, baking_s=600))
        first, again = versions(), versions()
        assert first == again
        assert 10 <= first.count("2") <= 60
        change = pb.ChangeRolloutRequest(model=MODEL, action="ROLLOUT_ACTION_ADVANCE", reason="a test")
        admin.ChangeRollout(change, timeout=DEADLINE_S)
        second = versions()
        assert 105 <= second.count("2") <= 195
        assert all(after == "2" for before, after in zip(first, second, strict=True) if before == "2")
        change.action = pb.ROLLOUT_ACTION_ABORT
        admin.ChangeRollout(change, timeout=DEADLINE_S)
        assert set(versions()) == {"1"}


def test_a_killed_server_goes_on_with_its_rollout(tmp_path: Path) -> None:
    """kill -9 in the middle of a step: the same deployment, the same candidate, the same weight."""
    with serving(tmp_path, "good") as server:
        begin(server, plan(10, 50, baking_s=600))
        server.kill()
    with ServerProcess(tmp_path, "--latency-target-ms", "1000") as server, administered(server.ready().admin) as admin:
        state = admin.GetDeployment(pb.GetDeploymentRequest(model=MODEL), timeout=DEADLINE_S)
        assert (state.live_version, state.rollout.candidate, state.rollout.step) == (1, 2, 0)
        assert state.rollout.state == deployment_pb2.ROLLOUT_STATE_RUNNING
        with connected(server.grpc) as stub:
            message = request({"x": candidates.rows(1, 1)}, MODEL)
            versions = {stub.ModelInfer(message, timeout=DEADLINE_S).model_version for _ in range(200)}
        assert versions == {"1", "2"}


def test_a_rollback_takes_the_candidate_out(tmp_path: Path) -> None:
    """The engineer on call types one command: the live version answers all, and a second one goes a version back."""
    with serving(tmp_path, "good") as server, administered(server.admin) as admin:
        begin(server, plan(10, baking_s=600))
        done = admin.Rollback(pb.RollbackRequest(model=MODEL, reason="at 3 a.m."), timeout=DEADLINE_S)
        assert (done.version, done.changed) == (1, True)
        state = admin.GetDeployment(pb.GetDeploymentRequest(model=MODEL), timeout=DEADLINE_S)
        assert (state.rollout.state, state.rollout.reason) == (deployment_pb2.ROLLOUT_STATE_ROLLED_BACK, "at 3 a.m.")
        with pytest.raises(grpc.RpcError, match="no earlier version"):
            admin.Rollback(pb.RollbackRequest(model=MODEL), timeout=DEADLINE_S)


def test_a_shadow_finds_one_row_of_a_thousand(tmp_path: Path) -> None:
    """Every call is copied, no caller sees the candidate, and the row that differs is kept with both answers."""
    with serving(tmp_path, "rare") as server, administered(server.admin) as admin:
        made = pb.RolloutPlan(shadow=100, hold=True)
        made.steps.add(weight=0, baking_s=1, calls_min=100)
        with Traffic(server.grpc) as traffic:
            begin(server, made)
            status = next(one for one in polled(admin) if one.progress.copies.flips)
        assert set(traffic.answers) == {"1"}
        assert not traffic.errors
        row = max(admin.GetPairs(pb.GetPairsRequest(model=MODEL), timeout=DEADLINE_S).rows, key=lambda one: one.flipped)
        assert status.progress.copies.pairs > 100
        asked, old, new = (json.loads(text) for text in (row.inputs, row.champion, row.candidate))
        assert asked["x"][1] > candidates.RARE
        assert new["score"][0] == pytest.approx(1 - old["score"][0])
        assert old["score"] == [asked["x"][0]]
        change = pb.ChangeRolloutRequest(model=MODEL, action="ROLLOUT_ACTION_ABORT", reason="it was seen")
        admin.ChangeRollout(change, timeout=DEADLINE_S)
        assert admin.GetPairs(pb.GetPairsRequest(model=MODEL), timeout=DEADLINE_S).rows, "they are for after it, too"


def test_copies_convict(tmp_path: Path) -> None:
    """A candidate that fails 5 % of the calls is out before any caller has seen it."""
    with serving(tmp_path, "failing") as server, Traffic(server.grpc) as traffic:
        made = pb.RolloutPlan(shadow=100)
        for weight in (0, 10):
            made.steps.add(weight=weight, baking_s=600, calls_min=100)
        begin(server, made)
        state = ended(server)
    assert state.rollout.state == deployment_pb2.ROLLOUT_STATE_ROLLED_BACK
    assert state.rollout.reason.startswith("errors: ")
    assert set(traffic.answers) == {"1"}
    assert not traffic.errors


def polled(admin: AdminStub) -> Iterator[pb.GetDeploymentResponse]:
    """What status says of the rollout, again and again."""
    deadline = monotonic() + PATIENCE_S * 4
    while monotonic() < deadline:
        yield admin.GetDeployment(pb.GetDeploymentRequest(model=MODEL), timeout=DEADLINE_S)
    raise AssertionError("it did not happen in time")
