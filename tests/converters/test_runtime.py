"""The converters' ONNX Runtime session."""

import numpy as np
import pytest

from onnxpress.converters.graph.builder import Graph
from onnxpress.converters.runtime import Port, Session
from onnxpress.packages.errors import ConversionRefused, RunError


def doubled() -> Session:
    graph = Graph()
    x = graph.input("x", "FP32", 2)
    graph.output("output", graph.add("Add", x, x), "FP32", 2)
    return Session(graph.model().SerializeToString())


def test_ports_have_the_protocols_datatypes() -> None:
    """Ports have names, the protocol's datatypes, and -1 for the rows."""
    session = doubled()
    assert session.inputs == (Port("x", "FP32", (-1, 2)),)
    assert session.outputs == (Port("output", "FP32", (-1, 2)),)


def test_runs_by_name() -> None:
    """Outputs are returned by name."""
    assert doubled().run({"x": np.ones((1, 2), np.float32)})["output"].tolist() == [[2.0, 2.0]]


def test_a_wrong_input_raises_run_error() -> None:
    """ONNX Runtime's exceptions, which share no base class, become RunError."""
    for feeds in ({"x": np.ones((1, 3), np.float32)}, {"x": np.ones((1, 2))}, {}):
        with pytest.raises(RunError):
            doubled().run(feeds)


def test_bytes_that_are_no_model_are_refused() -> None:
    """The refusal names ONNX Runtime's version."""
    with pytest.raises(ConversionRefused, match=r"ONNX Runtime .* cannot load"):
        Session(b"no model")
