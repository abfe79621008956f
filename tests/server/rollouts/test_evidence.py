"""Evidence against the figures that were measured for it: few false alarms, and faults found in as many calls."""

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxpress.server.rollouts.evidence import (
    CLEARS,
    CONVICTS,
    FALSE_ALARMS,
    GUARDS_MAX,
    TIMES_WEIGHTS,
    Evidence,
    Scores,
    assignment_evidence,
    average,
    clear_factors,
    level_factors,
    loss_factors,
    share_factors,
)

ROLLOUTS = 4000
# Calls a second of the champion and of a candidate with 10 % of 50.
CHAMPION, CANDIDATE = 45, 5


def alarms(first: NDArray[np.bool_]) -> float:
    return float(first.mean())


def allowed(rate: float, rollouts: int) -> float:
    """The highest share of alarms that chance explains, at three sigma."""
    return rate + 3 * np.sqrt(rate * (1 - rate) / rollouts)


def found_after(
    rng: np.random.Generator, rate0: float, rate1: float, windows: int, start: int = 0
) -> NDArray[np.float64]:
    """Calls of the candidate until it is convicted, by rollout; infinite if it never is."""
    evidence, calls = Evidence(TIMES_WEIGHTS), np.full(ROLLOUTS, np.inf)
    for t in range(windows):
        n0, n1 = rng.poisson(CHAMPION, ROLLOUTS), rng.poisson(CANDIDATE, ROLLOUTS)
        k0, k1 = rng.binomial(n0, rate0), rng.binomial(n1, rate1 if t >= start else rate0)
        convicted = evidence.add(share_factors(k0, k1, n0, n1)) >= CONVICTS
        calls = np.where(np.isinf(calls) & convicted, (t - start + 1) * CANDIDATE, calls)
    return calls


@pytest.mark.parametrize(("rate", "weight"), [(1e-5, 0.1), (0.001, 0.01), (0.01, 0.5), (0.05, 0.1)])
def test_an_identical_version_is_rarely_blamed(rate: float, weight: float) -> None:
    """Over 600 windows, with failures of any rate and any weight."""
    rng, evidence, blamed = np.random.default_rng(7), Evidence(TIMES_WEIGHTS), np.zeros(ROLLOUTS, bool)
    for _ in range(600):
        n0, n1 = rng.poisson(50 * (1 - weight), ROLLOUTS), rng.poisson(50 * weight, ROLLOUTS)
        factors = share_factors(rng.binomial(n0, rate), rng.binomial(n1, rate), n0, n1)
        blamed |= evidence.add(factors) >= CONVICTS
    assert alarms(blamed) <= allowed(FALSE_ALARMS / GUARDS_MAX, ROLLOUTS)


def test_a_common_outage_blames_nobody() -> None:
    """Thirty seconds in which half of all calls fail, with either version."""
    rng, evidence, blamed = np.random.default_rng(8), Evidence(TIMES_WEIGHTS), np.zeros(ROLLOUTS, bool)
    for t in range(300):
        rate = 0.5 if 100 <= t < 130 else 0.001
        n0, n1 = rng.poisson(CHAMPION, ROLLOUTS), rng.poisson(CANDIDATE, ROLLOUTS)
        blamed |= evidence.add(share_factors(rng.binomial(n0, rate), rng.binomial(n1, rate), n0, n1)) >= CONVICTS
    assert alarms(blamed) <= allowed(FALSE_ALARMS / GUARDS_MAX, ROLLOUTS)


@pytest.mark.parametrize(
    ("rate0", "rate1", "median"),
    [(0.0, 0.05, 79), (0.001, 0.05, 92), (0.01, 0.06, 174), (0.0, 0.01, 377), (0.0, 1.0, 15)],
)
def test_faults_are_found(rate0: float, rate1: float, median: float) -> None:
    """The median number of calls is within 15 % of what was measured, or a window of it; all are found."""
    calls = found_after(np.random.default_rng(9), rate0, rate1, 600)
    assert np.isfinite(calls).mean() > 0.99
    assert abs(np.median(calls) - median) <= max(0.15 * median, CANDIDATE)


def test_a_fault_that_starts_late_is_found() -> None:
    """5 % failures from window 600 on, over a base of 0.1 %, in about 198 calls."""
    calls = found_after(np.random.default_rng(10), 0.001, 0.05, 800, start=600)
    assert abs(np.median(calls) - 198) <= 0.15 * 198


def test_no_window_convicts_alone() -> None:
    """Even if every call of the candidate fails in it."""
    evidence = Evidence(TIMES_WEIGHTS)
    assert evidence.add(share_factors(0, 10_000, 100_000, 10_000)) < CONVICTS


@pytest.mark.parametrize(("truth", "rate"), [(0.3, FALSE_ALARMS / GUARDS_MAX), (0.1, 0.0)])
def test_disagreement_within_the_floor_is_tolerated(truth: float, rate: float) -> None:
    """Up to 30 % of the labels may differ."""
    rng, evidence, blamed = np.random.default_rng(11), Evidence(), np.zeros(ROLLOUTS, bool)
    for _ in range(300):
        blamed |= evidence.add(level_factors(rng.binomial(5, truth, ROLLOUTS), 5, 0.3)) >= CONVICTS
    assert alarms(blamed) <= allowed(rate, ROLLOUTS)


def test_exchanged_labels_need_few_pairs() -> None:
    """Nine of ten labels differ: 10 to 20 pairs convict."""
    rng, evidence, pairs = np.random.default_rng(12), Evidence(), np.full(ROLLOUTS, np.inf)
    for t in range(20):
        convicted = evidence.add(level_factors(rng.binomial(2, 0.9, ROLLOUTS), 2, 0.3)) >= CONVICTS
        pairs = np.where(np.isinf(pairs) & convicted, 2 * (t + 1), pairs)
    assert 10 <= np.median(pairs) <= 20


def test_the_absence_of_harm_is_shown() -> None:
    """About 370 calls without an event exclude a harm of 1 %; where there is one it is cleared in 5 % of cases."""
    none = Evidence()
    needed = next(n for n in range(1, 1000) if none.add(clear_factors(0, CANDIDATE, 0.01)) >= CLEARS) * CANDIDATE
    assert abs(needed - 370) <= 0.15 * 370
    rng, evidence, cleared = np.random.default_rng(13), Evidence(), np.zeros(ROLLOUTS, bool)
    for _ in range(300):
        cleared |= evidence.add(clear_factors(rng.binomial(5, 0.01, ROLLOUTS), 5, 0.01)) >= CLEARS
    assert alarms(cleared) <= allowed(0.05, ROLLOUTS)


@pytest.mark.parametrize(("moved", "blamed"), [(0.0, False), (0.2, False), (0.6, True)])
def test_scores_may_shift_up_to_the_floor(moved: float, blamed: bool) -> None:
    """A share of the scores moves from the lower half of the bins to the upper one; 0.30 is tolerated."""
    rng, shift, evidence = np.random.default_rng(14), Scores(0.3), Evidence()
    even = np.full(10, 0.1)
    other = even + np.repeat([-moved, moved], 5) / 5
    wrong = np.zeros(400, bool)
    for _ in range(400):
        bins0, bins1 = (
            rng.multinomial(45, even, 400),
            rng.multinomial(5, np.clip(other, 0, 1) / other.clip(0, 1).sum(), 400),
        )
        wrong |= evidence.add(shift.factors(bins0, bins1)) >= CONVICTS
    assert wrong.mean() > 0.95 if blamed else wrong.mean() <= allowed(FALSE_ALARMS / GUARDS_MAX, 400)


def test_losses_of_the_same_rows() -> None:
    """A candidate that is wrong in 15 more of 100 rows is blamed at a margin of 2 points; an equal one is not."""
    rng = np.random.default_rng(15)
    for worse, found in ((0.20, True), (0.05, False)):
        evidence, blamed = Evidence(), np.zeros(ROLLOUTS, bool)
        for _ in range(200):
            lost = rng.binomial(5, worse, ROLLOUTS)
            won = rng.binomial(5 - lost, 0.05)
            blamed |= evidence.add(loss_factors(lost, won, 5, 0.02)) >= CONVICTS
        assert blamed.mean() > 0.95 if found else blamed.mean() <= allowed(FALSE_ALARMS / GUARDS_MAX, ROLLOUTS)


def test_assignment_as_promised_is_no_evidence() -> None:
    """10 % is 10 %; 12 % of 20,000 keys is not."""
    assert assignment_evidence(18_000, 2_000, 0.1) < 0
    assert assignment_evidence(17_600, 2_400, 0.1) > CONVICTS


def test_several_evidences_as_one() -> None:
    """The average, so that one of three is worth a third."""
    assert average([np.log(9.0), -np.inf, -np.inf]) == pytest.approx(np.log(3.0))
