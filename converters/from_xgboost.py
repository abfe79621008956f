"""XGBoost models: the graph is emitted from the booster's own saved JSON.

Margins are the saved base score (as tree zero) plus float32 leaves tree by tree, which is XGBoost's own order: they
come out bit for bit. Links follow as explicit nodes. Rows that XGBoost refuses (a category never seen; infinity in
a linear booster) are answered with NaN.
"""

import json
import math
import sys
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray

from converters import links
from converters import sample as rows_of
from converters.family import Answer, Column, ConversionRefused, Schema
from converters.features import REFUSED, CategorySet, Codes, add_inputs, add_memberships
from converters.graph import FLOAT, Graph
from converters.links import Emitted
from converters.trees import LESS, Tree, add_trees, constant_tree, largest_leaves
from converters.xgboost_model import Booster, read_booster
from protos.package_pb2 import Task

Floats = NDArray[np.float64]

# Objective -> the link from margins to what `predict` says. Others are refused until we know theirs.
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
            "reg:quantileerror",
            "binary:logitraw",
            "rank:pairwise",
            "rank:ndcg",
            "rank:map",
        ),
        links.identity(),
    ),
}


@dataclass(frozen=True)
class Reading:
    """A booster's file, and what the object around it adds."""

    booster: Booster
    task: "Task"
    missing: float
    rounds: int | None  # None: all

    @property
    def link(self) -> links.Link:
        return LINKS[self.booster.objective]

    @property
    def classes(self) -> int:
        return max(self.booster.groups, 2) if self.task == Task.CLASSIFIER else 0


_READINGS: "WeakKeyDictionary[Any, tuple[tuple[object, ...], Reading]]" = WeakKeyDictionary()


def read(model: Any) -> Reading:
    """What `model`, an estimator or a Booster, computes; raises ConversionRefused for what cannot be emitted."""
    booster = model if _is_raw(model) else model.get_booster()
    rounds = _rounds(model, booster)
    missing = float("nan") if _is_raw(model) or model.missing is None else float(model.missing)
    key = (booster.num_boosted_rounds(), rounds, str(missing), type(model).__name__)
    known = _READINGS.get(booster)
    if known is None or known[0] != key:
        file = read_booster(booster, rounds)
        if file.objective not in LINKS:
            raise ConversionRefused(f"XGBoost objective {file.objective!r}: its link function is not known")
        known = (key, Reading(file, _task(model, booster, file), missing, rounds))
        _READINGS[booster] = known
    return known[1]


def _is_raw(model: Any) -> bool:
    return not hasattr(model, "get_booster")


def _rounds(model: Any, booster: Any) -> int | None:
    """The rounds that the model's own `predict` uses: a Booster all, an estimator those up to its best one."""
    if _is_raw(model):
        # A file saved by an estimator says so, and its predict stops at the best round.
        best = booster.attr("best_iteration") if booster.attr("scikit_learn") else None
        return None if best is None else int(best) + 1
    try:
        return int(model.best_iteration) + 1
    except AttributeError:
        return None


def _task(model: Any, booster: Any, file: Booster) -> "Task":
    if not _is_raw(model):
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
    if task != Task.CLASSIFIER and file.objective in ("multi:softmax", "multi:softprob") and not _is_raw(model):
        raise ConversionRefused(f"objective {file.objective!r} in a {type(model).__name__}: use XGBClassifier")
    return task


def _kind(file: Booster) -> str:
    if file.objective in ("binary:logistic", "binary:hinge") and file.groups == 1:
        return "classifier"
    if file.objective.startswith("multi:"):
        return "classifier"
    return "ranker" if file.objective.startswith("rank:") else "regressor"


def emit(graph: Graph, model: Any, features: str, *, double: bool = False) -> Emitted:
    """Add `model` to `graph` behind `features` [rows, features] and return its outputs.

    The features are what the model's own `predict` would be given, categories as codes; float64 ones (`double`) are
    rounded to float32 first, as XGBoost does.
    """
    reading = read(model)
    file = reading.booster
    if double:
        features = graph.cast(features, FLOAT)
    if not math.isnan(reading.missing):
        absent = graph.add("Equal", features, graph.float32(reading.missing))
        features = graph.add("Where", absent, graph.float32(float("nan")), features)
    add = _add_forest if file.linear is None else _add_linear
    margin = add(graph, file, features)
    answer = reading.link.emit(graph, margin)
    if reading.task != Task.CLASSIFIER:
        return Emitted(prediction=answer)
    if file.groups > 1:
        return Emitted(label=links.largest(graph, answer), probabilities=answer)
    return Emitted(label=links.above_half(graph, answer), probabilities=links.two_columns(graph, answer))


def _add_forest(graph: Graph, file: Booster, features: str) -> str:
    trees = list(file.trees)
    keys = [CategorySet(s.feature, s.right, not bool(trees[s.tree].nan_left[s.node])) for s in file.category_splits]
    if keys:
        sets = sorted(set(keys), key=lambda entry: (entry.feature, entry.codes, entry.missing))
        place = {entry: file.features + index for index, entry in enumerate(sets)}
        trees = _with_memberships(trees, file, [place[key] for key in keys])
        features = graph.concat([features, add_memberships(graph, features, sets, truncates=False)])
    return add_trees(graph, [constant_tree(file.intercepts), *trees], features, file.groups, mode=LESS)


def _with_memberships(trees: list[Tree], file: Booster, places: list[int]) -> list[Tree]:
    """The trees with their category splits turned into `membership < 0.5`."""
    changed: dict[int, tuple[NDArray[np.int64], Floats]] = {}
    for split, place in zip(file.category_splits, places, strict=True):
        tree = trees[split.tree]
        feature, threshold = changed.setdefault(split.tree, (tree.feature.copy(), tree.threshold.copy()))
        feature[split.node], threshold[split.node] = place, 0.5
    return [
        replace(tree, feature=changed[number][0], threshold=changed[number][1]) if number in changed else tree
        for number, tree in enumerate(trees)
    ]


def _add_linear(graph: Graph, file: Booster, features: str) -> str:
    """X @ weights + bias, summed feature by feature: a reduction over the first axis has one order at any batch."""
    assert file.linear is not None
    present = graph.add("Where", graph.add("IsNaN", features), graph.float32(0.0), features)
    turned = graph.add("Unsqueeze", graph.add("Transpose", present, perm=[1, 0]), graph.int64(2))
    weights = graph.constant(file.linear.astype(np.float32)[:, np.newaxis, :])
    total = graph.add("ReduceSum", graph.add("Mul", turned, weights), graph.int64(0), keepdims=0)
    start = graph.constant(file.intercepts.astype(np.float32))
    return graph.add("Add", total, start)


class XGBoostFamily:
    """XGBClassifier, XGBRegressor, XGBRanker, their random forests, and Boosters."""

    name = "xgboost"

    def claims(self, model: object) -> bool:
        library = sys.modules.get("xgboost")
        return library is not None and isinstance(model, (library.Booster, library.XGBModel))

    def describe(self, model: Any, sample: pd.DataFrame, layout: str) -> Schema:
        reading = read(model)
        file = reading.booster
        names = _booster(model).feature_names
        frame = rows_of.select(sample, names) if names else sample
        if frame.shape[1] != file.features:
            raise ConversionRefused(
                f"the model was trained on {file.features} features without names: the sample has {frame.shape[1]}"
            )
        found, columns = rows_of.columns(frame, layout)
        codes = _codes(file)
        for index, column in enumerate(columns):
            text = index in codes and codes[index].text
            if (column.datatype == "BYTES") != text:
                raise ConversionRefused(_mismatch(column, known=index in codes, text=text))
        return Schema(
            columns=columns,
            layout=found,
            task=reading.task,
            classes=tuple(range(reading.classes)),
            targets=file.groups,
        )

    def compile(self, model: Any, schema: Schema) -> onnx.ModelProto:
        reading = read(model)
        graph = Graph()
        codes = _codes(reading.booster)
        features = add_inputs(graph, schema, codes)
        out = emit(graph, model, features)
        if out.prediction:
            graph.output("prediction", _refuse(graph, features, codes, out.prediction), "FP32", schema.targets)
        else:
            probabilities = _refuse(graph, features, codes, out.probabilities)
            graph.output("label", out.label, "INT64")
            graph.output("probabilities", probabilities, "FP32", reading.classes)
        return graph.model()

    def answer(self, model: Any, schema: Schema, rows: pd.DataFrame) -> Answer:
        reading = read(model)
        frame = _frame(model, reading.booster, schema, rows)
        margins = _predict(model, frame, reading, margin=True).reshape(len(rows), -1).astype(np.float64)
        lost = np.broadcast_to(links.SUMMATION * _scale(reading.booster, rows), margins.shape)
        tolerance = reading.link.tolerance(margins, np.asarray(lost))
        if reading.task != Task.CLASSIFIER:
            said = _predict(model, frame, reading, margin=False).reshape(len(rows), -1).astype(np.float64)
            return Answer({"prediction": said}, {"prediction": tolerance})
        probabilities, label = _classified(model, frame, reading)
        return Answer(
            {"label": label, "probabilities": probabilities},
            {"probabilities": np.asarray(np.broadcast_to(tolerance, probabilities.shape))},
        )

    def splits(self, model: Any, schema: Schema) -> dict[str, Floats]:
        file = read(model).booster
        coded = {split.feature for split in file.category_splits} | set(_codes(file))
        found: dict[str, Floats] = {}
        for index, column in enumerate(schema.columns):
            if index not in coded:
                thresholds = [
                    tree.threshold[(tree.feature == index) & ~tree.leaf] for tree in file.trees if not tree.leaf[0]
                ]
                values = np.unique(np.concatenate(thresholds)) if thresholds else np.zeros(0)
                if len(values):
                    found[column.name] = values
        return found

    def categories(self, model: Any, schema: Schema) -> dict[str, tuple[Any, ...]]:
        file = read(model).booster
        found: dict[str, tuple[Any, ...]] = {}
        for index, codes in _codes(file).items():
            found[schema.columns[index].name] = codes.categories
        for split in file.category_splits:
            name = schema.columns[split.feature].name
            if split.feature not in _codes(file):
                found[name] = tuple(sorted({*found.get(name, ()), *split.right}))
        return found


FAMILY = XGBoostFamily()


def _booster(model: Any) -> Any:
    return model if _is_raw(model) else model.get_booster()


def _codes(file: Booster) -> dict[int, Codes]:
    """Feature -> its categories, of features whose names the booster knows."""
    found: dict[int, Codes] = {}
    for index, names in enumerate(file.categories):
        if names is None:
            continue
        if any(isinstance(name, float) for name in names):
            raise ConversionRefused(f"feature {index}: XGBoost categories that are fractions are not supported")
        if isinstance(names[0], bytes):
            found[index] = Codes(tuple(_text(name) for name in names if isinstance(name, bytes)), REFUSED)
        else:
            found[index] = Codes(tuple(int(name) for name in names), REFUSED)
    return found


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as broken:
        raise ConversionRefused(
            f"the category {name!r} was stored broken: XGBoost before 3.4 cuts names that are not ASCII, and its own "
            "predictions for them are wrong. Train with a newer XGBoost or with ASCII names"
        ) from broken


def _mismatch(column: Column, *, known: bool, text: bool) -> str:
    if text:
        return (
            f"column {column.name!r} holds text categories in the model: give the sample as text, not {column.datatype}"
        )
    if known:
        return f"column {column.name!r} holds whole-number categories in the model: the sample has text"
    return (
        f"column {column.name!r} is text, and the booster stores no category names for it: it was trained on codes, "
        "or by an XGBoost before 3.1. Bring a sample of codes, or train again"
    )


def _refuse(graph: Graph, features: str, codes: dict[int, Codes], answer: str) -> str:
    """NaN in rows that hold a category never seen."""
    if not codes:
        return answer
    known = graph.columns(features, sorted(codes))
    refused = graph.add("Equal", known, graph.float32(REFUSED))
    worst = graph.add("ReduceMax", graph.cast(refused, FLOAT), graph.int64(1), keepdims=1)
    return graph.add("Where", graph.add("Greater", worst, graph.float32(0.0)), graph.float32(float("nan")), answer)


def _frame(model: Any, file: Booster, schema: Schema, rows: pd.DataFrame) -> Any:
    """The rows as the original takes them: an array, or a frame with its names and category columns."""
    codes = _codes(file)
    names = _booster(model).feature_names
    if not codes and not names:
        return rows.to_numpy(dtype=np.float64)
    columns: dict[str, Any] = {}
    for index, column in enumerate(schema.columns):
        values = rows[column.name]
        columns[names[index] if names else column.name] = (
            _categorical(column, values, codes[index]) if index in codes else values
        )
    return pd.DataFrame(columns)


def _categorical(column: Column, values: "pd.Series[Any]", codes: Codes) -> Any:
    """Raises ValueError for a category never seen: XGBoost 3.4 does; older ones take the next in sort order."""
    blank = codes.text and "" not in codes.categories
    absent = values.isna() | (values == "") if blank else values.isna()
    unseen = ~absent & ~values.isin(codes.categories)
    if unseen.any():
        raise ValueError(f"column {column.name!r}: {values[unseen].iloc[0]!r} is a category not in the training set")
    if not codes.text:
        whole = values.where(~absent, codes.categories[0]).astype(np.int64)
        return pd.Categorical(whole.where(~absent, None).astype("Int64"), categories=pd.Index(codes.categories))
    return pd.Categorical(values.where(~absent, None), categories=pd.Index(codes.categories, dtype=object))


def _predict(model: Any, frame: Any, reading: Reading, *, margin: bool) -> NDArray[Any]:
    if not _is_raw(model):
        if isinstance(model, _library().XGBClassifier) and not margin:
            return np.asarray(model.predict_proba(frame))
        return np.asarray(model.predict(frame, output_margin=margin))
    rounds = (0, reading.rounds or 0)
    data = _library().DMatrix(frame, enable_categorical=True, feature_names=model.feature_names)
    return np.asarray(model.predict(data, output_margin=margin, iteration_range=rounds))


def _library() -> Any:
    return sys.modules["xgboost"]


def _classified(model: Any, frame: Any, reading: Reading) -> tuple[Floats, NDArray[np.int64]]:
    """The original's probabilities [rows, classes] and labels [rows]."""
    if not _is_raw(model):
        probabilities = np.asarray(model.predict_proba(frame), np.float64)
        label = np.asarray(model.predict(frame))
        if label.ndim > 1:  # two classes by softmax: XGBoost's predict says one column per class
            label = probabilities.argmax(axis=1)
        return probabilities, label.astype(np.int64)
    said = _predict(model, frame, reading, margin=False)
    if reading.booster.objective == "multi:softmax":
        margins = _predict(model, frame, reading, margin=True).astype(np.float64)
        return reading.link.apply(margins), said.astype(np.int64)
    if said.ndim == 1:
        return np.stack([1 - said, said], axis=1).astype(np.float64), (said > 0.5).astype(np.int64)
    return said.astype(np.float64), said.argmax(axis=1).astype(np.int64)


def _scale(file: Booster, rows: pd.DataFrame) -> Floats:
    """The size of what is summed: per group [groups], or per row and group for a linear booster."""
    start = np.abs(file.intercepts)
    if file.linear is None:
        return start + largest_leaves(file.trees, file.groups)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(np.abs(rows.to_numpy(np.float64)))
        return np.asarray(values @ np.abs(file.linear) + start)
