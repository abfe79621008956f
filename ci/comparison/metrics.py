"""Metrics by scikit-learn's names, as functions of how often each row counts.

A bootstrap asks for one metric of thousands of resamples. A resample is the number of times that each row was drawn, so
a metric is prepared once (scores are sorted, losses computed) and then takes a matrix of such counts. Undefined values,
such as the area under the curve of one class, are NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.ci.comparison.errors import ComparisonError

Floats = NDArray[np.float64]
# Counts [resamples, rows] -> values [resamples].
Statistic = Callable[[Floats], Floats]
BINS = 10  # of the calibration error: of equal width


@dataclass(frozen=True)
class Answers:
    """What a version answers to the holdout, or what is true of it.

    label: index of the class, [rows]. probabilities: [rows, classes], FP32 as answered; None of a classifier without
    them. prediction: [rows], of a regressor. What a model does not have is None.
    """

    label: NDArray[np.int64] | None = None
    probabilities: NDArray[Any] | None = None
    prediction: Floats | None = None


@dataclass(frozen=True)
class Metric:
    """build: (true answers, a version's answers) -> statistic. needs: the field of Answers that it reads."""

    needs: str
    build: Callable[[Answers, Answers], Statistic]
    higher_is_better: bool
    binary: bool = False  # only for two classes; the second is the positive one

    def gain(self, champion: Floats, challenger: Floats) -> Floats:
        """The difference, positive where the challenger is better."""
        return challenger - champion if self.higher_is_better else champion - challenger


def find_metric(name: str, truth: Answers, classes: int) -> Metric:
    """The metric of that name, if it fits a model with so many classes (0: a regressor). Raises ComparisonError."""
    metric = METRICS.get(ALIASES.get(name, name))
    if metric is None:
        raise ComparisonError(f"there is no metric {name!r}; there are {', '.join(METRICS)}")
    if (metric.needs == "prediction") != (truth.prediction is not None):
        kind = "a regressor" if truth.prediction is not None else "a classifier"
        fitting = ", ".join(one for one, m in METRICS.items() if (m.needs == "prediction") == (not classes))
        raise ComparisonError(f"metric {name!r} is not for {kind}; there are {fitting}")
    if metric.binary and classes != 2:
        raise ComparisonError(f"metric {name!r} is for two classes, the model has {classes}: f1_macro, log_loss")
    return metric


def means(values: Floats) -> Statistic:
    """The mean of a value per row."""
    return lambda counts: counts @ values / counts.sum(axis=1)


def calibration_error(truth: Answers, answers: Answers) -> Statistic:
    """Expected calibration error: the mean distance of stated and observed frequency, over bins of equal width.

    Of the positive class of two, else of the class that is answered.
    """
    stated, happened = confidence(truth, answers)
    bins = bin_of(stated)
    excess = np.zeros((len(stated), BINS))
    excess[np.arange(len(stated)), bins] = stated - happened
    return lambda counts: np.abs(counts @ excess).sum(axis=1) / counts.sum(axis=1)


def confidence(truth: Answers, answers: Answers) -> tuple[Floats, Floats]:
    """(the stated probability, whether it happened), each [rows]."""
    probabilities = _probabilities(answers)
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], (_labels(truth) == 1).astype(np.float64)
    best = probabilities.argmax(axis=1)
    return probabilities.max(axis=1), (_labels(truth) == best).astype(np.float64)


def bin_of(stated: Floats) -> NDArray[np.int64]:
    return np.clip((stated * BINS).astype(np.int64), 0, BINS - 1)


def _labels(answers: Answers) -> NDArray[np.int64]:
    assert answers.label is not None, "the metric fits the model"
    return answers.label


def _probabilities(answers: Answers) -> Floats:
    assert answers.probabilities is not None, "the metric fits the model"
    return answers.probabilities.astype(np.float64)


def _predictions(answers: Answers) -> Floats:
    assert answers.prediction is not None, "the metric fits the model"
    return answers.prediction.astype(np.float64)


def _accuracy(truth: Answers, answers: Answers) -> Statistic:
    return means((_labels(truth) == _labels(answers)).astype(np.float64))


def _f1_of(truth: Answers, answers: Answers, place: int) -> Statistic:
    true, said = _labels(truth) == place, _labels(answers) == place
    right, named = (true & said).astype(np.float64), true.astype(np.float64) + said

    def statistic(counts: Floats) -> Floats:
        total = counts @ named
        return np.asarray(np.divide(2 * (counts @ right), total, out=np.zeros(len(counts)), where=total > 0))

    return statistic


def _f1(truth: Answers, answers: Answers) -> Statistic:
    return _f1_of(truth, answers, 1)


def _f1_macro(truth: Answers, answers: Answers) -> Statistic:
    """The mean over the classes that occur in truth or answers."""
    places = np.union1d(_labels(truth), _labels(answers))
    each = [_f1_of(truth, answers, int(place)) for place in places]
    return lambda counts: np.mean([one(counts) for one in each], axis=0)


def _log_loss(truth: Answers, answers: Answers) -> Statistic:
    assert answers.probabilities is not None, "the metric fits the model"
    rows = np.arange(len(_labels(truth)))
    least = np.finfo(answers.probabilities.dtype).eps  # as scikit-learn limits it
    return means(-np.log(np.clip(_probabilities(answers)[rows, _labels(truth)], least, 1 - least)))


def brier(truth: Answers, answers: Answers) -> Statistic:
    """Squared error of the probabilities: of the positive class of two, else summed over the classes."""
    probabilities = _probabilities(answers)
    if probabilities.shape[1] == 2:
        return means((probabilities[:, 1] - (_labels(truth) == 1)) ** 2)
    happened = np.eye(probabilities.shape[1])[_labels(truth)]
    return means(((probabilities - happened) ** 2).sum(axis=1))


@dataclass(frozen=True)
class Ranking:
    """Rows in descending order of their score, and where each group of equal scores begins."""

    order: NDArray[np.int64]
    begins: NDArray[np.int64]
    positive: Floats  # whether the row in that place is of the positive class

    @classmethod
    def of(cls, truth: Answers, answers: Answers) -> "Ranking":
        scores = _probabilities(answers)[:, 1]
        order = np.argsort(-scores, kind="stable")
        begins = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
        return cls(order, begins, (_labels(truth)[order] == 1).astype(np.float64))

    def groups(self, counts: Floats) -> tuple[Floats, Floats]:
        """(positive, negative) rows in each group of equal scores: [resamples, groups]."""
        drawn = counts[:, self.order]
        positive = drawn * self.positive
        hits = np.add.reduceat(positive, self.begins, axis=1)
        return hits, np.add.reduceat(drawn, self.begins, axis=1) - hits


def _roc_auc(truth: Answers, answers: Answers) -> Statistic:
    ranking = Ranking.of(truth, answers)

    def statistic(counts: Floats) -> Floats:
        hits, misses = ranking.groups(counts)
        above = np.cumsum(hits, axis=1) - hits / 2  # positives above each group, and half of those in it
        pairs = hits.sum(axis=1) * misses.sum(axis=1)
        won: Floats = (above * misses).sum(axis=1)
        return np.asarray(np.divide(won, pairs, out=np.full(len(counts), np.nan), where=pairs > 0))

    return statistic


def _average_precision(truth: Answers, answers: Answers) -> Statistic:
    ranking = Ranking.of(truth, answers)

    def statistic(counts: Floats) -> Floats:
        hits, misses = ranking.groups(counts)
        found = np.cumsum(hits, axis=1)
        named = found + np.cumsum(misses, axis=1)
        precision = np.divide(found, named, out=np.zeros_like(found), where=named > 0)
        total = found[:, -1]
        summed: Floats = (precision * hits).sum(axis=1)
        return np.asarray(np.divide(summed, total, out=np.full(len(counts), np.nan), where=total > 0))

    return statistic


def _mse(truth: Answers, answers: Answers) -> Statistic:
    return means((_predictions(truth) - _predictions(answers)) ** 2)


def _rmse(truth: Answers, answers: Answers) -> Statistic:
    squared = _mse(truth, answers)
    return lambda counts: np.sqrt(squared(counts))


def _mae(truth: Answers, answers: Answers) -> Statistic:
    return means(np.abs(_predictions(truth) - _predictions(answers)))


def _r2(truth: Answers, answers: Answers) -> Statistic:
    true = _predictions(truth)
    true = true - true.mean()  # so that the squares below do not cancel
    squared, mean, mean_square = _mse(truth, answers), means(true), means(true**2)

    def statistic(counts: Floats) -> Floats:
        variance = mean_square(counts) - mean(counts) ** 2
        ratio = np.divide(squared(counts), variance, out=np.full(len(counts), np.nan), where=variance > 0)
        return np.asarray(1 - ratio)

    return statistic


METRICS = {
    "roc_auc": Metric("probabilities", _roc_auc, higher_is_better=True, binary=True),
    "average_precision": Metric("probabilities", _average_precision, higher_is_better=True, binary=True),
    "log_loss": Metric("probabilities", _log_loss, higher_is_better=False),
    "brier": Metric("probabilities", brier, higher_is_better=False),
    "accuracy": Metric("label", _accuracy, higher_is_better=True),
    "f1": Metric("label", _f1, higher_is_better=True, binary=True),
    "f1_macro": Metric("label", _f1_macro, higher_is_better=True),
    "r2": Metric("prediction", _r2, higher_is_better=True),
    "mse": Metric("prediction", _mse, higher_is_better=False),
    "rmse": Metric("prediction", _rmse, higher_is_better=False),
    "mae": Metric("prediction", _mae, higher_is_better=False),
}
# What scikit-learn's scorers are called.
ALIASES = {
    "neg_log_loss": "log_loss",
    "neg_brier_score": "brier",
    "neg_mean_squared_error": "mse",
    "neg_root_mean_squared_error": "rmse",
    "neg_mean_absolute_error": "mae",
}
