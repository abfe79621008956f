"""Dummy estimators, whose outputs do not depend on the row."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, Registry, Scores, Value
from onnxpress.converters.from_sklearn.steps import row_sum

EMITTERS = Registry()


def every_row(g: Emission, value: Value, constant: Any) -> str:
    """The constant [1, outputs] repeated for each row: DOUBLE [rows, outputs]."""
    rows = g.add("Gather", g.add("Shape", value.parts[0].tensor), g.int64(0))
    shape = g.add("Concat", rows, g.int64(1), axis=0)
    return g.add("Expand", g.double(np.asarray(constant, np.float64).reshape(1, -1)), shape)


@EMITTERS.regressor("DummyRegressor", checks_rows=False)
def dummy_regressor(g: Emission, model: Any, value: Value) -> str:
    return every_row(g, value, model.constant_)


@EMITTERS.classifier("DummyClassifier", checks_rows=False)
def dummy_classifier(g: Emission, model: Any, value: Value) -> Scores:
    if model.strategy in ("stratified", "uniform"):
        raise g.refused(f"its strategy {model.strategy!r} draws labels at random: use most_frequent, prior or constant")
    nothing = np.zeros((1, getattr(model, "n_features_in_", 1)))
    label = list(model.classes_).index(model.predict(nothing)[0])
    made = every_row(g, value, model.predict_proba(nothing))
    zero = g.add("Squeeze", row_sum(g, g.add("Mul", made, g.double(0.0))), g.int64(1))
    return Scores(made, g.add("Add", g.cast(zero, 7), g.int64(label)))
