"""What the demo counts, on hand-made records."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from examples.churn.load import FAILED, Records
from examples.churn.report import (
    Barrier,
    Change,
    Figures,
    Measure,
    Parity,
    barriers,
    measure,
    phase_table,
    problems,
    table,
)

MS = 1_000_000


def records(*calls: tuple[float, float, int] | tuple[float, float, int, bool], rows: int = 1) -> Records:
    """Calls of (sent, done, version[, right]) with times in milliseconds."""
    sent, done, version = (np.array([call[place] for call in calls]) for place in range(3))
    right = np.array([call[3] if len(call) > 3 else call[2] != FAILED for call in calls])
    return Records((sent * MS).astype(np.int64), (done * MS).astype(np.int64), version, right, rows, Counter())


def good() -> Figures:
    """Figures in which every promise held."""
    part = Measure("before", 10, 0, 0, 1.0, 10, {1: 6, 2: 4}, (1.0, 2.0, 3.0))
    parities = [
        Parity(version, "Any", 0.8, exact=True, rows=100, outside=0, worst_difference=1e-8, seconds=1.0)
        for version in (1, 2)
    ]
    barrier = Barrier("deploy 2", 5.0, 4, 0, 0)
    return Figures(parity=parities, customers_compared=3, speed=[part], phases=[part], barriers=[barrier], exit_code=0)


def test_measure_counts_calls_by_when_they_were_sent() -> None:
    """A call belongs to the period in which it was sent, not to that of its answer."""
    seen = records((0, 1, 1), (1, 50, 1), (2, 3, FAILED), (3, 4, 2, False), (10, 11, 2), rows=100)
    part = measure("part", seen, 1 * MS, 10 * MS)
    assert (part.calls, part.failed, part.wrong, part.rows) == (3, 1, 1, 200)
    assert part.versions == {1: 1, 2: 1}
    assert part.quantiles_ms[0] == pytest.approx(25.0)  # between 1 and 49 ms; the failed call has no latency


def test_barrier_counts_stale_answers_after_the_change_returned() -> None:
    """Only calls sent after the admin call returned may be called stale."""
    seen = records((0, 1, 1), (5, 6, 1), (11, 12, 1), (12, 13, 2), (13, 14, FAILED))
    (found,) = barriers(seen, [Change("deploy 2", 1, 2, 4 * MS, 10 * MS)])
    assert (found.checked, found.stale) == (2, 1)


def test_barrier_counts_answers_that_flipped_back() -> None:
    """Once the new version's answer has arrived, no call sent later may get the old one, even before the return."""
    steady = [(5.0, 6.0, 1), (6.0, 7.0, 2), (9.0, 20.0, 2)]
    change = Change("deploy 2", 1, 2, 4 * MS, 100 * MS)
    assert barriers(records((6.5, 9, 1), *steady), [change])[0].flips == 0
    assert barriers(records((8, 9, 1), *steady), [change])[0].flips == 1


def test_barrier_of_one_change_ends_where_the_next_begins() -> None:
    """After the rollback the first version is right again."""
    seen = records((11, 12, 2), (25, 26, 1))
    changes = [Change("deploy 2", 1, 2, 5 * MS, 10 * MS), Change("rollback", 2, 1, 20 * MS, 22 * MS)]
    assert [(b.checked, b.stale, b.flips) for b in barriers(seen, changes)] == [(1, 0, 0), (1, 0, 0)]


def test_no_problem_when_every_promise_held() -> None:
    """Good figures give no sentence, so that each sentence below has one cause."""
    assert problems(good()) == []


BROKEN: dict[str, Callable[[Figures], Figures]] = {
    "1 of 100 parity rows outside": lambda f: replace(f, parity=[replace(f.parity[0], outside=1), f.parity[1]]),
    "0 of 100 parity rows outside": lambda f: replace(f, parity=[replace(f.parity[0], exact=False), f.parity[1]]),
    "0 of 0 parity rows outside": lambda f: replace(f, parity=[replace(f.parity[0], rows=0), f.parity[1]]),
    "differ from the original's by 1.0e-05": lambda f: replace(f, served_worst=1e-5),
    "on 0 customers": lambda f: replace(f, customers_compared=0),
    "2 of 10 calls failed": lambda f: replace(f, speed=[replace(f.speed[0], failed=2)]),
    "3 answers are not those of ONNX Runtime": lambda f: replace(f, phases=[replace(f.phases[0], wrong=3)]),
    "no calls were made": lambda f: replace(f, speed=[replace(f.speed[0], calls=0)]),
    "version 2 answered nothing": lambda f: replace(f, phases=[replace(f.phases[0], versions={1: 10})]),
    "nothing was checked": lambda f: replace(f, barriers=[replace(f.barriers[0], checked=0)]),
    "1 calls sent after it returned got another": lambda f: replace(f, barriers=[replace(f.barriers[0], stale=1)]),
    "answered by the old version after the new": lambda f: replace(f, barriers=[replace(f.barriers[0], flips=1)]),
    "1 times UNAVAILABLE": lambda f: replace(f, errors={"UNAVAILABLE: gone": 1}),
    "exit code -9": lambda f: replace(f, exit_code=-9),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_each_broken_promise_is_a_problem(sentence: str) -> None:
    """One fault in good figures gives the one sentence that names it."""
    (found,) = problems(BROKEN[sentence](good()))
    assert sentence in found


def test_table_aligns_its_columns() -> None:
    """Cells stand below each other and a short row ends early."""
    lines = table(("what", "n"), [("a", "1,000"), ("longer", "2"), ("end",)]).splitlines()
    assert lines == ["  what         n", "  ──────   ─────", "  a        1,000", "  longer       2", "  end"]


def test_phase_table_sums_its_phases() -> None:
    """The last row adds up what stands above it."""
    last = phase_table([good().phases[0], good().phases[0]]).splitlines()[-1].split()
    assert last == ["all", "20", "0", "0", "12", "8"]
