"""What is served follows what is desired: at the start, after other replicas' changes, and after failures."""

import threading
from pathlib import Path

import pytest

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.server.serving.lane import Lane
from onnxpress.server.versions import actuator, reconciler
from onnxpress.server.versions.actuator import Actuator
from onnxpress.server.versions.lifecycle import State
from onnxpress.server.versions.model import Model
from tests.server.versions.control_plane import ControlPlane, add, replicas

READY, AVAILABLE, FAILED = State.READY, State.AVAILABLE, State.FAILED


class Clock:
    """What the modules that read the clock are given instead."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (actuator, reconciler):
            patch.setattr(module, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add(tmp_path, "churn", 1, 2, 3)
    return tmp_path


def test_the_start_loads_what_is_deployed(root: Path) -> None:
    """Live and warm as the deployment says, without a preflight; else the highest version, which was never tried."""
    add(root, "price", 1, 5)
    with ControlPlane(root) as first:
        first.start().deployer.deploy("churn", 2, None, "", "ada")
        assert first.live("price") == (5, 0)
    with ControlPlane(root) as again:
        again.start()
        assert again.live() == (2, 1)
        assert again.states() == {1: AVAILABLE, 2: READY, 3: READY}
        assert again.preflights == [5]
        assert again.reconciler.troubles() == []


def test_before_it_is_loaded_callers_are_told_to_wait(root: Path) -> None:
    """An announced model has a route whose reasons say that it is being loaded."""
    with ControlPlane(root) as plane:
        plane.reconciler.announce()
        route = plane.scheduler.routes.models["churn"]
        assert (route.live, route.unready["3"], "not loaded" in route.unready["1"]) == (None, actuator.LOADING, True)


def test_a_replica_follows_the_other(root: Path) -> None:
    """What one deploys or rolls back, the other makes live at its next poll, and unloads what is no longer needed."""
    with replicas(root) as (one, two):
        one.deployer.deploy("churn", 1, None, "", "ada")
        two.poll()
        assert two.live() == one.live() == (1, 1)
        two.deployer.deploy("churn", 2, None, "", "bob")
        one.poll()
        assert one.live() == (2, 2)
        one.deployer.rollback("churn", None, "", "ada")
        two.poll()
        assert two.live() == (1, 3)
        one.poll()
        # The target of the next rollback is warm again on both.
        assert two.states() == one.states() == {1: READY, 2: AVAILABLE, 3: READY}
        # Nothing changed since: nothing is done.
        before = (list(one.preflights), list(two.preflights))
        one.poll()
        two.poll()
        assert (one.preflights, two.preflights) == before
        assert one.history() == two.history()


def test_a_model_that_another_replica_brought_is_served(root: Path) -> None:
    """A folder that appeared after the start is live here once another replica deployed it, not before."""
    with replicas(root) as (one, two):
        add(root, "price", 4)
        two.poll()
        assert "price" not in two.scheduler.routes.models
        one.deployer.deploy("price", 4, None, "", "ada")
        two.poll()
        assert two.live("price") == (4, 1)


def test_what_answers_goes_on_where_the_next_cannot_be_loaded(root: Path, clock: Clock) -> None:
    """The replica says so, tries again after 1 s, 2 s and so on, and follows as soon as it can."""
    with replicas(root) as (one, two):
        two.broken.add(1)
        one.deployer.deploy("churn", 1, None, "", "ada")
        two.poll()
        assert two.live() == (3, 0)
        status = two.reconciler.status("churn")
        assert (status.desired.version, status.served_version, status.served_epoch) == (1, 3, 0)
        assert status.trouble == (
            "version 3 of epoch 0 answers here, not version 1 of epoch 1: "
            "version 1 does not run on this processor; attempt 2 in 1 s"
        )
        assert two.reconciler.troubles() == [f"model 'churn': {status.trouble}"]
        assert two.states() == {1: FAILED, 2: AVAILABLE, 3: READY}
        for wait in (1.0, 2.0, 4.0):
            tried = len(two.preflights)
            clock.now += wait - 0.1
            two.poll()
            assert len(two.preflights) == tried
            clock.now += 0.1
            two.poll()
            assert len(two.preflights) == tried + 1
        two.broken.clear()
        clock.now += 8
        two.poll()
        assert two.live() == (1, 1)
        two.poll()
        assert (two.reconciler.troubles(), two.reconciler.status("churn").trouble) == ([], "")


def test_where_the_next_cannot_be_loaded_others_go_live(root: Path, clock: Clock) -> None:
    """A rollback and a deploy work on a replica that could not follow, from the epoch it could not reach."""
    with replicas(root) as (one, two):
        two.broken.add(1)
        one.deployer.deploy("churn", 1, None, "", "ada")
        two.poll()
        done = two.deployer.rollback("churn", None, "", "bob")
        assert (done.version, done.previous, done.epoch) == (3, 1, 2)
        assert two.live() == (3, 2)
        two.deployer.deploy("churn", 2, None, "", "bob")
        one.poll()
        assert one.live() == two.live() == (2, 3)
        clock.now += 1000
        two.poll()
        assert two.reconciler.troubles() == []


def test_the_next_epoch_is_tried_at_once(root: Path, clock: Clock) -> None:
    """A new deploy does not wait for the time at which the version it names would have been tried again."""
    with replicas(root) as (one, two):
        two.broken.add(1)
        for version in (1, 2, 1):
            one.deployer.deploy("churn", version, None, "", "ada")
            two.poll()
            two.broken.clear()
        assert two.live() == (1, 3)
        assert clock.now == 1000.0


def test_a_rollback_does_not_wait_for_a_version_that_hangs(root: Path) -> None:
    """While the preflight of what another replica deployed hangs here, a rollback goes live at once."""
    with replicas(root) as (one, two):
        two.hanging.add(1)
        one.deployer.deploy("churn", 1, None, "", "ada")
        two.reconciler.poll()
        assert two.hangs.wait(30)
        done = two.deployer.rollback("churn", None, "", "bob")
        assert (done.version, two.live()) == (3, (3, 2))
        assert two.states()[1] is State.LOADING
        two.go.set()
        two.reconciler.await_workers()
        two.poll()
        assert (two.live(), two.states()[1]) == ((3, 2), AVAILABLE)


def test_a_poll_leaves_a_change_that_is_being_made_to_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a deploy is between its swap and its flip, a poll starts no worker for what the deploy does next."""
    turns: list[object] = []
    with ControlPlane(root).start() as plane:
        publish = Actuator.publish

        def polled(self: Actuator, model: Model, *, flip: bool) -> None:
            monkeypatch.setattr(plane.reconciler, "_catch_up", turns.append)
            plane.reconciler.poll()
            publish(self, model, flip=flip)

        monkeypatch.setattr(Actuator, "publish", polled)
        plane.deployer.deploy("churn", 1, None, "", "ada")
        plane.reconciler.await_workers()
        assert (turns, plane.live()) == ([], (1, 1))


def test_a_start_that_fails_is_tried_again(root: Path, clock: Clock) -> None:
    """A model whose package is not complete at the start is served once it is, without a restart."""
    whole = (root / "churn/3/model.onnx").read_bytes()
    (root / "churn/3/model.onnx").write_bytes(whole[:50])
    with ControlPlane(root).start() as plane:
        assert plane.live() == (0, 0)
        assert "not an ONNX model" in plane.scheduler.routes.models["churn"].unready["3"]
        assert plane.reconciler.troubles()[0].startswith(
            "model 'churn': no version answers here, not version 3 of epoch 0"
        )
        (root / "churn/3/model.onnx").write_bytes(whole)
        clock.now += 1
        plane.poll()
        assert plane.live() == (3, 0)


def test_the_start_tries_each_version_once(root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that take long to fail are due again while others are tried; the start does not go round and round."""
    (root / "churn/deployment.json").write_text('{"epoch": 4, "live_version": 2, "previous_version": 1}')
    tried = []

    def failing(_self: Actuator, _name: str, version: int, _folder: Path, *, preflight: bool) -> Lane:
        tried.append((version, preflight))
        clock.now += 1000
        raise RefusedPackageError("no")

    monkeypatch.setattr(Actuator, "_load", failing)
    with ControlPlane(root).start() as plane:
        assert tried == [(2, False), (1, False)]
        plane.poll()
        assert tried[2:] == [(2, True)]


@pytest.mark.parametrize("at_start", [True, False])
def test_a_deployment_that_cannot_be_read_is_told(root: Path, at_start: bool) -> None:
    """Nothing of what is served changes; status says what is wrong; the file that replaces it counts."""
    with ControlPlane(root) as plane:
        if not at_start:
            plane.start()
        (root / "churn/deployment.json").write_text("{")
        if at_start:
            plane.start()
        plane.poll()
        assert ("churn" in plane.scheduler.routes.models) is not at_start
        assert "deployment.json is not a deployment" in plane.reconciler.status("churn").trouble
        assert len(plane.reconciler.troubles()) == 1
        (root / "churn/deployment.json").write_text('{"epoch": 4, "live_version": 2}')
        plane.poll()
        assert plane.live() == (2, 4)
        plane.poll()
        assert plane.reconciler.troubles() == []


def test_what_is_unloaded_stays_so(root: Path) -> None:
    """Polls do not bring back what somebody unloaded; a load does, and so does another replica's deploy."""
    with replicas(root) as (one, two):
        one.deployer.unload("churn", "ada")
        one.poll()
        assert (one.live(), one.states()[3], one.reconciler.troubles()) == ((0, 0), AVAILABLE, [])
        one.deployer.load("churn", 2, "ada")
        one.poll()
        assert (one.live(), one.states()[2], one.states()[3]) == ((0, 0), READY, AVAILABLE)
        one.deployer.load("churn", 0, "ada")
        one.poll()
        assert one.live() == (3, 0)
        one.deployer.unload("churn", "ada")
        two.deployer.deploy("churn", 1, None, "", "bob")
        one.poll()
        assert one.live() == (1, 1)


def test_the_watch_polls_by_itself_until_it_is_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `watch` a deployment that appears is followed; after `stop` the thread ends."""
    monkeypatch.setattr(reconciler, "POLL_S", 0.001)
    with replicas(root) as (one, two):
        two.reconciler.watch()
        one.deployer.deploy("churn", 1, None, "", "ada")
        two.until(lambda: two.live() == (1, 1))
        thread = next(t for t in threading.enumerate() if t.name == reconciler.THREAD_NAME)
        two.reconciler.stop()
        thread.join(30)
        assert not thread.is_alive()
