"""The configurations of XGBoost: estimators, raw Boosters, objectives, boosters, categories."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xgboost as xgb

from tests.converters.matrix import booster_data as data
from tests.converters.matrix.case import Case
from tests.converters.matrix.sklearn_data import Array, Build, binary, classes, counts, margin, positive

FAST = {"n_estimators": 8, "max_depth": 4, "n_jobs": 1}
Target = Callable[[Array], Array]
RELEASE = tuple(int(part) for part in xgb.__version__.split(".")[:2])


def fit(kind: Any, target: Target, features: Callable[[], Array] = data.small_rows, **parameters: Any) -> Build:
    def build() -> tuple[Any, Any]:
        rows = features()
        return kind(**{**FAST, **parameters}).fit(rows, target(np.nan_to_num(rows))), rows

    return build


def classifier(target: Target = binary, **parameters: Any) -> Build:
    return fit(xgb.XGBClassifier, target, **parameters)


def regressor(target: Target = margin, **parameters: Any) -> Build:
    return fit(xgb.XGBRegressor, target, **parameters)


def ranker(**parameters: Any) -> Build:
    def build() -> tuple[Any, Any]:
        rows = data.small_rows()
        groups = [40] * (len(rows) // 40)
        return xgb.XGBRanker(**{**FAST, **parameters}).fit(rows, classes(np.nan_to_num(rows)), group=groups), rows

    return build


def two_targets(rows: Array) -> Array:
    return np.stack([margin(rows), 100.0 + positive(rows)], axis=1)


def two_labels(rows: Array) -> Array:
    return np.stack([binary(rows), 1 - binary(rows[:, ::-1])], axis=1)


def share(rows: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-margin(rows)))


def stopped(**parameters: Any) -> Build:
    """Trained with early stopping: the held-out labels are inverted, so that few rounds are best."""

    def build() -> tuple[Any, Any]:
        rows = data.small_rows()
        labels = classes(np.nan_to_num(rows))
        model = xgb.XGBClassifier(**{**FAST, "n_estimators": 40, "early_stopping_rounds": 2, **parameters})
        return model.fit(rows, labels, eval_set=[(rows[:80], labels[:80][::-1])], verbose=False), rows

    return build


def boosted(objective: str, target: Target, **parameters: Any) -> Build:
    """A raw Booster."""

    def build() -> tuple[Any, Any]:
        rows = data.small_rows()
        matrix = xgb.DMatrix(rows, target(np.nan_to_num(rows)))
        if objective == "survival:aft":
            matrix.set_float_info("label_lower_bound", positive(np.nan_to_num(rows)))
            matrix.set_float_info("label_upper_bound", positive(np.nan_to_num(rows)) + 0.5)
        return xgb.train({"objective": objective, "max_depth": 3, "nthread": 1, **parameters}, matrix, 6), rows

    return build


def saved(build: Build, suffix: str) -> Build:
    """The model read back from its file, as a raw Booster."""

    def through_file() -> tuple[Any, Any]:
        model, rows = build()
        booster = getattr(model, "get_booster", lambda: model)()
        return xgb.Booster(model_file=bytearray(booster.save_raw(raw_format=suffix))), rows

    return through_file


def says_probability(model: Any, rows: Any) -> dict[str, Array]:
    """A raw classifier: its predict returns the second class's probability, or all of them."""
    said = model.predict(xgb.DMatrix(rows.to_numpy()))
    probabilities = np.stack([1 - said, said], axis=1) if said.ndim == 1 else said
    return {"probabilities": probabilities, "label": probabilities.argmax(axis=1)}


def says_class(model: Any, rows: Any) -> dict[str, Array]:
    return {"label": model.predict(xgb.DMatrix(rows.to_numpy())).astype(np.int64)}


def says_number(model: Any, rows: Any) -> dict[str, Array]:
    said = model.predict(xgb.DMatrix(rows.to_numpy()))
    return {"prediction": said.reshape(len(rows), -1)}


def frame(kind: Any, words: tuple[str, ...] = data.ASCII_WORDS, **parameters: Any) -> Build:
    """Trained on a DataFrame with pandas categories."""

    def build() -> tuple[Any, Any]:
        rows = data.mixed(words)
        target = data.mixed_target(rows)
        label = (target > np.median(target)).astype(int) if kind is xgb.XGBClassifier else target
        return kind(**{**FAST, "enable_categorical": True, **parameters}).fit(rows, label), rows

    return build


def codes(**parameters: Any) -> Build:
    def build() -> tuple[Any, Any]:
        rows = data.coded(data.rows(missing=0)).astype(np.float32)
        model = xgb.XGBRegressor(
            **{**FAST, "enable_categorical": True, "feature_types": ["c", "c", "q", "q"], **parameters}
        )
        return model.fit(rows, data.coded_target(rows)), rows

    return build


def names(order: slice = slice(None)) -> Build:
    def build() -> tuple[Any, Any]:
        rows = data.named(data.small_rows())
        target = margin(np.nan_to_num(rows.to_numpy()))
        return xgb.XGBRegressor(**FAST).fit(rows, target), rows[rows.columns[order]]

    return build


def continued() -> tuple[Any, Any]:
    rows = data.small_rows()
    matrix = xgb.DMatrix(rows, margin(np.nan_to_num(rows)))
    first = xgb.train({"max_depth": 3}, matrix, 3)
    return xgb.train({"max_depth": 2, "eta": 0.1}, matrix, 3, xgb_model=first), rows


def custom_objective(labels: Array, said: Array) -> tuple[Array, Array]:
    return said - labels, np.ones_like(labels)


_OBJECTIVES: tuple[tuple[str, Target, dict[str, Any]], ...] = (
    ("reg:squarederror", margin, {}),
    ("reg:squaredlogerror", positive, {}),
    ("reg:logistic", share, {}),
    ("reg:pseudohubererror", margin, {}),
    ("reg:absoluteerror", margin, {}),
    ("binary:logistic", binary, {}),
    ("binary:logitraw", binary, {}),
    ("count:poisson", counts, {}),
    ("reg:gamma", positive, {}),
    ("reg:tweedie", positive, {"tweedie_variance_power": 1.3}),
    ("survival:cox", positive, {}),
    *((("reg:expectileerror", margin, {"expectile_alpha": [0.1, 0.5, 0.9]}),) if RELEASE >= (3, 3) else ()),
)

CASES: tuple[Case, ...] = (
    *(
        Case(f"XGBRegressor, {name}", regressor(target, objective=name, **more), short=name == "count:poisson")
        for name, target, more in _OBJECTIVES
    ),
    Case("XGBClassifier, 2 classes", classifier(), short=True),
    Case("XGBClassifier, 3 classes", classifier(classes), short=True),
    Case("XGBClassifier, multi:softmax", classifier(classes, objective="multi:softmax")),
    Case(
        "XGBClassifier, multi:softprob of 2 classes",
        classifier(objective="multi:softprob", num_class=2),
        predict=lambda model, rows: {"probabilities": model.predict_proba(rows.to_numpy())},
    ),
    Case("XGBClassifier, hinge", classifier(objective="binary:hinge")),
    Case("XGBClassifier, logitraw", classifier(objective="binary:logitraw")),
    Case("XGBClassifier, scale_pos_weight", classifier(scale_pos_weight=7.5)),
    Case("XGBClassifier, base_score 0.01", classifier(base_score=0.01)),
    Case(
        "XGBClassifier, several labels",
        classifier(two_labels),
        refused="no single label",
        why="a row has several labels, the contract has one",
    ),
    Case("XGBRegressor, base_score -1e6", regressor(base_score=-1e6)),
    Case("XGBRegressor, poisson, base_score 50", regressor(counts, objective="count:poisson", base_score=50.0)),
    Case("XGBRegressor, one quantile", regressor(objective="reg:quantileerror", quantile_alpha=0.3)),
    Case(
        "XGBRegressor, 5 quantiles",
        regressor(objective="reg:quantileerror", quantile_alpha=[0.1, 0.4, 0.5, 0.6, 0.9]),
        short=True,
    ),
    Case("XGBRegressor, 2 targets, one tree each", regressor(two_targets), short=True),
    Case("XGBRegressor, 2 targets, one tree for both", regressor(two_targets, multi_strategy="multi_output_tree")),
    Case(
        "XGBRegressor, 2 targets, forests of vector leaves",
        regressor(two_targets, multi_strategy="multi_output_tree", num_parallel_tree=3, subsample=0.6),
    ),
    Case("XGBRegressor, 2 targets, DART", regressor(two_targets, booster="dart", rate_drop=0.4)),
    Case("XGBRegressor, 2 targets, absolute error", regressor(two_targets, objective="reg:absoluteerror")),
    Case("XGBRegressor, DART", regressor(booster="dart", rate_drop=0.5, one_drop=1), short=True),
    Case("XGBClassifier, DART, 3 classes", classifier(classes, booster="dart", rate_drop=0.5)),
    Case(
        "XGBClassifier, DART, forest normalisation",
        classifier(booster="dart", rate_drop=0.5, normalize_type="forest", sample_type="weighted"),
    ),
    Case("XGBRegressor, gblinear", regressor(booster="gblinear"), short=True),
    Case("XGBClassifier, gblinear", classifier(booster="gblinear")),
    Case("XGBClassifier, gblinear, 3 classes", classifier(classes, booster="gblinear")),
    Case("XGBRegressor, gblinear, poisson", regressor(counts, booster="gblinear", objective="count:poisson", eta=0.05)),
    Case("XGBRFClassifier", fit(xgb.XGBRFClassifier, binary)),
    Case("XGBRFClassifier, 3 classes", fit(xgb.XGBRFClassifier, classes)),
    Case("XGBRFRegressor", fit(xgb.XGBRFRegressor, margin)),
    Case("XGBClassifier, parallel trees, 3 classes", classifier(classes, num_parallel_tree=3, subsample=0.6)),
    Case("XGBClassifier, early stopping", stopped(), short=True),
    Case("XGBClassifier, early stopping, parallel trees", stopped(num_parallel_tree=2)),
    Case("XGBClassifier, early stopping, DART", stopped(booster="dart", rate_drop=0.3)),
    Case(
        "XGBRegressor, missing=-999",
        regressor(features=lambda: np.nan_to_num(data.small_rows(), nan=-999.0), missing=-999.0),
        short=True,
    ),
    Case("XGBRegressor, missing=0", regressor(missing=0.0)),
    Case("XGBRanker, pairwise", ranker(objective="rank:pairwise")),
    Case("XGBRanker, ndcg", ranker()),
    Case("XGBRanker, DART", ranker(booster="dart", rate_drop=0.3)),
    Case("XGBRegressor, lossguide leaves", regressor(grow_policy="lossguide", max_leaves=9, max_depth=0)),
    Case("XGBRegressor, exact trees", regressor(tree_method="exact")),
    Case("XGBRegressor, approx trees", regressor(tree_method="approx")),
    Case("XGBRegressor, pruned trees", regressor(tree_method="exact", gamma=5.0, max_depth=6)),
    Case("XGBRegressor, monotone", regressor(monotone_constraints=(1, 0, -1, 0, 0, 0))),
    Case("XGBRegressor, 200 trees", regressor(n_estimators=200, max_depth=3)),
    Case("XGBRegressor, constant target", regressor(lambda rows: np.full(len(rows), 3.25))),
    Case("XGBRegressor, stumps", regressor(max_depth=1)),
    Case("XGBRegressor, custom objective", regressor(objective=custom_objective)),
    Case("XGBRegressor, large leaves", regressor(lambda rows: 1e6 * margin(rows))),
    Case("XGBRegressor, float64 rows", regressor(features=data.rows)),
    Case("XGBRegressor, odd names", names(), short=True),
    Case(
        "XGBRegressor, odd names, columns in another order",
        names(slice(None, None, -1)),
        predict=lambda model, rows: {"prediction": model.predict(rows[model.feature_names_in_])[:, np.newaxis]},
    ),
    Case("XGBRegressor, odd names, columns layout", names(), layout="columns"),
    Case("XGBRegressor, pandas categories", frame(xgb.XGBRegressor, max_cat_to_onehot=1), short=True),
    Case("XGBClassifier, pandas categories, one-hot splits", frame(xgb.XGBClassifier, max_cat_to_onehot=100)),
    Case("XGBRegressor, pandas categories, DART", frame(xgb.XGBRegressor, booster="dart", rate_drop=0.3)),
    *(
        (
            Case(
                "XGBRegressor, pandas categories, not ASCII",
                frame(xgb.XGBRegressor, data.WORDS, max_cat_to_onehot=1),
                refused="ASCII" if RELEASE < (3, 4) else "",
                why="XGBoost before 3.4 cuts such names, and its own predictions for them are wrong",
            ),
        )
    ),
    Case("XGBRegressor, category codes", codes(max_cat_to_onehot=1)),
    Case("XGBRegressor, category codes, one-hot splits", codes(max_cat_to_onehot=100)),
    Case("Booster, binary:logistic", boosted("binary:logistic", binary), predict=says_probability, short=True),
    Case("Booster, binary:logitraw", boosted("binary:logitraw", binary), predict=says_number),
    Case("Booster, multi:softprob", boosted("multi:softprob", classes, num_class=3), predict=says_probability),
    Case("Booster, multi:softmax", boosted("multi:softmax", classes, num_class=3), predict=says_class),
    Case("Booster, survival:aft", boosted("survival:aft", margin), predict=says_number),
    Case("Booster, several labels", boosted("binary:logistic", two_labels), predict=says_number),
    Case("Booster, rank:ndcg", boosted("rank:ndcg", classes), predict=says_number),
    Case("Booster, continued training", continued, predict=says_number),
    Case("Booster, .ubj", saved(classifier(), "ubj"), predict=says_probability),
    Case("Booster, .json of DART", saved(regressor(booster="dart", rate_drop=0.5), "json"), predict=says_number),
    Case("Booster, gblinear", boosted("reg:squarederror", margin, booster="gblinear"), predict=says_number),
)
