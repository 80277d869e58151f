"""Convolution."""

from __future__ import annotations

import numpy as np

from r329fast.graph.activations import activate
from r329fast.graph.ir import ConvAttrs, Layer
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import (
    constraint_constant_weights,
    constraint_map_or_row,
    constraint_padding,
)
from r329fast.graph.lower.windows import explicit_pads, pair
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, first_shape, show


@advise("no runtime takes such weights: export the model again")
def constraint_conv_weights(node: Node, model: OnnxModel) -> Result:
    """Weights must be (O, C/group, kh, kw) for an input with C channels, (O, C/group, k) for a
    row, O a multiple of group."""
    weights = model.shape(node.inputs[1]) or ()
    shape = first_shape(node, model)
    if len(shape) not in (3, 4):
        return True, ""  # `constraint_map_or_row` says it
    group = int(node.attr("group", 1))
    ok = len(weights) == len(shape) and group > 0
    ok = ok and weights[1] * group == shape[1] and weights[0] % group == 0
    if node.input(2) in model.consts:
        ok = ok and model.consts[node.input(2)].size == weights[0]
    return ok, f"weights {show(weights)}, group {group}, input {show(shape)}"


def import_conv(builder: Builder, node: Node) -> None:
    """Conv -> Convolution, or DepthwiseConv where every group has one input channel."""
    model = builder.model
    source = builder.feature_map(builder.held(node.inputs[0]))
    height, width, channels = builder.stored(source)
    weights = model.floats(node.inputs[1])  # (O, I/group, kh, kw)
    weights = weights[:, :, None] if weights.ndim == 3 else weights
    group = int(node.attr("group", 1))
    outputs, _, kh, kw = weights.shape
    kernel = (kh, kw)
    stride, dilation = pair(node.attr("strides")), pair(node.attr("dilations"))
    pads = explicit_pads(node, (height, width), kernel, stride, dilation)
    bias = (
        model.floats(node.input(2)).reshape(-1) if node.input(2) else np.zeros(outputs, np.float32)
    )
    rows = (height + pads[0] + pads[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    cols = (width + pads[1] + pads[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    if rows < 1 or cols < 1:
        raise Unsupported(
            f"the {kh}x{kw} kernel does not fit the {height}x{width} map",
            "no runtime takes it: check the input shape",
        )
    depthwise = group == channels and group > 1
    tensor = builder.add(
        node.name,
        "DepthwiseConv" if depthwise else "Convolution",
        ConvAttrs(kernel, stride, dilation, pads, group),
        (source.tensor,),
        (rows, cols, outputs),
        {
            "weights": np.ascontiguousarray(weights.transpose(0, 2, 3, 1)),
            "bias": np.ascontiguousarray(bias),
        },
    )
    builder.bind(node.outputs[0], tensor, source.perm)


def write_conv(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ConvAttrs)
    source = w.names[layer.inputs[0]]
    weights, bias = layer.consts["weights"], layer.consts["bias"]
    border = layer.consts.get("pad_values")
    if border is not None:
        # padding x with p is padding x - p with zero; what is lost is the sum of w * p
        source = w.node("Sub", [source, w.const(border.reshape(-1, 1, 1))])
        outputs, _, _, inputs = weights.shape
        first = np.arange(outputs) // (outputs // attrs.group) * inputs
        index = first[:, None] + np.arange(inputs)
        wide = weights.astype(np.float64)
        bias = (bias + np.einsum("ohwi,oi->o", wide, border[index])).astype(np.float32)
    top, left, bottom, right = attrs.pads
    result = w.node(
        "Conv",
        [source, w.const(weights.transpose(0, 3, 1, 2), "weights"), w.const(bias, "bias")],
        kernel_shape=attrs.kernel,
        strides=attrs.stride,
        dilations=attrs.dilation,
        pads=[top, left, bottom, right],
        group=attrs.group,
    )
    w.name_last(layer.name)
    return activate(w, result, layer)


OPERATORS = {
    "Conv": Operator(
        import_conv,
        "Convolution, DepthwiseConv (group = C)",
        (
            constraint_constant_weights,
            constraint_map_or_row,
            constraint_padding,
            constraint_conv_weights,
        ),
    ),
}

WRITERS: dict[str, LayerWriter] = {"Convolution": write_conv, "DepthwiseConv": write_conv}
