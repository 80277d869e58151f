"""Ops that multiply: convolution, fully connected, matrix product, batch norm."""

from __future__ import annotations

from math import prod

import numpy as np

from r329fast.graph.size import product_macs, sum_macs, transposed_macs
from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.bounds import (
    check_channelwise,
    check_window,
    const_in,
    const_is,
    largest,
    largest_sum,
    reach,
    requant_rules,
    shape_is,
    size_is,
    span,
    window_output,
)
from r329fast.program.ops.spec import (
    ACT_ATTRS,
    ACT_CONSTS,
    FLAG,
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    SIZE,
    WINDOW_ATTRS,
    WORDS,
    Int,
    OpSpec,
)

MAX_PAD = 1 << 24  # |pad value|: far beyond every byte


def _sum_rules(op: Op, farthest: int, groups: int = 1) -> str:
    """Constants of sum(weights * q) + bias for |q| up to `farthest`.

    groups: how often an output channel of the weights stands in the output.
    """
    weights, bias = op.consts["weights"], op.consts["bias"]
    outs = weights.shape[0] * groups
    complaint = const_is(op, "bias", (outs,))
    if complaint:
        return complaint
    # what the dtype allows is known at once; the weights are only read where that is too much
    widest = -int(np.iinfo(weights.dtype).min) * prod(weights.shape[1:])
    if requant_rules(op, outs, widest * farthest + largest(bias)):
        widest = largest_sum(weights)
    return requant_rules(op, outs, widest * farthest + largest(bias))


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
    complaint = (
        check_window(op, inputs, output)
        or shape_is((*window_output(op, x), channels_out), output)
        or const_is(op, "pad_values", (x.shape[2],))
        or const_in(op, "pad_values", -MAX_PAD, MAX_PAD)
    )
    farthest = max(span(x), abs(op.integer("pad_value")), largest(op.consts.get("pad_values")))
    return complaint or _sum_rules(op, farthest)


def check_conv_transpose(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, weights = inputs[0], op.consts["weights"]
    group = op.integer("group")
    if len(x.shape) != 3 or weights.ndim != 4:
        return f"needs an (H, W, C) input and 4-d weights, found {x.shape} and {weights.shape}"
    if weights.shape[3] != x.shape[2] or x.shape[2] % group:
        return f"weights {weights.shape} with group {group} do not fit {x.shape[2]} channels"
    if weights.shape[1:3] != op.integers("kernel"):
        return f"kernel {op.integers('kernel')} is not that of weights {weights.shape}"
    made = weights.shape[0] * group
    size, pads, stride = transposed_output(op, x), op.integers("pads"), op.integers("stride")
    if min(size) < 1:
        return f"pads {pads} leave nothing"
    # kernels make the phases of the stride side by side (kernels/conv/transposed.py)
    taps = [
        (op.integers("kernel")[i] - 1) * op.integers("dilation")[i] // stride[i] + 1 for i in (0, 1)
    ]
    phases = made * stride[0] * stride[1]
    rows, columns = x.shape[0] + taps[0], x.shape[1] + taps[1]
    complaint = (
        shape_is((*size, made), output)
        or size_is((rows, columns, phases), "the map of all phases")
        or size_is((phases, *taps, x.shape[2] // group), "the weights of all phases")
    )
    return complaint or _sum_rules(op, reach(x) + 3 * abs(x.zero_point), group)


def transposed_output(op: Op, x: TensorSpec) -> tuple[int, int]:
    """(rows, columns) of a transposed convolution."""
    kernel, stride = op.integers("kernel"), op.integers("stride")
    dilation, pads = op.integers("dilation"), op.integers("pads")
    rows = (x.shape[0] - 1) * stride[0] + dilation[0] * (kernel[0] - 1) + 1 - pads[0] - pads[2]
    columns = (x.shape[1] - 1) * stride[1] + dilation[1] * (kernel[1] - 1) + 1 - pads[1] - pads[3]
    return rows, columns


def check_fc(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, weights = inputs[0], op.consts["weights"]
    if not x.shape or weights.ndim != 2 or weights.shape[1] != x.shape[-1]:
        return f"weights {weights.shape} do not fit input {x.shape}"
    return shape_is((*x.shape[:-1], weights.shape[0]), output) or _sum_rules(op, span(x))


def check_matmul(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    a, b = inputs[0].shape, inputs[1].shape
    if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2]:
        return f"shapes {a} and {b} do not fit"
    rows, inner_a = (a[-1], a[-2]) if op.integer("trans_a") else (a[-2], a[-1])
    inner_b, columns = (b[-1], b[-2]) if op.integer("trans_b") else (b[-2], b[-1])
    if inner_a != inner_b:
        return f"inner sizes {inner_a} and {inner_b} differ"
    most = inner_a * reach(inputs[0]) * reach(inputs[1])
    return shape_is((*a[:-2], rows, columns), output) or requant_rules(op, 1, most)


def _sum_macs(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> int:
    return sum_macs(output.elements, op.consts["weights"].shape)


def _transposed_macs(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> int:
    return transposed_macs(inputs[0].elements, op.consts["weights"].shape)


def _product_macs(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> int:
    return product_macs(output.elements, inputs[0].shape, bool(op.integer("trans_a")))


_BIASES = ("int32", "int64")  # 48 bits stand in int64

_CONV = OpSpec(
    "a[o] = sum(weights[o, ky, kx, i] * q) + bias[o], outside the image q = pad_value (or "
    "pad_values[i]); then act and requant per channel. weights (O, kh, kw, I/group).",
    1,
    {**WINDOW_ATTRS, **ACT_ATTRS, "group": SIZE, "pad_value": Int(-MAX_PAD, MAX_PAD)},
    {
        **ACT_CONSTS,
        "weights": ("int8", "int16"),
        "bias": _BIASES,
        "pad_values?": ("int32",),
    },
    check_conv,
    reads=WORDS,
    writes=WORDS,
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
        {**WINDOW_ATTRS, **ACT_ATTRS, "group": SIZE},
        {**ACT_CONSTS, "weights": ("int8", "int16"), "bias": _BIASES},
        check_conv_transpose,
        reads=WORDS,
        writes=WORDS,
        linear=True,
        accumulates=True,
        macs=_transposed_macs,
    ),
    "fully_connected": OpSpec(
        "a[o] = sum(weights[o, i] * q[i]) + bias[o] over the last axis; act, requant.",
        1,
        ACT_ATTRS,
        {**ACT_CONSTS, "weights": ("int8", "int16"), "bias": _BIASES},
        check_fc,
        reads=WORDS,
        writes=WORDS,
        linear=True,
        accumulates=True,
        macs=_sum_macs,
    ),
    "matmul": OpSpec(
        "a = sum((qa + zp_a) * (qb + zp_b)) over the inner axis; requant.",
        2,
        {**REQUANT_ATTRS, "trans_a": FLAG, "trans_b": FLAG},
        REQUANT_CONSTS,
        check_matmul,
        reads=WORDS,
        writes=WORDS,
        accumulates=True,
        macs=_product_macs,
    ),
    "batchnorm": OpSpec(
        "a = q * weights[c] + bias[c] (last axis; zp is inside bias); act, requant.",
        1,
        ACT_ATTRS,
        {**ACT_CONSTS, "weights": ("int32",), "bias": _BIASES},
        check_channelwise,
        reads=WORDS,
        writes=WORDS,
        linear=True,
        accumulates=True,
        macs=_sum_macs,
    ),
}
