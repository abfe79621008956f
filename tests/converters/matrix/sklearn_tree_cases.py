"""Trees, forests and gradient boosting of scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from tests.converters.matrix import sklearn_data as data
from tests.converters.matrix.case import Case
from tests.converters.matrix.sklearn_data import trained

Target = Callable[[Any], Any]


def with_missing(model: Any, target: Target) -> Callable[[], tuple[Any, Any]]:
    def build() -> tuple[Any, Any]:
        rows = data.numbers()
        return model.fit(data.with_missing(rows), target(rows)), data.with_missing(rows)

    return build


def frame_of_categories(model: Any, target: str) -> Callable[[], tuple[Any, Any]]:
    """A frame with category columns of text, a number and missing cells."""

    def build() -> tuple[Any, Any]:
        frame = data.customers(missing=True)
        label = data.churned(frame) if target == "label" else data.margin(data.numbers())
        frame = frame.astype({"plan": "category", "payment method": "category"})
        return model.fit(frame, label), frame

    return build


def coded_categories(model: Any) -> Callable[[], tuple[Any, Any]]:
    """Numbers only; two of the columns are codes that are declared categories by their index."""

    def build() -> tuple[Any, Any]:
        rows = data.numbers()
        rows[:, 1] = np.random.default_rng(3).integers(0, 40, len(rows)) * 3
        return model.fit(rows, data.classes(rows)), rows

    return build


def float32_rows(model: Any, target: Target) -> Callable[[], tuple[Any, Any]]:
    def build() -> tuple[Any, Any]:
        rows = data.numbers().astype(np.float32)
        return model.fit(rows, target(rows.astype(np.float64))), rows

    return build


def named(model: Any, target: Target) -> Callable[[], tuple[Any, Any]]:
    def build() -> tuple[Any, Any]:
        rows = pd.DataFrame(data.numbers(), columns=["f4", "f3", "Länge (cm)", "f1", "x y"])
        return model.fit(rows, target(rows.to_numpy())), rows

    return build


SEED: dict[str, Any] = {"random_state": 0}
FEW: dict[str, Any] = {"n_estimators": 7, "max_depth": 5, "random_state": 0}
HIST: dict[str, Any] = {"max_iter": 8, "min_samples_leaf": 5, "random_state": 0}

CASES: tuple[Case, ...] = (
    Case("DecisionTreeClassifier, binary", trained(DecisionTreeClassifier(**SEED), data.binary)),
    Case("DecisionTreeClassifier, text classes", trained(DecisionTreeClassifier(**SEED), data.text_classes)),
    Case(
        "DecisionTreeClassifier, entropy, balanced",
        trained(
            DecisionTreeClassifier(criterion="entropy", class_weight="balanced", max_depth=6, **SEED), data.classes
        ),
    ),
    Case(
        "DecisionTreeClassifier, log_loss, pruned",
        trained(DecisionTreeClassifier(criterion="log_loss", ccp_alpha=0.01, **SEED), data.classes),
    ),
    Case(
        "DecisionTreeClassifier, missing values",
        with_missing(DecisionTreeClassifier(max_depth=6, **SEED), data.classes),
    ),
    Case(
        "DecisionTreeClassifier, boolean classes",
        trained(DecisionTreeClassifier(max_depth=4, **SEED), lambda rows: data.binary(rows).astype(bool)),
    ),
    Case(
        "DecisionTreeClassifier, float classes",
        trained(DecisionTreeClassifier(max_depth=4, **SEED), lambda rows: data.classes(rows) * 2.0),
    ),
    Case(
        "DecisionTreeClassifier, negative classes",
        trained(DecisionTreeClassifier(max_depth=4, **SEED), lambda rows: data.classes(rows) - 5),
    ),
    Case("DecisionTreeClassifier, one class", trained(DecisionTreeClassifier(), lambda rows: np.zeros(len(rows), int))),
    Case(
        "DecisionTreeClassifier, monotonic, binary",
        trained(DecisionTreeClassifier(monotonic_cst=[1, 0, -1, 0, 0], max_depth=5, **SEED), data.binary),
    ),
    Case(
        "DecisionTreeClassifier, several outputs",
        trained(DecisionTreeClassifier(**SEED), data.labels),
        refused="outputs",
        why="A classifier of several outputs has no one label: train a classifier for each output.",
    ),
    Case("ExtraTreeClassifier", trained(ExtraTreeClassifier(**SEED), data.classes)),
    Case("DecisionTreeRegressor", trained(DecisionTreeRegressor(**SEED), data.margin), short=True),
    Case("DecisionTreeRegressor, named columns", named(DecisionTreeRegressor(**SEED), data.margin)),
    Case(
        "DecisionTreeRegressor, a stump of one leaf", trained(DecisionTreeRegressor(min_samples_leaf=200), data.margin)
    ),
    Case(
        "DecisionTreeRegressor, absolute error",
        trained(DecisionTreeRegressor(criterion="absolute_error", max_depth=4), data.margin),
    ),
    Case(
        "DecisionTreeRegressor, poisson", trained(DecisionTreeRegressor(criterion="poisson", max_depth=5), data.counts)
    ),
    Case("DecisionTreeRegressor, two targets", trained(DecisionTreeRegressor(max_depth=6, **SEED), data.targets)),
    Case(
        "DecisionTreeRegressor, missing values", with_missing(DecisionTreeRegressor(max_depth=6, **SEED), data.margin)
    ),
    Case(
        "DecisionTreeRegressor, monotonic",
        trained(DecisionTreeRegressor(monotonic_cst=[1, 0, -1, 0, 0], **SEED), data.margin),
    ),
    Case("DecisionTreeRegressor, float32 rows", float32_rows(DecisionTreeRegressor(**SEED), data.margin)),
    Case(
        "DecisionTreeRegressor, large targets",
        trained(DecisionTreeRegressor(max_depth=6, **SEED), lambda rows: 1e7 + data.margin(rows)),
    ),
    Case("ExtraTreeRegressor", trained(ExtraTreeRegressor(**SEED), data.margin)),
    Case("RandomForestClassifier, binary", trained(RandomForestClassifier(**FEW), data.binary), short=True),
    Case("RandomForestClassifier, text classes", trained(RandomForestClassifier(**FEW), data.text_classes)),
    Case(
        "RandomForestClassifier, pure leaves, ties",
        trained(RandomForestClassifier(n_estimators=4, **SEED), data.classes),
    ),
    Case(
        "RandomForestClassifier, balanced_subsample",
        trained(RandomForestClassifier(class_weight="balanced_subsample", **FEW), data.classes),
    ),
    Case(
        "RandomForestClassifier, missing values", with_missing(RandomForestClassifier(**FEW), data.classes), short=True
    ),
    Case(
        "RandomForestClassifier, without bootstrap",
        trained(RandomForestClassifier(bootstrap=False, **FEW), data.classes),
    ),
    Case("RandomForestRegressor", trained(RandomForestRegressor(**FEW), data.margin)),
    Case("RandomForestRegressor, missing values", with_missing(RandomForestRegressor(**FEW), data.margin)),
    Case("RandomForestRegressor, two targets", trained(RandomForestRegressor(**FEW), data.targets)),
    Case("ExtraTreesClassifier", trained(ExtraTreesClassifier(**FEW), data.classes)),
    Case("ExtraTreesClassifier, missing values", with_missing(ExtraTreesClassifier(**FEW), data.classes)),
    Case("ExtraTreesRegressor", trained(ExtraTreesRegressor(**FEW), data.margin)),
    Case("ExtraTreesRegressor, two targets", trained(ExtraTreesRegressor(**FEW), data.targets)),
    Case(
        "GradientBoostingClassifier, binary", trained(GradientBoostingClassifier(n_estimators=9, **SEED), data.binary)
    ),
    Case(
        "GradientBoostingClassifier, 3 text classes",
        trained(GradientBoostingClassifier(n_estimators=6, **SEED), data.text_classes),
    ),
    Case(
        "GradientBoostingClassifier, exponential",
        trained(GradientBoostingClassifier(loss="exponential", n_estimators=9, **SEED), data.binary),
    ),
    Case(
        "GradientBoostingClassifier, init zero, subsample",
        trained(GradientBoostingClassifier(init="zero", subsample=0.7, n_estimators=9, **SEED), data.classes),
    ),
    Case(
        "GradientBoostingClassifier, early stopping",
        trained(GradientBoostingClassifier(n_iter_no_change=2, n_estimators=40, **SEED), data.binary),
    ),
    Case(
        "GradientBoostingRegressor", trained(GradientBoostingRegressor(n_estimators=9, **SEED), data.margin), short=True
    ),
    *(
        Case(
            f"GradientBoostingRegressor, {loss}",
            trained(GradientBoostingRegressor(loss=loss, n_estimators=9, **SEED), data.margin),
        )
        for loss in ("absolute_error", "huber", "quantile")
    ),
    Case(
        "GradientBoostingRegressor, init LinearRegression",
        trained(GradientBoostingRegressor(init=LinearRegression(), n_estimators=3), data.margin),
    ),
    Case(
        "GradientBoostingClassifier, init of its own, binary",
        trained(GradientBoostingClassifier(init=ExtraTreesClassifier(**FEW), n_estimators=3, **SEED), data.binary),
    ),
    Case(
        "GradientBoostingClassifier, init of its own, 3 classes",
        trained(GradientBoostingClassifier(init=RandomForestClassifier(**FEW), n_estimators=3, **SEED), data.classes),
    ),
    Case("HistGradientBoostingClassifier, binary", trained(HistGradientBoostingClassifier(**HIST), data.binary)),
    Case(
        "HistGradientBoostingClassifier, 3 text classes",
        trained(HistGradientBoostingClassifier(**HIST), data.text_classes),
        short=True,
    ),
    Case(
        "HistGradientBoostingClassifier, missing values",
        with_missing(HistGradientBoostingClassifier(**HIST), data.classes),
    ),
    Case(
        "HistGradientBoostingClassifier, categories by place",
        coded_categories(HistGradientBoostingClassifier(categorical_features=[1, 4], **HIST)),
        short=True,
    ),
    Case(
        "HistGradientBoostingClassifier, categories by mask",
        coded_categories(
            HistGradientBoostingClassifier(categorical_features=[False, True, False, False, True], **HIST)
        ),
    ),
    Case(
        "HistGradientBoostingClassifier, categories from dtype",
        frame_of_categories(HistGradientBoostingClassifier(categorical_features="from_dtype", **HIST), "label"),
    ),
    Case(
        "HistGradientBoostingClassifier, categories by name",
        frame_of_categories(
            HistGradientBoostingClassifier(categorical_features=["plan", "payment method"], **HIST), "label"
        ),
    ),
    Case(
        "HistGradientBoostingRegressor, categories from dtype",
        frame_of_categories(HistGradientBoostingRegressor(**HIST), "number"),
    ),
    Case("HistGradientBoostingRegressor", trained(HistGradientBoostingRegressor(**HIST), data.margin)),
    Case(
        "HistGradientBoostingRegressor, missing values",
        with_missing(HistGradientBoostingRegressor(**HIST), data.margin),
    ),
    Case(
        "HistGradientBoostingRegressor, float64 columns",
        named(HistGradientBoostingRegressor(**HIST), data.margin),
        layout="columns",
    ),
    *(
        Case(
            f"HistGradientBoostingRegressor, {loss}",
            trained(HistGradientBoostingRegressor(loss=loss, **extra, **HIST), target),
        )
        for loss, extra, target in (
            ("absolute_error", {}, data.margin),
            ("poisson", {}, data.counts),
            ("gamma", {}, data.positive),
            ("quantile", {"quantile": 0.8}, data.margin),
        )
    ),
    Case(
        "HistGradientBoostingRegressor, monotonic, interactions",
        trained(
            HistGradientBoostingRegressor(monotonic_cst=[1, -1, 0, 0, 0], interaction_cst="no_interactions", **HIST),
            data.margin,
        ),
    ),
    Case(
        "HistGradientBoostingRegressor, early stopping",
        trained(HistGradientBoostingRegressor(early_stopping=True, random_state=0), data.margin),
    ),
)
