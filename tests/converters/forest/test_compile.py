"""Real models of every tree family: the compiled forest gives the bits of ONNX Runtime."""

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn import ensemble, tree
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import onnxpress
from onnxpress.packages.forest.agreement import first_disagreement, in_turn
from onnxpress.packages.forest.compiled import DOUBLE, CompiledForest
from onnxpress.packages.forest.engine import ForestEngine
from onnxpress.packages.runtime import Session

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(400, 6)).astype(np.float32)
ROWS[RNG.random(ROWS.shape) < 0.05] = np.nan
SCORE = np.nan_to_num(ROWS) @ np.arange(6) + RNG.normal(size=400)
BINARY, THREE = (SCORE > 0).astype(int), np.digitize(SCORE, [-3, 3])
MANY = np.stack([SCORE, -SCORE, SCORE**2], axis=1)
FRAME = pd.DataFrame(ROWS, columns=[f"f{n}" for n in range(6)]).assign(city=RNG.choice(["Aachen", "Bonn"], 400))
TREES: dict[str, Any] = {"n_estimators": 12, "random_state": 0}
PIPELINE = Pipeline(
    [
        ("columns", ColumnTransformer([("city", OneHotEncoder(), ["city"])], remainder=StandardScaler())),
        ("model", xgboost.XGBClassifier(**TREES, n_jobs=1)),
    ]
)
MODELS: dict[str, tuple[Any, Any, Any]] = {
    "xgboost regressor": (xgboost.XGBRegressor(**TREES), ROWS, SCORE),
    "xgboost binary": (xgboost.XGBClassifier(**TREES), ROWS, BINARY),
    "xgboost multiclass": (xgboost.XGBClassifier(**TREES), ROWS, THREE),
    "xgboost several targets": (xgboost.XGBRegressor(**TREES), ROWS, MANY),
    "lightgbm regressor": (lightgbm.LGBMRegressor(**TREES, verbose=-1), ROWS, SCORE),
    "lightgbm binary": (lightgbm.LGBMClassifier(**TREES, verbose=-1), ROWS, BINARY),
    "lightgbm multiclass": (lightgbm.LGBMClassifier(**TREES, verbose=-1), ROWS, THREE),
    "decision tree": (tree.DecisionTreeClassifier(random_state=0), ROWS, THREE),
    "random forest regressor": (ensemble.RandomForestRegressor(**TREES), ROWS, SCORE),
    "random forest, several targets": (ensemble.RandomForestRegressor(**TREES), ROWS, MANY),
    "random forest classifier": (ensemble.RandomForestClassifier(**TREES), ROWS, THREE),
    "extra trees": (ensemble.ExtraTreesClassifier(**TREES), ROWS, BINARY),
    "gradient boosting": (ensemble.GradientBoostingClassifier(**TREES), np.nan_to_num(ROWS), THREE),
    "histogram boosting": (ensemble.HistGradientBoostingRegressor(max_iter=12), ROWS, SCORE),
    "pipeline": (PIPELINE, FRAME, BINARY),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_of_onnx_runtime(name: str) -> None:
    """Converted by the gate, and compared once more on the golden rows after the package's forest was read again."""
    model, rows, target = MODELS[name]
    package = onnxpress.convert(model.fit(rows, target), rows, name="model")
    assert package.parity.forest.reason == ""
    assert package.parity.forest.rows > len(rows)
    compiled = CompiledForest.from_bytes(package.forest)
    assert compiled.trees == package.manifest.trees
    feeds = package.golden.feeds()
    answers = Session(package.onnx).run(feeds)
    assert first_disagreement(ForestEngine(compiled).run, feeds, answers, in_turn(len(package.golden))) is None


@pytest.mark.kernel
def test_float64_thresholds_take_float32_rows() -> None:
    """scikit-learn compares in float64: the kernel's nodes are of float64, and the engine widens the rows itself."""
    rows = np.nan_to_num(ROWS)
    model = ensemble.GradientBoostingRegressor(**TREES).fit(rows, SCORE)
    compiled = CompiledForest.from_bytes(onnxpress.convert(model, rows, name="model").forest)
    (walk,) = compiled.walks
    assert (walk.kind, walk.source, compiled.before) == (DOUBLE, "input", b"")


def test_a_model_without_trees_says_so() -> None:
    """The report has the reason, and the package no forest."""
    package = onnxpress.convert(
        LogisticRegression().fit(np.nan_to_num(ROWS), BINARY), np.nan_to_num(ROWS), name="model"
    )
    assert (package.forest, package.parity.forest.reason) == (b"", "it has no trees")
