"""CalibratedClassifierCV and classifiers with a chosen threshold."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.links import sigmoid
from onnxpress.converters.from_sklearn.piecewise import calibrated
from onnxpress.converters.from_sklearn.steps import EPS64, both_sides, classify, column, dense, flat, one_hot, row_sum

EMITTERS = Registry()


@EMITTERS.classifier("FrozenEstimator", checks_rows=False)
def frozen_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return classify(g, model.estimator, value, "estimator")


@EMITTERS.error_bound("FrozenEstimator")
def frozen_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return bounds.of(model.estimator, rows)


@EMITTERS.classifier("CalibratedClassifierCV", checks_rows=False)
def calibrated_classifier(g: Emission, model: Any, value: Value) -> Scores:
    """The mean over folds of each fold's calibrated probabilities."""
    total = ""
    for index, fold in enumerate(model.calibrated_classifiers_):
        with g.in_float64():
            scores = classify(g, fold.estimator, value, f"calibrated_classifiers_[{index}]")
        made = _fold(g, fold, scores)
        total = g.add("Add", total, made) if total else made
    return Scores(g.add("Div", total, g.double(float(len(model.calibrated_classifiers_)))))


def _fold(g: Emission, fold: Any, scores: Scores) -> str:
    classes = len(fold.classes)
    if len(fold.estimator.classes_) != classes:
        raise g.refused("a fold of its training lacked a class: train with more rows of each class")
    if fold.method == "temperature":
        return _tempered(g, fold, scores)
    has_decision = hasattr(fold.estimator, "decision_function")
    if has_decision and not scores.decision:
        raise g.refused(
            f"it calibrates the decision_function of {type(fold.estimator).__name__}, which cannot be emitted"
        )
    if classes == 2:
        response = scores.decision if has_decision else column(g, scores.probabilities, 1)
        return both_sides(g, _calibrate(g, fold.calibrators[0], response))
    response = scores.decision if has_decision else scores.probabilities
    made = [_calibrate(g, calibrator, column(g, response, place)) for place, calibrator in enumerate(fold.calibrators)]
    together = g.concat(made)
    total = row_sum(g, together)
    divided = g.add("Div", together, total)
    return g.add("Where", g.add("Equal", total, g.double(0.0)), g.double(1.0 / classes), divided)


def _calibrate(g: Emission, calibrator: Any, response: str) -> str:
    if type(calibrator).__name__ == "IsotonicRegression":
        return calibrated(g, calibrator, response)
    scaled = g.add("Mul", g.double(float(calibrator.a_)), response)
    return sigmoid(g, g.add("Neg", g.add("Add", scaled, g.double(float(calibrator.b_)))))


def _tempered(g: Emission, fold: Any, scores: Scores) -> str:
    """Softmax of the logits times beta; probabilities become logits by a logarithm."""
    if hasattr(fold.estimator, "decision_function"):
        if len(fold.classes) > 2 or not scores.decision:
            raise g.refused(
                "scikit-learn guesses from the whole batch whether a decision is a probability: use sigmoid"
            )
        logits = g.concat([g.add("Neg", scores.decision), scores.decision])
    else:
        logits = g.add("Log", g.add("Add", scores.probabilities, g.double(1e-12)))
    return g.add("Softmax", g.add("Mul", g.double(float(fold.calibrators[0].beta_)), logits), axis=1)


@EMITTERS.error_bound("CalibratedClassifierCV")
def calibrated_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The change of a calibrator's output when its input changes by a few units in the last place of float64."""
    lost = [_fold_error_bound(bounds, fold, rows) for fold in model.calibrated_classifiers_]
    return np.mean(lost, axis=0) + 8 * EPS64


def _fold_error_bound(bounds: ErrorBounds, fold: Any, rows: Any) -> Any:
    if hasattr(fold.estimator, "decision_function"):
        response = dense(fold.estimator.decision_function(rows)).reshape(rows.shape[0], -1)
    else:
        response = dense(fold.estimator.predict_proba(rows))
    moved = 256 * EPS64 * (np.abs(response) + 1.0) + bounds.of_boosters(fold.estimator, rows)
    if fold.method == "temperature":
        return (fold.calibrators[0].beta_ * moved / np.maximum(response, 1e-12)).max(axis=1, keepdims=True) + 64 * EPS64
    worst = np.zeros((len(response), 1))
    columns = range(response.shape[1]) if len(fold.classes) > 2 else [-1]
    total = np.zeros(len(response))
    for calibrator, place in zip(fold.calibrators, columns, strict=True):
        ends = [np.asarray(calibrator.predict(response[:, place] + sign * moved[:, place])) for sign in (-1, 0, 1)]
        worst[:, 0] += np.abs(ends[2] - ends[0])
        total += ends[1]
    if len(fold.classes) > 2:
        worst[:, 0] = np.minimum(2 * worst[:, 0] / np.maximum(total, 1e-300), 1.0)
    return np.nan_to_num(worst)


@EMITTERS.classifier("FixedThresholdClassifier", "TunedThresholdClassifierCV", checks_rows=False)
def thresholded(g: Emission, model: Any, value: Value) -> Scores:
    """The inner classifier's probabilities; the label by a threshold of its own."""
    with g.in_float64():
        scores = classify(g, model.estimator_, value, "estimator_")
    threshold = getattr(model, "best_threshold_", getattr(model, "threshold", 0.5))
    method = _method(model)
    response = scores.decision if method == "decision_function" else column(g, scores.probabilities, 1)
    if not response:
        raise g.refused("its decision_function cannot be emitted: use response_method='predict_proba'")
    if isinstance(threshold, str):  # "auto"
        threshold = 0.0 if method == "decision_function" else 0.5
    if getattr(model, "pos_label", None) not in (None, model.classes_[1]):
        raise g.refused("its pos_label is not the second class: swap the classes")
    place = flat(g, g.cast(g.add("GreaterOrEqual", response, g.double(float(threshold))), 7))
    made = scores.probabilities if hasattr(model, "predict_proba") else one_hot(g, place, 2)
    return Scores(made, place, scores.decision)


def _method(model: Any) -> str:
    chosen = getattr(model, "response_method", "auto")
    if chosen != "auto":
        return str(chosen)
    return "predict_proba" if hasattr(model.estimator_, "predict_proba") else "decision_function"


@EMITTERS.error_bound("FixedThresholdClassifier", "TunedThresholdClassifierCV")
def thresholded_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return bounds.of(model.estimator_, rows)
