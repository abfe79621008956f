"""LightGBM models: the graph is emitted from the booster's own model text.

Thresholds are float64 and compare `<=`: they are rounded down for float32 inputs and unchanged for float64 inputs.
Leaves are added tree by tree; averaging, links and labels follow as explicit nodes.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters import sample as rows_of
from onnxpress.converters.family import (
    Answer,
    Schema,
)
from onnxpress.converters.from_lightgbm import linear as lightgbm_linear
from onnxpress.converters.from_lightgbm.model import ZERO, Booster, read_booster
from onnxpress.converters.graph import links
from onnxpress.converters.graph.builder import Graph
from onnxpress.converters.graph.inputs import CategorySet, Codes, add_inputs, add_memberships, refuse_ambiguous_blanks
from onnxpress.converters.graph.links import Emitted
from onnxpress.converters.graph.trees import AT_MOST, Tree, add_trees, largest_leaves
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Layout, Task

Floats = NDArray[np.float64]

_SIGMOID = ("binary", "multiclassova", "cross_entropy")
_EXPONENTIAL = ("poisson", "gamma", "tweedie")
_IDENTITY = ("", "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")


@dataclass(frozen=True)
class Reading:
    """A booster's parsed text, with the settings of the estimator object."""

    booster: Booster
    task: "Task"
    classes: tuple[int, ...] | tuple[str, ...]
    # Values of each pandas category column in the order of their codes; empty: trained on numbers.
    categories: tuple[tuple[Any, ...], ...]
    # Features that were trained as categories, according to the booster.
    categorical: frozenset[int]
    link: links.Link


def read(model: Any) -> Reading:
    """Reads `model`, an estimator or a Booster; raises ConversionRefused if it cannot be emitted."""
    booster = _booster(model)
    if _parameters(model).get("pred_early_stop"):
        raise ConversionRefused("pred_early_stop=True stops summing trees when a row looks decided: convert without it")
    best = booster.best_iteration
    file = read_booster(booster, best if best > 0 else None)
    task = _task(model, file)
    return Reading(
        booster=file,
        task=task,
        classes=_classes(model, file) if task == Task.CLASSIFIER else (),
        categories=tuple(tuple(values) for values in booster.pandas_categorical or ()),
        categorical=file.categorical,
        link=_link(file),
    )


def _is_raw(model: Any) -> bool:
    return not isinstance(model, sys.modules["lightgbm"].LGBMModel)


def _booster(model: Any) -> Any:
    """The Booster of an estimator; raises ConversionRefused for one that was never fitted."""
    if _is_raw(model):
        return model
    try:
        return model.booster_
    except (ValueError, AttributeError) as unfitted:
        raise ConversionRefused(f"the {type(model).__name__} is not fitted: {unfitted}") from unfitted


def _parameters(model: Any) -> dict[str, Any]:
    return dict(model.params) if _is_raw(model) else dict(model.get_params())


def _task(model: Any, file: Booster) -> "Task":
    library = sys.modules["lightgbm"]
    if isinstance(model, library.LGBMClassifier):
        # With a custom objective its predict returns raw scores, like a regressor's.
        return Task.REGRESSOR if callable(model._objective) else Task.CLASSIFIER  # noqa: SLF001 -- has no public name
    if isinstance(model, library.LGBMRanker) or file.objective in ("lambdarank", "rank_xendcg"):
        return Task.RANKER if _is_raw(model) or isinstance(model, library.LGBMRanker) else Task.REGRESSOR
    raw_classifier = _is_raw(model) and file.objective in ("binary", "multiclass", "multiclassova")
    return Task.CLASSIFIER if raw_classifier else Task.REGRESSOR


def _classes(model: Any, file: Booster) -> tuple[int, ...] | tuple[str, ...]:
    if _is_raw(model):
        return tuple(range(max(file.groups, 2)))
    values = np.asarray(model.classes_)
    if len(values) < 2:
        raise ConversionRefused(
            f"the classifier was trained on one class only, {values.tolist()}, but predicts probabilities of two: "
            "train it on rows of every class"
        )
    if values.dtype.kind in "OUS":
        return tuple(str(value) for value in values)
    return tuple(int(value) for value in values)


def _link(file: Booster) -> links.Link:
    if file.objective in _IDENTITY:
        return links.signed_square() if "sqrt" in file.options else links.identity()
    if file.objective in _SIGMOID:
        return links.sigmoid(float(file.options.get("sigmoid", 1.0)))
    if file.objective in _EXPONENTIAL:
        return links.exponential()
    if file.objective == "multiclass":
        return links.softmax()
    if file.objective == "cross_entropy_lambda":
        return links.softplus(overflows=True)
    raise ConversionRefused(f"LightGBM objective {file.objective!r}: its link function is not known")


def emit(graph: Graph, reading: Reading, features: str, *, double: bool = False) -> Emitted:
    """Add the model of `reading` to `graph` behind `features` [rows, features] and return its outputs.

    The features are those that the model's own `predict` takes, with categories as codes. With `double` they are
    float64, and thresholds are compared in float64 as LightGBM does.
    """
    file = reading.booster
    linear = any(leaves is not None for leaves in file.linear)
    if linear:
        margin = lightgbm_linear.add_linear_trees(graph, file, features, _add_forest, double=double)
    else:
        margin = _add_forest(graph, file, file.trees, features, targets=file.groups, double=double)
    if file.average:
        margin = graph.add("Div", margin, graph.float32(file.rounds))
    answer = reading.link.emit(graph, margin)
    if reading.task != Task.CLASSIFIER:
        return Emitted(prediction=answer)
    if file.groups > 1:
        return Emitted(links.label(graph, links.largest(graph, answer, nan_wins=linear), reading.classes), answer)
    return Emitted(
        links.label(graph, links.above_half(graph, answer), reading.classes), links.two_columns(graph, answer)
    )


def _add_forest(graph: Graph, file: Booster, trees: tuple[Tree, ...], features: str, targets: int, double: bool) -> str:
    """The sum of `trees`, which compare as those of `file` do, with the columns that their splits need."""
    width = len(file.feature_names)
    changed = list(trees)
    zeros = sorted({int(trees[tree].feature[node]) for tree, node in file.zero_splits})
    keys = [CategorySet(split.feature, split.left, missing=False) for split in file.category_splits]
    sets = sorted(set(keys), key=lambda entry: (entry.feature, entry.codes))
    columns = [features]
    if zeros:
        place = {feature: width + index for index, feature in enumerate(zeros)}
        for tree, node in file.zero_splits:
            changed[tree] = _moved(changed[tree], node, place[int(trees[tree].feature[node])])
        columns.append(_zeros_missing(graph, graph.columns(features, zeros), double))
    if sets:
        position = {entry: width + len(zeros) + index for index, entry in enumerate(sets)}
        for split, key in zip(file.category_splits, keys, strict=True):
            changed[split.tree] = _turned(changed[split.tree], split.node, position[key])
        columns.append(add_memberships(graph, features, sets, double=double, truncates=True))
    return add_trees(graph, changed, graph.concat(columns), targets, mode=AT_MOST, double=double)


def _zeros_missing(graph: Graph, columns: str, double: bool) -> str:
    """The columns with NaN in place of the values that LightGBM treats as zero."""
    number: Callable[[float], str] = (lambda value: graph.constant(np.array(value))) if double else graph.float32
    zero = graph.add("LessOrEqual", graph.add("Abs", columns), number(ZERO))
    return graph.add("Where", zero, number(float("nan")), columns)


def _moved(tree: Tree, node: int, feature: int) -> Tree:
    features = tree.feature.copy()
    features[node] = feature
    return replace(tree, feature=features)


def _turned(tree: Tree, node: int, feature: int) -> Tree:
    """The tree with category splits as `membership <= 0.5`: members take the right branch, where it is false."""
    thresholds, left, right = tree.threshold.copy(), tree.left.copy(), tree.right.copy()
    thresholds[node], left[node], right[node] = 0.5, tree.right[node], tree.left[node]
    return replace(_moved(tree, node, feature), threshold=thresholds, left=left, right=right)


class LightGBMFamily:
    """LGBMClassifier, LGBMRegressor, LGBMRanker, and Boosters."""

    name = "lightgbm"

    def claims(self, model: object) -> bool:
        library = sys.modules.get("lightgbm")
        return library is not None and isinstance(model, (library.Booster, library.LGBMModel))

    def open(self, model: Any, frame: pd.DataFrame, layout: str) -> "LightGBMModel":
        reading = read(model)
        return LightGBMModel(model, reading, _schema(reading, frame, layout))


@dataclass(frozen=True)
class LightGBMModel:
    """One estimator or Booster with its parsed model text."""

    model: Any
    reading: Reading
    schema: Schema

    def compile(self) -> onnx.ModelProto:
        reading, schema = self.reading, self.schema
        graph = Graph()
        codes = _codes(reading, schema)
        wide = schema.layout == Layout.COLUMNS and any(
            column.datatype in ("FP64", "INT64") for index, column in enumerate(schema.columns) if index not in codes
        )
        out = emit(graph, reading, add_inputs(graph, schema, codes, double=wide), double=wide)
        if out.prediction:
            graph.output("prediction", out.prediction, "FP32", schema.targets)
        else:
            graph.output("label", out.label, "BYTES" if isinstance(reading.classes[0], str) else "INT64")
            graph.output("probabilities", out.probabilities, "FP32", len(reading.classes))
        return graph.model()

    def answer(self, rows: pd.DataFrame) -> Answer:
        reading, schema = self.reading, self.schema
        file = reading.booster
        frame = _frame(rows, schema, _codes(reading, schema))
        margins = np.asarray(_booster(self.model).predict(frame, raw_score=True), np.float64).reshape(len(rows), -1)
        said = margins
        if file.average or reading.link.transforms:
            said = np.asarray(_booster(self.model).predict(frame), np.float64).reshape(len(rows), -1)
        lost = links.SUMMATION * _scale(self.model, file, frame)
        if file.average:
            margins, lost = margins / file.rounds, lost / file.rounds
        tolerance = reading.link.tolerance(margins, np.asarray(np.broadcast_to(lost, margins.shape)))
        if reading.task != Task.CLASSIFIER:
            return Answer({"prediction": links.in_float32(said)}, {"prediction": tolerance})
        probabilities = said if file.groups > 1 else np.concatenate([1 - said, said], axis=1)
        index = probabilities.argmax(axis=1)
        return Answer(
            # Its predict returns the class with the largest probability, the first of equal ones.
            {"label": np.array(reading.classes)[index], "probabilities": probabilities},
            # The complement of a small probability is near 1, where its rounding error is larger.
            {"probabilities": tolerance + links.EPSILON * np.abs(probabilities)},
        )

    def splits(self) -> dict[str, Floats]:
        reading, schema = self.reading, self.schema
        file = reading.booster
        coded = {split.feature for split in file.category_splits} | set(_codes(reading, schema))
        found: dict[str, list[Floats]] = {}
        for tree in file.trees:
            for index in set(tree.feature[~tree.leaf].tolist()) - coded:
                found.setdefault(schema.columns[index].name, []).append(
                    tree.threshold[(tree.feature == index) & ~tree.leaf]
                )
        zeros = {schema.columns[int(file.trees[tree].feature[node])].name for tree, node in file.zero_splits}
        for name in zeros:
            found[name].append(np.array([-ZERO, ZERO]))
        return {name: np.unique(np.concatenate(values)) for name, values in found.items()}

    def categories(self) -> dict[str, tuple[Any, ...]]:
        reading, schema = self.reading, self.schema
        codes = _codes(reading, schema)
        found: dict[str, set[Any]] = {schema.columns[index].name: set(codes[index].categories) for index in codes}
        for split in reading.booster.category_splits:
            if split.feature not in codes:
                found.setdefault(schema.columns[split.feature].name, set()).update(split.left)
        return {name: tuple(sorted(values)) for name, values in found.items()}


FAMILY = LightGBMFamily()


def _schema(reading: Reading, sample: pd.DataFrame, layout: str) -> Schema:
    frame = _selected(reading.booster.feature_names, sample)
    found, columns = rows_of.columns(frame, layout)
    schema = Schema(
        columns=columns,
        layout=found,
        task=reading.task,
        classes=reading.classes,
        targets=reading.booster.groups,
    )
    codes = _codes(reading, schema)
    for index, column in enumerate(columns):
        text = index in codes and codes[index].text
        if (column.datatype == "BYTES") != text:
            wanted = "text categories" if text else "numbers"
            raise ConversionRefused(
                f"column {column.name!r}: the model was trained on {wanted}, the sample is {column.datatype}"
            )
    refuse_ambiguous_blanks(frame, codes)
    return schema


def _selected(names: tuple[str, ...], sample: pd.DataFrame) -> pd.DataFrame:
    """The sample's columns in the model's order. LightGBM replaces spaces in names by underscores."""
    if names != tuple(f"Column_{index}" for index in range(len(names))):
        written = {str(column).replace(" ", "_"): column for column in sample.columns}
        if len(written) == sample.shape[1] and all(name in written for name in names):
            return sample[[written[name] for name in names]]
        return rows_of.select(sample, names)
    if sample.shape[1] != len(names):
        raise ConversionRefused(
            f"the model was trained on {len(names)} features without names: the sample has {sample.shape[1]}"
        )
    return sample


def _codes(reading: Reading, schema: Schema) -> dict[int, Codes]:
    """Feature -> the values that its codes stand for, of pandas category columns."""
    if not reading.categories:
        return {}
    text = {index for index, column in enumerate(schema.columns) if column.datatype == "BYTES"}
    for candidates in (text | reading.categorical, text):
        if len(candidates) == len(reading.categories):
            pairs = zip(sorted(candidates), reading.categories, strict=True)
            return {index: _values(schema.columns[index].name, values) for index, values in pairs}
    raise ConversionRefused(
        f"the model was trained on {len(reading.categories)} pandas category column(s); the sample has {len(text)} of "
        f"text, and {len(reading.categorical)} were trained as categories: cannot tell which they are. Give a sample "
        "whose category columns are text"
    )


def _values(name: str, values: tuple[Any, ...]) -> Codes:
    if all(isinstance(value, str) for value in values):
        return Codes(tuple(str(value) for value in values), float("nan"))
    if any(isinstance(value, str) or float(value) != int(value) for value in values):
        raise ConversionRefused(f"column {name!r}: categories must be text or whole numbers: {list(values[:5])}")
    return Codes(tuple(int(value) for value in values), float("nan"))


def _frame(rows: pd.DataFrame, schema: Schema, codes: dict[int, Codes]) -> pd.DataFrame:
    """The rows in the original's own format: category columns as in the training rows."""
    columns: dict[str, Any] = {}
    for index, column in enumerate(schema.columns):
        values = rows[column.name]
        if index in codes:
            categories = codes[index].categories
            place: dict[Any, int] = {category: code for code, category in enumerate(categories)}
            found = [place.get(value, -1) for value in values.tolist()]
            values = pd.Series(
                pd.Categorical.from_codes(
                    found, pd.Index(list(categories), dtype=object if codes[index].text else np.int64)
                )
            )
        columns[column.name] = values
    return pd.DataFrame(columns)


def _scale(model: Any, file: Booster, frame: pd.DataFrame) -> Floats:
    """The scale of the summands: [groups], or [rows, groups] for linear trees."""
    if any(leaves is not None for leaves in file.linear):
        leaves = np.asarray(_booster(model).predict(frame, pred_leaf=True)).reshape(len(frame), -1)
        return lightgbm_linear.sizes(file, leaves, frame)
    return largest_leaves(file.trees, file.groups)
