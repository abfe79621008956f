"""XGBoost: the compiled model against XGBoost's own predict, on the rows where conversions go wrong."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from onnxpress.converters import sample as rows_of
from onnxpress.converters.from_xgboost.family import FAMILY, emit
from onnxpress.converters.from_xgboost.model import read_booster
from onnxpress.converters.from_xgboost.reading import read
from onnxpress.converters.graph.builder import Graph
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Layout, Task
from tests.converters.compiled import around, compiled, one_column_moves, run, run_compiled
from tests.converters.matrix import booster_data as data
from tests.converters.matrix.sklearn_data import binary, classes, margin

FAST: dict[str, Any] = {"n_estimators": 6, "max_depth": 4, "n_jobs": 1}
EXTREME = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 3e38, 2.0**24 + 1], np.float32)
BEFORE_3_4 = tuple(int(part) for part in xgb.__version__.split(".")[:2]) < (3, 4)


def hard_rows(model: Any, rows: np.ndarray) -> np.ndarray:
    """The rows, rows at, above and below every split, and extreme ones."""
    frame = rows_of.frame_of(rows)
    subject = FAMILY.open(model, frame, "auto")
    moved = [
        one_column_moves(frame, name, np.concatenate([around(values), EXTREME]))
        for name, values in subject.splits().items()
    ]
    return pd.concat([frame, *moved]).to_numpy(np.float32)


def numbers() -> tuple[np.ndarray, np.ndarray]:
    rows = data.small_rows()
    return rows, np.nan_to_num(rows)


def test_margins_are_bit_for_bit_those_of_xgboost() -> None:
    """With the base score as the first tree the sums have XGBoost's bits at every split and extreme."""
    rows, filled = numbers()
    model = xgb.XGBRegressor(**{**FAST, "n_estimators": 100}).fit(rows, 1000.0 + margin(filled))
    hard = hard_rows(model, rows)
    assert len(hard) > 1000
    assert (
        run_compiled(FAMILY, model, rows, hard)["prediction"].tobytes() == model.predict(hard)[:, np.newaxis].tobytes()
    )


@pytest.mark.parametrize(
    "objective", ["count:poisson", "reg:gamma", "reg:tweedie", "reg:logistic", "reg:absoluteerror"]
)
def test_base_scores_are_in_the_units_of_the_objective(objective: str) -> None:
    """A base score of 0.7 is a margin of its log, its logit or itself."""
    rows, filled = numbers()
    target = 1.0 / (1.0 + np.exp(-margin(filled)))
    model = xgb.XGBRegressor(objective=objective, base_score=0.7, **FAST).fit(rows, target)
    hard = hard_rows(model, rows)
    np.testing.assert_allclose(
        run_compiled(FAMILY, model, rows, hard)["prediction"][:, 0], model.predict(hard), rtol=2e-6
    )


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_each_target_has_its_own_sum(strategy: str) -> None:
    """Targets on very different scales keep their own trees and base scores."""
    rows, filled = numbers()
    targets = np.stack([margin(filled), 1e4 + margin(-filled), 1e-3 * filled[:, 0]], axis=1)
    model = xgb.XGBRegressor(multi_strategy=strategy, tree_method="hist", **FAST).fit(rows, targets)
    hard = hard_rows(model, rows)
    assert run_compiled(FAMILY, model, rows, hard)["prediction"].tobytes() == model.predict(hard).tobytes()


@pytest.mark.filterwarnings("ignore:.*booster=.* is deprecated")
def test_dropped_trees_weigh_less() -> None:
    """DART's weights scale the leaves."""
    rows, filled = numbers()
    model = xgb.XGBRegressor(booster="dart", rate_drop=0.5, one_drop=1, **FAST).fit(rows, margin(filled))
    hard = hard_rows(model, rows)
    np.testing.assert_allclose(
        run_compiled(FAMILY, model, rows, hard)["prediction"][:, 0], model.predict(hard), rtol=1e-5, atol=1e-6
    )


def test_an_estimator_stops_at_its_best_round_and_a_booster_does_not() -> None:
    """With early stopping an estimator and its file use the best rounds; a raw Booster uses all."""
    rows, filled = numbers()
    labels = classes(filled)
    held_out = [(rows[:80], labels[:80][::-1])]
    model = xgb.XGBClassifier(early_stopping_rounds=3, learning_rate=1.0, **{**FAST, "n_estimators": 40})
    model.fit(rows, labels, eval_set=held_out, verbose=False)
    booster = model.get_booster()
    assert model.best_iteration + 1 < booster.num_boosted_rounds()
    estimator = run_compiled(FAMILY, model, rows, rows)["probabilities"]
    np.testing.assert_allclose(estimator, model.predict_proba(rows), atol=1e-6)
    raw = run_compiled(FAMILY, booster, rows, rows)["probabilities"]
    np.testing.assert_allclose(raw, booster.predict(xgb.DMatrix(rows)), atol=1e-6)
    assert np.abs(raw - estimator).max() > 0.01


def test_a_file_saved_by_an_estimator_answers_as_the_estimator(tmp_path: Any) -> None:
    """A file keeps the kind of its estimator: a regressor's logistic is a prediction, with the best rounds."""
    rows, filled = numbers()
    model = xgb.XGBRegressor(objective="binary:logistic", early_stopping_rounds=2, learning_rate=1.0, **FAST)
    model.fit(rows, binary(filled), eval_set=[(rows[:80], binary(filled)[:80][::-1])], verbose=False)
    model.save_model(tmp_path / "model.ubj")
    loaded = xgb.Booster(model_file=tmp_path / "model.ubj")
    subject, _ = compiled(FAMILY, loaded, rows)
    assert subject.schema.task == Task.REGRESSOR
    np.testing.assert_allclose(
        run_compiled(FAMILY, loaded, rows, rows)["prediction"][:, 0], model.predict(rows), rtol=1e-6
    )


def test_a_raw_logistic_booster_classifies() -> None:
    """A raw logistic Booster gives the label 0 or 1 and both probabilities."""
    rows, filled = numbers()
    booster = xgb.train({"objective": "binary:logistic", "nthread": 1}, xgb.DMatrix(rows, binary(filled)), 4)
    said = booster.predict(xgb.DMatrix(rows))
    found = run_compiled(FAMILY, booster, rows, rows)
    np.testing.assert_allclose(found["probabilities"], np.stack([1 - said, said], axis=1), atol=1e-6)
    assert found["label"].dtype == np.int64
    assert found["label"].tolist() == (said > 0.5).astype(int).tolist()


def test_the_estimators_missing_value_is_used() -> None:
    """With missing=0 both zeros and NaN take the default branch."""
    rows, filled = numbers()
    model = xgb.XGBRegressor(missing=0.0, **FAST).fit(rows, margin(filled))
    hard = hard_rows(model, rows)
    assert (
        run_compiled(FAMILY, model, rows, hard)["prediction"].tobytes() == model.predict(hard)[:, np.newaxis].tobytes()
    )


@pytest.mark.filterwarnings("ignore:.*booster=.* is deprecated")
def test_a_linear_booster_skips_missing_values() -> None:
    """For a gblinear with three classes NaN adds nothing, and the intercept is the one that XGBoost adds."""
    rows, filled = numbers()
    model = xgb.XGBClassifier(booster="gblinear", n_estimators=4).fit(rows, classes(filled))
    some = rows.copy()
    some[::3] = np.nan
    found = run_compiled(FAMILY, model, rows, some)["probabilities"]
    np.testing.assert_allclose(found, model.predict_proba(some), atol=2e-6)


def test_columns_are_found_by_name() -> None:
    """A sample with permuted and unusual column names is put into the model's order."""
    frame = data.named(data.small_rows())
    model = xgb.XGBRegressor(**FAST).fit(frame, margin(np.nan_to_num(frame.to_numpy())))
    turned = frame[frame.columns[::-1]].assign(target=1.0)
    subject, session = compiled(FAMILY, model, turned)
    assert [column.name for column in subject.schema.columns] == list(frame.columns)
    assert subject.schema.layout == Layout.MATRIX
    assert session.run({"input": frame.to_numpy()})["prediction"].tobytes() == model.predict(frame).tobytes()


def test_a_sample_of_another_width_is_refused() -> None:
    """For a booster without names a sample of another width is refused."""
    rows, filled = numbers()
    model = xgb.XGBRegressor(**FAST).fit(rows, margin(filled))
    with pytest.raises(ConversionRefused, match="6 features without names: the sample has 5"):
        FAMILY.open(model, rows_of.frame_of(rows[:, :5]), "auto")


@pytest.mark.parametrize("onehot", [1, 100])
def test_text_categories_are_sent_as_text(onehot: int) -> None:
    """For every known category and missing ones the compiled model answers as the original."""
    frame = data.mixed()
    model = xgb.XGBRegressor(enable_categorical=True, max_cat_to_onehot=onehot, **FAST)
    model.fit(frame, data.mixed_target(frame))
    assert read_booster(model.get_booster()).category_splits
    subject, session = compiled(FAMILY, model, frame)
    assert [column.datatype for column in subject.schema.columns] == ["BYTES", "INT64", "FP64", "BOOL", "INT64"]
    assert subject.schema.columns[0].accepts == (*sorted(data.ASCII_WORDS, key=list(data.ASCII_WORDS).index), "")
    found = session.run(rows_of.feeds(rows_of.typed(frame, subject.schema), subject.schema))["prediction"]
    assert found.tobytes() == model.predict(frame)[:, np.newaxis].tobytes()


def test_an_unknown_category_is_refused_by_both() -> None:
    """The original raises, and the compiled model returns NaN for that row alone."""
    frame = data.mixed()
    model = xgb.XGBClassifier(enable_categorical=True, **FAST)
    model.fit(frame, (data.mixed_target(frame) > 0.5).astype(int))
    subject, session = compiled(FAMILY, model, frame)
    rows = rows_of.typed(frame.head(4), subject.schema)
    rows["colour"] = pd.Series(["red", "mauve", None, "blue"], dtype=object)
    rows.loc[3, "shop"] = 8
    with pytest.raises(ValueError, match="'mauve' is a category not in the training set"):
        subject.answer(rows)
    found = session.run(rows_of.feeds(rows, subject.schema))["probabilities"]
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False, True]


def test_broken_names_are_refused() -> None:
    """Category names that are not ASCII are refused for XGBoost before 3.4, which truncates them."""
    frame = data.mixed(data.WORDS)
    model = xgb.XGBRegressor(enable_categorical=True, **FAST).fit(frame, data.mixed_target(frame))
    if BEFORE_3_4:
        with pytest.raises(ConversionRefused, match="not ASCII"):
            FAMILY.open(model, frame, "auto")
    else:
        assert "weiß" in FAMILY.open(model, frame, "auto").categories()["colour"]


def test_text_for_a_model_of_numbers_is_refused() -> None:
    """The refusal names the column that is text in the sample and not a category in the model."""
    frame = data.mixed()[["income", "visits"]]
    model = xgb.XGBRegressor(**FAST).fit(frame, frame["income"])
    with pytest.raises(ConversionRefused, match="column 'visits' is text"):
        FAMILY.open(model, frame.assign(visits="many"), "auto")


def test_numeric_category_codes_are_truncated() -> None:
    """Fractional, negative, huge and missing category codes take the branches that they take in XGBoost."""
    rows = data.coded(data.rows(missing=0)).astype(np.float32)
    model = xgb.XGBRegressor(
        enable_categorical=True, feature_types=["c", "c", "q", "q"], max_cat_to_onehot=1, **FAST
    ).fit(rows, data.coded_target(rows))
    codes = np.array([0, 0.5, 0.999, 1, 5.5, 11, 12, 200, 1e9, -0.0, -0.5, -1, np.nan, 2.0**24 + 2], np.float32)
    probes = np.concatenate([rows[: len(codes)], rows[: len(codes)]])
    probes[: len(codes), 0], probes[len(codes) :, 1] = codes, codes
    assert (
        run_compiled(FAMILY, model, rows, probes)["prediction"].tobytes()
        == model.predict(probes)[:, np.newaxis].tobytes()
    )


def test_several_labels_at_once_are_refused_and_their_booster_is_not() -> None:
    """A multi-label classifier is refused; its Booster is converted and predicts a probability for each label."""
    rows, filled = numbers()
    labels = np.stack([binary(filled), binary(-filled[:, ::-1])], axis=1)
    model = xgb.XGBClassifier(**FAST).fit(rows, labels)
    with pytest.raises(ConversionRefused, match="no single label"):
        FAMILY.open(model, rows_of.frame_of(rows), "auto")
    found = run_compiled(FAMILY, model.get_booster(), rows, rows)["prediction"]
    np.testing.assert_allclose(found, model.predict_proba(rows), atol=1e-6)


def test_an_unfitted_estimator_is_refused() -> None:
    """The refusal says that the estimator is not fitted."""
    with pytest.raises(ConversionRefused, match="not fitted"):
        FAMILY.open(xgb.XGBClassifier(), rows_of.frame_of(data.rows()), "auto")


def test_an_unknown_objective_is_refused() -> None:
    """A model whose objective has no known link is refused."""
    rows, filled = numbers()
    booster = xgb.train({"objective": "reg:squarederror"}, xgb.DMatrix(rows, margin(filled)), 2)

    class Renamed:
        """A Booster whose file names another objective."""

        def __getattr__(self, name: str) -> Any:
            return getattr(booster, name)

        def save_raw(self, raw_format: str) -> bytes:
            document = json.loads(booster.save_raw(raw_format=raw_format))
            document["learner"]["objective"]["name"] = "reg:novel"
            return json.dumps(document).encode()

    with pytest.raises(ConversionRefused, match="'reg:novel'"):
        FAMILY.open(Renamed(), rows_of.frame_of(rows), "auto")


def test_training_on_changes_the_answer() -> None:
    """A booster that is trained further is parsed again."""
    rows, filled = numbers()
    matrix = xgb.DMatrix(rows, margin(filled))
    booster = xgb.train({"nthread": 1}, matrix, 2)
    before = run_compiled(FAMILY, booster, rows, rows)["prediction"]
    booster.update(matrix, 2)
    after = run_compiled(FAMILY, booster, rows, rows)["prediction"]
    assert np.abs(after - before).max() > 0
    assert after.tobytes() == booster.predict(matrix)[:, np.newaxis].tobytes()


def test_float64_features_are_rounded_as_xgboost_rounds() -> None:
    """In another model's graph float64 features are rounded to float32 before they are compared."""
    rows = data.rows()
    model = xgb.XGBRegressor(**FAST).fit(rows, margin(np.nan_to_num(rows)))
    graph = Graph("part_")
    features = graph.input("input", "FP64", rows.shape[1])
    graph.output("output", emit(graph, read(model), features, double=True).prediction, "FP32", 1)
    assert all(name.startswith("part_") for node in graph.nodes[:-1] for name in node.output)
    assert run(graph, input=rows)["output"].tobytes() == model.predict(rows)[:, np.newaxis].tobytes()


def test_tolerance_is_that_of_float32_sums() -> None:
    """The tolerance is 8 eps of the largest leaves and the base score."""
    rows, filled = numbers()
    model = xgb.XGBRegressor(base_score=4.0, n_estimators=1, max_depth=1).fit(rows, margin(filled))
    subject = FAMILY.open(model, rows_of.frame_of(rows), "auto")
    tolerance = subject.answer(rows_of.typed(rows_of.frame_of(rows), subject.schema)).tolerance["prediction"]
    leaves = np.abs(read_booster(model.get_booster()).trees[0].weights[1:, 0])
    eps = np.finfo(np.float32).eps
    assert tolerance.max() <= 8 * eps * (2 * (4.0 + leaves.max()) + np.abs(model.predict(rows)).max())
    assert tolerance.min() >= 8 * eps * 4.0
