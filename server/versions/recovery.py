"""What became of changes whose server ended before it could say so."""

from collections.abc import Callable, Sequence

from onnxpress.server.versions.audit import OK, AuditState, FileAuditLog, Intent

ENDED = "the server ended before it was carried out"
FORGOTTEN = "the server ended in the middle, and the deployment has changed too often since to tell"


def outcome(intent: Intent, epoch: int, changes: Sequence[str]) -> tuple[AuditState, str]:
    """State and result of a change nobody is making any more; `epoch` and `changes` are those of the deployment.

    Loads and unloads live in memory, so they are over when their server is.
    """
    if intent.fact.action not in ("deploy", "rollback") or epoch < intent.fact.epoch:
        return AuditState.ABORTED, ENDED
    place = intent.fact.epoch - epoch - 1  # of the change that made the intended epoch, from the end
    if intent.change in changes:
        return AuditState.COMMITTED, OK
    if place >= -len(changes):
        return AuditState.ABORTED, f"{ENDED}, and another change made epoch {intent.fact.epoch}"
    return AuditState.UNKNOWN, FORGOTTEN


def settle(
    audit: FileAuditLog, alive: Callable[[str], bool], server: str, model: str, epoch: int, changes: Sequence[str]
) -> None:
    """Gives every unfinished change of `model` its outcome, except those that other servers are making now.

    The caller makes no change of `model` meanwhile, so those of `server`, its own, were left by a disk that was full.
    Raises StateWriteError.
    """
    for intent in audit.unfinished():
        if intent.fact.model == model and (intent.server == server or not alive(intent.server)):
            audit.finish(intent, *outcome(intent, epoch, changes))
