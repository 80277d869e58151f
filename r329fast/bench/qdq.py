"""`to_qdq`: a fused float graph and its ranges as int8 ONNX (QDQ form), for other engines.

What the engines multiply is written as they fuse best: norms that no convolution could take are 1x1
depthwise convolutions, a rectifier that the following saturation performs anyway is left out, and
weights have a scale for every output channel. Every other layer is its float form between
DequantizeLinear and QuantizeLinear, from which an engine makes an integer op where it has one.
Feature maps are NCHW; input and output are integers and float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from r329fast.calibration import Ranges
from r329fast.errors import UsageError
from r329fast.graph import ir
from r329fast.graph.activations import activate
from r329fast.graph.export.to_onnx import IR_VERSION, OPSET
from r329fast.graph.ir import Graph, Layer
from r329fast.graph.lower.families import WRITERS
from r329fast.graph.onnx.writer import Writer

# u8: all activations uint8. s8: all int8. mixed: uint8 where nothing is negative, else symmetric
# int8. Weights are symmetric int8 throughout.
VARIANTS = ("u8", "s8", "mixed")


@dataclass(frozen=True)
class Quantized:
    """A scale and zero point as ONNX wants them: arrays, whose dtype is the tensor's."""

    scale: np.ndarray
    zero: np.ndarray

    @property
    def saturates_at_zero(self) -> bool:
        """Whether the smallest integer stands for 0, so that storing is rectifying."""
        return int(self.zero) == int(np.iinfo(self.zero.dtype).min)

    def integers(self, x: np.ndarray) -> np.ndarray:
        """Float values -> integers, as QuantizeLinear does it."""
        info = np.iinfo(self.zero.dtype)
        scaled = np.rint(x / self.scale) + np.float32(self.zero)
        return np.clip(scaled, info.min, info.max).astype(self.zero.dtype)


def quantized(span: tuple[float, float], variant: str) -> Quantized:
    """Scale and zero point of an activation that spans (min, max)."""
    low, high = min(span[0], 0.0), max(span[1], 0.0, 1e-6)
    kind: Any = np.uint8 if variant == "u8" or (variant == "mixed" and low == 0) else np.int8
    least = int(np.iinfo(kind).min)
    if low == 0:
        scale, zero = high / 255, least
    elif variant == "mixed":
        scale, zero = max(high, -low) / 127, 0
    else:
        scale = (high - low) / 255
        zero = least + round(-low / scale)
    return Quantized(np.array(scale, np.float32), np.array(zero, kind))


class _Writer(Writer):
    """names: tensor -> its float name behind DequantizeLinear."""

    def __init__(self, graph: Graph, ranges: Ranges, variant: str) -> None:
        model = ModelProto(ir_version=IR_VERSION, producer_name="r329fast")
        model.opset_import.append(helper.make_opsetid("", OPSET))
        model.graph.name = graph.name or "graph"
        super().__init__(graph, model, None)
        self.ranges, self.variant = ranges, variant
        self.params: dict[str, Quantized] = {}
        self.between: Quantized | None = None  # of what nodes hand to each other, where given

    def node(self, op: str, inputs: Sequence[str], count: int = 1, **attrs: Any) -> Any:
        """Append a node; where `between` is given, its outputs are stored so."""
        results = super().node(op, inputs, count, **attrs)
        if self.between is None:
            return results
        params, self.between = self.between, None
        stored = [self.stored_as(name, params) for name in ([results] if count == 1 else results)]
        self.between = params
        return stored[0] if count == 1 else stored

    def stored_as(self, value: str, params: Quantized) -> str:
        """What comes back of the float `value` when it is stored as integers."""
        names = [self.const(params.scale), self.const(params.zero)]
        return str(
            self.node("DequantizeLinear", [self.node("QuantizeLinear", [value, *names]), *names])
        )

    def store(self, tensor: str, value: str, params: Quantized) -> None:
        """Quantise the float `value`; the tensor is what comes back."""
        self.params[tensor] = params
        self.names[tensor] = self.stored_as(value, params)

    def weights(self, values: np.ndarray, bias: np.ndarray, source: str) -> list[str]:
        """Float names of int8 weights (a scale per row) and an int32 bias."""
        reach = np.abs(values.reshape(len(values), -1)).max(axis=1)
        scale = np.maximum(reach / 127, 1e-9).astype(np.float32)
        rows = scale.reshape(-1, *[1] * (values.ndim - 1))
        integers = np.rint(values / rows).astype(np.int8)
        zeros = self.const(np.zeros(len(scale), np.int8))
        names = [self.const(integers), self.const(scale), zeros]
        weight = self.node("DequantizeLinear", names, axis=0)
        scale = (scale * self.params[source].scale).astype(np.float32)
        integers = np.rint(bias / scale).astype(np.int32)
        zeros = self.const(np.zeros(len(scale), np.int32))
        names = [self.const(integers), self.const(scale), zeros]
        return [weight, self.node("DequantizeLinear", names, axis=0)]


def to_qdq(graph: Graph, ranges: Ranges, variant: str = "u8") -> tuple[ModelProto, Quantized]:
    """The int8 model, and how its input is quantised.

    The input is uint8 or int8 [N, C, H, W] under the graph's name, the output float32. Raises
    UsageError for an unknown variant.
    """
    if variant not in VARIANTS:
        raise UsageError(f"variant {variant!r}, allowed {', '.join(VARIANTS)}")
    writer = _Writer(graph, ranges, variant)
    for layer in graph:
        if form_of(layer):
            _float_form(writer, layer)
        else:
            _LAYERS[layer.type](writer, layer)
    for name in graph.outputs:
        writer.model.graph.node.append(helper.make_node("Identity", [writer.names[name]], [name]))
        shape = graph.shapes[name]
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        writer.model.graph.output.append(info)
    return writer.model, writer.params[graph.inputs[0]]


def float_forms(graph: Graph) -> dict[str, int]:
    """What the model has as float ops between DequantizeLinear and QuantizeLinear -> how often."""
    return dict(Counter(filter(None, map(form_of, graph))))


def form_of(layer: Layer) -> str:
    """What such a layer is called in records; empty for a layer with an integer form."""
    if isinstance(layer.attrs, ir.ActivationAttrs):
        return "" if layer.act.kind == "RELU" else layer.act.kind
    if isinstance(layer.attrs, ir.EltwiseAttrs):
        method = layer.attrs.method
        return "" if method in ("ADD", "MUL") else f"{layer.type} {method}"
    if isinstance(layer.attrs, ir.ReshapeAttrs):
        return "" if len(layer.attrs.shape) == 1 else layer.type
    return "" if layer.type in _LAYERS else layer.type


def _float_form(w: _Writer, layer: Layer) -> None:
    """The layer as the float network has it; what only moves numbers stores them at every node."""
    kept = w.params[layer.inputs[0]] if layer.facts.keeps(layer.attrs) else None
    w.between = kept
    results = WRITERS[layer.type](w, layer)
    w.between = None
    results = [results] if isinstance(results, str) else results
    for tensor, value in zip(layer.outputs, results, strict=True):
        if kept is None:
            w.store(tensor, value, quantized(w.ranges[tensor], w.variant))
        else:
            w.params[tensor], w.names[tensor] = kept, value


def _input(w: _Writer, layer: Layer) -> None:
    name = layer.outputs[0]
    params = w.params[name] = quantized(w.ranges[name], w.variant)
    height, width, channels = w.graph.shapes[name]
    kind = helper.np_dtype_to_tensor_dtype(params.zero.dtype)
    info = helper.make_tensor_value_info(name, kind, ["N", channels, height, width])
    w.model.graph.input.append(info)
    constants = [w.const(params.scale), w.const(params.zero)]
    w.names[name] = w.node("DequantizeLinear", [name, *constants])


def _finish(w: _Writer, layer: Layer, value: str) -> None:
    """The layer's activation, unless storing performs it, and the stored result."""
    name = layer.outputs[0]
    params = quantized(w.ranges[name], w.variant)
    kind = layer.act.kind
    if kind not in ("NONE", "RELU", "RELU6", "CLIP") or layer.act.clip_min < 0:
        value = activate(w, value, layer)
    elif kind != "NONE" and not params.saturates_at_zero:
        value = w.node("Relu", [value])
    w.store(name, value, params)


def _conv(w: _Writer, layer: Layer) -> None:
    attrs = layer.params(ir.ConvAttrs)
    source = layer.inputs[0]
    values = layer.consts["weights"].transpose(0, 3, 1, 2)
    top, left, bottom, right = attrs.pads
    # A norm folded from the front leaves a border that is not zero ("pad_values"). Other engines
    # pad with zero: the same work, and other numbers only at the edge.
    value = w.node(
        "Conv",
        [w.names[source], *w.weights(values, layer.consts["bias"], source)],
        kernel_shape=list(attrs.kernel),
        strides=list(attrs.stride),
        dilations=list(attrs.dilation),
        pads=[top, left, bottom, right],
        group=attrs.group,
    )
    _finish(w, layer, value)


def _batch_norm(w: _Writer, layer: Layer) -> None:
    source = layer.inputs[0]
    values = layer.consts["weights"].reshape(-1, 1, 1, 1)
    names = [w.names[source], *w.weights(values, layer.consts["bias"], source)]
    _finish(w, layer, w.node("Conv", names, kernel_shape=[1, 1], group=len(values)))


def _fully_connected(w: _Writer, layer: Layer) -> None:
    source = layer.inputs[0]
    constants = w.weights(layer.consts["weights"], layer.consts["bias"], source)
    _finish(w, layer, w.node("Gemm", [w.names[source], *constants], transB=1))


def _activation(w: _Writer, layer: Layer) -> None:
    # behind a stored tensor: nothing saturates on the way, so the rectifier is written out
    value = w.node("Relu", [w.names[layer.inputs[0]]])
    w.store(layer.outputs[0], value, quantized(w.ranges[layer.outputs[0]], w.variant))


def _eltwise(w: _Writer, layer: Layer) -> None:
    op = "Add" if layer.params(ir.EltwiseAttrs).method == "ADD" else "Mul"
    _finish(w, layer, w.node(op, [w.names[name] for name in layer.inputs]))


def _pooling(w: _Writer, layer: Layer) -> None:
    attrs = layer.params(ir.PoolingAttrs)
    source, target = layer.inputs[0], layer.outputs[0]
    if attrs.method == "AVG" and attrs.kernel == w.graph.shapes[source][:2]:
        value = w.node("GlobalAveragePool", [w.names[source]])
        w.store(target, value, quantized(w.ranges[target], w.variant))
        return
    top, left, bottom, right = attrs.pads
    value = w.node(
        "MaxPool" if attrs.method == "MAX" else "AveragePool",
        [w.names[source]],
        kernel_shape=list(attrs.kernel),
        strides=list(attrs.stride),
        pads=[top, left, bottom, right],
        ceil_mode=int(attrs.ceil_mode),
        **({"count_include_pad": 1} if attrs.count_include_pad else {}),
    )
    w.store(target, value, w.params[source])


def _concat(w: _Writer, layer: Layer) -> None:
    value = w.node("Concat", [w.names[name] for name in layer.inputs], axis=1)
    w.store(layer.outputs[0], value, quantized(w.ranges[layer.outputs[0]], w.variant))


def _reshape(w: _Writer, layer: Layer) -> None:
    """To a vector; our feature maps are NHWC, and so is the order of the weights behind."""
    source, target = layer.inputs[0], layer.outputs[0]
    value = w.names[source]
    shape = w.graph.shapes[source]
    if len(shape) == 3 and shape[:2] != (1, 1):
        value = w.node("Transpose", [value], perm=[0, 2, 3, 1])
        w.store(f"{target}:nhwc", value, w.params[source])
        value = w.names[f"{target}:nhwc"]
    value = w.node("Flatten", [value], axis=1)
    w.store(target, value, w.params[source])


_LAYERS = {
    "Input": _input,
    "Convolution": _conv,
    "DepthwiseConv": _conv,
    "BatchNorm": _batch_norm,
    "FullyConnected": _fully_connected,
    "Activation": _activation,
    "Eltwise": _eltwise,
    "Pooling": _pooling,
    "Concat": _concat,
    "Reshape": _reshape,
}
