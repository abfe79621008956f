"""Where a rollback goes."""

import pytest

from onnxpress.server.versions.rollback_history import HISTORY_MAX, History, after_deploy, after_rollback


def walk(*steps: int) -> tuple[list[int], History]:
    """Every version that was live in turn, and the history at the end: a number deploys it, 0 rolls back."""
    lived, history, live = [], (), 0
    for step in steps:
        if step:
            history, live = after_deploy(history, live, step), step
        else:
            live, history = after_rollback(history)
        lived.append(live)
    return lived, history


@pytest.mark.parametrize(
    ("steps", "lived", "history"),
    [
        ((1,), [1], ()),
        ((1, 2, 3), [1, 2, 3], (1, 2)),
        ((1, 2, 0), [1, 2, 1], ()),
        ((1, 2, 3, 0, 0), [1, 2, 3, 2, 1], ()),  # twice goes further back, not forward again
        ((1, 2, 3, 0, 0, 3, 0), [1, 2, 3, 2, 1, 3, 1], ()),  # forward by number only
        ((1, 2, 2, 0), [1, 2, 2, 1], ()),  # what is live already changes nothing
        ((1, 2, 1, 0), [1, 2, 1, 2], ()),  # each version stands there once
        ((1, 2, 0, 3, 0), [1, 2, 1, 3, 1], ()),
    ],
)
def test_walks(steps: tuple[int, ...], lived: list[int], history: History) -> None:
    """Deploys and rollbacks in turn."""
    assert walk(*steps) == (lived, history)


def test_is_bounded() -> None:
    """A model that is deployed every day for years keeps the newest versions."""
    assert walk(*range(1, 500))[1] == tuple(range(499 - HISTORY_MAX, 499))
