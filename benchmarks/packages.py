"""The served models: trained here, compiled by onnxpress, and kept for the next run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from xgboost import XGBClassifier

from benchmarks.bodies import FEATURES, rows_of
from examples.churn import train
from onnxpress import convert
from onnxpress.packages.forest.compiled import FORMAT

TRAINING_ROWS = 10_000
SEED = 11
SAMPLE_ROWS = 500
LIGHT, HEAVY, CHURN = "light", "heavy", "churn"
SIZES = {LIGHT: (100, 6), HEAVY: (1000, 8)}  # trees, depth
LIBRARIES = ("onnxpress", "onnx", "xgboost-cpu", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Packages:
    """repository: all of them as `onnxpress serve` takes it. boosters: the same models as XGBoost saved them."""

    repository: Path
    boosters: Path

    def onnx(self, model: str) -> Path:
        return self.repository / model / "1" / "model.onnx"


def build(folder: Path, tell: Callable[[str], None]) -> Packages:
    """Trains and compiles the models that are missing in `folder`."""
    packages = Packages(folder / "repository", folder / "boosters")
    marker = folder / "made-with.json"
    libraries = {name: version(name) for name in LIBRARIES}
    made_with = json.dumps(libraries | {"sizes": SIZES, "forest": FORMAT}, sort_keys=True)
    if folder.exists() and (not marker.exists() or marker.read_text() != made_with):
        shutil.rmtree(folder)
    packages.boosters.mkdir(parents=True, exist_ok=True)
    marker.write_text(made_with)
    for model, (trees, depth) in SIZES.items():
        if not packages.onnx(model).exists():
            tell(f"training and compiling {model}: {trees} trees of depth {depth}")
            _numeric(packages, model, trees, depth)
    if not packages.onnx(CHURN).exists():
        tell("training and compiling churn")
        rows, churned = train.read()
        pipeline = train.build("xgboost", rows).fit(rows, churned)
        convert(pipeline, rows, name=CHURN).save(packages.repository)
    return packages


def _numeric(packages: Packages, model: str, trees: int, depth: int) -> None:
    trained = booster(trees, depth)
    trained.save_model(packages.boosters / f"{model}.json")
    convert(trained, training_rows()[0][:SAMPLE_ROWS], name=model).save(packages.repository)


def booster(trees: int, depth: int) -> XGBClassifier:
    return XGBClassifier(
        n_estimators=trees, max_depth=depth, learning_rate=0.05, tree_method="hist", random_state=SEED
    ).fit(*training_rows())  # fmt: skip


def training_rows() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The rows, [TRAINING_ROWS, FEATURES], and the class of each."""
    rows = rows_of(SEED, TRAINING_ROWS)
    noise = np.random.default_rng(SEED).normal(size=len(rows))
    # Every feature matters and some only together, so that trees grow to their full depth.
    score = rows @ np.linspace(-1, 1, FEATURES) + rows[:, 0] * rows[:, 1] + np.sin(3 * rows[:, 2]) + noise
    return rows, score > 0
