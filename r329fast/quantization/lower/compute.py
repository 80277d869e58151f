"""Lowering rules of layers that compute: convolution to reduction (spec B.7 to B.10)."""

from __future__ import annotations

import dataclasses

from r329fast.errors import ProgramError
from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.ir import (
    ConvAttrs,
    ConvTransposeAttrs,
    EltwiseAttrs,
    GemmAttrs,
    Layer,
    MatMulAttrs,
    PoolingAttrs,
    Weights,
)
from r329fast.program.program import AttrValue, TensorSpec
from r329fast.quantization import sampling
from r329fast.quantization.fixed_point import F32
from r329fast.quantization.linear import quantize_array
from r329fast.quantization.lower.context import Lowering, Rule
from r329fast.quantization.tables import activation_table


def convolution(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs, x = layer.params(ConvAttrs), inputs[0]
    op_attrs, consts = low.act(layer, outputs[0])
    op_attrs.update(
        kernel=attrs.kernel,
        stride=attrs.stride,
        dilation=attrs.dilation,
        pads=attrs.pads,
        group=attrs.group,
        pad_value=-x.zero_point,
    )
    constants = low.scheme.linear(low.index, layer, x, outputs[0])
    consts.update(low.linear_consts(constants))
    if "pad_values" in layer.consts:
        filled = layer.consts["pad_values"]
        q = quantize_array(filled, x.scale, x.zero_point, x.qmin, x.qmax)
        consts["pad_values"] = (q, "int32")
    depthwise = layer.facts.weights is Weights.DEPTHWISE and attrs.group == x.shape[2]
    kind = "depthwise_conv2d" if depthwise else "conv2d"
    low.emit(kind, layer, inputs, outputs[0], op_attrs, consts)


def fully_connected(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs, consts = low.act(layer, outputs[0])
    constants = low.scheme.linear(low.index, layer, inputs[0], outputs[0])
    consts.update(low.linear_consts(constants))
    low.emit("fully_connected", layer, inputs, outputs[0], attrs, consts)


def batchnorm(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs, consts = low.act(layer, outputs[0])
    constants = low.scheme.batchnorm(low.index, layer, inputs[0], outputs[0])
    consts.update(low.linear_consts(constants))
    consts["weights"] = (constants.weights, "int32")
    low.emit("batchnorm", layer, inputs, outputs[0], attrs, consts)


def matmul(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs = layer.params(MatMulAttrs)
    a, b = inputs
    scale = F32(F32(outputs[0].scale) * F32(attrs.multiplier))
    ratio = scale / (F32(a.scale) * F32(b.scale))
    words: dict[str, AttrValue] = {
        **low.rounding,
        "trans_a": int(attrs.trans_a),
        "trans_b": int(attrs.trans_b),
    }
    consts = low.scaled(*low.scheme.rescale(ratio, outputs[0].bits))
    low.emit("matmul", layer, inputs, outputs[0], words, consts)


def gemm(low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    """Two activations with alpha 1; what the vendor makes of others is no product (spec B.22)."""
    attrs = layer.params(GemmAttrs)
    if len(inputs) != 2 or attrs.alpha != 1.0:
        raise ProgramError(f"{layer.name}: a Gemm of activations needs two inputs and alpha 1")
    a, b = inputs
    ratio = F32(outputs[0].scale) / (F32(a.scale) * F32(b.scale))
    words: dict[str, AttrValue] = {
        **low.rounding,
        "trans_a": int(attrs.trans_a),
        "trans_b": int(attrs.trans_b),
    }
    consts = low.scaled(*low.scheme.activation_rescale(ratio, outputs[0].bits))
    low.emit("matmul", layer, inputs, outputs[0], words, consts)


def conv_transpose(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs = layer.params(ConvTransposeAttrs)
    op_attrs, consts = low.act(layer, outputs[0])
    op_attrs.update(
        kernel=attrs.kernel,
        stride=attrs.stride,
        dilation=attrs.dilation,
        pads=attrs.pads,
        group=attrs.group,
    )
    constants = low.scheme.linear(low.index, layer, inputs[0], outputs[0])
    consts.update(low.linear_consts(constants))
    low.emit("conv_transpose2d", layer, inputs, outputs[0], op_attrs, consts)


def activation(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    x, y = inputs[0], outputs[0]
    if ACTIVATIONS[layer.act.kind].epilogue:
        attrs, consts = low.act(layer, y)
        ratio = F32(y.scale) / F32(x.scale)
        leaky = ACTIVATIONS[layer.act.kind].epilogue == "LEAKY" and "slope" not in layer.consts
        ask = low.scheme.rescale if leaky else low.scheme.activation_rescale
        consts.update(low.scaled(*ask(ratio, y.bits)))
        low.emit("requantize", layer, inputs, y, attrs, consts)
    else:
        table = activation_table(layer.act, x, y, low.table_entries(layer, x))
        low.table_lookup(layer, x, y, table)


def eltwise(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    method = layer.params(EltwiseAttrs).method
    attrs, consts = low.act(layer, outputs[0])
    attrs["method"] = method
    constants = low.scheme.eltwise(method, inputs[0], inputs[1], outputs[0])
    consts.update(low.scaled(constants.mult, constants.shift))
    consts["scales"] = (constants.scales, "int32")
    low.emit("eltwise", layer, inputs, outputs[0], attrs, consts)


def pooling(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs, x, y = layer.params(PoolingAttrs), inputs[0], outputs[0]
    window: dict[str, AttrValue] = {
        "kernel": attrs.kernel,
        "stride": attrs.stride,
        "dilation": attrs.dilation,
        "pads": attrs.pads,
    }
    if attrs.method == "MAX":
        low.emit("maxpool", layer, inputs, y, window)
    elif low.scheme.splits_means() and attrs.kernel == x.shape[:2] and not any(attrs.pads):
        split_mean(low, layer, x, y, (0, 1))
    else:
        areas = sampling.pooling_areas(attrs, x.shape, y.shape)
        areas = areas[:1, :1] if (areas == areas[0, 0]).all() else areas
        consts = low.scaled(*low.scheme.pooling_rescale(areas))
        low.emit("avgpool", layer, inputs, y, {**window, **low.rounding}, consts)


def split_mean(
    low: Lowering, layer: Layer, x: TensorSpec, y: TensorSpec, axes: tuple[int, ...]
) -> None:
    """A mean as the 2021 tool does it: one axis after the other, each requantised (spec A)."""
    for position, axis in enumerate(axes):
        last = position == len(axes) - 1
        shape = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
        between = dataclasses.replace(y, name=f"{layer.name}:axis{axis}", shape=shape)
        out = y if last else between
        low.tensors[out.name] = out
        ratio = (y.scale / x.scale if last else 1.0) / x.shape[axis]
        consts = low.scaled(*low.scheme.rescale(ratio, y.bits))
        low.emit("reduce_sum", layer, [x], out, {**low.rounding, "axes": (axis,)}, consts)
        x = out


RULES: dict[str, Rule] = {
    "Convolution": convolution,
    "DepthwiseConv": convolution,
    "ConvTranspose": conv_transpose,
    "FullyConnected": fully_connected,
    "MatMul": matmul,
    "Gemm": gemm,
    "BatchNorm": batchnorm,
    "Activation": activation,
    "Eltwise": eltwise,
    "Pooling": pooling,
}
