"""Fully connected, matmul, eltwise, batch norm, activations, reduction; and the epilogue.

Every function takes (op, int64 inputs [N, *shape], their specs, output spec) and returns int64.
"""

from __future__ import annotations

import numpy as np

from r329fast.base.integers import INT32_MAX, INT32_MIN
from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import requantize, round_shift


def finish(op: Op, accumulator: np.ndarray, output: TensorSpec) -> np.ndarray:
    """Activation and requantise: spec.py's `act`, channels on the last axis."""
    mult, shift = op.consts["mult"].astype(np.int64), op.consts["shift"].astype(np.int64)
    rounding = op.text("rounding")
    act = op.attrs.get("act", "NONE")
    a = accumulator
    if act == "CLIP":
        t = round_shift(a * mult, shift - 8, rounding)
        t = np.clip(t, op.integer("clip_min"), op.integer("clip_max"))
        return np.clip(round_shift(t, 8, rounding) - output.zero_point, output.qmin, output.qmax)
    if act == "RELU":
        a = np.maximum(a, 0)
    elif act == "RELU_FLOAT32":
        a = np.maximum(a, 0).astype(np.float32).astype(np.int64)
    elif act == "LEAKY":
        slope = op.consts["slope"].astype(np.int64)
        negative = round_shift(np.minimum(a, 0) * slope, op.integer("slope_shift"), rounding)
        a = negative + np.maximum(a, 0)
    return requantize(a, mult, shift, output.zero_point, output.qmin, output.qmax, rounding)


def fully_connected(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    weights = op.consts["weights"].astype(np.int64)
    return finish(op, arrays[0] @ weights.T + op.consts["bias"].astype(np.int64), output)


def matmul(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    a, b = (q + spec.zero_point for q, spec in zip(arrays, inputs, strict=True))
    if op.integer("trans_a"):
        a = np.swapaxes(a, -1, -2)
    if op.integer("trans_b"):
        b = np.swapaxes(b, -1, -2)
    return finish(op, a @ b, output)


def eltwise(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    a, b = (q + spec.zero_point for q, spec in zip(arrays, inputs, strict=True))
    method = op.text("method")
    if method == "MUL":
        return finish(op, a * b, output)
    scales = op.consts["scales"].astype(np.int64)
    a, b = a * scales[0], b * scales[1]
    if method == "ADD":
        accumulator = a + b
    elif method == "SUB":
        accumulator = a - b
    elif method == "MAX":
        accumulator = np.maximum(a, b)
    else:
        accumulator = np.minimum(a, b)
    return finish(op, accumulator, output)


def divide(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    a, b = (q + spec.zero_point for q, spec in zip(arrays, inputs, strict=True))
    table = op.consts["table"].astype(np.int64)
    return finish(op, np.where(b < 0, -a, a) * table[np.abs(b)], output)


def absolute(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return finish(op, np.abs(arrays[0] + inputs[0].zero_point), output)


def negative(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    raw = -(arrays[0] + inputs[0].zero_point) - output.zero_point
    return np.clip(raw, output.qmin, output.qmax)


def batchnorm(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    weights, bias = op.consts["weights"].astype(np.int64), op.consts["bias"].astype(np.int64)
    return finish(op, arrays[0] * weights + bias, output)


def requantize_op(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return finish(op, arrays[0] + inputs[0].zero_point, output)


def lut(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return op.consts["table"].astype(np.int64)[arrays[0] - inputs[0].lowest]


def lut_line(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    table, shift = op.consts["table"].astype(np.int64), op.integer("shift")
    following = np.append(table[1:], table[-1])
    u = arrays[0] - inputs[0].lowest
    index = u >> shift
    fraction = u - (index << shift)
    return table[index] + (((following[index] - table[index]) * fraction) >> shift)


def reduce_sum(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    axes = tuple(axis + 1 for axis in op.integers("axes"))
    total = (arrays[0] + inputs[0].zero_point).sum(axis=axes)
    return finish(op, np.clip(total, INT32_MIN, INT32_MAX), output)


FUNCTIONS = {
    "fully_connected": fully_connected,
    "matmul": matmul,
    "eltwise": eltwise,
    "batchnorm": batchnorm,
    "requantize": requantize_op,
    "lut": lut,
    "lut_line": lut_line,
    "divide": divide,
    "abs": absolute,
    "negative": negative,
    "reduce_sum": reduce_sum,
}
