"""Support vectors, neighbours, clusters and outliers of scikit-learn."""

from typing import Any

from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, SGDOneClassSVM
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from tests.converters.matrix import sklearn_data as data
from tests.converters.matrix.case import Case
from tests.converters.matrix.sklearn_data import scaled, trained

SEED: dict[str, Any] = {"random_state": 0}

CASES: tuple[Case, ...] = (
    Case("SVC, binary", scaled(SVC(), data.binary), short=True),
    Case("SVC, 3 text classes", scaled(SVC(), data.text_classes)),
    Case("SVC, 4 classes, break_ties", scaled(SVC(break_ties=True), lambda rows: data.classes(rows, 4))),
    Case("SVC, 4 classes, ovo", scaled(SVC(decision_function_shape="ovo"), lambda rows: data.classes(rows, 4))),
    *(
        Case(f"SVC, {kernel}", scaled(SVC(kernel=kernel, coef0=0.5), data.classes))
        for kernel in ("linear", "poly", "sigmoid")
    ),
    Case("SVC, badly scaled", trained(SVC(), data.binary)),
    Case("SVC, probability, binary", scaled(SVC(probability=True, **SEED), data.binary)),
    Case("SVC, probability, 3 text classes", scaled(SVC(probability=True, **SEED), data.text_classes)),
    Case("NuSVC, 3 classes", scaled(NuSVC(nu=0.3), data.classes)),
    Case("SVC after StandardScaler", trained(make_pipeline(StandardScaler(), SVC()), data.text_classes)),
    *(
        Case(f"KernelRidge, {kernel}", scaled(KernelRidge(kernel=kernel), target))
        for kernel, target in (("rbf", data.margin), ("linear", data.targets), ("polynomial", data.margin))
    ),
    Case("SGDOneClassSVM", scaled(SGDOneClassSVM(**SEED), data.margin)),
    Case("KMeans as a step", scaled(make_pipeline(KMeans(4, n_init=1, **SEED), LogisticRegression()), data.classes)),
    Case("SVR", scaled(SVR(), data.margin)),
    Case("SVR, poly", scaled(SVR(kernel="poly", degree=2), data.margin)),
    Case("NuSVR", scaled(NuSVR(), data.margin)),
    Case("OneClassSVM", scaled(OneClassSVM(), data.margin)),
    Case("IsolationForest", trained(IsolationForest(n_estimators=10, **SEED), data.margin)),
    Case(
        "IsolationForest, contamination, some features",
        trained(IsolationForest(n_estimators=10, contamination=0.1, max_features=0.6, **SEED), data.margin),
    ),
    Case("KMeans", scaled(KMeans(4, n_init=1, **SEED), data.margin)),
    Case("KNeighborsClassifier", scaled(KNeighborsClassifier(), data.text_classes), short=True),
    Case("KNeighborsClassifier, distance weights", scaled(KNeighborsClassifier(4, weights="distance"), data.classes)),
    Case("KNeighborsClassifier, manhattan", scaled(KNeighborsClassifier(3, p=1), data.binary)),
    Case(
        "KNeighborsClassifier, brute",
        scaled(KNeighborsClassifier(algorithm="brute"), data.classes),
    ),
    Case("KNeighborsRegressor", scaled(KNeighborsRegressor(), data.margin)),
    Case(
        "KNeighborsRegressor, distance weights, two targets",
        scaled(KNeighborsRegressor(weights="distance"), data.targets),
    ),
)
