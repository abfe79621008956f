"""The four models: trained here, compiled by onnxpress, and kept for the next run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import joblib
import numpy as np
from lightgbm import LGBMClassifier
from sklearn.ensemble import RandomForestClassifier

from benchmarks.bodies import rows_of
from benchmarks.engines.loop import Rows
from benchmarks.packages import SAMPLE_ROWS, SEED, booster, training_rows
from onnxpress import Package, convert, load


@dataclass(frozen=True)
class Model:
    """title: for people. library: that trained it. file: the model as that library saves it."""

    title: str
    library: str
    file: str
    train: Callable[[], Any]


MODELS: Mapping[str, Model] = MappingProxyType({
    "xgboost-100x6": Model("XGBoost, 100 trees of depth 6", "xgboost", "json", lambda: booster(100, 6)),
    "xgboost-1000x8": Model("XGBoost, 1,000 trees of depth 8", "xgboost", "json", lambda: booster(1000, 8)),
    "lightgbm-500x63": Model("LightGBM, 500 trees of 63 leaves", "lightgbm", "txt", lambda: LGBMClassifier(
        n_estimators=500, num_leaves=63, learning_rate=0.05, random_state=SEED, verbose=-1).fit(*training_rows())),
    "sklearn-300": Model("scikit-learn, random forest of 300 trees grown to the end", "sklearn", "joblib",
        lambda: RandomForestClassifier(300, random_state=SEED, n_jobs=-1).fit(*training_rows())),
})  # fmt: skip


@dataclass(frozen=True)
class Built:
    """package: as onnxpress serves it. original: the file of the library that trained it."""

    model: Model
    package: Package
    original: Path


def build(name: str, folder: Path, tell: Callable[[str], None]) -> Built:
    """Trains and compiles the model unless `folder` has it."""
    model, version = MODELS[name], folder / name / "1"
    original = folder / f"{name}.{model.file}"
    if not version.exists() or not original.exists():
        tell(f"training and compiling {name}")
        trained = model.train()
        save(trained, model.library, original)
        if not version.exists():
            convert(trained, training_rows()[0][:SAMPLE_ROWS], name=name).save(folder)
    return Built(model, load(version), original)


def save(trained: Any, library: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if library == "xgboost":
        trained.save_model(path)
    elif library == "lightgbm":
        trained.booster_.save_model(path)
    else:
        joblib.dump(trained, path)


def different_rows(count: int) -> Rows:
    """Rows distributed like the training rows, FP32 [count, features]."""
    return np.ascontiguousarray(rows_of(SEED + 1, count))
