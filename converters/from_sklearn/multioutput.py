"""One estimator for each target or class: MultiOutputRegressor, RegressorChain, OneVsRest, OneVsOne."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Part, Registry, Scores, Value
from onnxpress.converters.from_sklearn.ensembles import unsure, winner
from onnxpress.converters.from_sklearn.links import normalized
from onnxpress.converters.from_sklearn.steps import (
    EPS64,
    both_sides,
    classify,
    column,
    dense,
    first_of_largest,
    flat,
    gives_probabilities,
    one_hot,
    regress,
    row_sum,
    tie_mask,
)
from onnxpress.converters.graph.builder import INT64

EMITTERS = Registry()


@EMITTERS.regressor("MultiOutputRegressor", checks_rows=False)
def multi_output(g: Emission, model: Any, value: Value) -> str:
    return g.concat(
        regress(g, estimator, value, f"estimators_[{index}]") for index, estimator in enumerate(model.estimators_)
    )


@EMITTERS.error_bound("MultiOutputRegressor")
def multi_output_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    parts = [bounds.of(estimator, rows) + np.zeros((rows.shape[0], 1)) for estimator in model.estimators_]
    return np.concatenate(parts, axis=1)


@EMITTERS.regressor("RegressorChain", checks_rows=False)
def chain(g: Emission, model: Any, value: Value) -> str:
    """Each estimator receives the rows and the predictions of those before it, in float64 throughout."""
    made: list[str] = []
    for index, estimator in enumerate(model.estimators_):
        seen = Value((*value.parts, *(Part(tensor, (None,)) for tensor in made)))
        with g.in_float64():
            made.append(regress(g, estimator, seen, f"estimators_[{index}]"))
    return g.columns(g.concat(made), np.argsort(model.order_).tolist())


@EMITTERS.error_bound("RegressorChain")
def chain_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The largest error of any estimator on rows with the others' own predictions."""
    said = dense(model.predict(rows))
    lost = []
    for index, estimator in enumerate(model.estimators_):
        before = said[:, [model.order_[place] for place in range(index)]]
        seen = np.hstack([dense(rows), before])
        lost.append(bounds.of(estimator, seen) + np.zeros((len(said), 1)))
    return np.sum(lost, axis=0) * len(lost)


@EMITTERS.classifier("OneVsRestClassifier", checks_rows=False)
def one_vs_rest(g: Emission, model: Any, value: Value) -> Scores:
    if model.multilabel_:
        raise g.refused("it answers several labels at once: train a classifier for each")
    binary = [
        classify(g, estimator, value, f"estimators_[{index}]") for index, estimator in enumerate(model.estimators_)
    ]
    responses = [_confidence(g, scores, estimator) for scores, estimator in zip(binary, model.estimators_, strict=True)]
    together = g.concat(responses)
    if len(responses) == 1:
        threshold = 0.0 if hasattr(model.estimators_[0], "decision_function") else 0.5
        place = flat(g, g.cast(g.add("Greater", together, g.double(threshold)), INT64))
    else:
        place = first_of_largest(g, together)
    decision = together if hasattr(model, "decision_function") else ""
    if not gives_probabilities(model):
        return Scores(one_hot(g, place, max(len(responses), 2)), place, decision)
    positive = g.concat(column(g, scores.probabilities, 1) for scores in binary)
    if len(responses) == 1:
        return Scores(both_sides(g, positive), place, decision)
    nothing = g.add("Equal", row_sum(g, positive), g.double(0.0))
    return Scores(g.add("Where", nothing, positive, normalized(g, positive)), place, decision)


def _confidence(g: Emission, scores: Scores, estimator: Any) -> str:
    """The score of the positive class [rows, 1]: decision_function where there is one."""
    if not hasattr(estimator, "decision_function"):
        return column(g, scores.probabilities, 1)
    if not scores.decision:
        raise g.refused(f"the decision_function of {type(estimator).__name__} cannot be emitted")
    return scores.decision


@EMITTERS.error_bound("OneVsRestClassifier")
def one_vs_rest_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """Errors of the parts over their sum; without probabilities, ties of the parts' scores."""
    lost = np.sum(
        [np.max(bounds.of(estimator, rows) + np.zeros((rows.shape[0], 1)), axis=1) for estimator in model.estimators_],
        axis=0,
    )
    if not gives_probabilities(model):
        decision = dense(model.decision_function(rows)).reshape(rows.shape[0], -1)
        return tie_mask(decision, 256 * EPS64 * (1 + np.abs(decision)))
    total = np.sum([dense(estimator.predict_proba(rows))[:, 1] for estimator in model.estimators_], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.minimum(2 * (lost + 8 * EPS64) / total, 1.0)).reshape(-1, 1)


@EMITTERS.classifier("OneVsOneClassifier", checks_rows=False)
def one_vs_one(g: Emission, model: Any, value: Value) -> Scores:
    """Votes of each pair, ties broken by the sum of confidences, as scikit-learn's _ovr_decision_function."""
    if model.pairwise_indices_ is not None:
        raise g.refused("its estimators take a precomputed kernel")
    classes = len(model.classes_)
    votes: list[str] = []
    sums: list[str] = []
    with g.in_float64():
        said = [
            classify(g, estimator, value, f"estimators_[{index}]") for index, estimator in enumerate(model.estimators_)
        ]
    pairs = [(first, second) for first in range(classes) for second in range(first + 1, classes)]
    won, confidence = np.zeros((2 * len(pairs), classes)), np.zeros((len(pairs), classes))
    for index, (first, second) in enumerate(pairs):
        won[2 * index, first] = won[2 * index + 1, second] = 1.0
        confidence[index, first], confidence[index, second] = -1.0, 1.0
    votes = [one_hot(g, winner(g, scores), 2) for scores in said]
    sums = [_confidence(g, scores, estimator) for scores, estimator in zip(said, model.estimators_, strict=True)]
    total = g.add("MatMul", g.concat(votes), g.double(won))
    spread = g.add("MatMul", g.concat(sums), g.double(confidence))
    below = g.add("Mul", g.double(3.0), g.add("Add", g.add("Abs", spread), g.double(1.0)))
    decision = g.add("Add", total, g.add("Div", spread, below))
    if classes == 2:
        threshold = 0.0 if hasattr(model.estimators_[0], "decision_function") else 0.5
        place = flat(g, g.cast(g.add("Greater", column(g, decision, 1), g.double(threshold)), INT64))
    else:
        place = first_of_largest(g, decision)
    return Scores(one_hot(g, place, classes), place, decision if classes > 2 else column(g, decision, 1))


@EMITTERS.error_bound("OneVsOneClassifier")
def one_vs_one_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """1 (any class is accepted) where rounding may change a pair's vote, or the votes and confidences tie."""
    decision = dense(model.decision_function(rows)).reshape(rows.shape[0], -1)
    pairs = [
        unsure(bounds, estimator, rows).max(axis=1, keepdims=True) + np.zeros((len(decision), 1))
        for estimator in model.estimators_
    ]
    return np.maximum(np.max(pairs, axis=0), tie_mask(decision, 256 * EPS64 * (1 + np.abs(decision))))
