"""A controller over a real control plane: what it decides becomes the deployment, once, with the reason in the log."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time

import pytest

from onnxpress.server.facts import BatchRun, Refusal
from onnxpress.server.rollouts.collector import Buffer
from onnxpress.server.rollouts.controller import ACTOR, WINDOW_S, Controller, Progress
from onnxpress.server.rollouts.copies import Copies
from onnxpress.server.rollouts.recorder import Recorder
from onnxpress.server.rollouts.records import Header
from onnxpress.server.rollouts.replay import replay
from onnxpress.server.rollouts.shadow import Shadow
from onnxpress.server.serving.routing import CANARY, CHAMPION
from onnxpress.server.versions.actuator import LOADING
from onnxpress.server.versions.rollout import Plan, RolloutAction, RolloutState, Step
from tests.server.rollouts.reports import refusal, sums
from tests.server.versions.control_plane import ControlPlane, add, replicas

PLAN = Plan((Step(10, 5, 40), Step(50, 5, 40)))


class Watched:
    """A control plane with a controller, whose clock is the test's."""

    def __init__(self, plane: ControlPlane, seconds: float = 0.0) -> None:
        """`seconds`: that it was down, if it was."""
        self.plane, self.seconds = plane, seconds
        self.buffer, self.copies = Buffer(), Copies()
        self.shadow = Shadow(self.copies, lambda: False)
        self.recorder = Recorder(plane.log.parents[1] / "rollouts", plane.state.server, plane.state.alive)
        self._began = time()
        self.controller = Controller(
            plane.reconciler, plane.deployer, lambda: plane.scheduler.routes, self.buffer, self.shadow, self.recorder,
            clock=lambda: self.seconds, now=lambda: self._began + self.seconds,
        )  # fmt: skip

    def second(self, *reports: BatchRun | Refusal) -> None:
        """A second in which the pumps tell these reports."""
        self.controller.tick()
        for report in reports:
            if isinstance(report, BatchRun):
                self.buffer.run_done(report)
            else:
                self.buffer.refused(report)
        self.seconds += WINDOW_S
        self.controller.tick()

    def usual(self, *more: BatchRun | Refusal) -> None:
        """A second of 90 calls of the champion and 10 of the candidate."""
        lanes = self.plane.scheduler.routes.models["churn"].lanes
        self.second(sums(lanes["1"], 90), sums(lanes["2"], 10), *more)

    @property
    def state(self) -> tuple[int, RolloutState, int]:
        """The live version, and the rollout's state and step."""
        desired = self.plane.store.read("churn")
        assert desired is not None
        assert desired.rollout is not None
        return desired.version, desired.rollout.state, desired.rollout.step

    @property
    def header(self) -> Header:
        """Of its record, while both versions are loaded."""
        desired, lanes = self.plane.store.read("churn"), self.plane.scheduler.routes.models["churn"].lanes
        assert desired is not None
        assert desired.rollout is not None
        return Header("churn", desired.rollout.id, lanes["1"].digest, lanes["2"].digest)

    @property
    def progress(self) -> Progress:
        progress = self.controller.progress("churn")
        assert progress is not None
        return progress


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Version 1 is live, version 2 gets 10 %."""
    add(tmp_path, "churn", 1)
    with ControlPlane(tmp_path) as plane:
        plane.start()
        add(tmp_path, "churn", 2)
        plane.deployer.roll_out("churn", 2, PLAN, None, "better", "ada")
        yield Watched(plane)


def test_the_routes_of_a_rollout(watched: Watched) -> None:
    """The candidate has its places; both versions stay loaded; the live version is what it was."""
    route = watched.plane.scheduler.routes.models["churn"]
    (share,) = route.shares
    assert (share.below, share.target.lane.version, share.target.variant) == (1000, "2", CANARY)
    assert route.live is not None
    assert (route.live.version, route.salt) == ("1", b"churn/1")


def test_a_good_candidate_is_promoted(watched: Watched) -> None:
    """Through both steps to all calls; the audit log has each decision with its numbers, and who made it."""
    for _ in range(400):
        watched.usual()
        if watched.state[1] is RolloutState.PROMOTED:
            break
    assert watched.state == (2, RolloutState.PROMOTED, 1)
    assert watched.plane.live() == (2, 3)
    assert [change[:3] for change in watched.plane.history()] == [
        ("roll-out", 2, "committed"),
        ("advance", 2, "committed"), ("promote", 2, "committed"),
    ]  # fmt: skip
    record = watched.plane.audit.history("churn", 1).records[-1]
    assert record["actor"] == ACTOR
    assert "calls in" in record["reason"]


def test_a_bad_candidate_is_rolled_back(watched: Watched) -> None:
    """Its calls fail: the live version answers all again, and the candidate is unloaded."""
    for _ in range(20):
        watched.usual(*[refusal(CANARY, "INTERNAL")] * 3)
        if watched.state[1] is not RolloutState.RUNNING:
            break
    assert watched.state == (1, RolloutState.ROLLED_BACK, 0)
    route = watched.plane.scheduler.routes.models["churn"]
    assert not route.shares
    assert "2" not in route.lanes
    assert "errors: " in watched.plane.audit.history("churn", 1).records[-1]["reason"]


def test_a_common_outage_holds(watched: Watched) -> None:
    """Both versions fail alike: nobody is blamed, and nothing advances meanwhile."""
    for _ in range(20):
        watched.usual(*[refusal(CHAMPION, "INTERNAL")] * 45, *[refusal(CANARY, "INTERNAL")] * 5)
    assert watched.state == (1, RolloutState.RUNNING, 0)


def test_one_bad_client_convicts_nobody(watched: Watched) -> None:
    """A route key whose calls always fail counts once."""
    for _ in range(20):
        watched.usual(*[refusal(CANARY, "INTERNAL", key="acme")] * 8)
    assert watched.state[1] is RolloutState.RUNNING


def test_overload_is_not_the_candidates_fault(watched: Watched) -> None:
    """Refusals for a lack of capacity, deadlines and cancellations count for nothing."""
    for code in ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED", "UNAVAILABLE"):
        watched.usual(*[refusal(CANARY, code)] * 10)
    progress = watched.controller.progress("churn")
    assert progress is not None
    assert progress.step_calls == 40


def test_without_calls_nothing_happens(watched: Watched) -> None:
    """A model that nobody calls waits, and says for what."""
    for _ in range(20):
        watched.second()
    assert watched.state == (1, RolloutState.RUNNING, 0)
    progress = watched.controller.progress("churn")
    assert progress is not None
    assert progress.next == "50 % waits for calls: 0 of 40"


def test_a_rollout_that_ended_is_forgotten(watched: Watched) -> None:
    """No reports are kept for it, and it has no progress."""
    watched.usual()
    assert watched.buffer.watched == {"churn": "2"}
    watched.plane.deployer.change_rollout("churn", RolloutAction.ABORT, None, "", "ada")
    watched.second()
    assert watched.buffer.watched == {}
    assert watched.controller.progress("churn") is None


def test_a_restart_in_a_rollout(watched: Watched, tmp_path: Path) -> None:
    """Another process on the same repository announces both versions as loading, loads them, and routes as before."""
    with ControlPlane(tmp_path, state=tmp_path / "other") as second:
        second.reconciler.announce()
        assert second.scheduler.routes.models["churn"].unready == {"1": LOADING, "2": LOADING}
        second.start()
        shares = second.scheduler.routes.models["churn"].shares
        assert [(one.below, one.target.lane.version) for one in shares] == [(1000, "2")]


@contextmanager
def restarted(watched: Watched) -> Iterator[Watched]:
    """Another process on the same folders, after this one has ended."""
    folder = watched.plane.source.root
    watched.plane.stop()
    with ControlPlane(folder) as plane:
        yield Watched(plane.start(), watched.seconds)


def test_a_restart_goes_on_with_the_evidence(watched: Watched) -> None:
    """In the middle of the second step: its calls and the evidence of both are as before, and so is what follows."""
    while watched.state[2] == 0:
        watched.usual()
    for _ in range(12):
        watched.usual()
    before = watched.progress
    assert before.step_calls == 120
    with restarted(watched) as again:
        again.second()  # without a call, so only what was recorded counts
        assert (again.progress.step_calls, again.progress.next) == (120, before.next)
        for one, two in zip(again.progress.readings, before.readings, strict=True):
            assert (one.guard, one.text, one.absence) == (two.guard, two.text, pytest.approx(two.absence))
        for _ in range(400):
            again.usual()
            if again.state[1] is not RolloutState.RUNNING:
                break
        assert again.state == (2, RolloutState.PROMOTED, 1)


def test_a_restart_between_two_steps(watched: Watched) -> None:
    """The last recorded window was the first step's: its calls are no calls of the second."""
    while watched.state[2] == 0:
        watched.usual()
    with restarted(watched) as again:
        again.second()
        assert again.progress.step_calls == 0


def test_scores_are_binned_as_before_a_restart(watched: Watched) -> None:
    """The bins are recorded, so the first window after a restart has them; 200 scores of the champion made them."""
    for _ in range(5):
        watched.usual()
    with restarted(watched) as again:
        again.usual()
        entries = again.recorder.begin(again.header)
    assert sum(entries[0].window.champion.bins) == 0
    assert sum(entries[-1].window.champion.bins) == 90


def test_a_pause_is_recorded(watched: Watched) -> None:
    """So that a replay decides nothing that could not be done."""
    for action in (RolloutAction.PAUSE, RolloutAction.RESUME):
        watched.plane.deployer.change_rollout("churn", action, None, "", "ada")
        watched.usual()
    assert [entry.paused for entry in watched.recorder.begin(watched.header)] == [True, False]


def test_a_fault_is_remembered_over_restarts(watched: Watched) -> None:
    """Two windows of failures do not convict, and one after a restart would not alone; together they do."""
    failures = [refusal(CANARY, "INTERNAL")] * 2
    for _ in range(2):
        watched.usual(*failures)
    assert watched.state[1] is RolloutState.RUNNING
    with restarted(watched) as again:
        again.usual(*failures)
        assert again.state[1] is RolloutState.ROLLED_BACK


def test_another_package_begins_anew(watched: Watched, tmp_path: Path) -> None:
    """The candidate's files were replaced while the server was down: nothing is known of what they do."""
    for _ in range(12):
        watched.usual()
    assert watched.progress.step_calls == 120
    add(tmp_path, "other", 7)
    shutil.copy(tmp_path / "other/7/model.onnx", tmp_path / "churn/2/model.onnx")
    with restarted(watched) as again:
        again.second()
        assert again.progress.step_calls == 0


def test_a_reloaded_candidate_keeps_its_evidence(watched: Watched) -> None:
    """The same package in the same process: unloaded and loaded again."""
    for _ in range(12):
        watched.usual()
    watched.plane.deployer.unload("churn", "ada")
    watched.plane.deployer.load("churn", 0, "ada")
    watched.plane.poll()
    watched.second()
    assert watched.progress.step_calls == 120


def test_a_rollout_replays(watched: Watched) -> None:
    """Its recorded windows give every decision again, with the sentences that the audit log has."""
    desired = watched.plane.store.read("churn")
    assert desired is not None
    assert desired.rollout is not None
    while watched.state[1] is RolloutState.RUNNING:
        watched.usual()
    replayed = list(replay(desired.rollout, watched.recorder.begin(watched.header)))
    assert all(one.as_made for one in replayed)
    decided = [(one.decision.action.value, one.decision.reason) for one in replayed if one.decision.action]
    records = watched.plane.audit.history("churn", 100).records
    assert decided == [(record["action"], record["reason"]) for record in records if record["actor"] == ACTOR]


def test_a_full_disk_does_not_hurt_a_rollout(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """The folder of the windows cannot be written: decisions are the same, and the log says once what is missing."""
    folder = watched.plane.log.parents[1] / "rollouts"
    folder.write_text("in the way")
    for _ in range(20):
        watched.usual(*[refusal(CANARY, "INTERNAL")] * 3)
        if watched.state[1] is not RolloutState.RUNNING:
            break
    assert watched.state == (1, RolloutState.ROLLED_BACK, 0)
    assert caplog.text.count("cannot be recorded") == 1


def test_two_replicas_decide_once(tmp_path: Path) -> None:
    """Both see the fault; one makes the change, the other follows; the log has one rollback."""
    add(tmp_path, "churn", 1, 2)
    with replicas(tmp_path) as planes:
        planes[0].deployer.deploy("churn", 1, None, "", "ada")
        planes[0].deployer.roll_out("churn", 2, PLAN, None, "", "ada")
        planes[1].poll()
        both = [Watched(plane) for plane in planes]
        for _ in range(20):
            for one in both:
                if "2" in one.plane.scheduler.routes.models["churn"].lanes:
                    one.usual(*[refusal(CANARY, "INTERNAL")] * 5)
        for plane in planes:
            plane.poll()
        assert [plane.live() for plane in planes] == [(1, 3), (1, 3)]
        assert [change[:3] for change in planes[0].history()].count(("roll-back", 1, "committed")) == 1
        assert not any(plane.scheduler.routes.models["churn"].shares for plane in planes)
