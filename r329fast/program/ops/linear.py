"""Ops that multiply: convolution, fully connected, matrix product, batch norm."""

from __future__ import annotations

from r329fast.graph.size import product_macs, sum_macs, transposed_macs
from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.spec import (
    ACT_ATTRS,
    ACT_CONSTS,
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    WINDOW_ATTRS,
    OpSpec,
    check_channelwise,
    requant_lengths,
    shape_is,
    window_output,
)


def check_conv(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, weights = inputs[0], op.consts["weights"]
    group = op.integer("group")
    if len(x.shape) != 3 or weights.ndim != 4:
        return f"needs an (H, W, C) input and 4-d weights, found {x.shape} and {weights.shape}"
    channels_out = weights.shape[0]
    if weights.shape[3] * group != x.shape[2] or channels_out % group:
        return f"weights {weights.shape} with group {group} do not fit {x.shape[2]} channels"
    if weights.shape[1:3] != op.integers("kernel"):
        return f"kernel {op.integers('kernel')} is not that of weights {weights.shape}"
    if op.kind == "depthwise_conv2d" and group != x.shape[2]:
        return f"group {group} is not the number of input channels {x.shape[2]}"
    if op.consts["bias"].shape != (channels_out,):
        return f"bias has shape {op.consts['bias'].shape}, expected ({channels_out},)"
    if "pad_values" in op.consts and op.consts["pad_values"].shape != (x.shape[2],):
        return f"pad_values has shape {op.consts['pad_values'].shape}"
    complaint = shape_is((*window_output(op, x), channels_out), output)
    return complaint or requant_lengths(op, channels_out)


def check_conv_transpose(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, weights = inputs[0], op.consts["weights"]
    group = op.integer("group")
    if len(x.shape) != 3 or weights.ndim != 4:
        return f"needs an (H, W, C) input and 4-d weights, found {x.shape} and {weights.shape}"
    if group < 1 or weights.shape[3] != x.shape[2] or x.shape[2] % group:
        return f"weights {weights.shape} with group {group} do not fit {x.shape[2]} channels"
    if weights.shape[1:3] != op.integers("kernel"):
        return f"kernel {op.integers('kernel')} is not that of weights {weights.shape}"
    steps = (*op.integers("stride"), *op.integers("dilation"), *op.integers("kernel"))
    if min(steps) < 1 or min(op.integers("pads")) < 0:
        return "stride, dilation and kernel must be positive, pads not negative"
    channels_out = weights.shape[0] * group
    if op.consts["bias"].shape != (channels_out,):
        return f"bias has shape {op.consts['bias'].shape}, expected ({channels_out},)"
    size = transposed_output(op, x)
    if min(size) < 1:
        return f"pads {op.integers('pads')} leave nothing"
    return shape_is((*size, channels_out), output) or requant_lengths(op, channels_out)


def transposed_output(op: Op, x: TensorSpec) -> tuple[int, int]:
    """(rows, columns) of a transposed convolution."""
    kernel, stride = op.integers("kernel"), op.integers("stride")
    dilation, pads = op.integers("dilation"), op.integers("pads")
    rows = (x.shape[0] - 1) * stride[0] + dilation[0] * (kernel[0] - 1) + 1 - pads[0] - pads[2]
    columns = (x.shape[1] - 1) * stride[1] + dilation[1] * (kernel[1] - 1) + 1 - pads[1] - pads[3]
    return rows, columns


def check_fc(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, weights = inputs[0], op.consts["weights"]
    if weights.ndim != 2 or weights.shape[1] != x.shape[-1]:
        return f"weights {weights.shape} do not fit input {x.shape}"
    if op.consts["bias"].shape != (weights.shape[0],):
        return f"bias has shape {op.consts['bias'].shape}, expected ({weights.shape[0]},)"
    complaint = shape_is((*x.shape[:-1], weights.shape[0]), output)
    return complaint or requant_lengths(op, weights.shape[0])


def check_matmul(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    a, b = inputs[0].shape, inputs[1].shape
    if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2]:
        return f"shapes {a} and {b} do not fit"
    rows, inner_a = (a[-1], a[-2]) if op.integer("trans_a") else (a[-2], a[-1])
    inner_b, columns = (b[-1], b[-2]) if op.integer("trans_b") else (b[-2], b[-1])
    if inner_a != inner_b:
        return f"inner sizes {inner_a} and {inner_b} differ"
    return shape_is((*a[:-2], rows, columns), output) or requant_lengths(op, 1)


def _sum_macs(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> int:
    return sum_macs(output.elements, op.consts["weights"].shape)


def _transposed_macs(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> int:
    return transposed_macs(inputs[0].elements, op.consts["weights"].shape)


def _product_macs(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> int:
    return product_macs(output.elements, inputs[0].shape, bool(op.integer("trans_a")))


_CONV = OpSpec(
    "a[o] = sum(weights[o, ky, kx, i] * q) + bias[o], outside the image q = pad_value (or "
    "pad_values[i]); then act and requant per channel. weights (O, kh, kw, I/group).",
    1,
    {**WINDOW_ATTRS, **ACT_ATTRS, "group": "int", "pad_value": "int"},
    {
        **ACT_CONSTS,
        "weights": ("int8", "int16"),
        "bias": ("int32",),
        "pad_values?": ("int32",),
    },
    check_conv,
    linear=True,
    accumulates=True,
    macs=_sum_macs,
)

OPS: dict[str, OpSpec] = {
    "conv2d": _CONV,
    "depthwise_conv2d": _CONV,
    "conv_transpose2d": OpSpec(
        "Each input position adds its window: a[y*stride - pad + k*dilation, .., o] += weights[o, "
        "ky, kx, i] * (q + zp_in), o of the input channel's group; plus bias[o] - zp_in * "
        "sum(weights[o]) (the zero point is inside the bias, of all input channels, spec B.16); "
        "act and requant per channel. weights (O/group, kh, kw, I).",
        1,
        {**WINDOW_ATTRS, **ACT_ATTRS, "group": "int"},
        {**ACT_CONSTS, "weights": ("int8", "int16"), "bias": ("int32",)},
        check_conv_transpose,
        linear=True,
        accumulates=True,
        macs=_transposed_macs,
    ),
    "fully_connected": OpSpec(
        "a[o] = sum(weights[o, i] * q[i]) + bias[o] over the last axis; act, requant.",
        1,
        ACT_ATTRS,
        {**ACT_CONSTS, "weights": ("int8", "int16"), "bias": ("int32",)},
        check_fc,
        linear=True,
        accumulates=True,
        macs=_sum_macs,
    ),
    "matmul": OpSpec(
        "a = sum((qa + zp_a) * (qb + zp_b)) over the inner axis; requant.",
        2,
        {**REQUANT_ATTRS, "trans_a": "int", "trans_b": "int"},
        REQUANT_CONSTS,
        check_matmul,
        accumulates=True,
        macs=_product_macs,
    ),
    "batchnorm": OpSpec(
        "a = q * weights[c] + bias[c] (last axis; zp is inside bias); act, requant.",
        1,
        ACT_ATTRS,
        {**ACT_CONSTS, "weights": ("int32",), "bias": ("int32",)},
        check_channelwise,
        linear=True,
        accumulates=True,
        macs=_sum_macs,
    ),
}
