"""Convolution and pooling: one tap of the window after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from r329fast.base.integers import INT32_MAX, INT32_MIN
from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import requantize
from r329fast.reference.compute import finish


def _taps(
    op: Op, padded: np.ndarray, out: tuple[int, int]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """(ky, kx, values under that tap for all output positions, [N, Ho, Wo, C])."""
    (kernel_y, kernel_x), (stride_y, stride_x) = op.integers("kernel"), op.integers("stride")
    dilation_y, dilation_x = op.integers("dilation")
    for ky in range(kernel_y):
        for kx in range(kernel_x):
            y, x = ky * dilation_y, kx * dilation_x
            rows = slice(y, y + (out[0] - 1) * stride_y + 1, stride_y)
            columns = slice(x, x + (out[1] - 1) * stride_x + 1, stride_x)
            yield ky, kx, padded[:, rows, columns]


def _pad(op: Op, q: np.ndarray, out: tuple[int, int], fill: np.ndarray) -> np.ndarray:
    """q with `fill` (C,) around it; ceil mode's last windows may reach past the bottom pad."""
    top, left, bottom, right = op.integers("pads")
    kernel, stride, dilation = op.integers("kernel"), op.integers("stride"), op.integers("dilation")
    count, height, width, channels = q.shape
    needed = [(out[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    rows = max(top + height + bottom, needed[0])
    columns = max(left + width + right, needed[1])
    padded = np.empty((count, rows, columns, channels), dtype=np.int64)
    padded[...] = fill
    padded[:, top : top + height, left : left + width] = q
    return padded


def convolution(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    """conv2d and depthwise_conv2d; depthwise weights (C*m, kh, kw, 1) have group C."""
    q, weights = arrays[0], op.consts["weights"].astype(np.int64)
    group, channels_out = op.integer("group"), weights.shape[0]
    per_group = channels_out // group
    out = (output.shape[0], output.shape[1])
    fill = op.consts.get("pad_values", np.full(q.shape[3], op.integer("pad_value")))
    padded = _pad(op, q, out, fill)
    total = np.zeros((len(q), *out, group, per_group), dtype=np.int64)
    for ky, kx, values in _taps(op, padded, out):
        grouped = values.reshape(*values.shape[:3], group, 1, -1)  # [N, Ho, Wo, g, 1, I/g]
        tap = weights[:, ky, kx].reshape(group, per_group, -1)  # [g, O/g, I/g]
        if tap.shape[2] == 1:
            total += grouped[..., 0] * tap[..., 0]
        else:
            total += (grouped @ tap.transpose(0, 2, 1))[..., 0, :]
    accumulator = total.reshape(len(q), *out, channels_out) + op.consts["bias"].astype(np.int64)
    return finish(op, accumulator, output)


def transposed_convolution(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    """conv_transpose2d: every input position adds its window, then the pads are cut away."""
    return finish(op, transposed_sums(op, arrays[0], inputs[0], output), output)


def transposed_sums(op: Op, q: np.ndarray, x: TensorSpec, output: TensorSpec) -> np.ndarray:
    """The accumulators of a transposed convolution, for int64 q [N, H, W, C] of tensor `x`."""
    a, weights = q + x.zero_point, op.consts["weights"].astype(np.int64)
    count, height, width, channels = a.shape
    per_group, kernel_y, kernel_x, _ = weights.shape
    group, (top, left, bottom, right) = op.integer("group"), op.integers("pads")
    (stride_y, stride_x), (step_y, step_x) = op.integers("stride"), op.integers("dilation")
    rows = (height - 1) * stride_y + step_y * (kernel_y - 1) + 1
    columns = (width - 1) * stride_x + step_x * (kernel_x - 1) + 1
    total = np.zeros((count, rows, columns, group, per_group), dtype=np.int64)
    grouped = a.reshape(count, height, width, group, 1, channels // group)
    for ky in range(kernel_y):
        for kx in range(kernel_x):
            tap = weights[:, ky, kx].reshape(per_group, group, -1).transpose(1, 2, 0)
            top_row, left_column = ky * step_y, kx * step_x
            y_places = slice(top_row, top_row + (height - 1) * stride_y + 1, stride_y)
            x_places = slice(left_column, left_column + (width - 1) * stride_x + 1, stride_x)
            total[:, y_places, x_places] += (grouped @ tap)[..., 0, :]
    total = total[:, top : rows - bottom, left : columns - right]
    absorbed = x.zero_point * np.tile(weights.reshape(per_group, -1).sum(axis=1), group)
    accumulator = total.reshape(count, *output.shape) + op.consts["bias"].astype(np.int64)
    return np.asarray(accumulator - absorbed)


def maxpool(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    out = (output.shape[0], output.shape[1])
    lowest = np.int64(inputs[0].qmin)
    padded = _pad(op, arrays[0], out, np.array(lowest))
    result = np.full((len(arrays[0]), *output.shape), lowest)
    for _, _, values in _taps(op, padded, out):
        result = np.maximum(result, values)
    return result


def avgpool(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    out = (output.shape[0], output.shape[1])
    padded = _pad(op, arrays[0] + inputs[0].zero_point, out, np.array(0))
    total = np.zeros((len(arrays[0]), *output.shape), dtype=np.int64)
    for _, _, values in _taps(op, padded, out):
        total += values
    total = np.clip(total, INT32_MIN, INT32_MAX)
    mult, shift = op.consts["mult"][..., None], op.consts["shift"][..., None]
    return requantize(
        total, mult, shift, output.zero_point, output.qmin, output.qmax, op.text("rounding")
    )


FUNCTIONS = {
    "conv2d": convolution,
    "depthwise_conv2d": convolution,
    "conv_transpose2d": transposed_convolution,
    "maxpool": maxpool,
    "avgpool": avgpool,
}
