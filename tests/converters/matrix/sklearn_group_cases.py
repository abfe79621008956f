"""Estimators of scikit-learn that combine others."""

from typing import Any

from lightgbm import LGBMClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

from tests.converters.matrix import sklearn_data as data
from tests.converters.matrix.case import Case
from tests.converters.matrix.sklearn_data import scaled, trained

SEED: dict[str, Any] = {"random_state": 0}
FEW: dict[str, Any] = {"n_estimators": 5, "max_depth": 4, "random_state": 0}
FOREST = RandomForestClassifier(**FEW)
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression())
THREE = [("logistic", LOGISTIC), ("forest", FOREST), ("bayes", GaussianNB())]
BOOSTED = [("xgb", XGBClassifier(**FEW)), ("lgbm", LGBMClassifier(verbose=-1, **FEW)), ("forest", FOREST)]
TWO = [("ridge", make_pipeline(StandardScaler(), Ridge())), ("forest", RandomForestRegressor(**FEW))]

CASES: tuple[Case, ...] = (
    Case("VotingClassifier, soft", trained(VotingClassifier(THREE, voting="soft"), data.text_classes), short=True),
    Case(
        "VotingClassifier, soft, weights",
        trained(VotingClassifier(THREE, voting="soft", weights=[1, 2, 0.5]), data.binary),
    ),
    Case("VotingClassifier, hard", trained(VotingClassifier(THREE), data.text_classes)),
    Case(
        "VotingClassifier, hard, weights, one dropped",
        trained(VotingClassifier([*THREE, ("no", "drop")], weights=[1, 2, 1.5, 9]), data.classes),
    ),
    Case("VotingClassifier, soft, boosters", trained(VotingClassifier(BOOSTED, voting="soft"), data.classes)),
    Case("VotingRegressor", trained(VotingRegressor(TWO, weights=[1, 3]), data.margin)),
    Case("VotingRegressor, with XGBoost", trained(VotingRegressor([*TWO, ("xgb", XGBRegressor(**FEW))]), data.margin)),
    Case(
        "StackingClassifier, binary",
        trained(StackingClassifier(THREE, LogisticRegression(), cv=2), data.binary),
        short=True,
    ),
    Case(
        "StackingClassifier, 3 text classes",
        trained(StackingClassifier(THREE, LogisticRegression(), cv=2), data.text_classes),
    ),
    Case(
        "StackingClassifier, passthrough, forest on top",
        trained(StackingClassifier(THREE, FOREST, cv=2, passthrough=True), data.classes),
    ),
    Case(
        "StackingClassifier, of margins",
        scaled(
            StackingClassifier([("svc", LinearSVC()), ("ridge", RidgeClassifier())], LogisticRegression(), cv=2),
            data.binary,
        ),
    ),
    Case(
        "StackingClassifier, of predictions",
        trained(StackingClassifier(THREE, LogisticRegression(), cv=2, stack_method="predict"), data.classes),
    ),
    Case("StackingRegressor", trained(StackingRegressor(TWO, Ridge(), cv=2), data.margin)),
    Case(
        "StackingRegressor, forest on top",
        trained(StackingRegressor(TWO, RandomForestRegressor(**FEW), cv=2, passthrough=True), data.margin),
    ),
    Case("BaggingClassifier of trees", trained(BaggingClassifier(n_estimators=5, **SEED), data.text_classes)),
    Case(
        "BaggingClassifier, some features",
        trained(BaggingClassifier(LOGISTIC, n_estimators=4, max_features=0.6, **SEED), data.binary),
    ),
    Case("BaggingClassifier of margins", scaled(BaggingClassifier(LinearSVC(), n_estimators=4, **SEED), data.classes)),
    Case("BaggingRegressor", trained(BaggingRegressor(n_estimators=5, max_features=0.7, **SEED), data.margin)),
    Case(
        "BaggingRegressor of XGBoost",
        trained(BaggingRegressor(XGBRegressor(**FEW), n_estimators=3, **SEED), data.margin),
    ),
    Case("AdaBoostClassifier, binary", trained(AdaBoostClassifier(n_estimators=8, **SEED), data.binary)),
    Case("AdaBoostClassifier, 3 text classes", trained(AdaBoostClassifier(n_estimators=8, **SEED), data.text_classes)),
    Case(
        "AdaBoostClassifier of deeper trees",
        trained(AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=6, **SEED), data.classes),
    ),
    *(
        Case(f"AdaBoostRegressor, {loss}", trained(AdaBoostRegressor(loss=loss, n_estimators=8, **SEED), data.margin))
        for loss in ("linear", "square", "exponential")
    ),
    *(
        Case(
            f"CalibratedClassifierCV, {method}, {name}",
            trained(CalibratedClassifierCV(model, method=method, cv=2), target),
        )
        for method in ("sigmoid", "isotonic")
        for name, model, target in (
            ("logistic, binary", LOGISTIC, data.binary),
            ("forest, binary", FOREST, data.binary),
            ("forest, 3 classes", FOREST, data.text_classes),
            ("boosting, 3 classes", GradientBoostingClassifier(n_estimators=4, **SEED), data.classes),
            ("LinearSVC, 3 classes", make_pipeline(StandardScaler(), LinearSVC()), data.classes),
        )
    ),
    Case(
        "CalibratedClassifierCV, not an ensemble",
        trained(CalibratedClassifierCV(FOREST, ensemble=False, cv=2), data.binary),
    ),
    Case("CalibratedClassifierCV of XGBoost", trained(CalibratedClassifierCV(XGBClassifier(**FEW), cv=2), data.binary)),
    Case("CalibratedClassifierCV, frozen", lambda: data.frozen(FrozenEstimator, CalibratedClassifierCV, FOREST)),
    Case(
        "CalibratedClassifierCV, temperature",
        trained(CalibratedClassifierCV(FOREST, method="temperature", cv=2), data.classes),
    ),
    Case("FixedThresholdClassifier", trained(FixedThresholdClassifier(LOGISTIC, threshold=0.3), data.binary)),
    Case("TunedThresholdClassifierCV", trained(TunedThresholdClassifierCV(FOREST, cv=2), data.binary)),
    Case(
        "GridSearchCV of a Pipeline",
        trained(GridSearchCV(LOGISTIC, {"logisticregression__C": [0.1, 1.0]}, cv=2), data.classes),
    ),
    Case("OneVsRestClassifier, 3 classes", trained(OneVsRestClassifier(LOGISTIC), data.text_classes)),
    Case("OneVsRestClassifier of forests", trained(OneVsRestClassifier(FOREST), data.classes)),
    Case("OneVsRestClassifier, binary", trained(OneVsRestClassifier(LOGISTIC), data.binary)),
    Case("OneVsRestClassifier of margins", scaled(OneVsRestClassifier(LinearSVC()), data.classes)),
    Case("OneVsOneClassifier", scaled(OneVsOneClassifier(LinearSVC()), data.text_classes)),
    Case("OneVsOneClassifier of forests", trained(OneVsOneClassifier(FOREST), data.classes)),
    Case(
        "OneVsOneClassifier of histogram boosting",
        trained(OneVsOneClassifier(HistGradientBoostingClassifier(max_iter=4, **SEED)), data.classes),
    ),
    Case(
        "MultiOutputRegressor of boosting",
        trained(MultiOutputRegressor(GradientBoostingRegressor(n_estimators=4, **SEED)), data.targets),
    ),
    Case("MultiOutputRegressor of XGBoost", trained(MultiOutputRegressor(XGBRegressor(**FEW)), data.targets)),
    Case(
        "RegressorChain",
        trained(RegressorChain(DecisionTreeRegressor(max_depth=4, **SEED), order=[1, 0]), data.targets),
    ),
    Case("RegressorChain of Ridge", scaled(RegressorChain(Ridge()), data.targets)),
)
