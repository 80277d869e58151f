"""Extremes, norms, variance and product over axes, and L2 normalisation (spec B.18)."""

from __future__ import annotations

import numpy as np

from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import log2_ceiling, requantize, round_shift
from r329fast.reference.compute import finish
from r329fast.reference.standardize import inverse_root, rounded_mean

_INT32 = (-(1 << 31), (1 << 31) - 1)


def _axes(op: Op) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in op.integers("axes"))


def extreme(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    found = arrays[0].max if op.text("method") == "MAX" else arrays[0].min
    return np.asarray(found(axis=_axes(op)))


def norm(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    a = arrays[0] + inputs[0].zero_point
    squares = op.text("method") == "L2"
    total = (a * a if squares else np.abs(a)).sum(axis=_axes(op))
    largest = total.reshape(len(total), -1).max(axis=1)
    excess = np.maximum(log2_ceiling(largest) - 16, 0).reshape(-1, *[1] * (total.ndim - 1))
    mult, shift = op.consts["mult"].astype(np.int64), op.consts["shift"].astype(np.int64)
    rounding = op.text("rounding")
    if not squares:
        cut = np.minimum(total >> excess, 65535)
        zero, low, high = output.zero_point, output.qmin, output.qmax
        return requantize(cut, mult, shift - excess, zero, low, high, rounding)
    u = np.clip(round_shift((total >> excess) * mult, shift - excess, rounding), 0, 65535)
    table = op.consts["table"].astype(np.int64)
    following = np.append(table[1:], table[-1])
    index, fraction = u >> 8, u & 255
    return table[index] + (((following[index] - table[index]) * fraction) >> 8)


def variance(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    q, axes = arrays[0], _axes(op)
    count = int(np.prod([q.shape[axis] for axis in axes]))
    mean = rounded_mean(q.sum(axis=axes, keepdims=True), count)
    return finish(op, ((q - mean) ** 2).sum(axis=axes), output)


def product(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    axes = _axes(op)
    a = np.moveaxis(arrays[0] + inputs[0].zero_point, axes, range(1, 1 + len(axes)))
    if op.text("width") == "uint16":  # none is negative, unless an input leaves its range
        a = np.maximum(a, 0)
    rows = a.reshape(len(a), -1, *a.shape[1 + len(axes) :])
    low, high = (0, 65535) if op.text("width") == "uint16" else (-32768, 32767)
    total = np.ones((len(a), *rows.shape[2:]), dtype=np.int64)
    drops = np.zeros_like(total)
    for index in range(rows.shape[1]):
        total = total * rows[:, index]
        while True:
            outside = (total < low) | (total > high)
            if not outside.any():
                break
            total = np.where(outside, total >> 1, total)
            drops += outside
    mult, power = op.consts["mult"].astype(np.int64), op.integer("power")
    rounding = op.text("rounding")
    zero, low, high = output.zero_point, output.qmin, output.qmax
    shift = np.clip(power - drops, -63, 63)
    return requantize(total, mult, shift, zero, low, high, rounding)


def l2_normalize(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    a = arrays[0] + inputs[0].zero_point
    total = (a * a).sum(axis=_axes(op), keepdims=True)
    over = sum(((total >> bit) != 0).astype(np.int64) for bit in range(31, 64))
    over = np.asarray(over + (over & 1))
    root = inverse_root(total >> over, op.consts["table"].astype(np.int64))
    right = np.maximum(log2_ceiling(root) - 15, 0)
    root = np.clip(root >> right, 0, 32767)
    right = right - over // 2
    before = op.integer("before")
    value = np.clip(a * op.integer("mult"), *_INT32) >> before
    value = np.clip(np.clip(value, -32768, 32767) * root, *_INT32)
    shift = op.integer("shift") + 31 - before - right
    zero, low, high = output.zero_point, output.qmin, output.qmax
    return requantize(value, 1, shift, zero, low, high, op.text("rounding"))


FUNCTIONS = {
    "reduce_extreme": extreme,
    "reduce_norm": norm,
    "reduce_variance": variance,
    "reduce_product": product,
    "l2_normalize": l2_normalize,
}
