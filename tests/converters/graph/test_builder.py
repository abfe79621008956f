"""The graph builder."""

import numpy as np
import onnx
import pytest

from onnxpress.converters.graph.builder import Graph
from tests.converters.compiled import run


def test_equal_constants_are_held_once() -> None:
    """Equal arrays share one initializer; arrays of another dtype or shape do not."""
    graph = Graph()
    first = graph.constant(np.array([1.0, 2.0], np.float32))
    assert graph.constant(np.array([1.0, 2.0], np.float32)) == first
    others = {graph.constant(np.array([1.0, 2.0])), graph.constant(np.array([[1.0, 2.0]], np.float32))}
    assert first not in others
    assert len(graph.initializers) == 3


def test_nan_and_signed_zeros_are_constants_of_their_own() -> None:
    """Constants are compared by bits: NaN equals itself, 0.0 and -0.0 differ."""
    graph = Graph()
    assert graph.float32(float("nan")) == graph.float32(float("nan"))
    assert graph.float32(0.0) != graph.float32(-0.0)


def test_text_constants_keep_their_characters() -> None:
    """Strings outside ASCII are returned unchanged by a lookup."""
    graph = Graph()
    index = graph.input("input", "INT64", 1)
    graph.output("output", graph.add("Gather", graph.constant(np.array(["nö", "größer"])), index), "BYTES", 1)
    assert run(graph, input=np.array([[1], [0]]))["output"].ravel().tolist() == ["größer", "nö"]


def test_a_prefix_keeps_names_apart() -> None:
    """Two parts with prefixes share no tensor name."""
    names = [{Graph(prefix).name("x"), Graph(prefix).constant(np.zeros(2))} for prefix in ("a_", "b_")]
    assert not names[0] & names[1]


def test_columns_and_concat_address_columns() -> None:
    """`columns` selects in the given order; a single part needs no Concat."""
    graph = Graph()
    rows = graph.input("input", "FP32", 3)
    assert graph.concat([rows]) == rows
    graph.output("output", graph.concat([graph.columns(rows, [2, 0]), rows]), "FP32", 5)
    assert run(graph, input=np.array([[1, 2, 3]], np.float32))["output"].tolist() == [[3, 1, 1, 2, 3]]


def test_the_model_is_pinned_to_old_enough_opsets() -> None:
    """The model has opset 18, ai.onnx.ml 3 and IR 9, so that earlier runtimes load it too."""
    graph = Graph()
    graph.output("output", graph.add("Scaler", graph.input("input", "FP32", 1), domain="ai.onnx.ml"), "FP32", 1)
    model = graph.model()
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 18, "ai.onnx.ml": 3}
    assert model.ir_version == 9


def test_a_broken_graph_is_found_when_it_is_built() -> None:
    """A node with an input that no node computes is an error when the model is built."""
    graph = Graph()
    graph.output("output", graph.add("Exp", "nowhere"), "FP32", 1)
    with pytest.raises(onnx.checker.ValidationError, match="nowhere"):
        graph.model()
