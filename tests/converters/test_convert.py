"""convert(): from a model and rows to a package with its manifest."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from onnxpress import ConversionRefused, convert
from onnxpress.converters.convert import UNFORESEEN
from onnxpress.converters.progress import Step
from onnxpress.converters.runtime import Session
from onnxpress.protos.package_pb2 import Layout, Task

ROWS = np.random.default_rng(0).normal(size=(150, 3))


def people(rows: int = 150) -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "größe ü": random.normal(size=rows),
            "plan": random.choice(["mini", "maxi"], rows),
            "visits": random.integers(0, 9, rows),
            "active": random.random(rows) < 0.5,
        }
    )


def test_the_manifest_of_a_matrix() -> None:
    """The manifest has one FP32 input, the outputs of a classifier, opsets, sizes and libraries."""
    model = XGBClassifier(n_estimators=4).fit(ROWS, (ROWS[:, 0] > 0).astype(int))
    manifest = convert(model, ROWS, name="churn", digest="ab").manifest
    assert (manifest.format, manifest.name, manifest.task, manifest.layout) == (
        1,
        "churn",
        Task.CLASSIFIER,
        Layout.MATRIX,
    )
    assert [(port.name, port.datatype, list(port.shape)) for port in manifest.inputs] == [("input", "FP32", [-1, 3])]
    assert [(port.name, port.datatype, list(port.shape)) for port in manifest.outputs] == [
        ("label", "INT64", [-1]),
        ("probabilities", "FP32", [-1, 2]),
    ]
    assert list(manifest.classes) == ["0", "1"]
    assert [feature.name for feature in manifest.features] == ["f0", "f1", "f2"]
    assert (manifest.source.framework, manifest.source.estimator, manifest.source.digest) == (
        "xgboost",
        "XGBClassifier",
        "ab",
    )
    assert 18 <= manifest.opsets[""] <= 22
    assert manifest.ir_version <= 10
    assert manifest.trees >= 4
    assert {"onnx", "onnxruntime", "numpy", "pandas"} <= set(manifest.libraries)


def test_the_manifest_of_columns() -> None:
    """The manifest has one input a column, with the column's name and datatype, and text labels."""
    frame = people()
    encoder = make_column_transformer((OneHotEncoder(), ["plan"]), remainder="passthrough")
    model = make_pipeline(encoder, LogisticRegression()).fit(frame, np.where(frame["active"], "bleibt", "geht"))
    package = convert(model, frame, name="churn")
    assert [(port.name, port.datatype, list(port.shape)) for port in package.manifest.inputs] == [
        ("größe ü", "FP64", [-1, 1]),
        ("plan", "BYTES", [-1, 1]),
        ("visits", "INT64", [-1, 1]),
        ("active", "BOOL", [-1, 1]),
    ]
    assert package.manifest.label_datatype == "BYTES"
    assert {port.name for port in Session(package.onnx).inputs} == set(frame.columns)
    assert [feature.name for feature in package.profile.features] == list(frame.columns)
    assert [output.name for output in package.profile.outputs] == ["proba_bleibt", "proba_geht"]


def test_categories_that_the_original_refuses_are_in_the_contract() -> None:
    """With handle_unknown='error' the manifest lists the accepted values of a column."""
    frame = people()[["plan"]]
    model = make_pipeline(OneHotEncoder(handle_unknown="error"), LinearRegression()).fit(frame, np.arange(150.0))
    manifest = convert(model, frame, name="churn").manifest
    assert sorted(manifest.features[0].accepts) == ["maxi", "mini"]
    assert any("refuses unseen categories in 'plan'" in note for note in manifest.notes)
    lenient = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LinearRegression()).fit(frame, np.arange(150.0))
    assert not convert(lenient, frame, name="churn").manifest.features[0].accepts


def test_auto_takes_columns_where_float32_would_decide_otherwise() -> None:
    """For times in seconds, which float32 cannot hold, auto takes FP64 columns and is exact for doubles."""
    rows = np.column_stack([1.7e9 + np.arange(300.0), np.random.default_rng(0).normal(size=300)])
    model = DecisionTreeClassifier().fit(rows, np.arange(300) // 40 % 2)
    # scikit-learn's trees round to float32 themselves, so FP64 gains nothing.
    assert convert(model, rows, name="x").manifest.layout == Layout.MATRIX
    linear = make_pipeline(LinearRegression()).fit(rows - [1.7e9, 0], np.sin(np.arange(300)))
    shifted = np.column_stack([1.7e9 + np.arange(300.0), rows[:, 1]])
    model = LinearRegression().fit(shifted, np.arange(300.0))
    manifest = convert(model, shifted, name="x").manifest
    assert manifest.layout == Layout.COLUMNS
    assert {port.datatype for port in manifest.inputs} == {"FP64"}
    assert manifest.exact_datatype == "FP64"
    assert convert(linear, rows - [1.7e9, 0], name="x").manifest.layout == Layout.MATRIX


def test_extra_columns_of_the_sample_are_left_out() -> None:
    """Columns are selected by name, so a sample may have more, such as the target."""
    frame = people()[["größe ü", "visits"]]
    model = XGBRegressor(n_estimators=2).fit(frame, frame["visits"])
    shuffled = frame.assign(target=frame["visits"])[["target", "visits", "größe ü"]]
    assert [feature.name for feature in convert(model, shuffled, name="x").manifest.features] == ["größe ü", "visits"]


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (object(), {}, "is not a supported model"),
        (LinearRegression(), {}, "fitted|fit"),
        (LinearRegression().fit(ROWS, ROWS[:, 0]), {"layout": "rows"}, "'rows' is not a layout"),
        (LinearRegression().fit(ROWS, ROWS[:, 0]), {"name": "a/b"}, "cannot be a model's name"),
    ],
)
def test_refusals_before_any_work(model: Any, options: dict[str, str], reason: str) -> None:
    """Foreign objects, unfitted models, unknown layouts and impossible names are refused."""
    with pytest.raises(ConversionRefused, match=reason):
        convert(model, ROWS, **{"name": "x"} | options)


def test_progress_is_reported_by_stage_and_by_generator() -> None:
    """The three stages are reported in order, and every generator with rows done of rows planned."""
    steps: list[Step] = []
    package = convert(LinearRegression().fit(ROWS, ROWS[:, 0]), ROWS, name="x", progress=steps.append)
    assert list(dict.fromkeys(step.stage for step in steps)) == ["reading", "compiling", "proving"]
    assert steps[0].description == "reading LinearRegression (sklearn)"
    proving = [step for step in steps if step.generator]
    assert list(dict.fromkeys(step.generator for step in proving)) == list("RTNZCDWB")
    assert all(0 <= step.rows_done <= step.rows_planned and step.seconds >= 0 for step in proving)
    sample = [step for step in proving if step.generator == "R"]
    assert [step.finished for step in sample] == [False, True]
    assert (sample[-1].rows_done, sample[-1].rows_planned, sample[-1].rows_compared) == (150, 150, 150)
    compared = {step.generator: step.rows_compared for step in proving if step.finished}
    assert compared == {found.generator: found.rows for found in package.parity.generators if found.generator != "O"}


def test_an_unexpected_error_is_a_refusal_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any error inside becomes ConversionRefused with the error as its cause."""
    from onnxpress.converters.from_sklearn.family import SklearnModel

    monkeypatch.setattr(SklearnModel, "compile", lambda _: 1 / 0)
    with pytest.raises(ConversionRefused, match=f"LinearRegression: {UNFORESEEN}") as refusal:
        convert(LinearRegression().fit(ROWS, ROWS[:, 0]), ROWS, name="x")
    assert isinstance(refusal.value.__cause__, ZeroDivisionError)


def test_rows_of_the_sample_that_the_original_refuses_are_left_out() -> None:
    """Training rows with NaN that the estimator refuses are left out, and counted as missing in the profile."""
    rows = ROWS.copy()
    rows[::10, 1] = np.nan
    package = convert(LinearRegression().fit(ROWS, ROWS[:, 0]), rows, name="x")
    assert package.profile.features[1].missing_rate == pytest.approx(0.1)
    assert sum(package.profile.outputs[0].numeric.counts) == 135
