"""NodeProtos as plain nodes: attributes decoded, what sub-graphs read, branches put in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from r329fast.graph.onnx.model import Node


def attribute_value(item: Any) -> Any:
    """Python value of an AttributeProto; sub-graphs stay protos."""
    from onnx import TensorProto, helper, numpy_helper

    value = helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, (int, float, str)):
        return value
    try:
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]
    except TypeError:
        return value


def read_inside(proto: Any) -> list[str]:
    """Names that the sub-graphs of a NodeProto read from outside them."""
    graphs = [item.g for item in proto.attribute if item.HasField("g")]
    graphs += [graph for item in proto.attribute for graph in item.graphs]
    found: dict[str, None] = {}
    for graph in graphs:
        made = {tensor.name for tensor in graph.initializer} | {item.name for item in graph.input}
        for node in graph.node:
            for name in (*node.input, *read_inside(node)):
                if name and name not in made:
                    found[name] = None
            made.update(node.output)
        found.update((item.name, None) for item in graph.output if item.name not in made)
    return list(found)


def branch_nodes(
    node: Node, taken: bool, known: Callable[[str], bool]
) -> tuple[list[Node], dict[str, np.ndarray]]:
    """(nodes, constants) of the branch of an If that is taken, with the If's output names.

    known: whether a name stands for something else already; such a name inside gets the If's
    name in front.
    """
    from onnx import NodeProto, helper, numpy_helper

    graph = node.attr("then_branch" if taken else "else_branch")
    inside = [tensor.name for tensor in graph.initializer]
    inside += [name for item in graph.node for name in item.output if name]
    names = {name: f"{node.name}/{name}" if known(name) else name for name in inside}
    values = {names[t.name]: numpy_helper.to_array(t) for t in graph.initializer}
    protos = []
    for item in graph.node:
        proto = NodeProto()
        proto.CopyFrom(item)
        proto.input[:] = [names.get(name, name) for name in item.input]
        proto.output[:] = [names.get(name, name) for name in item.output]
        protos.append(proto)
    for item, output in zip(graph.output, node.outputs, strict=True):
        source = names.get(item.name, item.name)
        protos.append(helper.make_node("Identity", [source], [output], f"{node.name}/{output}"))
    return [_plain_node(proto) for proto in protos], values


def _plain_node(proto: Any) -> Node:
    outputs = list(proto.output)
    name = proto.name or next((name for name in outputs if name), proto.op_type)
    attrs = {item.name: attribute_value(item) for item in proto.attribute}
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    inputs = [*proto.input, *read_inside(proto)]
    return Node(proto.op_type, name, inputs, outputs, attrs, domain, proto)
