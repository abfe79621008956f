"""Rules for every family's opened model: the order of calls, and tolerances."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from onnxpress.converters.convert import family_of
from onnxpress.converters.from_lightgbm import family as from_lightgbm
from onnxpress.converters.from_xgboost import family as from_xgboost
from onnxpress.protos.package_pb2 import Layout

ROWS = np.random.default_rng(3).normal(size=(400, 3)).astype(np.float32)
SURE = 1e-2


@pytest.mark.parametrize(
    ("family", "model"),
    [
        (from_xgboost.FAMILY, XGBClassifier(n_estimators=200, n_jobs=1)),
        (from_lightgbm.FAMILY, LGBMClassifier(n_estimators=200, n_jobs=1, verbose=-1)),
    ],
)
def test_complement_of_a_small_probability_may_be_one_float32_apart(family: Any, model: Any) -> None:
    """The tolerance of a probability near 1 is at least the distance of two float32 there."""
    model.fit(ROWS, ROWS[:, 0] > 0)
    frame = pd.DataFrame(ROWS, columns=["f0", "f1", "f2"])
    subject = family.open(model, frame, Layout.MATRIX)
    answer = subject.answer(frame.astype(np.float64))
    small = answer.outputs["probabilities"][:, 1] < SURE
    assert small.any()
    assert (answer.tolerance["probabilities"][small, 0] >= np.spacing(np.float32(0.5))).all()


@pytest.mark.parametrize(
    "model",
    [
        XGBClassifier(n_estimators=5, n_jobs=1),
        LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), XGBClassifier(n_estimators=5, n_jobs=1)),
    ],
    ids=["xgboost", "lightgbm", "sklearn", "sklearn with a booster"],
)
def test_the_methods_of_an_opened_model_may_be_called_in_any_order_and_again(model: Any) -> None:
    """In any order and number of calls the graph, outputs, splits and categories are the same."""
    frame = pd.DataFrame(ROWS, columns=["f0", "f1", "f2"])
    model.fit(frame, ROWS[:, 0] > 0)
    rows = frame.astype(np.float64)
    methods = {
        "compile": lambda subject: subject.compile().SerializeToString(),
        "answer": lambda subject: subject.answer(rows).outputs["probabilities"].tobytes(),
        "splits": lambda subject: {name: values.tobytes() for name, values in subject.splits().items()},
        "categories": lambda subject: subject.categories(),
    }
    results = []
    for order in (
        list(methods),
        list(reversed(methods)),
        ["splits", "splits", "answer", "compile", "compile", "categories"],
    ):
        subject = family_of(model).open(model, frame, "auto")
        called = [(name, methods[name](subject)) for name in order]
        assert all(result == dict(called)[name] for name, result in called)
        results.append(dict(called))
    assert results[0] == results[1] == results[2]
