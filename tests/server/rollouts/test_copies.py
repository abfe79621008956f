"""Which runs of live versions are kept to be copied."""

from pathlib import Path

import pytest

from onnxpress.server.facts import BatchRun
from onnxpress.server.rollouts.copies import Copies, Wanted
from onnxpress.server.serving.routing import CANARY, CHAMPION, NAMED
from tests.e2e import candidates
from tests.server.rollouts.lanes import MODEL, lane, outputs
from tests.server.rollouts.reports import ran, refusal


@pytest.fixture
def live(tmp_path: Path):
    return lane(tmp_path, 1, "good")


def run_of(of, variants: list[str], keys: list[str] | None = None) -> BatchRun:  # type: ignore[no-untyped-def]
    x = candidates.rows(len(variants), len(variants))
    return ran(of, variants, outputs(of, x), {"x": x}, keys=keys or [])


def test_the_runs_of_the_live_version(live, tmp_path: Path) -> None:
    """Of the model whose calls are copied, and of no other version or model; refusals are none."""
    copies = Copies()
    copies.run_done(run_of(live, [CHAMPION]))
    assert copies.take() == ([], {}), "nobody wants copies"
    copies.wanted = {MODEL: Wanted("1", whole=True)}
    other = lane(tmp_path, 2, "good")
    first = run_of(live, [CHAMPION] * 3)
    for run in (first, run_of(other, [CANARY] * 2)):
        copies.run_done(run)
    copies.refused(refusal(CHAMPION, "INTERNAL"))
    ((copy,), dropped) = copies.take()
    assert (copy.lane, copy.rows, copy.calls, copy.chosen_from) == (live.id, 3, 3, None)
    assert copy.inputs is first.inputs
    assert not dropped
    assert copies.take() == ([], {})


@pytest.mark.parametrize(
    ("variants", "whole", "calls", "chosen"),
    [
        ([CHAMPION, CHAMPION], True, 2, False),
        ([CHAMPION, CHAMPION], False, 2, True),  # a share of the calls: their keys are needed
        ([CHAMPION, NAMED], True, 1, True),  # a call that named its version is not copied
        ([NAMED, NAMED], True, 0, False),
        ([], True, 0, False),  # a part of a large request
    ],
)
def test_what_is_kept_of_a_run(live, variants: list[str], whole: bool, calls: int, chosen: bool) -> None:
    """Its calls only where they must be chosen from, since they hold every payload."""
    copies = Copies()
    copies.wanted = {MODEL: Wanted("1", whole)}
    copies.run_done(run_of(live, variants) if variants else ran(live, [], [b"", b""], {}))
    kept, _ = copies.take()
    assert [(one.calls, one.chosen_from is not None) for one in kept] == ([(calls, chosen)] if calls else [])


@pytest.mark.parametrize(("rows_max", "bytes_max"), [(5, 1 << 20), (1000, 150)])
def test_what_does_not_fit_is_dropped_and_counted(live, rows_max: int, bytes_max: int) -> None:
    """By rows and by bytes; once they were taken there is room again. Two rows are 56 bytes."""
    copies = Copies(rows_max, bytes_max)
    copies.wanted = {MODEL: Wanted("1", whole=True)}
    for _ in range(4):
        copies.run_done(run_of(live, [CHAMPION] * 2))
    kept, dropped = copies.take()
    assert (len(kept), dropped) == (2, {MODEL: 4})
    copies.run_done(run_of(live, [CHAMPION] * 2))
    assert len(copies.take()[0]) == 1
