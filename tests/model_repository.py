"""Small real models, converted once per test session."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost
from google.protobuf import json_format
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from onnxpress import convert
from onnxpress.protos.deployment_pb2 import Deployment
from onnxpress.protos.package_pb2 import Manifest
from tests.answers import CONTRACTS, Answers, churn_rows, number_rows

SAMPLE_ROWS = 400


@dataclass(frozen=True)
class Models:
    """The converted packages on disk; tests copy what they serve and never write here.

    numbers: XGBClassifier on 30 floats, versions 1, 2 and 3 answer every row differently. heavy: the same with enough
    trees that a run takes a while. churn: a pipeline with text columns. price: a regressor of 4 floats. bare: the
    model.onnx of numbers/1 alone, as Triton's users have it.
    """

    root: Path

    def copy(self, target: Path, *names: str) -> Path:
        """A repository at `target` with `names`: a model, or a model/version."""
        for name in names:
            shutil.copytree(self.root / name, target / name)
        return target

    def answers(self, name: str) -> Answers:
        return _answers(self.root / name / "model.onnx")


@cache
def _answers(model: Path) -> Answers:
    return Answers(model)


def build(root: Path) -> Models:
    """Trains and converts everything; a few seconds."""
    rng = np.random.default_rng(0)
    rows = number_rows(SAMPLE_ROWS, seed=0)
    target = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0).astype(int)
    for version, (trees, depth, rate) in enumerate(((20, 3, 0.3), (12, 4, 0.21), (15, 2, 0.4)), 1):
        classifier = xgboost.XGBClassifier(n_estimators=trees, max_depth=depth, learning_rate=rate, n_jobs=1)
        convert(classifier.fit(rows, target), rows, name="numbers").save(root, version)
    heavy = xgboost.XGBClassifier(n_estimators=600, max_depth=6, n_jobs=1).fit(rows, target)
    convert(heavy, rows, name="heavy").save(root)
    regressor = xgboost.XGBRegressor(n_estimators=10, max_depth=3, n_jobs=1).fit(rows[:, :4], rows[:, 0] * 2)
    convert(regressor, rows[:, :4], name="price").save(root)
    frame = pd.DataFrame({name: column[:, 0] for name, column in churn_rows(SAMPLE_ROWS, seed=0).items()})
    churned = np.where((frame.contract == "monthly") & (frame.charges > 50 + rng.normal(size=len(frame))), "Yes", "No")
    convert(_churn_pipeline().fit(frame, churned), frame, name="churn").save(root)
    edit_manifest(root / "churn/1", _accept_contracts)
    (root / "bare/1").mkdir(parents=True)
    shutil.copy(root / "numbers/1/model.onnx", root / "bare/1/model.onnx")
    return Models(root)


def _churn_pipeline() -> Pipeline:
    columns = [
        ("strict", OneHotEncoder(handle_unknown="error"), ["contract"]),
        ("loose", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ("numbers", StandardScaler(), ["charges", "tenure"]),
    ]
    return Pipeline([("prepare", ColumnTransformer(columns)), ("model", LogisticRegression())])


def _accept_contracts(manifest: Manifest) -> None:
    """The original refuses other contracts; said here too, so that the server's tests stand on their own."""
    feature = next(feature for feature in manifest.features if feature.name == "contract")
    feature.accepts[:] = CONTRACTS


def copy_version(package: Path, version: int) -> Path:
    """The package once more as another version of its model, with a manifest that says so; returns its folder."""
    target = package.with_name(str(version))
    shutil.copytree(package, target)
    edit_manifest(target, lambda manifest: setattr(manifest, "version", version))
    return target


def edit_manifest(package: Path, change: Callable[[Manifest], None]) -> None:
    """Changes manifest.json of a package in place; the manifest has no digest of itself."""
    path = package / "manifest.json"
    manifest = json_format.Parse(path.read_bytes(), Manifest())
    change(manifest)
    path.write_text(json_format.MessageToJson(manifest, preserving_proto_field_name=True))


def deploy_on_disk(repository: Path, model: str, *, live: int, previous: int = 0, epoch: int = 1) -> None:
    """A deployment.json as if `epoch` deploys had been made: both versions are loaded at start."""
    stated = Deployment(model=model, epoch=epoch, live_version=live, previous_version=previous)
    (repository / model / "deployment.json").write_text(json_format.MessageToJson(stated))
