"""Softmax in its two integer forms, log softmax, local response normalisation (spec B.11, B.12)."""

from __future__ import annotations

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import requantize, round_shift

_SQRT2_Q30 = 1518500250  # sqrt(2) * 2**30: the threshold of the half-bit logarithm


def _share(op: Op, q: np.ndarray, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    """Exponential table and the integer division, requantised into [qmin, qmax]."""
    axis, bits = op.integer("axis") + 1, op.integer("bits")
    mult, shift = int(op.consts["mult"][0]), int(op.consts["shift"][0])
    distance = q - q.max(axis=axis, keepdims=True)
    powers = op.consts["table"].astype(np.int64)[distance + 255]
    total = np.maximum(powers.sum(axis=axis, keepdims=True), 1)
    rounding = op.text("rounding")
    if op.integer("form") == 0:
        z = ((powers << bits) + (total >> 1)) // total
        return requantize(z, mult, shift + bits, zero_point, qmin, qmax, rounding)
    reciprocal = (np.int64(mult) << bits) // total
    return requantize(powers, reciprocal, shift + bits, zero_point, qmin, qmax, rounding)


def softmax_lut(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return _share(op, arrays[0], output.zero_point, output.qmin, output.qmax)


def log_softmax(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return op.consts["log_table"].astype(np.int64)[_share(op, arrays[0], 0, 0, 255)]


def softmax_fast_exp(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    axis, q_bits = op.integer("axis") + 1, op.integer("q_bits")
    distance = arrays[0] - arrays[0].max(axis=axis, keepdims=True)
    exponent = (distance * op.integer("mult_in")) >> op.integer("shift_in")
    power = q_bits + exponent
    y = np.where(power >= 0, np.int64(1) << np.clip(power, 0, 62), 0)
    total = np.clip(y.sum(axis=axis, keepdims=True), 1, INT32_MAX)
    # log2(total) in half bits: count the left shifts that bring it to 2**30 or more.
    zeros = np.zeros_like(total)
    for _ in range(30):
        zeros += (total << zeros) < (1 << 30)
    log = ((total << zeros) > _SQRT2_Q30).astype(np.int64) - ((zeros - (30 - q_bits)) << 1)
    result = (((exponent + 8) << 1) - log) >> 1
    value = np.where(result >= 0, np.int64(1) << np.clip(result, 0, 62), 0)
    return np.clip(value, 0, 255)


def arg_extreme(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    axis = op.integer("axis") + 1
    q = arrays[0] if op.text("method") == "MAX" else -arrays[0]
    if op.integer("last"):
        return q.shape[axis] - 1 - np.flip(q, axis).argmax(axis=axis)
    return q.argmax(axis=axis)


def top_k(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    axis, k = op.integer("axis") + 1, op.integer("k")
    sign = -1 if op.text("method") == "MAX" else 1
    # a stable sort of the mirrored axis has the larger index of equal ones first
    order = np.flip(sign * arrays[0], axis).argsort(axis=axis, kind="stable")
    indices = arrays[0].shape[axis] - 1 - np.take(order, np.arange(k), axis=axis)
    if op.text("result") == "INDICES":
        return indices
    return np.take_along_axis(arrays[0], indices, axis=axis)


def lrn(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    x, size = arrays[0] + inputs[0].zero_point, op.integer("size")
    channels = x.shape[-1]
    squares = np.pad(x * x, [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)])
    total = np.zeros_like(x)
    for offset in range(size):
        total += squares[..., offset : offset + channels]
    rounding = op.text("rounding")
    scaled = round_shift(total * op.integer("sum_mult"), op.integer("sum_shift"), rounding)
    u = np.clip(scaled, 0, 65535)
    table = op.consts["table"].astype(np.int64)
    following = np.append(table[1:], table[-1])
    index, fraction = u >> 8, u & 255
    factor = table[index] + (((following[index] - table[index]) * fraction) >> 8)
    return requantize(
        x * factor,
        op.consts["mult"].astype(np.int64),
        op.consts["shift"].astype(np.int64),
        output.zero_point,
        output.qmin,
        output.qmax,
        rounding,
    )


FUNCTIONS = {
    "softmax_lut": softmax_lut,
    "softmax_fast_exp": softmax_fast_exp,
    "log_softmax": log_softmax,
    "lrn": lrn,
    "arg_extreme": arg_extreme,
    "top_k": top_k,
}
