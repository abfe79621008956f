"""The configurations of LightGBM: estimators, raw Boosters, objectives, missing values, categories."""

from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from tests.converters.matrix import booster_data as data
from tests.converters.matrix.case import Case
from tests.converters.matrix.sklearn_data import Array, Build, binary, classes, counts, margin, positive, text_classes

FAST = {"n_estimators": 8, "num_leaves": 9, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}
FINE = {"min_data_per_group": 3, "cat_smooth": 1.0, "cat_l2": 1.0}
Target = Callable[[Array], Array]


def fit(kind: Any, target: Target, features: Callable[[], Array] = data.rows, **parameters: Any) -> Build:
    def build() -> tuple[Any, Any]:
        rows = features()
        return kind(**{**FAST, **parameters}).fit(rows, target(np.nan_to_num(rows))), rows

    return build


def classifier(target: Target = binary, **parameters: Any) -> Build:
    return fit(lgb.LGBMClassifier, target, **parameters)


def regressor(target: Target = margin, **parameters: Any) -> Build:
    return fit(lgb.LGBMRegressor, target, **parameters)


def framed(kind: Any, target: Target, **parameters: Any) -> Build:
    """Trained on a DataFrame of float64 columns with odd names."""

    def build() -> tuple[Any, Any]:
        rows = data.named(data.rows())
        return kind(**{**FAST, **parameters}).fit(rows, target(np.nan_to_num(rows.to_numpy()))), rows

    return build


def ranker(**parameters: Any) -> Build:
    def build() -> tuple[Any, Any]:
        rows = data.rows()
        groups = [40] * (len(rows) // 40)
        return lgb.LGBMRanker(**{**FAST, **parameters}).fit(rows, classes(np.nan_to_num(rows)), group=groups), rows

    return build


def share(rows: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-margin(rows)))


def stopped(kind: Any, target: Target, **parameters: Any) -> Build:
    """Trained with early stopping: the held-out answers are negated, so that few rounds are best."""

    def build() -> tuple[Any, Any]:
        rows = data.rows()
        answers = target(np.nan_to_num(rows))
        model = kind(**{**FAST, "n_estimators": 40, "learning_rate": 0.5, **parameters})
        held_out = [(rows[:80], answers[:80][::-1])]
        return model.fit(rows, answers, eval_set=held_out, callbacks=[lgb.early_stopping(2, verbose=False)]), rows

    return build


def boosted(objective: str, target: Target, **parameters: Any) -> Build:
    """A raw Booster."""

    def build() -> tuple[Any, Any]:
        rows = data.rows()
        group = [40] * (len(rows) // 40) if "rank" in objective else None
        options = {"objective": objective, "num_leaves": 8, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1}
        options |= parameters
        return lgb.train(options, lgb.Dataset(rows, target(np.nan_to_num(rows)), group=group), 6), rows

    return build


def saved(build: Build) -> Build:
    """The model read back from its text, as a raw Booster."""

    def through_text() -> tuple[Any, Any]:
        model, rows = build()
        return lgb.Booster(model_str=getattr(model, "booster_", model).model_to_string()), rows

    return through_text


def says_probability(model: Any, rows: Any) -> dict[str, Array]:
    """A raw classifier: its predict returns the second class's probability, or all of them."""
    said = model.predict(rows)
    probabilities = np.stack([1 - said, said], axis=1) if said.ndim == 1 else said
    return {"probabilities": probabilities, "label": probabilities.argmax(axis=1)}


def says_number(model: Any, rows: Any) -> dict[str, Array]:
    return {"prediction": np.asarray(model.predict(rows)).reshape(len(rows), -1)}


def frame(kind: Any, columns: list[str] | None = None, words: tuple[str, ...] = data.WORDS, **parameters: Any) -> Build:
    """Trained on a DataFrame with pandas categories."""

    def build() -> tuple[Any, Any]:
        rows = data.mixed(words)
        target = data.mixed_target(rows)
        label = (target > np.median(target)).astype(int) if kind is lgb.LGBMClassifier else target
        rows = rows[columns] if columns else rows
        return kind(**{**FAST, **FINE, **parameters}).fit(rows, label), rows

    return build


def as_text() -> tuple[Any, Any]:
    """Trained on pandas categories, evaluated on plain text columns, as a file of rows gives them."""
    model, rows = frame(lgb.LGBMRegressor)()
    return model, rows.astype({"colour": object})


def says_as_categories(model: Any, rows: Any) -> dict[str, Array]:
    colour = pd.Categorical(rows["colour"], categories=list(data.WORDS))
    shop = pd.Categorical(rows["shop"], categories=[3, 7, 100])
    return {"prediction": model.predict(rows.assign(colour=colour, shop=shop))[:, np.newaxis]}


def ordered() -> tuple[Any, Any]:
    """An ordered category, which is a number for LightGBM: its place in the order."""
    rows = data.mixed(missing=False)[["colour", "income"]]
    rows["colour"] = rows["colour"].cat.as_ordered()
    return lgb.LGBMRegressor(**FAST).fit(rows, rows["colour"].cat.codes % 2 + rows["income"] * 0), rows


def codes(features: Callable[[Array], Array] = data.coded, **parameters: Any) -> Build:
    def build() -> tuple[Any, Any]:
        rows = features(data.rows(missing=0))
        model = lgb.LGBMRegressor(**{**FAST, **FINE, **parameters})
        return model.fit(rows, data.coded_target(rows), categorical_feature=[0, 1]), rows

    return build


def many_codes(values: Array) -> Array:
    """A vocabulary of 150 categories, whose bitsets have several words."""
    return data.coded(values, vocabulary=150)


def tiny_rows() -> Array:
    """Values of about 1e-35, which LightGBM treats as zero."""
    return data.rows() * np.array([1e-35, 3e-35, 1e-38, 1.0, 1.0, 1.0])


def custom_objective(labels: Array, said: Array) -> tuple[Array, Array]:
    return said - labels, np.ones_like(labels)


RF = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
_REGRESSIONS: tuple[tuple[str, Target, dict[str, Any]], ...] = (
    ("regression", margin, {}),
    ("regression_l1", margin, {}),
    ("huber", margin, {}),
    ("fair", margin, {}),
    ("poisson", counts, {}),
    ("quantile", margin, {"alpha": 0.3}),
    ("mape", positive, {}),
    ("gamma", positive, {}),
    ("tweedie", positive, {"tweedie_variance_power": 1.3}),
    ("cross_entropy", share, {}),
    ("cross_entropy_lambda", share, {}),
)

CASES: tuple[Case, ...] = (
    *(
        Case(f"LGBMRegressor, {name}", regressor(target, objective=name, **more), short=name == "gamma")
        for name, target, more in _REGRESSIONS
    ),
    Case("LGBMClassifier, 2 classes", classifier(), short=True),
    Case("LGBMClassifier, 3 classes", classifier(classes), short=True),
    Case("LGBMClassifier, text labels", classifier(text_classes), short=True),
    Case("LGBMClassifier, 2 text labels", classifier(lambda rows: np.array(["nö", "ja"])[binary(rows)])),
    Case("LGBMClassifier, labels 7 and -3", classifier(lambda rows: np.array([7, -3])[binary(rows)])),
    Case("LGBMClassifier, boolean labels", classifier(lambda rows: binary(rows) > 0)),
    Case("LGBMClassifier, one-vs-all, sigmoid 1.7", classifier(classes, objective="multiclassova", sigmoid=1.7)),
    Case("LGBMClassifier, sigmoid 2", classifier(sigmoid=2.0), short=True),
    Case("LGBMClassifier, cross entropy", classifier(objective="cross_entropy")),
    Case("LGBMClassifier, unbalanced", classifier(is_unbalance=True)),
    Case("LGBMClassifier, class weights", classifier(class_weight="balanced")),
    Case("LGBMClassifier, early stopping", stopped(lgb.LGBMClassifier, classes), short=True),
    Case(
        "LGBMClassifier, custom objective",
        classifier(objective=custom_objective),
        predict=lambda model, rows: {"prediction": model.predict(rows.to_numpy())[:, np.newaxis]},
    ),
    Case("LGBMRegressor, early stopping", stopped(lgb.LGBMRegressor, margin)),
    Case("LGBMRegressor, reg_sqrt", regressor(reg_sqrt=True)),
    Case("LGBMRegressor, zero as missing", regressor(zero_as_missing=True), short=True),
    Case(
        "LGBMClassifier, zero as missing, float64 columns",
        framed(lgb.LGBMClassifier, binary, zero_as_missing=True),
        layout="columns",
    ),
    Case("LGBMRegressor, use_missing off", regressor(use_missing=False)),
    Case("LGBMRegressor, never saw NaN", regressor(features=lambda: data.rows(missing=0))),
    Case("LGBMRegressor, random forest", regressor(**RF), short=True),
    Case("LGBMClassifier, random forest", classifier(**RF)),
    Case("LGBMClassifier, random forest, 3 classes", classifier(classes, **RF)),
    Case("LGBMRegressor, random forest, poisson", regressor(counts, objective="poisson", **RF)),
    Case("LGBMRegressor, DART", regressor(boosting_type="dart", drop_rate=0.5)),
    Case("LGBMClassifier, DART, 3 classes", classifier(classes, boosting_type="dart", drop_rate=0.5)),
    Case("LGBMRegressor, GOSS", regressor(data_sample_strategy="goss")),
    Case("LGBMRegressor, extra trees", regressor(extra_trees=True)),
    Case("LGBMRegressor, linear trees", regressor(linear_tree=True), short=True),
    Case("LGBMClassifier, linear trees, 3 classes", classifier(classes, linear_tree=True)),
    Case(
        "LGBMRegressor, linear trees, 48 columns",
        regressor(features=lambda: np.tile(data.rows(), (1, 8)), linear_tree=True, n_estimators=20),
    ),
    Case("LGBMRegressor, monotone", regressor(monotone_constraints=[1, 0, -1, 0, 0, 0])),
    Case("LGBMRegressor, 300 trees", regressor(n_estimators=300, num_leaves=5)),
    Case("LGBMRegressor, stumps", regressor(num_leaves=2)),
    Case("LGBMRegressor, constant target", regressor(lambda rows: np.full(len(rows), 3.25))),
    Case("LGBMRegressor, large leaves", regressor(lambda rows: 1e9 + 1e6 * margin(rows))),
    Case("LGBMRegressor, custom objective", regressor(objective=custom_objective)),
    Case("LGBMRegressor, values about 1e-35", regressor(features=tiny_rows)),
    Case("LGBMRegressor, float32 rows", regressor(features=data.small_rows)),
    Case("LGBMRegressor, two bins", regressor(max_bin=3)),
    Case("LGBMRegressor, quantised gradients", regressor(use_quantized_grad=True)),
    Case(
        "LGBMClassifier, pred_early_stop",
        classifier(pred_early_stop=True),
        refused="pred_early_stop",
        why="an answer would depend on when a row looked decided",
    ),
    Case("LGBMRegressor, odd names, float64 columns", framed(lgb.LGBMRegressor, margin), layout="columns", short=True),
    Case("LGBMClassifier, odd names, matrix layout", framed(lgb.LGBMClassifier, binary), layout="matrix"),
    Case("LGBMRanker, lambdarank", ranker()),
    Case("LGBMRanker, xendcg", ranker(objective="rank_xendcg")),
    Case("LGBMRegressor, pandas categories", frame(lgb.LGBMRegressor), short=True),
    Case("LGBMClassifier, pandas categories, DART", frame(lgb.LGBMClassifier, boosting_type="dart")),
    Case("LGBMRegressor, pandas categories, one-vs-rest splits", frame(lgb.LGBMRegressor, max_cat_to_onehot=100)),
    Case(
        "LGBMRegressor, pandas categories, linear trees",
        frame(lgb.LGBMRegressor, ["colour", "income", "visits"], linear_tree=True),
    ),
    Case("LGBMRegressor, pandas categories as text", as_text, predict=says_as_categories),
    Case("LGBMRegressor, whole-number categories", frame(lgb.LGBMRegressor, ["shop", "income"])),
    Case("LGBMRegressor, ordered categories", ordered),
    Case("LGBMRegressor, category codes", codes(), short=True),
    Case("LGBMRegressor, category codes, vocabulary of 150", codes(many_codes)),
    Case("LGBMRegressor, category codes, zero as missing", codes(zero_as_missing=True)),
    Case("Booster, LightGBM binary", boosted("binary", binary), predict=says_probability),
    Case("Booster, LightGBM multiclass", boosted("multiclass", classes, num_class=3), predict=says_probability),
    Case("Booster, LightGBM one-vs-all", boosted("multiclassova", classes, num_class=3), predict=says_probability),
    Case("Booster, LightGBM cross entropy", boosted("cross_entropy", share), predict=says_number),
    Case("Booster, LightGBM lambdarank", boosted("lambdarank", classes), predict=says_number),
    Case("Booster, LightGBM .txt", saved(classifier(classes)), predict=says_probability, short=True),
    Case("Booster, LightGBM .txt of a random forest", saved(regressor(**RF)), predict=says_number),
    Case("Booster, LightGBM .txt of categories", saved(frame(lgb.LGBMRegressor)), predict=says_number),
)
