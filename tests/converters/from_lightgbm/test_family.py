"""LightGBM: the compiled model against LightGBM's own predict, on the rows where conversions go wrong."""

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from onnxpress.converters import sample as rows_of
from onnxpress.converters.from_lightgbm import linear as lightgbm_linear
from onnxpress.converters.from_lightgbm.family import FAMILY, emit, read
from onnxpress.converters.from_lightgbm.model import ZERO, read_booster
from onnxpress.converters.graph.builder import Graph
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Task
from tests.converters.compiled import around, compiled, one_column_moves, run, run_compiled
from tests.converters.matrix import booster_data as data
from tests.converters.matrix.sklearn_data import binary, classes, counts, margin

FAST: dict[str, Any] = {"n_estimators": 6, "num_leaves": 9, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}
FINE: dict[str, Any] = {**FAST, "min_data_per_group": 3, "cat_smooth": 1.0}
SMALL = np.float32(ZERO)
ABOVE_SMALL = np.nextafter(SMALL, np.float32(1))
NEAR_ZERO = [0.0, -0.0, 1e-42, -1e-42, SMALL, -SMALL, ABOVE_SMALL, -ABOVE_SMALL, np.nextafter(SMALL, np.float32(0))]
EXTREME = np.array([np.nan, np.inf, -np.inf, 3e38, *NEAR_ZERO], np.float32)


def hard_rows(model: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows, rows at, above and below every split, and extreme ones: all float32 values."""
    subject = FAMILY.open(model, frame, "matrix")
    moved = [
        one_column_moves(frame, name, np.concatenate([around(values), EXTREME]))
        for name, values in subject.splits().items()
    ]
    return pd.concat([frame, *moved], ignore_index=True).astype(np.float32).astype(np.float64)


def check(model: Any, rows: np.ndarray, output: str = "prediction") -> None:
    """Asserts that on hard rows the answers equal `predict` or `predict_proba` within float32 sums."""
    frame = rows_of.frame_of(rows)
    hard = hard_rows(model, frame)
    assert len(hard) > 300
    original = model.predict_proba(hard) if output == "probabilities" else model.predict(hard)[:, np.newaxis]
    found = run_compiled(FAMILY, model, frame, hard, "matrix")[output]
    np.testing.assert_allclose(found, original, rtol=2e-6, atol=2e-6 * np.abs(original).max())


def test_float32_rows_take_the_branches_of_float64_thresholds() -> None:
    """No row at a threshold takes the wrong branch, as with thresholds rounded to the nearest many would."""
    rows = data.rows()
    check(lgb.LGBMRegressor(**{**FAST, "n_estimators": 40}).fit(rows, margin(np.nan_to_num(rows))), rows)


@pytest.mark.parametrize("options", [{"use_missing": False}, {"zero_as_missing": True}, {}])
def test_zero_and_nan_take_the_branches_of_every_missing_type(options: dict[str, Any]) -> None:
    """For each missing type zero, NaN and denormals take the branches that they take in LightGBM."""
    for rows in (data.rows(), data.rows(missing=0)):
        check(lgb.LGBMRegressor(**FAST, **options).fit(rows, margin(np.nan_to_num(rows))), rows)


def test_values_within_1e_35_of_zero_are_zero() -> None:
    """Thresholds near zero apply to values that LightGBM has first replaced by zero."""
    rows = data.rows() * np.array([1e-35, 3e-35, 1e-38, 1.0, 1.0, 1.0])
    model = lgb.LGBMRegressor(**FAST).fit(rows, margin(data.rows(missing=0)))
    frame = rows_of.frame_of(rows)
    subject = FAMILY.open(model, frame, "matrix")
    thresholds = np.concatenate([subject.splits().get(name, np.zeros(0)) for name in ("f0", "f1")])
    assert (np.abs(thresholds) < 1e-34).any()
    check(model, rows)


def test_values_at_1e_35_are_zero() -> None:
    """Splits between zero and its neighbours are at plus and minus 1e-35, and these values count as zero."""
    rows = np.repeat(np.array([[-2.0], [0.0], [3.0]]), 40, axis=0)
    for target in (rows[:, 0] < 0, rows[:, 0] <= 0):
        model = lgb.LGBMRegressor(**FAST).fit(rows, target.astype(float))
        subject = FAMILY.open(model, rows_of.frame_of(rows), "matrix")
        assert np.abs(subject.splits()["f0"]).max() <= np.nextafter(ZERO, 1)
        probes = np.concatenate([EXTREME, around([-ZERO, ZERO])]).astype(np.float64).reshape(-1, 1)
        found = run_compiled(FAMILY, model, rows, probes, "matrix")["prediction"][:, 0]
        np.testing.assert_allclose(found, model.predict(probes), rtol=1e-6)


def test_a_booster_uses_its_best_rounds() -> None:
    """A Booster that holds more rounds than its predict uses is converted with those that predict uses."""
    rows = data.rows()
    target = margin(np.nan_to_num(rows))
    training = lgb.Dataset(rows, target)
    booster = lgb.train(
        {"verbose": -1, "num_threads": 1, "learning_rate": 0.5},
        training,
        40,
        valid_sets=[lgb.Dataset(rows[:80], target[:80][::-1], reference=training)],
        callbacks=[lgb.early_stopping(2, verbose=False)],
        keep_training_booster=True,
    )
    assert booster.best_iteration < booster.num_trees()
    found = run_compiled(FAMILY, booster, rows, rows, "columns")["prediction"][:, 0]
    np.testing.assert_allclose(found, booster.predict(rows), rtol=1e-6)


def test_float64_columns_are_compared_in_float64() -> None:
    """In the columns layout a float64 value one step from a threshold takes the correct branch."""
    frame = data.named(data.rows())
    model = lgb.LGBMRegressor(**FAST).fit(frame, margin(np.nan_to_num(frame.to_numpy())))
    subject, _ = compiled(FAMILY, model, frame, "columns")
    assert {column.datatype for column in subject.schema.columns} == {"FP64"}
    moved = []
    for name, at in subject.splits().items():
        values = np.concatenate([at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf)])
        moved.append(one_column_moves(frame, name, values))
    hard = pd.concat(moved, ignore_index=True)
    found = run_compiled(FAMILY, model, frame, hard, "columns")["prediction"][:, 0]
    np.testing.assert_allclose(found, model.predict(hard), rtol=1e-7)


def test_the_random_forest_is_averaged_over_its_own_trees() -> None:
    """The sum of six trees is divided by six before the link."""
    rows = data.rows()
    forest = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
    check(lgb.LGBMRegressor(objective="poisson", **forest, **FAST).fit(rows, counts(np.nan_to_num(rows))), rows)


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_each_class_has_its_trees(objective: str) -> None:
    """Three text classes are in `classes_` order; one-vs-all keeps its own, unnormalised, sigmoids."""
    rows = data.rows()
    labels = np.array(["ja", "nein", "größer"])[classes(np.nan_to_num(rows))]
    model = lgb.LGBMClassifier(objective=objective, sigmoid=1.7, **FAST).fit(rows, labels)
    check(model, rows, "probabilities")
    assert run_compiled(FAMILY, model, rows, rows)["label"].tolist() == model.predict(rows).tolist()


def test_the_sigmoid_parameter_scales() -> None:
    """The objective's `sigmoid` parameter is applied."""
    rows = data.rows()
    check(lgb.LGBMClassifier(sigmoid=2.5, **FAST).fit(rows, binary(np.nan_to_num(rows))), rows, "probabilities")


def test_linear_leaves_fall_back_where_a_value_is_missing() -> None:
    """A leaf's linear model is applied, or its constant if one of its features is NaN."""
    rows = data.rows(missing=0)
    model = lgb.LGBMRegressor(linear_tree=True, **FAST).fit(rows, margin(rows))
    assert any(any(map(len, leaves.features)) for leaves in read(model).booster.linear if leaves)
    some = rows.astype(np.float32).astype(np.float64)
    some[np.arange(len(some)), np.arange(len(some)) % 6] = np.nan
    found = run_compiled(FAMILY, model, rows, some, "matrix")["prediction"][:, 0]
    np.testing.assert_allclose(found, model.predict(some), rtol=1e-6, atol=1e-6)


def test_linear_trees_with_too_many_terms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the memory needed for each row."""
    rows = data.rows()
    model = lgb.LGBMRegressor(linear_tree=True, **FAST).fit(rows, margin(np.nan_to_num(rows)))
    subject = FAMILY.open(model, rows_of.frame_of(rows), "matrix")
    monkeypatch.setattr(lightgbm_linear, "CELLS_MAX", 5)
    with pytest.raises(ConversionRefused, match="linear trees: 6 trees with up to"):
        subject.compile()


def test_text_categories_are_sent_as_text() -> None:
    """Known categories have their codes; unknown and missing ones are missing, as in LightGBM."""
    frame = data.mixed(data.WORDS)
    model = lgb.LGBMRegressor(**FINE).fit(frame, data.mixed_target(frame))
    assert read(model).booster.category_splits
    subject, session = compiled(FAMILY, model, frame)
    rows = rows_of.typed(frame, subject.schema)
    colours = rows["colour"].to_list()
    colours[:3] = ["mauve", None, "grün"]
    rows["colour"] = pd.Series(colours, dtype=object)
    rows.loc[3:6, "shop"] = 8
    original = frame.assign(
        colour=pd.Categorical([None if c == "mauve" else c for c in colours], categories=list(data.WORDS)),
        shop=pd.Categorical(rows["shop"].where(rows["shop"] != 8), categories=[3, 7, 100]),
    )
    found = session.run(rows_of.feeds(rows, subject.schema))["prediction"][:, 0]
    np.testing.assert_allclose(found, model.predict(original), rtol=1e-6)
    answer = subject.answer(rows).outputs["prediction"][:, 0]
    np.testing.assert_allclose(answer, model.predict(original), rtol=1e-6)


def test_numeric_category_codes_are_truncated() -> None:
    """Fractional, negative, huge and missing category codes take the branches that they take in LightGBM."""
    rows = data.coded(data.rows(missing=0), vocabulary=70)
    model = lgb.LGBMRegressor(**FINE).fit(rows, data.coded_target(rows), categorical_feature=[0, 1])
    assert any(max(split.left) > 32 for split in read(model).booster.category_splits)
    codes = [0, 0.5, 0.999, 1, 5.5, 33, 69, 70, 200, 1e9, 5e9, -0.0, -0.5, -1, np.nan, np.inf, -np.inf, 1e-40]
    probes = np.concatenate([rows[: len(codes)], rows[: len(codes)]]).astype(np.float32).astype(np.float64)
    probes[: len(codes), 0], probes[len(codes) :, 1] = codes, codes
    found = run_compiled(FAMILY, model, rows, probes, "matrix")["prediction"][:, 0]
    np.testing.assert_allclose(found, model.predict(probes), rtol=1e-6)


def test_categories_without_a_column_are_refused() -> None:
    """If the sample does not show which columns the categories belong to, the model is refused."""
    frame = data.mixed(data.WORDS)
    model = lgb.LGBMRegressor(**FINE).fit(frame, data.mixed_target(frame))
    with pytest.raises(ConversionRefused, match="2 pandas category column"):
        FAMILY.open(model, frame.assign(income="low", visits="many"), "auto")
    with pytest.raises(ConversionRefused, match="column 'colour': the model was trained on text categories"):
        FAMILY.open(model, frame.assign(colour=1.0), "auto")


def test_spaces_in_names_are_underscores_in_the_model() -> None:
    """The schema has the sample's own names, in the model's order."""
    frame = data.named(data.rows())
    model = lgb.LGBMRegressor(**FAST).fit(frame, margin(np.nan_to_num(frame.to_numpy())))
    assert "annual_income" in model.booster_.feature_name()
    subject = FAMILY.open(model, frame[frame.columns[::-1]].assign(target=0.0), "auto")
    assert [column.name for column in subject.schema.columns] == list(frame.columns)


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
def test_a_booster_loaded_from_text_answers_as_the_model() -> None:
    """A Booster loaded from text has numbered classes and uses the best rounds only."""
    rows = data.rows()
    labels = classes(np.nan_to_num(rows))
    model = lgb.LGBMClassifier(**{**FAST, "n_estimators": 40, "learning_rate": 0.5})
    held_out = [(rows[:80], labels[:80][::-1])]
    model.fit(rows, labels, eval_set=held_out, callbacks=[lgb.early_stopping(2, verbose=False)])
    assert model.best_iteration_ < 40
    loaded = lgb.Booster(model_str=model.booster_.model_to_string())
    assert FAMILY.open(loaded, rows_of.frame_of(rows), "auto").schema.task == Task.CLASSIFIER
    for one in (model, loaded, model.booster_):
        found = run_compiled(FAMILY, one, rows, rows, "columns")["probabilities"]
        np.testing.assert_allclose(found, model.predict_proba(rows), atol=1e-6)


def test_early_stopped_sums_are_refused() -> None:
    """A model with pred_early_stop=True is refused."""
    rows = data.rows()
    model = lgb.LGBMClassifier(pred_early_stop=True, **FAST).fit(rows, binary(np.nan_to_num(rows)))
    with pytest.raises(ConversionRefused, match="pred_early_stop"):
        FAMILY.open(model, rows_of.frame_of(rows), "auto")


def test_labels_that_are_whole_are_numbers() -> None:
    """Whole floats and booleans become INT64 labels."""
    rows = data.rows()
    labels = binary(np.nan_to_num(rows))
    assert read(lgb.LGBMClassifier(**FAST).fit(rows, labels * 2.0)).classes == (0, 2)
    assert read(lgb.LGBMClassifier(**FAST).fit(rows, labels > 0)).classes == (0, 1)


def test_a_classifier_of_one_class_is_refused() -> None:
    """It has one label and two probabilities, so it is refused."""
    rows = data.rows()
    with pytest.raises(ConversionRefused, match="one class only"):
        read(lgb.LGBMClassifier(**FAST).fit(rows, np.ones(len(rows), int)))


def test_an_unfitted_estimator_is_refused() -> None:
    """The refusal says that the estimator is not fitted."""
    with pytest.raises(ConversionRefused, match="not fitted"):
        FAMILY.open(lgb.LGBMClassifier(), rows_of.frame_of(data.rows()), "auto")


def test_an_unknown_objective_is_refused() -> None:
    """A model whose objective has no known link is refused."""
    rows = data.rows()
    booster = lgb.LGBMRegressor(**FAST).fit(rows, margin(np.nan_to_num(rows))).booster_
    text = booster.model_to_string().replace("objective=regression", "objective=novel", 1)
    booster.model_to_string = lambda **_: text
    with pytest.raises(ConversionRefused, match="'novel'"):
        read(booster)


def test_a_truncated_model_text_is_refused() -> None:
    """A model text without its end is refused."""
    rows = data.rows()
    booster = lgb.LGBMRegressor(**FAST).fit(rows, margin(np.nan_to_num(rows))).booster_
    text = booster.model_to_string()
    booster.model_to_string = lambda **_: text[: len(text) // 4]
    with pytest.raises(ConversionRefused, match="end of trees"):
        read_booster(booster, None)


def test_float64_features_inside_another_graph_are_exact() -> None:
    """After a float64 scaler thresholds are compared in float64."""
    rows = data.rows()
    model = lgb.LGBMRegressor(**FAST).fit(rows, margin(np.nan_to_num(rows)))
    at = np.concatenate([tree.threshold[(tree.feature == 0) & ~tree.leaf] for tree in read(model).booster.trees])
    assert len(at)
    moved = np.repeat(rows[:1], 2 * len(at), axis=0)
    moved[:, 0] = np.concatenate([at, np.nextafter(at, np.inf)])
    graph = Graph()
    features = graph.input("input", "FP64", rows.shape[1])
    graph.output("output", emit(graph, read(model), features, double=True).prediction, "FP32", 1)
    found = run(graph, input=moved)["output"][:, 0]
    np.testing.assert_allclose(found, model.predict(moved), rtol=1e-7)
