"""scikit-learn's models: their schema, the splits they report, what is refused and how."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from onnxpress import ConversionRefused
from onnxpress.converters import sample as samples
from onnxpress.converters.from_sklearn.family import FAMILY, REGISTRY
from onnxpress.converters.runtime import Session
from onnxpress.protos.package_pb2 import Layout, Task
from tests.converters.matrix import sklearn_data as data


class Doubled(TransformerMixin, BaseEstimator):
    """A user-defined transformer."""

    def fit(self, _rows: Any, _target: Any = None) -> "Doubled":
        self.n_features_in_ = _rows.shape[1]
        return self

    def transform(self, rows: Any) -> Any:
        return np.asarray(rows) * 2


def run(
    model: Any, sample: Any, probes: Any = None, layout: str = "auto"
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """The compiled model's answers, the original's, and the tolerances, on the sample or on `probes` rows like it."""
    frame = samples.frame_of(sample)
    subject = FAMILY.open(model, frame, layout)
    rows = samples.typed(samples.frame_of(frame if probes is None else probes), subject.schema)
    compiled = Session(subject.compile().SerializeToString()).run(samples.feeds(rows, subject.schema))
    answer = subject.answer(rows)
    return compiled, answer.outputs, answer.tolerance


def near(split: float) -> NDArray[np.float64]:
    """The float32 values around a split."""
    middle = np.float32(split)
    ends = np.float32(-np.inf), np.float32(np.inf)
    return np.array([np.nextafter(middle, ends[0]), middle, np.nextafter(middle, ends[1])], np.float64)


def test_numbers_are_one_input_and_text_makes_columns() -> None:
    """Numbers alone give the matrix layout, text the columns layout, with each column's name, place and type."""
    rows = data.numbers()
    subject = FAMILY.open(LinearRegression().fit(rows, data.margin(rows)), samples.frame_of(rows), "auto")
    assert (subject.schema.layout, subject.schema.task, subject.schema.targets) == (Layout.MATRIX, Task.REGRESSOR, 1)
    frame = data.customers()
    encoded = ColumnTransformer([("text", OneHotEncoder(), ["plan"])], remainder="drop")
    model = make_pipeline(encoded, LogisticRegression()).fit(frame, data.churned(frame))
    subject = FAMILY.open(model, frame, "auto")
    assert subject.schema.layout == Layout.COLUMNS
    assert subject.schema.classes == ("No", "Yes")
    assert [(column.name, column.datatype) for column in subject.schema.columns[:4]] == [
        ("plan", "BYTES"),
        ("payment method", "BYTES"),
        ("tenure", "INT64"),
        ("Größe in m²", "FP64"),
    ]


def test_a_sample_may_carry_the_target_and_its_columns_in_another_order() -> None:
    """The columns that the model was trained on are selected by name, in its order."""
    frame = data.customers()[["tenure", "monthly"]]
    model = LinearRegression().fit(frame, frame["monthly"] * 2)
    subject = FAMILY.open(model, frame[["monthly", "tenure"]].assign(churn=1), "auto")
    assert [column.name for column in subject.schema.columns] == ["tenure", "monthly"]


def test_a_sample_with_too_many_unnamed_columns_is_refused() -> None:
    """For a model without column names, a sample of another width is refused."""
    rows = data.numbers()
    model = LinearRegression().fit(rows[:, :4], data.margin(rows))
    with pytest.raises(ConversionRefused, match="5 columns, the model was trained on 4"):
        FAMILY.open(model, samples.frame_of(rows), "auto")


def test_splits_behind_a_scaler_are_named_in_the_clients_units() -> None:
    """At each reported split the answers of the original and the compiled model change between neighbours."""
    rows = data.numbers()
    model = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=2, random_state=0)).fit(
        rows, data.margin(rows)
    )
    subject = FAMILY.open(model, samples.frame_of(rows), "auto")
    splits = subject.splits()
    root = int(model[-1].tree_.feature[0])
    expected = model[-1].tree_.threshold[0] * model[0].scale_[root] + model[0].mean_[root]
    found = splits[f"f{root}"]
    assert np.abs(found - expected).min() < 1e-6 * abs(expected)
    probes = np.repeat(rows[:1], 3 * len(found), axis=0)
    probes[:, root] = np.concatenate([near(split) for split in found])
    compiled, original, tolerance = run(model, rows, probes)
    assert len(np.unique(original["prediction"])) > 1
    assert (np.abs(compiled["prediction"] - original["prediction"]) <= tolerance["prediction"]).all()


@pytest.mark.parametrize("step", [FunctionTransformer(np.log1p), StandardScaler(), MinMaxScaler(), RobustScaler()])
def test_a_split_behind_a_step_falls_on_the_originals_side(step: Any) -> None:
    """Doubles next to a split take the original's branch, after scalers and after logarithms."""
    rows = np.exp(data.standard(data.numbers()))
    model = make_pipeline(step, HistGradientBoostingRegressor(max_iter=20, random_state=0))
    model.fit(rows, data.margin(rows))
    subject = FAMILY.open(model, samples.frame_of(rows), "columns")
    probes = []
    for place, column in enumerate(subject.schema.columns):
        for split in subject.splits()[column.name]:
            base = np.repeat(rows[:1], 5, axis=0)
            base[:, place] = split + np.spacing(split) * np.arange(-2, 3)
            probes.append(base)
    compiled, original, tolerance = run(model, rows, np.concatenate(probes), "columns")
    assert len(probes) > 50
    assert (np.abs(compiled["prediction"] - original["prediction"]) <= tolerance["prediction"]).all()


def test_missing_text_is_sent_as_the_empty_text() -> None:
    """The compiled model reads "" as the training frame's marker of a missing cell."""
    for mark in (None, float("nan")):
        frame = pd.DataFrame({"plan": pd.Series(["a", mark, "b", mark, "a", "b"] * 20, dtype=object), "x": range(120)})
        label = np.array([0, 1, 0, 1, 0, 0] * 20)
        encoded = ColumnTransformer([("text", OneHotEncoder(handle_unknown="ignore"), ["plan"])])
        model = make_pipeline(encoded, LogisticRegression()).fit(frame, label)
        compiled, original, _ = run(model, frame)
        assert list(compiled["label"][:3]) == [0, 1, 0]
        assert (compiled["label"] == original["label"]).all()


def test_a_category_that_the_original_refuses_is_answered_nan() -> None:
    """With handle_unknown="error" the original raises, and the compiled model returns NaN."""
    frame = data.customers()
    encoded = ColumnTransformer([("text", OneHotEncoder(), ["plan"])])
    model = make_pipeline(encoded, LogisticRegression()).fit(frame, data.churned(frame))
    subject = FAMILY.open(model, frame, "auto")
    rows = samples.typed(frame.head(2).assign(plan=["pro", "never seen"]), subject.schema)
    with pytest.raises(ValueError, match="unknown categories"):
        subject.answer(rows)
    compiled = Session(subject.compile().SerializeToString()).run(samples.feeds(rows, subject.schema))
    assert np.isnan(compiled["probabilities"]).tolist() == [[False, False], [True, True]]


def test_rows_that_the_original_refuses_are_answered_nan() -> None:
    """For NaN and infinity a linear model raises, and the compiled model returns NaN."""
    rows = data.numbers()
    model = LogisticRegression(max_iter=1000).fit(data.standard(rows), data.binary(rows))
    subject = FAMILY.open(model, samples.frame_of(rows), "auto")
    feed = np.zeros((3, 5), np.float32)
    feed[1, 2], feed[2, 4] = np.nan, np.inf
    compiled = Session(subject.compile().SerializeToString()).run({"input": feed})
    assert np.isnan(compiled["probabilities"]).all(axis=1).tolist() == [False, True, True]


def test_a_classifier_without_probabilities_gives_1_to_its_label() -> None:
    """`probabilities` is 1 for the label and 0 for the other classes."""
    rows = data.numbers()
    model = RidgeClassifier().fit(rows, data.text_classes(rows))
    compiled, original, _ = run(model, rows)
    assert (compiled["label"] == original["label"]).all()
    assert (np.array(model.classes_)[compiled["probabilities"].argmax(axis=1)] == original["label"]).all()
    assert set(np.unique(compiled["probabilities"])) == {0.0, 1.0}


def test_the_tolerance_never_reaches_across_a_split() -> None:
    """The smallest change at a split is thousands of times the tolerance."""
    rows = data.numbers()
    model = RandomForestClassifier(n_estimators=20, random_state=0).fit(rows, data.classes(rows))
    _, _, tolerance = run(model, rows)
    assert tolerance["probabilities"].max() < 1e-3 / 20


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Doubled(), r"step Pipeline > own \(Doubled\): .*not supported as a transformer"),
        (
            FunctionTransformer(np.nan_to_num),
            r"step Pipeline > own \(FunctionTransformer\): it calls the Python function nan_to_num",
        ),
        (FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}), "clip with arguments"),
    ],
)
def test_unsupported_steps_are_refused_by_name(step: Any, reason: str) -> None:
    """The refusal names the step, its class and an alternative."""
    rows = data.numbers()
    model = Pipeline([("own", step), ("tree", DecisionTreeClassifier(max_depth=2))]).fit(rows, data.binary(rows))
    with pytest.raises(ConversionRefused, match=reason):
        FAMILY.open(model, samples.frame_of(rows), "auto").compile()


def test_an_estimator_in_an_odd_state_is_refused_and_never_crashes() -> None:
    """Any error while a step's attributes are read becomes a refusal that names the step."""
    rows = data.numbers()
    model = make_pipeline(StandardScaler(), DecisionTreeRegressor()).fit(rows, data.margin(rows))
    subject = FAMILY.open(model, samples.frame_of(rows), "auto")
    del model[0].mean_
    with pytest.raises(
        ConversionRefused, match=r"standardscaler \(StandardScaler\): it cannot be read: AttributeError"
    ):
        subject.compile()


def test_several_outputs_of_a_classifier_are_refused() -> None:
    """A classifier with several outputs is refused, since `label` holds one for each row."""
    rows = data.numbers()
    model = DecisionTreeClassifier(max_depth=2).fit(rows, data.labels(rows))
    with pytest.raises(ConversionRefused, match="several outputs"):
        FAMILY.open(model, samples.frame_of(rows), "auto")


def test_a_failed_error_bound_stops_the_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while a bound is computed refuses the conversion; it does not count as the original's refusal."""
    rows = data.numbers()
    model = LinearRegression().fit(rows, data.margin(rows))
    subject = FAMILY.open(model, samples.frame_of(rows), "auto")
    monkeypatch.setitem(REGISTRY.error_bounds, "LinearRegression", lambda *_: 1 / 0)
    with pytest.raises(ConversionRefused, match="cannot be bounded"):
        subject.answer(samples.typed(samples.frame_of(rows), subject.schema))
