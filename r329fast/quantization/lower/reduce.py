"""Lowering rules of reductions and L2 normalisation (spec B.18)."""

from __future__ import annotations

import math

import numpy as np

from r329fast.calibration.ranges import sum_square_key
from r329fast.graph.ir import L2NormAttrs, Layer, ReduceAttrs
from r329fast.program.program import AttrValue, TensorSpec
from r329fast.quantization.fixed_point import F32, approximate
from r329fast.quantization.linear import linear_params
from r329fast.quantization.lower.compute import split_mean
from r329fast.quantization.lower.context import Consts, Lowering, Rule
from r329fast.quantization.tables import inverse_root_table, root_table

_BITS, _MAX_SHIFT = 15, 63  # of L1, L2 and variance


def reduce(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs, x, y = layer.params(ReduceAttrs), inputs[0], outputs[0]
    axes, method = attrs.axes, attrs.method
    if method in ("MAX", "MIN"):
        low.emit("reduce_extreme", layer, inputs, y, {"axes": axes, "method": method})
        return
    if method == "MEAN" and low.scheme.splits_means() and len(axes) > 1:
        split_mean(low, layer, x, y, axes)
        return
    count = int(np.prod([x.shape[axis] for axis in axes]))
    words: dict[str, AttrValue] = {**low.rounding, "axes": axes}
    ratio = F32(F32(y.scale) / F32(x.scale))
    if method in ("MEAN", "SUM"):
        if method == "MEAN":
            ratio = F32(F32(1.0 / count) * ratio)
        consts = low.scaled(*low.scheme.activation_rescale(ratio, y.bits))
        low.emit("reduce_sum", layer, inputs, y, words, consts)
    elif method == "PROD":
        _product(low, layer, x, y, count)
    elif method == "VARIANCE":
        ratio = F32(F32(y.scale) / (F32(x.scale) * F32(x.scale))) / F32(count)
        consts = low.scaled(*approximate(ratio, _BITS, max_shift=_MAX_SHIFT))
        low.emit("reduce_variance", layer, inputs, y, words, consts)
    elif method == "L1":
        consts = low.scaled(*approximate(ratio, _BITS, max_shift=_MAX_SHIFT))
        low.emit("reduce_norm", layer, inputs, y, {**words, "method": "L1"}, consts)
    else:
        largest = low.ranges[sum_square_key(layer.name)][1]
        square = F32(linear_params(0.0, largest, 16, False, "symmetric_full_range").scale[0])
        ratio = square / F32(F32(x.scale) * F32(x.scale))
        consts = low.scaled(*approximate(ratio, _BITS, max_shift=_MAX_SHIFT))
        consts["table"] = (root_table(y, square), "int32")
        low.emit("reduce_norm", layer, inputs, y, {**words, "method": "L2"}, consts)


def _product(low: Lowering, layer: Layer, x: TensorSpec, y: TensorSpec, count: int) -> None:
    """The multiplier is that of 1/s_in so often and of s_out, kept in 15 bits on the way."""
    mult_in, shift_in = (int(v[0]) for v in approximate(F32(1) / F32(x.scale), _BITS))
    mult_out, shift_out = (int(v[0]) for v in approximate(F32(y.scale), _BITS))
    total, drops = 1, 0
    for factor in (*[mult_in] * count, mult_out):
        total *= factor
        while total > 32767:
            total >>= 1
            drops += 1
    words: dict[str, AttrValue] = {
        **low.rounding,
        "axes": layer.params(ReduceAttrs).axes,
        "power": shift_in * count + shift_out - drops,
        "width": "uint16" if x.qmin + x.zero_point >= 0 else "int16",
    }
    low.emit("reduce_product", layer, [x], y, words, low.scaled([total], [0]))


def l2_normalization(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    axes, x, y = layer.params(L2NormAttrs).axes, inputs[0], outputs[0]
    mult, shift = (int(v[0]) for v in low.scheme.activation_rescale(F32(y.scale), y.bits))
    low_end, high_end = x.qmin + x.zero_point, x.qmax + x.zero_point
    bits = max((-low_end - 1).bit_length() if low_end < 0 else 0, high_end.bit_length()) + 1
    before = max(0, bits + math.ceil(math.log2(mult)) - 16)
    words: dict[str, AttrValue] = {
        **low.rounding,
        "axes": axes,
        "mult": mult,
        "before": before,
        "shift": shift,
    }
    consts: Consts = {"table": (inverse_root_table(), "int32")}
    low.emit("l2_normalize", layer, inputs, y, words, consts)


RULES: dict[str, Rule] = {
    "Reduce": reduce,
    "Normalization": l2_normalization,
}
