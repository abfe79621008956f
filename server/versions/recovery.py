"""The outcome of changes whose server ended before it recorded one."""

from collections.abc import Callable, Sequence

from onnxpress.server.versions.audit import OK, AuditState, FileAuditLog, Intent

# Changes that leave nothing durable.
WITHOUT_STATE = frozenset({"load", "unload"})
ENDED = "the server ended before it was carried out"
FORGOTTEN = "the server ended in the middle, and the deployment has changed too often since to tell"


def outcome(intent: Intent, epoch: int, changes: Sequence[str]) -> tuple[AuditState, str]:
    """State and result of an abandoned change; `epoch` and `changes` are those of the deployment.

    Loads and unloads have no durable effect, so they end with their server.
    """
    if intent.fact.action in WITHOUT_STATE or epoch < intent.fact.epoch:
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
    """Records the outcome of every unfinished change of `model`, except those of other servers that still run.

    The caller makes no change of `model` meanwhile, so its own open intents (`server`) were left by a full disk.
    Raises StateWriteError.
    """
    for intent in audit.unfinished():
        if intent.fact.model == model and (intent.server == server or not alive(intent.server)):
            audit.finish(intent, *outcome(intent, epoch, changes))
