"""Which versions a rollback may go back to. Pure: no I/O, no clock.

A history holds versions that were live and were not themselves rolled back from: oldest first, each once. A rollback
takes its last; so a second rollback goes further back and never to the version that the first one took away.
"""

from onnxpress.server.errors import NothingToRollBackError

HISTORY_MAX = 100
History = tuple[int, ...]


def after_deploy(history: History, live: int, version: int) -> History:
    """The history once `version` has replaced `live` (0: nothing was live)."""
    if live == version:
        return history
    kept = tuple(one for one in history if one not in (live, version))
    return (*kept, *((live,) if live else ()))[-HISTORY_MAX:]


def after_rollback(history: History) -> tuple[int, History]:
    """The version to go back to, and the history then. `history` is not empty."""
    return history[-1], history[:-1]


def back(model: str, history: History) -> tuple[int, History]:
    """What `after_rollback` gives. Raises NothingToRollBackError for an empty history."""
    if not history:
        raise NothingToRollBackError(
            f"model {model!r} has no earlier version to go back to; "
            "one that was rolled back from, or never live, goes live by a deploy with its number"
        )
    return after_rollback(history)
