"""XGBoost models: the graph is emitted from the booster's own saved JSON.

Margins are the saved base score (as the first tree) plus float32 leaves tree by tree, in XGBoost's own order, and equal
XGBoost's bit for bit. Links follow as explicit nodes. Rows that XGBoost refuses (an unknown category; infinity in a
linear booster) are answered with NaN.
"""

import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters import sample as rows_of
from onnxpress.converters.family import (
    Answer,
    Column,
    Schema,
)
from onnxpress.converters.from_xgboost import answers as xgboost_answers
from onnxpress.converters.from_xgboost.model import Booster
from onnxpress.converters.from_xgboost.reading import Reading, booster_of, codes_of, read
from onnxpress.converters.graph import links
from onnxpress.converters.graph.builder import FLOAT, Graph
from onnxpress.converters.graph.inputs import (
    REFUSED,
    CategorySet,
    Codes,
    add_inputs,
    add_memberships,
    refuse_ambiguous_blanks,
)
from onnxpress.converters.graph.links import Emitted
from onnxpress.converters.graph.trees import LESS, Tree, add_trees, constant_tree
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Task

Floats = NDArray[np.float64]


def emit(graph: Graph, reading: Reading, features: str, *, double: bool = False) -> Emitted:
    """Add the model of `reading` to `graph` behind `features` [rows, features] and return its outputs.

    The features are those that the model's own `predict` takes, with categories as codes; float64 ones (`double`) are
    rounded to float32 first, as XGBoost does.
    """
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
    """X @ weights + bias, summed feature by feature: a reduction over the first axis has one order for any batch."""
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

    def open(self, model: Any, frame: pd.DataFrame, layout: str) -> "XGBoostModel":
        reading = read(model)
        return XGBoostModel(model, reading, _schema(model, reading, frame, layout))


@dataclass(frozen=True)
class XGBoostModel:
    """One estimator or Booster with its parsed file."""

    model: Any
    reading: Reading
    schema: Schema

    def compile(self) -> onnx.ModelProto:
        graph = Graph()
        codes = codes_of(self.reading.booster)
        features = add_inputs(graph, self.schema, codes)
        out = emit(graph, self.reading, features)
        if out.prediction:
            graph.output("prediction", _refuse(graph, features, codes, out.prediction), "FP32", self.schema.targets)
        else:
            probabilities = _refuse(graph, features, codes, out.probabilities)
            graph.output("label", out.label, "INT64")
            graph.output("probabilities", probabilities, "FP32", self.reading.classes)
        return graph.model()

    def answer(self, rows: pd.DataFrame) -> Answer:
        return xgboost_answers.answer(self.model, self.reading, self.schema, rows)

    def splits(self) -> dict[str, Floats]:
        file = self.reading.booster
        coded = {split.feature for split in file.category_splits} | set(codes_of(file))
        found: dict[str, Floats] = {}
        for index, column in enumerate(self.schema.columns):
            if index not in coded:
                thresholds = [
                    tree.threshold[(tree.feature == index) & ~tree.leaf] for tree in file.trees if not tree.leaf[0]
                ]
                values = np.unique(np.concatenate(thresholds)) if thresholds else np.zeros(0)
                if len(values):
                    found[column.name] = values
        return found

    def categories(self) -> dict[str, tuple[Any, ...]]:
        file = self.reading.booster
        known = codes_of(file)
        found: dict[str, tuple[Any, ...]] = {
            self.schema.columns[index].name: codes.categories for index, codes in known.items()
        }
        for split in file.category_splits:
            name = self.schema.columns[split.feature].name
            if split.feature not in known:
                found[name] = tuple(sorted({*found.get(name, ()), *split.right}))
        return found


FAMILY = XGBoostFamily()


def _schema(model: Any, reading: Reading, sample: pd.DataFrame, layout: str) -> Schema:
    file = reading.booster
    names = booster_of(model).feature_names
    frame = rows_of.select(sample, names) if names else sample
    if frame.shape[1] != file.features:
        raise ConversionRefused(
            f"the model was trained on {file.features} features without names: the sample has {frame.shape[1]}"
        )
    found, columns = rows_of.columns(frame, layout)
    codes = codes_of(file)
    for index, column in enumerate(columns):
        text = index in codes and codes[index].text
        if (column.datatype == "BYTES") != text:
            raise ConversionRefused(_mismatch(column, known=index in codes, text=text))
    refuse_ambiguous_blanks(frame, codes)
    columns = tuple(_accepting(column, codes.get(index)) for index, column in enumerate(columns))
    return Schema(
        columns=columns,
        layout=found,
        task=reading.task,
        classes=tuple(range(reading.classes)),
        targets=file.groups,
    )


def _accepting(column: Column, codes: Codes | None) -> Column:
    """The column with its accepted values, including the empty string for missing text."""
    if codes is None or column.datatype not in ("BYTES", "INT64"):
        return column
    known = tuple(str(category) for category in codes.categories)
    blank = ("",) if codes.text and "" not in known else ()
    return replace(column, accepts=known + blank)


def _mismatch(column: Column, *, known: bool, text: bool) -> str:
    if text:
        return (
            f"column {column.name!r} holds text categories in the model: give the sample as text, not {column.datatype}"
        )
    if known:
        return f"column {column.name!r} holds whole-number categories in the model: the sample has text"
    return (
        f"column {column.name!r} is text, and the booster stores no category names for it: it was trained on codes, "
        "or by an XGBoost before 3.1. Give a sample of codes, or train again"
    )


def _refuse(graph: Graph, features: str, codes: dict[int, Codes], answer: str) -> str:
    """NaN in rows with an unknown category."""
    if not codes:
        return answer
    known = graph.columns(features, sorted(codes))
    refused = graph.add("Equal", known, graph.float32(REFUSED))
    worst = graph.add("ReduceMax", graph.cast(refused, FLOAT), graph.int64(1), keepdims=1)
    return graph.add("Where", graph.add("Greater", worst, graph.float32(0.0)), graph.float32(float("nan")), answer)
