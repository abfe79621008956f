"""The paired bootstrap, against scipy's on the same rows, and how often equal versions pass."""

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from onnxpress.ci.comparison.bootstrap import Gain, Paired, gain_of, resample
from onnxpress.ci.comparison.metrics import METRICS, Answers

MIN_GAIN = 0.002


def versions(seed: int, rows: int, better: float = 0.0) -> tuple[np.ndarray, Answers, Answers]:
    """Labels, and two versions whose scores have the same signal and noise of their own."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    common = rng.normal(size=rows) + label
    made = []
    for signal in (0.0, better):
        score = 1 / (1 + np.exp(-(common + signal * label + 0.5 * rng.normal(size=rows))))
        made.append(Answers(probabilities=np.stack([1 - score, score], 1)))
    return label, made[0], made[1]


def gained(seed: int, rows: int = 500, resamples: int = 500, better: float = 0.0, metric: str = "roc_auc") -> Gain:
    label, champion, challenger = versions(seed, rows, better)
    truth, of = Answers(label=label), METRICS[metric]
    pair = Paired(of, of.build(truth, champion), of.build(truth, challenger))
    return gain_of(pair, rows, resample([pair], rows, resamples, seed)[0])


def passes(gain: Gain) -> bool:
    """At least the gain that was asked for, and surely one at all."""
    return gain.gain >= MIN_GAIN and gain.low > 0


def test_the_interval_is_that_of_scipy() -> None:
    """The percentile interval of the difference of areas, rows drawn in pairs; both have their own random numbers."""
    label, champion, challenger = versions(5, 400, better=0.3)
    ours = gained(5, 400, 4000, better=0.3)
    scores = champion.probabilities[:, 1], challenger.probabilities[:, 1]

    def difference(label: np.ndarray, old: np.ndarray, new: np.ndarray) -> float:
        return float(roc_auc_score(label, new) - roc_auc_score(label, old))

    theirs = bootstrap(
        (label, *scores), difference, paired=True, vectorized=False, n_resamples=2000, method="percentile",
        random_state=1,
    ).confidence_interval  # fmt: skip
    assert ours.gain == pytest.approx(difference(label, *scores), abs=1e-12)
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.08 * width)


@pytest.mark.parametrize("metric", ["roc_auc", "brier"])
def test_equal_challengers_rarely_pass(metric: str) -> None:
    """Of 200 equal ones at most 5 % pass a minimum gain above 0."""
    assert sum(passes(gained(seed, metric=metric)) for seed in range(200)) <= 10


def test_better_challengers_pass() -> None:
    """A clear gain is seen in every one of twenty holdouts."""
    assert all(passes(gained(seed, 1000, better=0.8)) for seed in range(20))


def test_no_interval_where_the_metric_is_often_undefined() -> None:
    """An area needs both classes: with one row of a class a third of the resamples has none."""
    label = np.zeros(50, int)
    label[0] = 1
    scores = np.linspace(0, 1, 50)
    answers = Answers(probabilities=np.stack([1 - scores, scores], 1))
    of = METRICS["roc_auc"]
    pair = Paired(of, of.build(Answers(label=label), answers), of.build(Answers(label=label), answers))
    gain = gain_of(pair, 50, resample([pair], 50, 300)[0])
    assert (gain.gain, np.isnan(gain.low), np.isnan(gain.high)) == (0.0, True, True)
