"""LayerNorm, InstanceNorm and GroupNorm: one op (spec B.17)."""

from __future__ import annotations

import numpy as np

from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import round_shift
from r329fast.reference.compute import finish


def rounded_mean(total: np.ndarray, count: int) -> np.ndarray:
    """total / count to the nearest integer, ties to even; int64."""
    quotient = total // count
    twice = 2 * (total - quotient * count)
    return np.asarray(quotient + ((twice > count) | ((twice == count) & (quotient & 1 == 1))))


def inverse_root(value: np.ndarray, table: np.ndarray) -> np.ndarray:
    """1 / sqrt(value) in units of 2**-31, by `table` with interpolation (spec B.17, isqrt)."""
    value = np.asarray(value, dtype=np.int64).copy()
    shifts = np.zeros_like(value)
    for _ in range(30):
        small = value < (1 << 30)
        value = np.where(small, value << 1, value)
        shifts += small
    exponent = 31 - shifts
    odd = exponent & 1 == 1
    value = np.where(odd, value >> 1, value)
    exponent = (exponent - 1) >> 1
    value >>= 7
    index = np.maximum((value >> 16) - 64, 0)
    fraction = (value >> 1) & 0x7FFF
    low, high = table[index], table[index + 1]
    return np.asarray(((low << 16) - (((low - high) * fraction) << 1)) >> exponent)


def standardize(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return finish(op, standardized(op, arrays[0], inputs[0]), output)


def standardized(op: Op, q: np.ndarray, x: TensorSpec) -> np.ndarray:
    """The accumulators: u * weights + bias, for int64 q [N, *shape] of tensor `x`."""
    axis, groups = op.integer("axis") + 1, op.integer("groups")
    apart = q.reshape(*q.shape[:-1], groups, q.shape[-1] // groups)
    over = (*range(axis, q.ndim - 1), q.ndim)
    count = int(np.prod([apart.shape[a] for a in over]))
    mean = rounded_mean(apart.sum(axis=over, keepdims=True), count)
    distance = apart - np.clip(mean, x.qmin, x.qmax)
    squares = (distance**2).sum(axis=over, keepdims=True)
    var_shift = op.integer("var_shift")
    variance = squares >> var_shift if var_shift >= 0 else np.zeros_like(squares)
    root = inverse_root(variance, op.consts["table"].astype(np.int64))
    gain = (root + (1 << 15)) >> 16
    rounded = round_shift(distance * gain, 8 + op.integer("norm_shift"), "half_even")
    u = np.clip(rounded, -128, 127).reshape(q.shape)
    weights, bias = op.consts["weights"].astype(np.int64), op.consts["bias"].astype(np.int64)
    return np.asarray(u * weights + bias)


def standardize_words(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return finish(op, standardized_words(op, arrays[0]), output)


def standardized_words(op: Op, q: np.ndarray) -> np.ndarray:
    """The accumulators of 16-bit q: u * weights + bias."""
    over = tuple(range(op.integer("axis") + 1, q.ndim))
    count = int(np.prod([q.shape[a] for a in over]))
    distance = q - rounded_mean(q.sum(axis=over, keepdims=True), count)
    variance = (distance**2).sum(axis=over, keepdims=True) // count
    root = inverse_root(variance, op.consts["table"].astype(np.int64))
    product = ((root + (1 << 15)) >> 16) * op.integer("norm_mult")
    gain = np.clip(round_shift(product, op.integer("norm_shift"), "half_even"), 0, 65535)
    u = np.clip(round_shift((distance >> 1) * gain, 7, "half_even"), -32768, 32767)
    weights, bias = op.consts["weights"].astype(np.int64), op.consts["bias"].astype(np.int64)
    return np.asarray(u * weights + bias)


FUNCTIONS = {"standardize": standardize, "standardize_words": standardize_words}
