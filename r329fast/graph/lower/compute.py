"""Importers of the layers that multiply: convolution, fully connected, matrix product, norm."""

from __future__ import annotations

from math import ceil

import numpy as np

from r329fast.graph.ir import BatchNormAttrs, ConvAttrs, FullyConnectedAttrs, MatMulAttrs
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder, Value
from r329fast.graph.onnx.model import Node


def explicit_pads(
    node: Node,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """pads (top, left, bottom, right) of a Conv or pool node, auto_pad worked out."""
    mode = node.attr("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        top, left, bottom, right = (int(pad) for pad in node.attr("pads", [0, 0, 0, 0]))
        return top, left, bottom, right
    if mode == "VALID":
        return 0, 0, 0, 0
    begin, end = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if mode == "SAME_UPPER" else large)
        end.append(large if mode == "SAME_UPPER" else small)
    return begin[0], begin[1], end[0], end[1]


def pair(values: list[int] | None) -> tuple[int, int]:
    """An attribute of two integers, (1, 1) where it is missing."""
    if values is None:
        return 1, 1
    first, second = (int(value) for value in values)
    return first, second


def import_conv(builder: Builder, node: Node) -> None:
    """Conv -> Convolution, or DepthwiseConv where every group has one input channel."""
    model = builder.model
    source = builder.canonical(builder.value(node.inputs[0]))
    height, width, channels = builder.stored(source)
    weights = model.floats(node.inputs[1])  # (O, I/group, kh, kw)
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
            f"the {kh}x{kw} kernel does not fit the {height}x{width} map", "check the input shape"
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


def import_gemm(builder: Builder, node: Node) -> None:
    """Gemm with constant weights -> FullyConnected; alpha and beta go into the constants."""
    model = builder.model
    weights = model.floats(node.inputs[1])
    if not node.attr("transB", 0):
        weights = weights.T
    alpha, beta = np.float32(node.attr("alpha", 1.0)), np.float32(node.attr("beta", 1.0))
    if alpha != 1:
        weights = weights * alpha
    bias = np.zeros(weights.shape[0], np.float32)
    if node.input(2):
        bias = np.broadcast_to(model.floats(node.input(2)).reshape(-1) * beta, bias.shape)
    _fully_connected(builder, node, builder.value(node.inputs[0]), weights, bias)


def import_matmul(builder: Builder, node: Node) -> None:
    """MatMul with a constant right side -> FullyConnected (1x1 Convolution over maps), of two
    activations -> MatMul."""
    model = builder.model
    if node.inputs[1] in model.consts:
        weights = model.floats(node.inputs[1]).T  # (out, in)
        source = builder.value(node.inputs[0])
        bias = np.zeros(weights.shape[0], np.float32)
        if len(builder.shape(source)) == 1:
            _fully_connected(builder, node, source, weights, bias)
        else:
            _pointwise(builder, node, source, weights, bias)
        return
    first, second = builder.value(node.inputs[0]), builder.value(node.inputs[1])
    rank = len(first.perm)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    plain = tuple(range(rank))
    sides = []
    for value in (first, second):
        # a product can read its last two axes either way round
        flip = value.perm == swapped
        sides.append((builder.arrange(value, swapped if flip else plain), flip))
    (left, trans_a), (right, trans_b) = sides
    shape = (*builder.shape(left)[:-1], builder.shape(right)[-1])
    tensor = builder.add(
        node.name,
        "MatMul",
        MatMulAttrs(trans_a, trans_b),
        (left.tensor, right.tensor),
        shape,
    )
    builder.bind(node.outputs[0], tensor, plain)


def _fully_connected(
    builder: Builder, node: Node, source: Value, weights: np.ndarray, bias: np.ndarray
) -> None:
    """weights (out, in) in the ONNX order of the inputs, which follow a flattened map's storage."""
    if source.scrambled:
        shape, perm = source.scrambled
        logical = [shape[axis] for axis in perm]
        order = np.argsort(perm)  # storage axis -> logical axis
        folded = weights.reshape(-1, *logical)
        weights = folded.transpose(0, *(1 + order)).reshape(len(weights), -1)
    tensor = builder.add(
        node.name,
        "FullyConnected",
        FullyConnectedAttrs(),
        (source.tensor,),
        (len(weights),),
        {
            "weights": np.ascontiguousarray(weights, dtype=np.float32),
            "bias": np.ascontiguousarray(bias, dtype=np.float32),
        },
    )
    builder.bind(node.outputs[0], tensor, (0,))


def _pointwise(
    builder: Builder, node: Node, source: Value, weights: np.ndarray, bias: np.ndarray
) -> None:
    """A product over the last axis of a (.., K) tensor is a 1x1 convolution."""
    from r329fast.graph.ir import ReshapeAttrs

    source = builder.channels_last(source, len(source.perm) - 1)
    stored = builder.stored(source)
    tensor = source.tensor
    if len(stored) == 2:
        flat = (stored[0], 1, stored[1])
        tensor = builder.add(f"{node.name}_in", "Reshape", ReshapeAttrs(flat), (tensor,), flat)
    rows, cols, inputs = builder.shapes[tensor]
    tensor = builder.add(
        node.name,
        "Convolution",
        ConvAttrs((1, 1)),
        (tensor,),
        (rows, cols, len(weights)),
        {
            "weights": np.ascontiguousarray(weights.reshape(-1, 1, 1, inputs)),
            "bias": bias,
        },
    )
    if len(stored) == 2:
        shape = (stored[0], len(weights))
        tensor = builder.add(f"{node.name}_out", "Reshape", ReshapeAttrs(shape), (tensor,), shape)
    builder.bind(node.outputs[0], tensor, source.perm)


def import_batchnorm(builder: Builder, node: Node) -> None:
    """BatchNormalization -> BatchNorm, still as (x - mean) * scale + shift (see `affine`)."""
    model = builder.model
    gamma, beta, mean, var = (model.floats(name).reshape(-1) for name in node.inputs[1:5])
    epsilon = np.float32(node.attr("epsilon", 1e-5))
    with np.errstate(all="ignore"):  # what is not finite is reported once layers are settled
        scale = gamma / np.sqrt(var + epsilon)
    source = builder.channels_last(builder.value(node.inputs[0]))
    affine(builder, node, source, scale, beta, mean)


def affine(
    builder: Builder,
    node: Node,
    source: Value,
    scale: np.ndarray,
    shift: np.ndarray,
    mean: np.ndarray | None = None,
) -> None:
    """A BatchNorm layer in the form (x - mean) * scale + shift, per channel of the last axis.

    The form keeps the float32 rounding of a norm that is folded into a convolution afterwards;
    `fusion.settle_norms` turns what is left into y = x * weights + bias.
    """
    channels = builder.stored(source)[-1] if builder.stored(source) else 1

    def spread(values: np.ndarray) -> np.ndarray:
        flat = np.asarray(values, np.float32).reshape(-1)
        return np.ascontiguousarray(np.broadcast_to(flat, (channels,)))

    builder.like(
        node,
        "BatchNorm",
        BatchNormAttrs(),
        source,
        {
            "scale": spread(scale),
            "shift": spread(shift),
            "mean": spread(np.zeros(1) if mean is None else mean),
        },
    )


IMPORTERS = {
    "Conv": import_conv,
    "Gemm": import_gemm,
    "MatMul": import_matmul,
    "BatchNormalization": import_batchnorm,
}
