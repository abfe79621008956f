"""Linear, probabilistic, neural and dummy models of scikit-learn."""

from typing import Any

from sklearn import discriminant_analysis as discriminant
from sklearn import linear_model as linear
from sklearn import naive_bayes as bayes
from sklearn.cross_decomposition import CCA, PLSRegression
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import LinearSVC, LinearSVR

from tests.converters.matrix import sklearn_data as data
from tests.converters.matrix.case import Case
from tests.converters.matrix.sklearn_data import scaled, trained, whole

SEED: dict[str, Any] = {"random_state": 0}
FEW: dict[str, Any] = {"max_iter": 40, "random_state": 0}

CASES: tuple[Case, ...] = (
    Case("LogisticRegression, binary", scaled(linear.LogisticRegression(), data.binary), short=True),
    Case("LogisticRegression, badly scaled", trained(linear.LogisticRegression(solver="newton-cholesky"), data.binary)),
    Case("LogisticRegression, 3 text classes", scaled(linear.LogisticRegression(), data.text_classes)),
    Case("LogisticRegression, l1, saga", scaled(linear.LogisticRegression(solver="liblinear", C=0.1), data.binary)),
    Case("LogisticRegression, no intercept", scaled(linear.LogisticRegression(fit_intercept=False), data.classes)),
    Case(
        "LogisticRegressionCV",
        scaled(linear.LogisticRegressionCV(cv=2, Cs=3, use_legacy_attributes=False), data.classes),
    ),
    Case("SGDClassifier, log_loss, binary", scaled(linear.SGDClassifier(loss="log_loss", **SEED), data.binary)),
    Case("SGDClassifier, log_loss, 3 classes", scaled(linear.SGDClassifier(loss="log_loss", **SEED), data.classes)),
    Case(
        "SGDClassifier, modified_huber, binary",
        scaled(linear.SGDClassifier(loss="modified_huber", **SEED), data.binary),
    ),
    Case(
        "SGDClassifier, modified_huber, 3 classes",
        scaled(linear.SGDClassifier(loss="modified_huber", **SEED), data.classes),
    ),
    Case("SGDClassifier, hinge", scaled(linear.SGDClassifier(**SEED), data.classes)),
    Case("Perceptron", scaled(linear.Perceptron(**SEED), data.text_classes)),
    Case("RidgeClassifier, binary", scaled(linear.RidgeClassifier(), data.binary)),
    Case("RidgeClassifier, 3 classes", scaled(linear.RidgeClassifier(), data.classes)),
    Case("RidgeClassifierCV", scaled(linear.RidgeClassifierCV(), data.classes)),
    Case("LinearSVC, binary", scaled(LinearSVC(**SEED), data.binary)),
    Case("LinearSVC, 3 text classes", scaled(LinearSVC(**SEED), data.text_classes)),
    Case("LinearRegression", trained(linear.LinearRegression(), data.margin), short=True),
    Case("LinearRegression, two targets", trained(linear.LinearRegression(), data.targets)),
    Case(
        "LinearRegression, large numbers that cancel",
        trained(linear.LinearRegression(), lambda x: 1e9 + data.margin(x)),
    ),
    Case("Ridge", trained(linear.Ridge(), data.margin)),
    Case("RidgeCV", trained(linear.RidgeCV(), data.margin)),
    Case("Lasso", trained(linear.Lasso(alpha=0.1), data.margin)),
    Case("LassoCV", scaled(linear.LassoCV(cv=2), data.margin)),
    Case("LassoLars", trained(linear.LassoLars(alpha=0.01), data.margin)),
    Case("ElasticNet", scaled(linear.ElasticNet(alpha=0.1), data.margin)),
    Case("MultiTaskLasso", scaled(linear.MultiTaskLasso(alpha=0.1), data.targets)),
    Case("OrthogonalMatchingPursuit", scaled(linear.OrthogonalMatchingPursuit(), data.margin)),
    Case("BayesianRidge", trained(linear.BayesianRidge(), data.margin)),
    Case("ARDRegression", trained(linear.ARDRegression(), data.margin)),
    Case("HuberRegressor", scaled(linear.HuberRegressor(), data.margin)),
    Case("TheilSenRegressor", scaled(linear.TheilSenRegressor(max_subpopulation=50, **SEED), data.margin)),
    Case("QuantileRegressor", scaled(linear.QuantileRegressor(quantile=0.8, alpha=0.01), data.margin)),
    Case("RANSACRegressor", scaled(linear.RANSACRegressor(**SEED), data.margin)),
    Case("SGDRegressor", scaled(linear.SGDRegressor(**SEED), data.margin)),
    Case("PoissonRegressor", scaled(linear.PoissonRegressor(), data.counts)),
    Case("GammaRegressor", scaled(linear.GammaRegressor(), data.positive)),
    Case("TweedieRegressor, 1.5", scaled(linear.TweedieRegressor(power=1.5), data.positive)),
    Case("TweedieRegressor, 0", scaled(linear.TweedieRegressor(power=0), data.margin)),
    Case("LinearSVR", scaled(LinearSVR(**SEED), data.margin)),
    Case("PLSRegression", scaled(PLSRegression(2), data.targets)),
    Case("GaussianNB", trained(bayes.GaussianNB(), data.text_classes), short=True),
    Case("CCA", scaled(CCA(2), data.targets)),
    Case("GaussianNB, binary", trained(bayes.GaussianNB(), data.binary)),
    Case("BernoulliNB", scaled(bayes.BernoulliNB(binarize=0.2), data.classes)),
    Case("BernoulliNB, bits", whole(bayes.BernoulliNB(binarize=None), data.binary, 2)),
    Case("MultinomialNB", whole(bayes.MultinomialNB(), data.classes)),
    Case("ComplementNB", whole(bayes.ComplementNB(norm=True), data.classes)),
    Case("CategoricalNB", whole(bayes.CategoricalNB(), data.classes)),
    Case("LinearDiscriminantAnalysis, binary", trained(discriminant.LinearDiscriminantAnalysis(), data.binary)),
    Case("LinearDiscriminantAnalysis, 3 classes", trained(discriminant.LinearDiscriminantAnalysis(), data.classes)),
    Case(
        "LinearDiscriminantAnalysis, shrinkage",
        trained(discriminant.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), data.classes),
    ),
    Case("QuadraticDiscriminantAnalysis", trained(discriminant.QuadraticDiscriminantAnalysis(), data.classes)),
    Case(
        "QuadraticDiscriminantAnalysis, binary, regularized",
        trained(discriminant.QuadraticDiscriminantAnalysis(reg_param=0.1), data.binary),
    ),
    Case("MLPClassifier, binary", scaled(MLPClassifier((8, 4), **FEW), data.binary), short=True),
    Case("MLPClassifier, 3 text classes", scaled(MLPClassifier((8,), activation="tanh", **FEW), data.text_classes)),
    Case("MLPRegressor", scaled(MLPRegressor(hidden_layer_sizes=(8,), activation="logistic", **FEW), data.margin)),
    Case(
        "MLPRegressor, identity, two targets",
        scaled(MLPRegressor(hidden_layer_sizes=(4,), activation="identity", **FEW), data.targets),
    ),
    Case("DummyClassifier, prior", trained(DummyClassifier(), data.text_classes)),
    Case("DummyClassifier, most_frequent", trained(DummyClassifier(strategy="most_frequent"), data.classes)),
    Case(
        "DummyClassifier, stratified",
        trained(DummyClassifier(strategy="stratified"), data.classes),
        refused="random",
        why="It draws its labels at random: no copy can draw the same.",
    ),
    Case("DummyRegressor", trained(DummyRegressor(strategy="median"), data.targets)),
)
