"""Evidence that a candidate is worse than the champion, as e-values: valid whenever they are looked at. Pure.

Logarithms are natural. Functions take arrays of any shape; the last axis of a factor runs over alternatives: how bad
the harm might be. A factor is the logarithm of an e-value of one window: on average over windows without harm,
its exponential is at most 1. Sources: Grünwald, de Heide, Koolen, Safe Testing (2024); Turner, Ly, Grünwald, Generic
E-Variables for Exact Sequential k-Sample Tests (2024); Lindon, Malek, Anytime-Valid Inference for Multinomial Count
Data (2022).
"""

from math import lgamma
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# The probability that a candidate as good as the champion is rolled back, over a whole rollout and all guards.
FALSE_ALARMS: Final = 0.01
GUARDS_MAX: Final = 8
CONVICTS: Final = float(np.log(GUARDS_MAX / FALSE_ALARMS))
# The most that one window adds, so that no burst convicts alone.
WINDOW_MAX: Final = CONVICTS / 2
# Evidence that a harm is absent, 95 %: what a step needs to advance.
CLEARS: Final = float(np.log(20))

# How many times as likely an event might be with the candidate, and the weight of each alternative.
TIMES: Final = np.array([2.0, 5.0, 20.0, 1e4])
TIMES_WEIGHTS: Final = np.array([0.25, 0.25, 0.2, 0.3])
STAKES: Final = np.array([0.05, 0.15, 0.4, 0.8])
SHARES_OF_HARM: Final = np.array([1e-3, 0.2, 0.5])
BISECTIONS: Final = 40


class Evidence:
    """Collects one factor per window. `value`: ln E; P(ever >= ln 1/a) <= a without harm.

    Averages over the alternatives, and over when the harm began: half the stake is on the first window and 1/2t(t+1)
    on window t, so that a fault that starts late is found too.
    """

    def __init__(self, weights: ArrayLike | None = None) -> None:
        """`weights`: of the alternatives; all the same by default."""
        self._log_weights = None if weights is None else np.log(np.asarray(weights, float))
        self._begun: Floats | None = None
        self._windows = 0
        self.value: Floats = np.zeros(())

    def add(self, factors: Floats) -> Floats:
        """`factors`: [..., alternatives]. Returns the new `value`, [...]."""
        t = self._windows
        log_weights = self._log_weights
        if log_weights is None:
            log_weights = np.full(factors.shape[-1], -np.log(factors.shape[-1]))
        begun = np.full(factors.shape, -np.inf) if self._begun is None else self._begun
        self._begun = np.logaddexp(begun, np.log(0.5 / max(t * (t + 1), 1))) + np.minimum(factors, WINDOW_MAX)
        self._windows = t + 1
        waiting = np.log(0.5 / (t + 1))  # the stake on windows that are still to come
        self.value = np.logaddexp(np.logaddexp.reduce(self._begun + log_weights, axis=-1), waiting)
        return self.value


def average(evidences: ArrayLike) -> Floats:
    """Ln E of several evidences of one harm, along the first axis, as one."""
    values = np.asarray(evidences, float)
    return np.asarray(np.logaddexp.reduce(values, axis=0) - np.log(len(values)))


def share_factors(k0: ArrayLike, k1: ArrayLike, n0: ArrayLike, n1: ArrayLike) -> Floats:
    """The candidate has more than its share of k0 + k1 events among n0 + n1 alike units. With TIMES_WEIGHTS.

    Given the total, k1 is hypergeometric whatever the rate of the window is: an outage of both is no evidence.
    """
    events0, events1, units0, units1 = _columns(k0, k1, n0, n1)
    share = units1 / np.maximum(units0 + units1, 1)
    return np.asarray(events1 * np.log(TIMES) - (events0 + events1) * np.log1p(share * (TIMES - 1)))


def level_factors(k: ArrayLike, n: ArrayLike, floor: float) -> Floats:
    """An event is more frequent than `floor`: k events among n."""
    events, units = _columns(k, n)
    worse = floor + (1 - floor) * STAKES
    return np.asarray(events * np.log(worse / floor) + (units - events) * np.log((1 - worse) / (1 - floor)))


def clear_factors(k: ArrayLike, n: ArrayLike, harm: float) -> Floats:
    """An event is rarer than `harm`: k events among n. The evidence that lets a step advance, against CLEARS."""
    events, units = _columns(k, n)
    better = harm * SHARES_OF_HARM
    return np.asarray(events * np.log(better / harm) + (units - events) * np.log((1 - better) / (1 - harm)))


def margin_factors(
    k0: ArrayLike, k1: ArrayLike, n0: ArrayLike, n1: ArrayLike, bet0: ArrayLike, bet1: ArrayLike, margin: float
) -> Floats:
    """The candidate's rate of an event is higher by more than `margin`. [..., 1].

    The bets are what earlier windows say of the two rates. The factor is their likelihood over that of the nearest pair
    of rates (p, p + margin), which bisection finds.
    """
    events0, events1, units0, units1, rate0, rate1 = np.broadcast_arrays(
        *(np.asarray(one, float) for one in (k0, k1, n0, n1, bet0, bet1))
    )
    low, high = np.full(units1.shape, 1e-9), np.full(units1.shape, 1 - margin - 1e-9)
    for _ in range(BISECTIONS):
        p = (low + high) / 2
        q = p + margin
        slope = units1 * (q - rate1) / (q * (1 - q)) + units0 * (p - rate0) / (p * (1 - p))
        low, high = np.where(slope < 0, p, low), np.where(slope < 0, high, p)
    won = events1 * np.log(rate1 / q) + (units1 - events1) * np.log((1 - rate1) / (1 - q))
    won = won + events0 * np.log(rate0 / p) + (units0 - events0) * np.log((1 - rate0) / (1 - p))
    return np.where((rate1 - rate0 <= margin) | (units0 == 0) | (units1 == 0), 0.0, won)[..., None]


class Scores:
    """The total variation between the binned scores of both versions is beyond `floor`.

    It watches the bins that the candidate has filled more than its share until the window before.
    """

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._before: tuple[Floats, Floats] | None = None

    def factors(self, bins0: ArrayLike, bins1: ArrayLike) -> Floats:
        """`bins0`, `bins1`: counts of one window, [..., bins]. Returns [..., 1]."""
        now = np.asarray(bins0, float), np.asarray(bins1, float)
        before0, before1 = self._before or (np.zeros_like(now[0]), np.zeros_like(now[1]))
        seen0, seen1 = before0.sum(-1), before1.sum(-1)
        watched = (before1 + 0.1) / (seen1 + 1)[..., None] > (before0 + 0.1) / (seen0 + 1)[..., None]
        bet0, bet1 = (
            np.clip(((before * watched).sum(-1) + 0.5) / (seen + 1), 0.01, 0.99)
            for before, seen in ((before0, seen0), (before1, seen1))
        )
        self._before = before0 + now[0], before1 + now[1]
        k0, k1 = ((of * watched).sum(-1) for of in now)
        return margin_factors(k0, k1, now[0].sum(-1), now[1].sum(-1), bet0, bet1, self._floor)

    @property
    def variation(self) -> float:
        """The total variation between all scores so far: 0 equal, 1 disjoint; 0 before there are any."""
        if self._before is None or not all(of.sum() for of in self._before):
            return 0.0
        shares = [of / of.sum() for of in self._before]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)


def loss_factors(worse: ArrayLike, better: ArrayLike, n: ArrayLike, margin: float) -> Floats:
    """The candidate's mean loss is beyond the champion's plus `margin`: 0/1 losses of n rows that both answered.

    `worse`: rows that only the candidate got wrong; `better`: only the champion. Exchanged and with the margin negated
    it shows that it is not.
    """
    lost, won, rows = _columns(worse, better, n)
    stakes = STAKES / (1 + abs(margin))
    factors = lost * np.log1p(stakes * (1 - margin)) + won * np.log1p(-stakes * (1 + margin))
    return np.asarray(factors + (rows - lost - won) * np.log1p(-stakes * margin))


def assignment_evidence(n0: ArrayLike, n1: ArrayLike, weight: float, prior: float = 100.0) -> Floats:
    """Ln E that units do not go to the candidate with probability `weight`. n0, n1: all units so far."""
    a0, a1 = prior * (1 - weight), prior * weight
    units0, units1 = np.asarray(n0, float), np.asarray(n1, float)
    odds = units1 * np.log(weight) + units0 * np.log1p(-weight)
    return np.asarray(_log_beta(a1 + units1, a0 + units0) - _log_beta(np.asarray(a1), np.asarray(a0)) - odds)


def _columns(*arrays: ArrayLike) -> list[Floats]:
    return [np.asarray(one, float)[..., None] for one in arrays]


def _log_beta(a: Floats, b: Floats) -> Floats:
    return np.asarray(_LOG_GAMMA(a) + _LOG_GAMMA(b) - _LOG_GAMMA(a + b))


_LOG_GAMMA: Any = np.vectorize(lgamma, otypes=[float])
