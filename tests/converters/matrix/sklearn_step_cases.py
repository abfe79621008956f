"""Preprocessing steps of scikit-learn, alone and before models whose splits must stay exact."""

from typing import Any

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn import decomposition, impute, preprocessing
from sklearn import feature_selection as selection
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

from tests.converters.matrix import sklearn_data as data
from tests.converters.matrix.case import Case
from tests.converters.matrix.sklearn_data import fractions, holed, scaled, spread, trained

BOOSTER: dict[str, Any] = {"n_estimators": 6, "max_depth": 4, "random_state": 0}
TREE = DecisionTreeRegressor(random_state=0)
HIST: dict[str, Any] = {"max_iter": 8, "min_samples_leaf": 5, "random_state": 0}


SCALERS: tuple[tuple[str, Any], ...] = (
    ("StandardScaler", preprocessing.StandardScaler()),
    ("StandardScaler, mean only", preprocessing.StandardScaler(with_std=False)),
    ("MinMaxScaler", preprocessing.MinMaxScaler()),
    ("MinMaxScaler, -1 to 2, clipped", preprocessing.MinMaxScaler((-1, 2), clip=True)),
    ("MaxAbsScaler", preprocessing.MaxAbsScaler()),
    ("RobustScaler", preprocessing.RobustScaler()),
    ("RobustScaler, 10 to 90", preprocessing.RobustScaler(quantile_range=(10, 90), with_centering=False)),
)

CASES: tuple[Case, ...] = (
    *(Case(f"{name} alone", trained(step, data.margin), predict=data.transformed) for name, step in SCALERS),
    *(
        Case(f"{name}, then a tree", trained(make_pipeline(step, TREE), data.margin), short=name == "StandardScaler")
        for name, step in SCALERS
    ),
    *(
        Case(
            f"{name}, then histogram boosting",
            trained(make_pipeline(step, HistGradientBoostingRegressor(**HIST)), data.margin),
        )
        for name, step in SCALERS[:5]
    ),
    Case(
        "StandardScaler, float64 columns, then histogram boosting",
        trained(make_pipeline(preprocessing.StandardScaler(), HistGradientBoostingRegressor(**HIST)), data.margin),
        layout="columns",
    ),
    Case(
        "two scalers, then a forest",
        trained(
            make_pipeline(
                preprocessing.RobustScaler(),
                preprocessing.MinMaxScaler(),
                RandomForestRegressor(n_estimators=6, random_state=0),
            ),
            data.margin,
        ),
    ),
    *(
        Case(f"{scaler} before {type(model).__name__}", trained(make_pipeline(step, model), target))
        for scaler, step in (
            ("StandardScaler", preprocessing.StandardScaler()),
            ("PowerTransformer", preprocessing.PowerTransformer()),
        )
        for model, target in (
            (XGBRegressor(**BOOSTER), data.margin),
            (XGBClassifier(**BOOSTER), data.classes),
            (LGBMRegressor(verbose=-1, **BOOSTER), data.margin),
            (LGBMClassifier(verbose=-1, **BOOSTER), data.text_classes),
        )
    ),
    Case("PowerTransformer", trained(preprocessing.PowerTransformer(), data.margin), predict=data.transformed),
    Case("PowerTransformer, then a tree", trained(make_pipeline(preprocessing.PowerTransformer(), TREE), data.margin)),
    Case(
        "PowerTransformer, Box-Cox",
        spread(preprocessing.PowerTransformer(method="box-cox", standardize=False), data.margin),
        predict=data.transformed,
    ),
    Case(
        "QuantileTransformer, then a tree",
        trained(make_pipeline(preprocessing.QuantileTransformer(n_quantiles=50), TREE), data.margin),
    ),
    Case(
        "QuantileTransformer, then Ridge",
        trained(make_pipeline(preprocessing.QuantileTransformer(n_quantiles=50), Ridge()), data.margin),
    ),
    Case(
        "QuantileTransformer, normal",
        trained(
            make_pipeline(preprocessing.QuantileTransformer(n_quantiles=50, output_distribution="normal"), Ridge()),
            data.margin,
        ),
    ),
    *(
        Case(f"Normalizer, {norm}", trained(make_pipeline(preprocessing.Normalizer(norm), Ridge()), data.margin))
        for norm in ("l1", "l2", "max")
    ),
    Case(
        "Binarizer", trained(make_pipeline(preprocessing.Binarizer(threshold=0.7), LogisticRegression()), data.binary)
    ),
    Case(
        "PolynomialFeatures, degree 3, then a tree",
        trained(make_pipeline(preprocessing.PolynomialFeatures(3), TREE), data.margin),
    ),
    Case(
        "PolynomialFeatures, interactions only, then Ridge",
        scaled(
            make_pipeline(preprocessing.PolynomialFeatures((2, 3), interaction_only=True, include_bias=False), Ridge()),
            data.margin,
        ),
    ),
    *(
        Case(
            f"KBinsDiscretizer, {encode}, {strategy}",
            trained(
                make_pipeline(preprocessing.KBinsDiscretizer(4, encode=encode, strategy=strategy, **extra), Ridge()),
                data.margin,
            ),
        )
        for encode in ("onehot", "onehot-dense", "ordinal")
        for strategy, extra in (
            ("uniform", {}),
            ("quantile", {"quantile_method": "averaged_inverted_cdf"}),
            ("kmeans", {"random_state": 0}),
        )
    ),
    *(
        Case(
            f"FunctionTransformer, {function.__name__}, then a tree",
            spread(make_pipeline(preprocessing.FunctionTransformer(function), TREE), data.margin),
        )
        for function in (np.log1p, np.log, np.sqrt, np.expm1, np.square, np.abs, np.log10, np.tanh)
    ),
    Case(
        "FunctionTransformer, a lambda",
        trained(make_pipeline(preprocessing.FunctionTransformer(lambda x: x * 2), TREE), data.margin),
        refused="lambda",
        why="A graph cannot hold a function of one's own: use one of numpy's, or compute the column before.",
    ),
    *(
        Case(
            f"SimpleImputer, {strategy}",
            holed(make_pipeline(impute.SimpleImputer(strategy=strategy), TREE), data.margin),
        )
        for strategy in ("mean", "median", "most_frequent", "constant")
    ),
    Case(
        "SimpleImputer with indicators",
        holed(make_pipeline(impute.SimpleImputer(add_indicator=True), LogisticRegression()), data.binary),
        short=True,
    ),
    Case(
        "SimpleImputer of -999",
        data.marked(make_pipeline(impute.SimpleImputer(missing_values=-999.0), TREE), data.margin),
    ),
    Case(
        "SimpleImputer, an empty column",
        data.emptied(make_pipeline(impute.SimpleImputer(), TREE), data.margin),
    ),
    Case(
        "SimpleImputer, an empty column kept",
        data.emptied(make_pipeline(impute.SimpleImputer(keep_empty_features=True), TREE), data.margin),
    ),
    Case(
        "MissingIndicator beside values",
        holed(FeatureUnion([("v", impute.SimpleImputer()), ("m", impute.MissingIndicator())]), data.margin),
        predict=data.transformed,
    ),
    Case("KNNImputer, then Ridge", fractions(make_pipeline(impute.KNNImputer(n_neighbors=3), Ridge()), data.margin)),
    Case(
        "PCA, then LogisticRegression",
        trained(
            make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(3), LogisticRegression()), data.classes
        ),
    ),
    Case("PCA, whitened", trained(decomposition.PCA(2, whiten=True), data.margin), predict=data.transformed),
    Case("IncrementalPCA", trained(decomposition.IncrementalPCA(2), data.margin), predict=data.transformed),
    Case("TruncatedSVD", trained(make_pipeline(decomposition.TruncatedSVD(3, random_state=0), Ridge()), data.margin)),
    Case(
        "FastICA",
        trained(make_pipeline(decomposition.FastICA(3, random_state=0, whiten="unit-variance"), Ridge()), data.margin),
    ),
    Case(
        "LinearDiscriminantAnalysis as a step",
        trained(make_pipeline(LinearDiscriminantAnalysis(), LogisticRegression()), data.classes),
    ),
    Case("SelectKBest", trained(make_pipeline(selection.SelectKBest(k=2), TREE), data.classes)),
    Case(
        "SelectFromModel",
        trained(
            make_pipeline(selection.SelectFromModel(DecisionTreeClassifier(random_state=0)), LogisticRegression()),
            data.binary,
        ),
    ),
    Case("RFE", trained(make_pipeline(selection.RFE(Ridge(), n_features_to_select=2), Ridge()), data.margin)),
    Case("VarianceThreshold", trained(make_pipeline(selection.VarianceThreshold(0.1), TREE), data.margin)),
    Case(
        "FeatureUnion with weights",
        trained(
            make_pipeline(
                FeatureUnion(
                    [
                        ("s", preprocessing.StandardScaler()),
                        ("p", decomposition.PCA(2)),
                        ("no", "drop"),
                        ("as it is", "passthrough"),
                    ],
                    transformer_weights={"s": 0.3},
                ),
                Ridge(),
            ),
            data.margin,
        ),
    ),
    Case(
        "Pipeline, nested, with passthrough",
        trained(
            Pipeline([("a", make_pipeline(preprocessing.StandardScaler(), "passthrough")), ("b", None), ("m", TREE)]),
            data.margin,
        ),
    ),
    *(
        Case(
            f"SplineTransformer, {extrapolation}, degree {degree}",
            scaled(
                make_pipeline(
                    preprocessing.SplineTransformer(
                        degree=degree, extrapolation=extrapolation, include_bias=degree > 2
                    ),
                    Ridge(),
                ),
                data.margin,
            ),
        )
        for extrapolation, degree in (("constant", 3), ("linear", 3), ("linear", 2), ("continue", 2), ("error", 3))
    ),
    Case("IsotonicRegression", data.single(IsotonicRegression(out_of_bounds="clip"), data.margin)),
    Case("IsotonicRegression, NaN beyond", data.single(IsotonicRegression(increasing=False), data.margin)),
    *(
        Case(f"TransformedTargetRegressor, {name}", scaled(TransformedTargetRegressor(model, **how), data.positive))
        for name, model, how in (
            ("log1p", Ridge(), {"func": np.log1p, "inverse_func": np.expm1}),
            ("log of a tree", TREE, {"func": np.log, "inverse_func": np.exp}),
            ("StandardScaler", Ridge(), {"transformer": preprocessing.StandardScaler()}),
            ("RobustScaler", Ridge(), {"transformer": preprocessing.RobustScaler()}),
            ("MinMaxScaler", TREE, {"transformer": preprocessing.MinMaxScaler()}),
            ("nothing", Ridge(), {}),
        )
    ),
)
