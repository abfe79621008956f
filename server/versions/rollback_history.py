"""Which versions a rollback may go back to. Pure: no I/O, no clock.

A history holds the versions that were live and were not rolled back from, oldest first, each once. A rollback takes the
last; so a second rollback goes further back, never to the version that the first one replaced.
"""

from onnxpress.server.errors import NothingToRollBackError

HISTORY_MAX = 100
History = tuple[int, ...]


def after_deploy(history: History, live: int, version: int) -> History:
    """The history after `version` has replaced `live` (0: none was live)."""
    if live == version:
        return history
    kept = tuple(one for one in history if one not in (live, version))
    return (*kept, *((live,) if live else ()))[-HISTORY_MAX:]


def after_rollback(history: History) -> tuple[int, History]:
    """The version to go back to, and the history afterwards. `history` is not empty."""
    return history[-1], history[:-1]


def back(model: str, history: History) -> tuple[int, History]:
    """Like `after_rollback`. Raises NothingToRollBackError for an empty history."""
    if not history:
        raise NothingToRollBackError(
            f"model {model!r} has no earlier version to go back to; "
            "one that was rolled back from, or never live, goes live by a deploy with its number"
        )
    return after_rollback(history)
