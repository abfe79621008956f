"""libsvm's class probabilities from those of pairs (Wu, Lin and Weng 2004, method 2), with its stopping criterion."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxpress.converters.from_sklearn.emission import Emission
from onnxpress.converters.from_sklearn.steps import column
from onnxpress.converters.graph.builder import DOUBLE, Graph

FLOOR = 1e-7  # libsvm keeps a pair's probability this far from 0 and 1


def coupled(g: Emission, pairwise: str, pairs: list[tuple[int, int]], classes: int) -> str:
    """DOUBLE [rows, classes] of DOUBLE [rows, pairs]: the probability of each pair's first class against its second."""
    clipped = g.add("Min", g.add("Max", pairwise, g.double(FLOOR)), g.double(1 - FLOOR))
    opposite = g.add("Sub", g.double(1.0), clipped)
    place = {pair: index for index, pair in enumerate(pairs)}
    beats = {}
    for (first, second), index in place.items():
        beats[first, second], beats[second, first] = column(g, clipped, index), column(g, opposite, index)
    entries = []
    for one in range(classes):
        own = ""
        for other in range(classes):
            if other != one:
                square = g.add("Mul", beats[other, one], beats[other, one])
                own = g.add("Add", own, square) if own else square
        entries += [
            own if other == one else g.add("Neg", g.add("Mul", beats[other, one], beats[one, other]))
            for other in range(classes)
        ]
    matrix = g.add("Reshape", g.concat(entries), g.int64(-1, classes, classes))
    zero = g.add("Mul", column(g, clipped, 0), g.double(0.0))
    start = g.add("Add", g.concat([zero] * classes), g.double(1.0 / classes))
    rounds = g.constant(np.array(max(100, classes), np.int64))
    body = _round(matrix, classes)
    return g.add("Loop", rounds, g.constant(np.array(True)), start, body=body)  # noqa: FBT003 -- go on at first


def _round(matrix: str, classes: int) -> onnx.GraphProto:
    """One sweep over the classes; rows that have converged stay as they are."""
    body = Graph("coupling_")
    given = "coupling_given"
    products = body.add("Mul", matrix, body.add("Unsqueeze", given, body.int64(1)))
    gradient = body.add("ReduceSum", products, body.int64(2), keepdims=0)
    value = body.add("ReduceSum", body.add("Mul", given, gradient), body.int64(1), keepdims=1)
    error = body.add("ReduceMax", body.add("Abs", body.add("Sub", gradient, value)), body.int64(1), keepdims=1)
    going = body.add("GreaterOrEqual", error, body.constant(np.array(0.005 / classes)))
    share = given
    one = body.constant(np.array(1.0))
    for place in range(classes):
        row = body.add("Gather", matrix, body.constant(np.array(place, np.int64)), axis=1)
        own, slope = body.columns(row, [place]), body.columns(gradient, [place])
        step = body.add("Div", body.add("Sub", value, slope), own)
        grown = body.add("Add", one, step)
        unit = np.zeros((1, classes))
        unit[0, place] = 1.0
        share = body.add("Add", share, body.add("Mul", step, body.constant(unit)))
        twice = body.add("Mul", body.constant(np.array(2.0)), slope)
        inner = body.add("Add", body.add("Mul", step, own), twice)
        value = body.add("Add", value, body.add("Mul", step, inner))
        value = body.add("Div", body.add("Div", value, grown), grown)
        gradient = body.add("Div", body.add("Add", gradient, body.add("Mul", step, row)), grown)
        share = body.add("Div", share, grown)
    kept = body.add("Where", going, share, given)
    some = body.cast(body.add("ReduceMax", body.cast(going, TensorProto.INT32), keepdims=0), TensorProto.BOOL)
    inputs = [
        helper.make_tensor_value_info("coupling_round", TensorProto.INT64, []),
        helper.make_tensor_value_info("coupling_before", TensorProto.BOOL, []),
        helper.make_tensor_value_info(given, DOUBLE, ["rows", classes]),
    ]
    outputs = [
        helper.make_tensor_value_info(some, TensorProto.BOOL, []),
        helper.make_tensor_value_info(kept, DOUBLE, ["rows", classes]),
    ]
    return helper.make_graph(body.nodes, "coupling", inputs, outputs, body.initializers)
