"""Pipelines over frames with text, whole numbers, booleans and missing cells."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from tests.converters.matrix import sklearn_data as data
from tests.converters.matrix.case import Case

TEXT = ["plan", "payment method"]
NUMBERS = ["tenure", "Größe in m²", "monthly"]
FEW: dict[str, Any] = {"n_estimators": 6, "max_depth": 4, "random_state": 0}
TREE = DecisionTreeClassifier(max_depth=6, random_state=0)
Build = Callable[[], tuple[Any, Any]]


def churn(model: Any, *, missing: bool = False, whole: bool = False) -> Build:
    """Trained on customers; `whole` labels are 0 and 1, else text."""

    def build() -> tuple[Any, Any]:
        frame = data.customers(missing=missing)
        label = data.churned(frame)
        return model.fit(frame, (label == "Yes").astype(int) if whole else label), frame

    return build


def encoded(encoder: Any, model: Any, **options: Any) -> Pipeline:
    numbers = ("numbers", StandardScaler(), NUMBERS)
    return Pipeline([("columns", ColumnTransformer([("text", encoder, TEXT), numbers], **options)), ("model", model)])


def one_column(encoder: Any, model: Any, values: Any) -> Build:
    """An encoder of one array of whole numbers or text."""

    def build() -> tuple[Any, Any]:
        rows = np.asarray(values(np.random.default_rng(6)))
        label = (np.arange(len(rows)) * 7 % 5 < 2).astype(int)
        return make_pipeline(encoder, model).fit(rows, label), rows

    return build


def missing_text(mark: Any) -> Build:
    """Text whose missing cells are `mark` in training."""

    def build() -> tuple[Any, Any]:
        frame = data.customers(missing=True)
        cells = [mark if pd.isna(cell) else cell for cell in frame["plan"]]
        frame = frame.assign(plan=pd.Series(cells, dtype=object)).drop(columns="monthly")
        model = Pipeline(
            [
                (
                    "c",
                    ColumnTransformer([("t", OneHotEncoder(handle_unknown="ignore"), TEXT)], remainder="passthrough"),
                ),
                ("m", TREE),
            ]
        )
        return model.fit(frame, data.churned(data.customers(missing=True))), frame

    return build


IGNORE = OneHotEncoder(handle_unknown="ignore")
CASES: tuple[Case, ...] = (
    Case("churn, LogisticRegression", churn(encoded(IGNORE, LogisticRegression())), short=True),
    Case("churn, RandomForestClassifier", churn(encoded(IGNORE, RandomForestClassifier(**FEW))), short=True),
    Case("churn, XGBClassifier", churn(encoded(IGNORE, XGBClassifier(**FEW)), whole=True), short=True),
    Case(
        "churn, XGBClassifier on a sparse matrix",
        churn(encoded(IGNORE, XGBClassifier(**FEW), sparse_threshold=1.0), whole=True),
    ),
    Case("churn, LGBMClassifier", churn(encoded(IGNORE, LGBMClassifier(verbose=-1, **FEW)))),
    Case(
        "churn, LGBMClassifier on a sparse matrix",
        churn(encoded(IGNORE, LGBMClassifier(verbose=-1, **FEW), sparse_threshold=1.0)),
    ),
    Case("churn, remainder passed through", churn(encoded(IGNORE, TREE, remainder="passthrough"))),
    Case("churn, remainder scaled", churn(encoded(IGNORE, TREE, remainder=StandardScaler()))),
    Case(
        "churn, weights of transformers",
        churn(encoded(IGNORE, LogisticRegression(), transformer_weights={"text": 0.5}), whole=True),
    ),
    Case("churn, missing cells, XGBClassifier", churn(encoded(IGNORE, XGBClassifier(**FEW)), missing=True, whole=True)),
    Case(
        "churn, missing cells, HistGradientBoosting",
        churn(
            encoded(
                OneHotEncoder(sparse_output=False, handle_unknown="ignore"), HistGradientBoostingClassifier(max_iter=5)
            ),
            missing=True,
        ),
    ),
    Case(
        "churn, missing cells, forest",
        churn(encoded(IGNORE, RandomForestClassifier(**FEW), sparse_threshold=0), missing=True),
    ),
    Case(
        "churn, columns by dtype",
        churn(
            make_pipeline(
                make_column_transformer(
                    (IGNORE, make_column_selector(dtype_include=["object", "str"])),
                    (StandardScaler(), make_column_selector(dtype_include="number")),
                ),
                LogisticRegression(),
            )
        ),
    ),
    Case(
        "churn, columns by place",
        churn(
            make_pipeline(
                ColumnTransformer([("t", IGNORE, [0, 1]), ("n", "passthrough", slice(2, 5)), ("no", "drop", [5])]), TREE
            )
        ),
    ),
    Case(
        "churn, set_output pandas",
        churn(encoded(OneHotEncoder(sparse_output=False), TREE).set_output(transform="pandas")),
    ),
    Case("churn, verbose names off", churn(encoded(IGNORE, TREE, verbose_feature_names_out=False))),
    Case("OneHotEncoder, unknown is an error", churn(encoded(OneHotEncoder(), LogisticRegression()))),
    Case("OneHotEncoder, unknown is an error, tree", churn(encoded(OneHotEncoder(), TREE))),
    *(
        Case(
            f"OneHotEncoder, drop={drop!r}, unknown={unknown}",
            churn(encoded(OneHotEncoder(drop=drop, handle_unknown=unknown), LogisticRegression())),
        )
        for drop in ("first", "if_binary")
        for unknown in ("error", "ignore", "infrequent_if_exist")
    ),
    Case(
        "OneHotEncoder, min_frequency",
        churn(encoded(OneHotEncoder(min_frequency=0.1, handle_unknown="infrequent_if_exist"), TREE)),
    ),
    Case(
        "OneHotEncoder, max_categories, drop",
        churn(encoded(OneHotEncoder(max_categories=3, drop="first", handle_unknown="ignore"), LogisticRegression())),
    ),
    Case(
        "OneHotEncoder, given categories",
        churn(
            encoded(
                OneHotEncoder(
                    categories=[["pro", "plus", "basic", "größer", "x"], ["card", "Scheck", "bank transfer (auto)"]]
                ),
                TREE,
            )
        ),
    ),
    Case(
        "OneHotEncoder, float32 output", churn(encoded(OneHotEncoder(dtype=np.float32, handle_unknown="ignore"), TREE))
    ),
    Case("OneHotEncoder, missing is None", missing_text(None), short=True),
    Case("OneHotEncoder, missing is NaN", missing_text(float("nan"))),
    Case("OneHotEncoder, missing is the empty text", missing_text("")),
    Case("OneHotEncoder of whole numbers", one_column(IGNORE, TREE, lambda rng: rng.integers(-3, 9, (240, 2)))),
    Case(
        "OneHotEncoder of fractions with NaN",
        one_column(IGNORE, TREE, lambda rng: rng.choice([0.5, 1.5, np.nan, 1e9], (240, 2))),
    ),
    Case(
        "OneHotEncoder of an array of text",
        one_column(IGNORE, LogisticRegression(), lambda rng: rng.choice(["a", "b", "ß"], (240, 2)).astype(object)),
    ),
    Case("OneHotEncoder of text and numbers mixed", churn(make_pipeline(IGNORE, BernoulliNB()))),
    Case("OrdinalEncoder", churn(encoded(OrdinalEncoder(), TREE))),
    Case(
        "OrdinalEncoder, unknown is -1",
        churn(
            encoded(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), TREE, remainder="passthrough")
        ),
    ),
    Case(
        "OrdinalEncoder, unknown is NaN",
        churn(
            encoded(
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
                HistGradientBoostingClassifier(max_iter=5),
            )
        ),
    ),
    Case(
        "OrdinalEncoder, missing is -2",
        churn(
            encoded(
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
                XGBClassifier(**FEW),
            ),
            missing=True,
            whole=True,
        ),
    ),
    Case(
        "OrdinalEncoder, min_frequency",
        churn(encoded(OrdinalEncoder(min_frequency=20, handle_unknown="use_encoded_value", unknown_value=99), TREE)),
    ),
    Case("TargetEncoder, binary", churn(encoded(TargetEncoder(random_state=0), LogisticRegression()))),
    Case(
        "TargetEncoder, 3 classes",
        lambda: data.encoded_targets(encoded(TargetEncoder(random_state=0), TREE), data.classes),
    ),
    Case(
        "TargetEncoder, numbers",
        lambda: data.encoded_targets(encoded(TargetEncoder(random_state=0), Ridge()), data.margin),
    ),
    Case(
        "SimpleImputer of text, then OneHotEncoder",
        churn(
            encoded(
                make_pipeline(SimpleImputer(strategy="most_frequent"), IGNORE), LogisticRegression(), remainder="drop"
            ),
            missing=False,
        ),
    ),
    Case(
        "SimpleImputer of missing text",
        churn(
            Pipeline(
                [
                    (
                        "c",
                        ColumnTransformer(
                            [
                                (
                                    "t",
                                    make_pipeline(
                                        SimpleImputer(strategy="constant", fill_value="keiner", missing_values=None),
                                        IGNORE,
                                    ),
                                    TEXT,
                                ),
                                (
                                    "n",
                                    make_pipeline(
                                        SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
                                    ),
                                    NUMBERS,
                                ),
                            ]
                        ),
                    ),
                    ("m", LogisticRegression()),
                ]
            ),
            missing=True,
        ),
        short=True,
    ),
    Case(
        "nested ColumnTransformers",
        churn(
            make_pipeline(
                ColumnTransformer(
                    [
                        (
                            "in",
                            ColumnTransformer(
                                [
                                    ("t", IGNORE, ["plan"]),
                                    ("n", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), ["tenure"]),
                                ]
                            ),
                            ["tenure", "plan"],
                        ),
                        ("log", FunctionTransformer(np.log1p), ["monthly"]),
                        ("as it is", "passthrough", ["paperless"]),
                    ]
                ),
                TREE,
            )
        ),
    ),
)
