"""Reads an XGBoost estimator or Booster: its saved file, its link, its task, the rounds that it uses."""

import json
import sys
from dataclasses import dataclass
from typing import Any

from onnxpress.converters.from_xgboost.model import Booster, read_booster
from onnxpress.converters.graph import links
from onnxpress.converters.graph.inputs import REFUSED, Codes
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Task

# Objective -> the link from margins to the output of `predict`. Other objectives are refused.
LINKS: dict[str, links.Link] = {
    **dict.fromkeys(("binary:logistic", "reg:logistic"), links.sigmoid()),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), links.exponential()),
    **dict.fromkeys(("multi:softprob", "multi:softmax"), links.softmax()),
    "binary:hinge": links.step(),
    **dict.fromkeys(
        (
            "reg:squarederror",
            "reg:linear",
            "reg:squaredlogerror",
            "reg:pseudohubererror",
            "reg:absoluteerror",
            "binary:logitraw",
            "rank:pairwise",
            "rank:ndcg",
            "rank:map",
        ),
        links.identity(),
    ),
}


QUANTILES, EXPECTILES = "reg:quantileerror", "reg:expectileerror"


def _link(file: Booster) -> links.Link:
    if file.objective == EXPECTILES:
        return links.increments(file.groups)
    if file.objective == QUANTILES:
        # Since 3.4 the library, whatever version wrote the file, sorts the quantiles that it predicts.
        release = tuple(int(part) for part in sys.modules["xgboost"].__version__.split(".")[:2])
        return links.ascending(file.groups) if file.groups > 1 and release >= (3, 4) else links.identity()
    return LINKS[file.objective]


@dataclass(frozen=True)
class Reading:
    """A booster's parsed file, with the settings of the estimator object."""

    booster: Booster
    task: "Task"
    missing: float
    rounds: int | None  # None: all

    @property
    def link(self) -> links.Link:
        return _link(self.booster)

    @property
    def classes(self) -> int:
        return max(self.booster.groups, 2) if self.task == Task.CLASSIFIER else 0


def read(model: Any) -> Reading:
    """Reads `model`, an estimator or a Booster; raises ConversionRefused if it cannot be emitted."""
    booster = booster_of(model)
    rounds = _rounds(model, booster)
    missing = float("nan") if is_raw(model) or model.missing is None else float(model.missing)
    file = read_booster(booster, rounds)
    if file.objective not in (*LINKS, QUANTILES, EXPECTILES):
        raise ConversionRefused(f"XGBoost objective {file.objective!r}: its link function is not known")
    return Reading(file, _task(model, booster, file), missing, rounds)


def is_raw(model: Any) -> bool:
    return not hasattr(model, "get_booster")


def _rounds(model: Any, booster: Any) -> int | None:
    """The rounds that the model's own `predict` uses: all of a Booster, those up to the best one of an estimator."""
    if is_raw(model):
        # A file saved by an estimator is marked as such, and its predict stops at the best round.
        best = booster.attr("best_iteration") if booster.attr("scikit_learn") else None
        return None if best is None else int(best) + 1
    try:
        return int(model.best_iteration) + 1
    except AttributeError:
        return None


def _task(model: Any, booster: Any, file: Booster) -> "Task":
    if not is_raw(model):
        kind = next((name for name in ("Classifier", "Ranker", "Regressor") if name in type(model).__name__), "")
        kind = kind or getattr(model, "_estimator_type", "regressor")
    else:
        kind = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type") or _kind(file)
    task = {"classifier": Task.CLASSIFIER, "ranker": Task.RANKER}.get(kind.lower(), Task.REGRESSOR)
    if task == Task.CLASSIFIER and file.groups > 1 and not file.classes:
        raise ConversionRefused(
            f"a classifier of {file.groups} labels at once has no single label per row: convert one model per label, "
            "or its raw Booster, whose predictions are the labels' probabilities"
        )
    if task != Task.CLASSIFIER and file.objective in ("multi:softmax", "multi:softprob") and not is_raw(model):
        raise ConversionRefused(f"objective {file.objective!r} in a {type(model).__name__}: use XGBClassifier")
    return task


def _kind(file: Booster) -> str:
    if file.objective in ("binary:logistic", "binary:hinge") and file.groups == 1:
        return "classifier"
    if file.objective.startswith("multi:"):
        return "classifier"
    return "ranker" if file.objective.startswith("rank:") else "regressor"


def booster_of(model: Any) -> Any:
    """The Booster of an estimator; raises ConversionRefused for one that was never fitted."""
    if is_raw(model):
        return model
    try:
        return model.get_booster()
    except (ValueError, AttributeError) as unfitted:
        raise ConversionRefused(f"the {type(model).__name__} is not fitted: {unfitted}") from unfitted


def codes_of(file: Booster) -> dict[int, Codes]:
    """Feature -> its categories, of features whose category names the booster stores."""
    found: dict[int, Codes] = {}
    for index, names in enumerate(file.categories):
        if names is None:
            continue
        if any(isinstance(name, float) for name in names):
            raise ConversionRefused(f"feature {index}: XGBoost categories that are fractions are not supported")
        if isinstance(names[0], bytes):
            found[index] = Codes(tuple(_text(name, file.version) for name in names if isinstance(name, bytes)), REFUSED)
        else:
            found[index] = Codes(tuple(int(name) for name in names), REFUSED)
    return found


def _text(name: bytes, version: tuple[int, ...]) -> str:
    if not name.isascii() and version < (3, 4):
        raise ConversionRefused(
            f"the category {name!r} is stored broken: XGBoost before 3.4 cuts names that are not ASCII, and its own "
            "predictions for them are wrong. Train with a newer XGBoost or with ASCII names"
        )
    return name.decode()
