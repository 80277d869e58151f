"""One function a layer type that writes the layer as ONNX nodes; `WRITERS` names them.

Each takes the writer and the layer and returns the ONNX tensor (or tensors) that hold the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from r329fast.graph import ir
from r329fast.graph.activations import activate
from r329fast.graph.ir import Layer
from r329fast.graph.onnx.writer import TO_NHWC, Writer


def _conv(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.ConvAttrs)
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
    return activate(w, result, layer)


def _fully_connected(w: Writer, layer: Layer) -> str:
    source = w.stored(layer.inputs[0])
    shape = w.graph.shapes[layer.inputs[0]]
    if len(shape) != 1:
        source = w.node("Reshape", [source, w.const(np.array([0, -1], np.int64))])
    consts = [w.const(layer.consts["weights"], "weights"), w.const(layer.consts["bias"], "bias")]
    return activate(w, w.node("Gemm", [source, *consts], transB=1), layer)


def _matmul(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.MatMulAttrs)
    sides = []
    for tensor, flip in zip(layer.inputs, (attrs.trans_a, attrs.trans_b), strict=True):
        name, rank = w.stored(tensor), len(w.graph.shapes[tensor]) + 1
        if flip:
            name = w.node("Transpose", [name], perm=[*range(rank - 2), rank - 1, rank - 2])
        sides.append(name)
    return w.held(w.node("MatMul", sides), layer.outputs[0])


def _batch_norm(w: Writer, layer: Layer) -> str:
    source = w.names[layer.inputs[0]]
    weights, bias = layer.consts["weights"], layer.consts["bias"]
    if w.is_map(layer.inputs[0]):
        # one pass instead of two; with mean 0, variance 1 and epsilon 0 it is x * w + b
        zero, one = w.const(np.zeros_like(bias)), w.const(np.ones_like(bias))
        consts = [w.const(weights), w.const(bias), zero, one]
        result = w.node("BatchNormalization", [source, *consts], epsilon=0.0)
    else:
        result = w.node("Add", [w.node("Mul", [source, w.const(weights)]), w.const(bias)])
    return activate(w, result, layer)


def _activation(w: Writer, layer: Layer) -> str:
    return activate(w, w.names[layer.inputs[0]], layer)


def _eltwise(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.EltwiseAttrs)
    op = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "MAX": "Max", "MIN": "Min"}[attrs.method]
    return activate(w, w.node(op, [w.names[name] for name in layer.inputs]), layer)


def _pooling(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.PoolingAttrs)
    top, left, bottom, right = attrs.pads
    extra = {} if attrs.method == "MAX" else {"count_include_pad": int(attrs.count_include_pad)}
    return str(
        w.node(
            "MaxPool" if attrs.method == "MAX" else "AveragePool",
            [w.names[layer.inputs[0]]],
            kernel_shape=attrs.kernel,
            strides=attrs.stride,
            dilations=attrs.dilation,
            pads=[top, left, bottom, right],
            ceil_mode=int(attrs.ceil_mode),
            **extra,
        )
    )


def _reduce(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.ReduceAttrs)
    tensor = layer.inputs[0]
    axes = w.const(np.array([w.axis(tensor, axis) for axis in attrs.axes], np.int64))
    source = w.names[tensor]
    # without keepdims what is left of NCHW is in the order of NHWC only if the map is gone
    result = w.node("ReduceMean", [source, axes], keepdims=1)
    if attrs.keepdims:
        return str(result)
    shape = w.graph.shapes[layer.outputs[0]]
    flat = w.node("Transpose", [result], perm=TO_NHWC) if w.is_map(tensor) else result
    return w.held(
        w.node("Reshape", [flat, w.const(np.array([0, *shape], np.int64))]), layer.outputs[0]
    )


def _concat(w: Writer, layer: Layer) -> str:
    axis = w.axis(layer.outputs[0], layer.params(ir.ConcatAttrs).axis)
    return str(w.node("Concat", [w.names[name] for name in layer.inputs], axis=axis))


def _reshape(w: Writer, layer: Layer) -> str:
    source = w.stored(layer.inputs[0])
    shape = w.const(np.array([0, *layer.params(ir.ReshapeAttrs).shape], np.int64))
    return w.held(w.node("Reshape", [source, shape]), layer.outputs[0])


def _transpose(w: Writer, layer: Layer) -> str:
    source = w.stored(layer.inputs[0])
    perm = [0, *(axis + 1 for axis in layer.params(ir.TransposeAttrs).perm)]
    return w.held(w.node("Transpose", [source], perm=perm), layer.outputs[0])


def _slice(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.SliceAttrs)
    axes = [w.axis(layer.inputs[0], axis) for axis in range(len(attrs.begin))]
    consts = [w.const(np.array(v, np.int64)) for v in (attrs.begin, attrs.end, axes, attrs.strides)]
    return str(w.node("Slice", [w.names[layer.inputs[0]], *consts]))


def _split(w: Writer, layer: Layer) -> list[str]:
    attrs = layer.params(ir.SplitAttrs)
    axis = w.axis(layer.inputs[0], attrs.axis)
    sizes = w.const(np.array(attrs.sizes, np.int64))
    source = w.names[layer.inputs[0]]
    result = w.node("Split", [source, sizes], len(attrs.sizes), axis=axis)
    return [result] if isinstance(result, str) else list(result)


def _pad(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.PadAttrs)
    rank = len(attrs.pads)
    before, after = [0] * (rank + 1), [0] * (rank + 1)
    for axis, (low, high) in enumerate(attrs.pads):
        place = w.axis(layer.inputs[0], axis)
        before[place], after[place] = low, high
    pads = w.const(np.array(before + after, np.int64))
    inputs = [w.names[layer.inputs[0]], pads, w.scalar(attrs.value)]
    return str(w.node("Pad", inputs, mode=attrs.mode.lower()))


def _channel_shuffle(w: Writer, layer: Layer) -> str:
    shape = w.graph.shapes[layer.outputs[0]]
    group = layer.params(ir.ChannelShuffleAttrs).group
    size = shape[-1] // group
    if len(shape) == 3:
        split, swap = [0, group, size, *shape[:2]], (0, 2, 1, 3, 4)
        back = [0, shape[2], *shape[:2]]
    else:
        rank = len(shape) + 1
        split = [0, *shape[:-1], group, size]
        swap = (*range(rank - 1), rank, rank - 1)
        back = [0, *shape]
    apart = w.node("Reshape", [w.names[layer.inputs[0]], w.const(np.array(split, np.int64))])
    moved = w.node("Transpose", [apart], perm=swap)
    return str(w.node("Reshape", [moved, w.const(np.array(back, np.int64))]))


def _resize(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.ResizeAttrs)
    channels = w.graph.shapes[layer.outputs[0]][2]
    size = w.const(np.array([channels, *attrs.size], np.int64))
    more: dict[str, Any] = {}
    if attrs.method == "NEAREST":
        more["nearest_mode"] = attrs.nearest.lower()
    return str(
        w.node(
            "Resize",
            [w.names[layer.inputs[0]], "", "", size],
            axes=[1, 2, 3],
            mode="nearest" if attrs.method == "NEAREST" else "linear",
            coordinate_transformation_mode=attrs.mode.lower(),
            **more,
        )
    )


def _softmax(w: Writer, layer: Layer) -> str:
    axis = w.axis(layer.outputs[0], layer.params(ir.SoftmaxAttrs).axis)
    return str(w.node(layer.type, [w.names[layer.inputs[0]]], axis=axis))


def _lrn(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ir.LrnAttrs)
    return str(
        w.node(
            "LRN",
            [w.names[layer.inputs[0]]],
            size=attrs.size,
            alpha=attrs.alpha,
            beta=attrs.beta,
            bias=attrs.bias,
        )
    )


WRITERS: dict[str, Callable[[Writer, Layer], str | list[str]]] = {
    "Convolution": _conv,
    "DepthwiseConv": _conv,
    "FullyConnected": _fully_connected,
    "MatMul": _matmul,
    "BatchNorm": _batch_norm,
    "Activation": _activation,
    "Eltwise": _eltwise,
    "Pooling": _pooling,
    "Reduce": _reduce,
    "Concat": _concat,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Pad": _pad,
    "ChannelShuffle": _channel_shuffle,
    "Resize": _resize,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "LRN": _lrn,
}
