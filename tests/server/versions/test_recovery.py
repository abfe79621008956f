"""What is told of a change whose server ended in the middle of it."""

from pathlib import Path

import pytest

from onnxpress.server.facts import AdminFact
from onnxpress.server.versions.audit import OK, AuditState, FileAuditLog, Intent
from onnxpress.server.versions.recovery import ENDED, FORGOTTEN, outcome, settle
from onnxpress.server.versions.rollout import RolloutAction


def intent(action: str = "deploy", epoch: int = 3, change: str = "ours") -> Intent:
    return Intent(change, "host.7.00", AdminFact("ada", action, "churn", 1, 2, epoch, "", ""))


@pytest.mark.parametrize(
    ("asked", "epoch", "changes", "state", "result"),
    [
        (intent(), 0, [], AuditState.ABORTED, ENDED),  # nothing was ever deployed
        (intent(), 2, ["a", "b"], AuditState.ABORTED, ENDED),  # the deployment is where it was
        (intent(), 3, ["a", "b", "ours"], AuditState.COMMITTED, OK),
        (intent(), 5, ["ours", "d", "e"], AuditState.COMMITTED, OK),  # others went on from it
        (intent("rollback"), 3, ["a", "b", "ours"], AuditState.COMMITTED, OK),
        *[(intent(action.value), 3, ["a", "b", "ours"], AuditState.COMMITTED, OK) for action in RolloutAction],
        (intent("roll-out"), 3, ["a", "b", "ours"], AuditState.COMMITTED, OK),
        # Somebody else made that epoch.
        (intent(), 3, ["a", "b", "c"], AuditState.ABORTED, f"{ENDED}, and another change made epoch 3"),
        (intent(), 5, ["c", "d", "e"], AuditState.ABORTED, f"{ENDED}, and another change made epoch 3"),
        (intent(), 6, ["d", "e", "f"], AuditState.UNKNOWN, FORGOTTEN),  # the file does not reach back that far
        (intent(), 3, [], AuditState.UNKNOWN, FORGOTTEN),  # it was written by hand
        (intent("load", 2), 2, ["a", "ours"], AuditState.ABORTED, ENDED),  # memory only
        (intent("unload", 3), 3, ["ours"], AuditState.ABORTED, ENDED),
    ],
)
def test_outcome(asked: Intent, epoch: int, changes: list[str], state: AuditState, result: str) -> None:
    """Committed if the deployment names the change, aborted if it names another in its place, else unknown."""
    assert outcome(asked, epoch, changes) == (state, result)


def test_settle_leaves_what_others_are_making(tmp_path: Path) -> None:
    """Only this model's changes, and only those of servers that are gone, or of this one, are given an outcome."""
    logs = {name: FileAuditLog(tmp_path, name) for name in ("own", "alive", "dead")}
    for name, log in logs.items():
        for model in ("churn", "price"):
            log.begin(AdminFact(name, "deploy", model, 1, 2, 3, "", ""))
    settle(logs["own"], "alive".__eq__, "own", "churn", 2, [])
    told = {(r["actor"], r["model"]): r["state"] for r in logs["own"].history("", 10).records}
    assert told == {
        ("own", "churn"): "aborted", ("dead", "churn"): "aborted", ("alive", "churn"): "intent",
        ("own", "price"): "intent", ("alive", "price"): "intent", ("dead", "price"): "intent",
    }  # fmt: skip
