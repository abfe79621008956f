"""Splits a graph into three parts: what precedes its trees, the trees, and what follows them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx
from onnx import TensorProto

from onnxpress.packages.errors import ForestError

TREES: Final = "TreeEnsembleRegressor"
ML: Final = "ai.onnx.ml"
FLOATS: Final = (TensorProto.FLOAT, TensorProto.DOUBLE)


@dataclass(frozen=True)
class Parts:
    """Three parts of a model.

    before: gives what the trees and `after` take; no nodes if these are all inputs of the model. sources: the tensor
    that each of `trees` takes. after: gives the outputs; no nodes if `outputs` already exist by then. outputs: the
    tensor of each output of the model, in its order.
    """

    before: onnx.ModelProto
    trees: tuple[onnx.NodeProto, ...]
    sources: tuple[str, ...]
    after: onnx.ModelProto
    outputs: tuple[str, ...]


def split(model: onnx.ModelProto) -> Parts:
    """Raises ForestError if there are no trees, or if some trees take what others give.

    The inputs of `after` that are not inputs of the model are left out, because their datatypes are not known here.
    """
    graph = model.graph
    trees = [node for node in graph.node if _is_trees(node)]
    if not trees:
        raise ForestError("it has no trees")
    makers = {name: node for node in graph.node for name in node.output if name}
    sources = [_uncast(node.input[0], makers, graph) for node in trees]
    before = _ancestors(sources, makers)
    if any(_is_trees(node) for node in before):
        raise ForestError("some of its trees take what other trees give")
    kept = {id(node) for node in (*before, *trees)}
    given = _given([*before, *trees]) | {value.name for value in graph.input}
    origin = {name: _renamed(name, makers) for name in (value.name for value in graph.output)}
    computed = [name for name in origin if origin[name] not in given]
    after = [node for node in _ancestors(computed, makers) if id(node) not in kept]
    outputs = [name if name in computed else origin[name] for name in origin]
    taken = {*sources, *outputs} | {name for node in after for name in _taken(node)}
    passed = sorted(taken & _given(before))
    return Parts(
        _part(model, before, [onnx.ValueInfoProto(name=name) for name in passed]),
        tuple(trees),
        tuple(sources),
        _part(model, after, [value for value in graph.output if value.name in computed]),
        tuple(outputs),
    )


def with_inputs(model: onnx.ModelProto, types: Mapping[str, int]) -> onnx.ModelProto:
    """The model with an input more for each name in `types` that it takes; values: TensorProto.DataType."""
    taken = {name for node in model.graph.node for name in _taken(node)} - {value.name for value in model.graph.input}
    for name in sorted(taken & types.keys()):
        model.graph.input.add(name=name).type.tensor_type.elem_type = types[name]
    return model


def _is_trees(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == TREES and node.domain == ML)


def _uncast(name: str, makers: Mapping[str, onnx.NodeProto], graph: onnx.GraphProto) -> str:
    """The float32 input whose values `name` has, cast between float32 and float64, else `name`; the engine casts."""
    origin = name
    while (node := makers.get(origin)) is not None and node.op_type == "Cast" and not node.domain:
        if next(attribute.i for attribute in node.attribute if attribute.name == "to") not in FLOATS:
            break
        origin = node.input[0]
    narrow = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return origin if origin in narrow else name


def _renamed(name: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The tensor that `name` is another name of."""
    while name in makers and makers[name].op_type == "Identity" and not makers[name].domain:
        name = makers[name].input[0]
    return name


def _ancestors(names: Iterable[str], makers: Mapping[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that these tensors depend on, in no particular order."""
    found: dict[int, onnx.NodeProto] = {}
    todo = [*names]
    while todo:
        node = makers.get(todo.pop())
        if node is not None and id(node) not in found:
            found[id(node)] = node
            todo += _taken(node)
    return [*found.values()]


def _taken(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node takes, with those that the graphs inside it take from outside."""
    inner = {
        name
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
        for name in _taken_by(graph)
    }
    return {name for name in node.input if name} | inner


def _taken_by(graph: onnx.GraphProto) -> set[str]:
    own = {value.name for value in graph.input} | {one.name for one in graph.initializer} | _given(graph.node)
    taken = {name for node in graph.node for name in _taken(node)} | {value.name for value in graph.output}
    return taken - own


def _given(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.output if name}


def _part(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], outputs: Sequence[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """A model of some of the nodes, in the model's order, with the inputs and initializers that they take."""
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = model.graph.name
    chosen = {id(node) for node in nodes}
    part.graph.node.extend(node for node in model.graph.node if id(node) in chosen)
    taken = {name for node in nodes for name in _taken(node)}
    part.graph.initializer.extend(one for one in model.graph.initializer if one.name in taken)
    initialized = {one.name for one in model.graph.initializer}
    part.graph.input.extend(
        value for value in model.graph.input if value.name in taken and value.name not in initialized
    )
    part.graph.output.extend(outputs)
    return part
