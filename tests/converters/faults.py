"""Twelve faults planted in correct graphs: each is a small edit of the ONNX that a converter could make."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

ROWS = 400


def numbers() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(ROWS, 4))


def node_of(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == operator)


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(found for found in node.attribute if found.name == name)


def regressor() -> tuple[Any, np.ndarray]:
    rows = numbers()
    target = rows[:, 0] * rows[:, 1] + np.sin(3 * rows[:, 2])
    return XGBRegressor(n_estimators=12, max_depth=5).fit(rows, target), rows


def counts() -> tuple[Any, np.ndarray]:
    rows = numbers()
    return XGBRegressor(n_estimators=8, objective="count:poisson").fit(rows, np.floor(np.abs(rows[:, 0] * 3))), rows


def three_classes() -> tuple[Any, np.ndarray]:
    rows = numbers()
    return XGBClassifier(n_estimators=5).fit(rows, (rows[:, 0] > 0).astype(int) + (rows[:, 1] > 0.5)), rows


def coloured() -> tuple[Any, pd.DataFrame]:
    random = np.random.default_rng(6)
    rows = pd.DataFrame({"colour": random.choice(list("rgbk"), ROWS)})
    target = (rows["colour"].isin(["r", "g"]) ^ (random.random(ROWS) < 0.2)).astype(int)
    return make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(rows, target), rows


def scaled_tree() -> tuple[Any, np.ndarray]:
    rows = numbers() * 0.37 + 11.3
    return make_pipeline(StandardScaler(), DecisionTreeRegressor()).fit(rows, np.sin(rows[:, 0] * 9)), rows


def tied() -> tuple[Any, np.ndarray]:
    rows = np.repeat([[0.0, 1.0], [1.0, 2.0]], ROWS // 2, axis=0)
    target = np.where(rows[:, 0] == 0, np.arange(ROWS) % 2, 1)
    return DecisionTreeClassifier().fit(rows, target), rows


def threshold_moved(model: onnx.ModelProto) -> None:
    node = node_of(model, "TreeEnsembleRegressor")
    modes = [mode.decode() for mode in attribute(node, "nodes_modes").strings]
    # The last split: deep in the last tree, where few rows arrive.
    place = max(place for place, mode in enumerate(modes) if mode != "LEAF")
    values = attribute(node, "nodes_values").floats
    values[place] = float(np.nextafter(np.float32(values[place]), np.float32(np.inf)))


def classes_exchanged(model: onnx.ModelProto) -> None:
    targets = attribute(node_of(model, "TreeEnsembleRegressor"), "target_ids").ints
    targets[:] = [{0: 1, 1: 0}.get(target, target) for target in targets]


def link_missing(model: onnx.ModelProto) -> None:
    node = node_of(model, "Exp")
    node.op_type = "Identity"


def tree_dropped(model: onnx.ModelProto) -> None:
    node = node_of(model, "TreeEnsembleRegressor")
    trees, weights = attribute(node, "target_treeids").ints, attribute(node, "target_weights").floats
    weights[:] = [0.0 if tree == max(trees) else weight for tree, weight in zip(trees, weights, strict=True)]


def missing_routed_away(model: onnx.ModelProto) -> None:
    node = node_of(model, "TreeEnsembleRegressor")
    modes = [mode.decode() for mode in attribute(node, "nodes_modes").strings]
    place = max(place for place, mode in enumerate(modes) if mode != "LEAF")
    tracks = attribute(node, "nodes_missing_value_tracks_true").ints
    tracks[place] = 1 - tracks[place]


def categories_shifted(model: onnx.ModelProto) -> None:
    keys = attribute(node_of(model, "LabelEncoder"), "keys_strings").strings
    keys[:] = [*keys[1:], keys[0]]


def scaler_narrowed(model: onnx.ModelProto) -> None:
    attribute(node_of(model, "Cast"), "to").i = onnx.TensorProto.FLOAT
    used = {name for kind in ("Sub", "Div") for name in node_of(model, kind).input}
    for tensor in model.graph.initializer:
        if tensor.name in used:
            narrow = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))


def base_score_off(model: onnx.ModelProto) -> None:
    weights = attribute(node_of(model, "TreeEnsembleRegressor"), "target_weights").floats
    weights[0] += 1e-4


def tie_to_the_last(model: onnx.ModelProto) -> None:
    node_of(model, "ArgMax").attribute.append(helper.make_attribute("select_last_index", 1))


def then(model: onnx.ModelProto, output: str, nodes: Callable[[str, str], list[onnx.NodeProto]]) -> None:
    """Inserts nodes between an output and the node that computes it."""
    for node in model.graph.node:
        node.output[:] = [f"{name}_before" if name == output else name for name in node.output]
    model.graph.node.extend(nodes(f"{output}_before", output))


def not_normalised(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1.01]), "more"))
    then(model, "probabilities", lambda old, new: [helper.make_node("Mul", [old, "more"], [new])])


def batch_seen(model: onnx.ModelProto) -> None:
    """Adds a little of the batch's largest answer: within any tolerance, and different bits in every batch."""
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1e-7]), "whisper"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "rows"))
    nodes = [
        ("ReduceMax", ["prediction_before", "rows"], ["most"], {}),
        ("Mul", ["most", "whisper"], ["little"], {}),
        ("Add", ["prediction_before", "little"], ["prediction"], {}),
    ]
    then(model, "prediction", lambda _old, _new: [helper.make_node(k, i, o, **a) for k, i, o, a in nodes])


def any_width_taken(model: onnx.ModelProto) -> None:
    """Uses the first columns of an input of any width."""
    for node in model.graph.node:
        node.input[:] = ["narrow" if name == "input" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.arange(4), "four"))
    model.graph.node.insert(0, helper.make_node("Gather", ["input", "four"], ["narrow"], axis=1))
    model.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")


@dataclass(frozen=True)
class Fault:
    name: str
    build: Callable[[], tuple[Any, Any]]
    plant: Callable[[onnx.ModelProto], None]
    generator: str  # that must find it
    blind: str = ""  # generators that cannot, each a letter


FAULTS = (
    Fault("a threshold moved by one ulp", regressor, threshold_moved, "T", blind="RNZ"),
    Fault("two classes exchanged", three_classes, classes_exchanged, "R"),
    Fault("a missing link function", counts, link_missing, "R"),
    Fault("a dropped tree", regressor, tree_dropped, "R"),
    Fault("NaN routed the other way", regressor, missing_routed_away, "N", blind="RTW"),
    Fault("a category mapping shifted", coloured, categories_shifted, "C"),
    Fault("a float32 scaler", scaled_tree, scaler_narrowed, "T", blind="R"),
    Fault("a wrong base score", regressor, base_score_off, "R"),
    Fault("a label tie", tied, tie_to_the_last, "O", blind="RTZ"),
    Fault("an output not normalised", three_classes, not_normalised, "O"),
    Fault("an answer that depends on its batch", regressor, batch_seen, "B"),
    Fault("rows of any width", regressor, any_width_taken, "W", blind="RTNZDBO"),
)
