"""Metrics as functions of how often each row counts, against scikit-learn with the same sample weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from onnxpress.ci.comparison.errors import ComparisonError
from onnxpress.ci.comparison.metrics import METRICS, Answers, calibration_error, find_metric

ROWS = 400


def classifier(classes: int, seed: int = 1) -> tuple[Answers, Answers]:
    """True answers, and those of a version; scores of two decimals, so that many are equal."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, ROWS)
    odds = rng.random((ROWS, classes)) + np.eye(classes)[label] * 0.6
    stated = np.round(odds / odds.sum(axis=1, keepdims=True), 2)
    stated[:, -1] = 1 - stated[:, :-1].sum(axis=1)
    stated = np.clip(stated, 0.01, 0.99)
    return Answers(label=label), Answers(label=stated.argmax(axis=1), probabilities=stated)


def regressor(seed: int = 2) -> tuple[Answers, Answers]:
    rng = np.random.default_rng(seed)
    true = rng.normal(1e3, 5, ROWS)
    return Answers(prediction=true), Answers(prediction=true + rng.normal(0, 2, ROWS))


def counts(resamples: int = 20) -> np.ndarray:
    rng = np.random.default_rng(3)
    drawn = [np.bincount(rng.integers(0, ROWS, ROWS), minlength=ROWS) for _ in range(resamples)]
    return np.array([np.ones(ROWS), *drawn], float)


SKLEARN: dict[str, Callable[[Answers, Answers, np.ndarray], Any]] = {
    "roc_auc": lambda t, a, w: sk.roc_auc_score(t.label, a.probabilities[:, 1], sample_weight=w),
    "average_precision": lambda t, a, w: sk.average_precision_score(t.label, a.probabilities[:, 1], sample_weight=w),
    "log_loss": lambda t, a, w: sk.log_loss(t.label, a.probabilities, sample_weight=w),
    "brier": lambda t, a, w: sk.brier_score_loss(t.label, a.probabilities[:, 1], sample_weight=w),
    "accuracy": lambda t, a, w: sk.accuracy_score(t.label, a.label, sample_weight=w),
    "f1": lambda t, a, w: sk.f1_score(t.label, a.label, sample_weight=w),
    "f1_macro": lambda t, a, w: sk.f1_score(t.label, a.label, average="macro", sample_weight=w),
    "r2": lambda t, a, w: sk.r2_score(t.prediction, a.prediction, sample_weight=w),
    "mse": lambda t, a, w: sk.mean_squared_error(t.prediction, a.prediction, sample_weight=w),
    "rmse": lambda t, a, w: sk.mean_squared_error(t.prediction, a.prediction, sample_weight=w) ** 0.5,
    "mae": lambda t, a, w: sk.mean_absolute_error(t.prediction, a.prediction, sample_weight=w),
}


@pytest.mark.parametrize("name", [*METRICS])
def test_figures_equal_those_of_scikit_learn(name: str) -> None:
    """On all rows and on resamples, with equal scores among them."""
    truth, answers = regressor() if METRICS[name].needs == "prediction" else classifier(2)
    told = METRICS[name].build(truth, answers)(counts())
    assert told == pytest.approx([SKLEARN[name](truth, answers, weights) for weights in counts()], rel=1e-9)


def test_three_classes() -> None:
    """Losses that are defined for them, as scikit-learn has them."""
    truth, answers = classifier(3)
    answers = Answers(answers.label, answers.probabilities / answers.probabilities.sum(axis=1, keepdims=True))
    for name in ("log_loss", "accuracy", "f1_macro"):
        told = find_metric(name, truth, 3).build(truth, answers)(counts())
        assert told == pytest.approx([SKLEARN[name](truth, answers, weights) for weights in counts()], rel=1e-9)


def test_the_calibration_error() -> None:
    """Zero where what is stated happens as often, and the distance where it does not."""
    stated = np.repeat([[0.75, 0.25]], ROWS, axis=0)
    for share, error in ((0.25, 0.0), (0.65, 0.4)):
        truth = Answers(label=(np.arange(ROWS) < share * ROWS).astype(int))
        told = calibration_error(truth, Answers(probabilities=stated))(np.ones((1, ROWS)))
        assert told == pytest.approx([error])


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [("auc", 2, "no metric 'auc'"), ("mae", 2, "not for a classifier"), ("roc_auc", 3, "for two classes")],
)
def test_metrics_that_do_not_fit(name: str, classes: int, message: str) -> None:
    """The error says which do."""
    with pytest.raises(ComparisonError, match=message):
        find_metric(name, classifier(classes)[0], classes)
    assert find_metric("neg_mean_absolute_error", regressor()[0], 0) is METRICS["mae"]
