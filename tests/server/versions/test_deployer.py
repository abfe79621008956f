"""Changes of what is live: what they leave in the audit log, whatever becomes of them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from onnxpress.packages.errors import OnnxpressError, RefusedPackageError
from onnxpress.server.errors import (
    EpochConflictError,
    NothingToRollBackError,
    StateWriteError,
    UnknownModelError,
    UnknownVersionError,
)
from onnxpress.server.facts import AdminFact
from onnxpress.server.serving.lane import Lane
from onnxpress.server.versions.audit import AuditState, FileAuditLog, Intent
from onnxpress.server.versions.deployer import Deployer
from onnxpress.server.versions.desired import DesiredStore
from onnxpress.server.versions.model import Model
from onnxpress.server.versions.recovery import ENDED
from tests.server.versions.control_plane import ControlPlane, add, replicas


@pytest.fixture
def plane(tmp_path: Path) -> Any:
    add(tmp_path, "churn", 1, 2, 3)
    with ControlPlane(tmp_path) as plane:
        yield plane.start()


def records(plane: ControlPlane) -> list[tuple[str, str, int]]:
    """Action, state and epoch of every record in the file, in order."""
    return [(r["action"], r["state"], r["epoch"]) for r in map(json.loads, plane.log.read_bytes().splitlines())]


def test_a_change_is_an_intent_and_an_outcome(plane: ControlPlane) -> None:
    """Both name the epoch that the change makes; the deployment names the change."""
    plane.deployer.deploy("churn", 1, None, "why", "ada")
    plane.deployer.rollback("churn", 1, "", "ada")
    assert records(plane) == [
        ("deploy", "intent", 1), ("deploy", "committed", 1), ("rollback", "intent", 2), ("rollback", "committed", 2),
    ]  # fmt: skip
    desired = plane.store.read("churn")
    assert desired is not None
    assert desired.changes == tuple(record["change"] for record in plane.audit.history("", 9).records)
    assert (desired.version, desired.history) == (3, ())


@pytest.mark.parametrize(
    ("call", "error", "change"),
    [
        (lambda d: d.deploy("churn", 9, None, "", "ada"), UnknownVersionError, ("deploy", 9)),
        (lambda d: d.deploy("churn", 1, 7, "", "ada"), EpochConflictError, ("deploy", 1)),
        (lambda d: d.deploy("nosuch", 1, None, "", "ada"), UnknownModelError, ("deploy", 1)),
        (lambda d: d.deploy("churn", 2, None, "", "ada"), RefusedPackageError, ("deploy", 2)),
        (lambda d: d.rollback("churn", None, "", "ada"), NothingToRollBackError, ("rollback", 0)),
        (lambda d: d.load("churn", 9, "ada"), UnknownVersionError, ("load", 9)),
        (lambda d: d.load("churn", 2, "ada"), RefusedPackageError, ("load", 2)),
        (lambda d: d.load("nosuch", 0, "ada"), UnknownModelError, ("load", 0)),
        (lambda d: d.unload("nosuch", "ada"), UnknownModelError, ("unload", 0)),
    ],
)
def test_refusals_are_in_the_audit_log(
    plane: ControlPlane, call: Any, error: type[OnnxpressError], change: tuple[str, int]
) -> None:
    """Whatever is refused, load and unload too, says so with its reason, and changes nothing."""
    plane.broken.add(2)
    before = plane.live()
    with pytest.raises(error) as caught:
        call(plane.deployer)
    assert plane.history("") == [(*change, "refused", f"refused: {caught.value}")]
    assert plane.audit.unfinished() == []
    assert plane.live() == before
    assert plane.store.read("churn") is None


def test_a_deployment_that_cannot_be_written_leaves_no_ok(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The intent is followed by why nothing was changed; the version that was loaded for it goes again."""

    def full(_store: DesiredStore, _desired: object) -> None:
        raise StateWriteError("deployment.json of 'churn' cannot be written: No space left on device")

    monkeypatch.setattr(DesiredStore, "compare_and_swap", full)
    with pytest.raises(StateWriteError):
        plane.deployer.deploy("churn", 1, None, "", "ada")
    (change,) = plane.history()
    assert change[2:] == ("refused", "refused: deployment.json of 'churn' cannot be written: No space left on device")
    assert records(plane) == [("deploy", "intent", 1), ("deploy", "refused", 0)]
    assert plane.live() == (3, 0)
    assert plane.states()[1].value == "available"


def test_a_deployment_that_may_not_last_is_neither_refused_nor_committed(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its name cannot be synced the caller is told so; what is on disk is followed, and then in the log."""
    fsync = os.fsync

    def failing(file: int) -> None:
        if Path(f"/proc/self/fd/{file}").resolve() == tmp_path / "churn":
            raise OSError(5, "Input/output error")
        fsync(file)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StateWriteError, match="Input/output error"):
        plane.deployer.deploy("churn", 1, None, "", "ada")
    assert plane.history() == [("deploy", 1, "intent", "no outcome yet")]
    monkeypatch.undo()
    plane.poll()
    assert plane.live() == (1, 1)
    plane.deployer.deploy("churn", 2, None, "", "ada")
    assert plane.history() == [("deploy", 1, "committed", "ok"), ("deploy", 2, "committed", "ok")]


def test_an_outcome_that_cannot_be_written_is_made_up_for(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deploy is durable and succeeds; the next change of the model writes what became of it, truly."""
    finish = FileAuditLog.finish

    def full(_log: FileAuditLog, _intent: Intent, _state: AuditState, _result: str = "") -> None:
        raise StateWriteError("the audit log cannot be written: No space left on device")

    monkeypatch.setattr(FileAuditLog, "finish", full)
    assert plane.deployer.deploy("churn", 1, None, "", "ada").epoch == 1
    assert plane.live() == (1, 1)
    assert plane.history() == [("deploy", 1, "intent", "no outcome yet")]
    monkeypatch.setattr(FileAuditLog, "finish", finish)
    plane.deployer.deploy("churn", 2, None, "", "ada")
    assert plane.history() == [
        ("deploy", 1, "committed", "ok"), ("deploy", 2, "committed", "ok"),
    ]  # fmt: skip


def test_a_change_that_broke_off_is_told(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw leaves an intent, and the next change says that it was not carried out."""
    check = Deployer._check_on_disk

    def broken(_self: Deployer, _model: Model, _version: int, _lane: Lane) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Deployer, "_check_on_disk", broken)
    with pytest.raises(ZeroDivisionError):
        plane.deployer.deploy("churn", 1, None, "", "ada")
    assert plane.history() == [("deploy", 1, "intent", "no outcome yet")]
    assert plane.live() == (3, 0)
    monkeypatch.setattr(Deployer, "_check_on_disk", check)
    plane.deployer.deploy("churn", 1, None, "", "ada")
    assert plane.history() == [("deploy", 1, "aborted", ENDED), ("deploy", 1, "committed", "ok")]


def test_a_log_that_cannot_be_written_refuses_the_change(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an intent on disk nothing is tried."""

    def full(_log: FileAuditLog, _line: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileAuditLog, "_write", full)
    for call in (
        lambda: plane.deployer.deploy("churn", 1, None, "", "ada"),
        lambda: plane.deployer.load("churn", 1, "ada"),
        lambda: plane.deployer.unload("churn", "ada"),
    ):
        preflights = list(plane.preflights)
        with pytest.raises(StateWriteError, match="audit log cannot be written: No space left on device"):
            call()
        assert (plane.preflights, plane.live()) == (preflights, (3, 0))


def test_what_is_desired_already_is_awaited(tmp_path: Path) -> None:
    """A deploy of what another replica just made live brings it here, and is no change."""
    add(tmp_path, "churn", 1, 2)
    with replicas(tmp_path) as (one, two):
        one.deployer.deploy("churn", 1, None, "", "ada")
        done = two.deployer.deploy("churn", 1, None, "", "bob")
        assert (done.epoch, done.changed, two.live()) == (1, False, (1, 1))
        assert [change[:3] for change in two.history()] == [("deploy", 1, "committed")]


def test_the_start_settles_what_it_can(tmp_path: Path) -> None:
    """A model whose deployment cannot be read keeps its intent; those of the others get their outcome."""
    for name in ("a", "churn", "z"):
        add(tmp_path, name, 1)
    with ControlPlane(tmp_path) as dead:
        for name in ("a", "churn", "z"):
            dead.audit.begin(AdminFact("ada", "deploy", name, 0, 1, 1, "", ""))
    (tmp_path / "churn/deployment.json").write_text("{")
    with ControlPlane(tmp_path).start() as plane:
        assert {name: plane.history(name)[0][2] for name in ("a", "churn", "z")} == {
            "a": "aborted", "churn": "intent", "z": "aborted",
        }  # fmt: skip


def test_an_unloaded_version_is_deployed_again(plane: ControlPlane) -> None:
    """A deploy of what is desired and was unloaded is a change: it answers again."""
    plane.deployer.deploy("churn", 2, None, "", "ada")
    plane.deployer.unload("churn", "ada")
    assert plane.live() == (0, 1)
    done = plane.deployer.deploy("churn", 2, None, "", "ada")
    assert (done.changed, done.epoch, plane.live()) == (True, 2, (2, 2))
    assert [change[:3] for change in plane.history()] == [
        ("deploy", 2, "committed"), ("unload", 0, "committed"), ("deploy", 2, "committed"),
    ]  # fmt: skip


def test_a_dry_run_starts_from_the_newest_deployment(tmp_path: Path) -> None:
    """It tells where a rollback would go after another replica's deploy, and changes nothing."""
    add(tmp_path, "churn", 1, 2)
    with replicas(tmp_path) as (one, two):
        one.deployer.deploy("churn", 1, None, "", "ada")
        target = two.deployer.rollback_target("churn")
        assert (target.version, target.previous, target.epoch, target.changed) == (2, 1, 1, False)
        assert two.live() == (2, 0)
