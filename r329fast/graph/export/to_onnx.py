"""`to_onnx`: the fused float graph as an ONNX model again, for onnxruntime and other tools.

Feature maps are NCHW between the nodes, as the runtime wants them, and become NHWC only where a
layer works in storage order (Reshape, MatMul) and at the ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from r329fast.graph.ir import Graph
from r329fast.graph.lower.families import WRITERS
from r329fast.graph.onnx.writer import Writer

# AveragePool with dilations and Resize in its present form came with opset 19.
OPSET = 19
IR_VERSION = 9


def to_onnx(
    graph: Graph,
    keep: str | Iterable[str] = "outputs",
    nhwc_ends: bool = True,
    large: dict[str, np.ndarray] | None = None,
    named: bool = False,
    kept: bool = False,
) -> Any:
    """Write the fused float graph as an onnx.ModelProto.

    keep: "outputs", "all" (every tensor but the inputs) or tensor names: what the model puts out,
    each under its own name. Inputs and outputs are float32 [N, ...] with the per-image shape of
    the graph (feature maps NHWC); with nhwc_ends=False feature maps are NCHW at both ends, which
    saves the runtime the transposes. With a dict in `large`, large constants go there by name
    instead of into the model, where they are external data. With named=True the node that computes
    a layer bears the layer's name, so that reading the model gives the layers their names again.
    With kept=True as well, moves of data are marked: the reader makes the layers of them that they
    were, where it would find shorter ways otherwise.
    Raises KeyError for an unknown tensor
    name, ValueError for an input (a model cannot put out its input under the same name).
    """
    from onnx import ModelProto, helper

    model = ModelProto(ir_version=IR_VERSION, producer_name="r329fast")
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.name = graph.name or "graph"
    writer = Writer(graph, model, large, kept)
    for layer in graph:
        if layer.is_input:
            name = layer.outputs[0]
            writer.names[name] = writer.held(name, name) if nhwc_ends else name
            model.graph.input.append(_end(graph, name, nhwc_ends))
            continue
        first = len(model.graph.node)
        results = WRITERS[layer.type](writer, layer)
        if named:
            _name(model.graph.node[first:], layer.name)
        results = [results] if isinstance(results, str) else results
        writer.names.update(zip(layer.outputs, results, strict=True))
    for name in kept_tensors(graph, keep):
        if name in graph.inputs:
            raise ValueError(f"{name!r} is an input")
        source = writer.stored(name) if nhwc_ends else writer.names[name]
        model.graph.node.append(helper.make_node("Identity", [source], [name]))
        model.graph.output.append(_end(graph, name, nhwc_ends))
    return model


def _name(nodes: Iterable[Any], layer: str) -> None:
    """Give the first node that is more than a turn of axes the layer's name, if none has it."""
    nodes = list(nodes)
    if any(node.name for node in nodes):
        return
    for node in nodes:
        if node.op_type != "Transpose":
            node.name = layer
            return


def _end(graph: Graph, name: str, nhwc_ends: bool) -> Any:
    """ValueInfoProto of an input or output."""
    from onnx import TensorProto, helper

    shape = list(graph.shapes[name])
    if len(shape) == 3 and not nhwc_ends:
        shape = [shape[2], shape[0], shape[1]]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])


def kept_tensors(graph: Graph, keep: str | Iterable[str]) -> tuple[str, ...]:
    """The tensors that `keep` means; KeyError for a name that the graph does not have."""
    if keep == "outputs":
        return graph.outputs
    if keep == "all":
        inputs = set(graph.inputs)
        return tuple(name for layer in graph for name in layer.outputs if name not in inputs)
    names = (keep,) if isinstance(keep, str) else tuple(dict.fromkeys(keep))
    for name in names:
        if name not in graph.shapes:
            raise KeyError(name)
    return names
