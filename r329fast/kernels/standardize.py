"""LayerNorm, InstanceNorm and GroupNorm: sums of a channel, then rows of int32 deviations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.epilogue_wide import HALF_EVEN, epilogue_wide, round_shift_wide
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.moments import inverse_root, nearest_mean
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step, aligned, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec

_FRACTION = 8  # bits of a deviation beyond `norm_shift`
_ROWS = 1 << 15  # whose squares int32 holds
_LANES = 64  # bytes that vectors may write past the last


class Norm(NamedTuple):
    first: int  # matrix (over all images) to begin with
    end: int
    rows: int  # of a matrix x [rows, channels]
    channels: int
    groups: int  # parts of the channels with a mean of their own
    flip: int  # 128 for int8, 0 for uint8
    low: int  # a mean of (byte ^ flip) is clamped to low..high
    high: int
    var_shift: int
    shift: int  # of a deviation times its gain
    own: int  # 1: weights and bias differ from row to row
    pitch: int  # entries of a row of epilogue constants


@kernel
def norm_matrices(frame):  # type: ignore[no-untyped-def]
    """Matrices first..end in int32; weights, bias: int32 as bytes, of one row or of all.

    scratch: sums and squares of every channel (int64), the same of some rows, means, gains, then a
    row of int32.
    """
    p, x, weights, bias, table, epilogue, out, scratch = arrays(frame, Norm, "uuuifuu")
    rows, channels, groups, flip = p.rows, p.channels, p.groups, np.uint8(p.flip)
    each, size = channels // groups, 4 * channels
    sums, squares = scratch[: 2 * size].view(np.int64), scratch[2 * size : 4 * size].view(np.int64)
    some, some_squares = (
        scratch[4 * size : 5 * size].view(np.int32), scratch[5 * size : 6 * size].view(np.int32)
    )  # fmt: skip
    means, gains = (
        scratch[6 * size : 7 * size].view(np.int32), scratch[7 * size : 8 * size].view(np.int32)
    )  # fmt: skip
    acc = scratch[8 * size : 9 * size].view(np.int32)
    all_factors, all_offsets = weights.view(np.int32), bias.view(np.int32)
    shift, count = np.int32(p.shift), rows * each
    half, mask = np.int32(1 << (p.shift - 1)), np.int32((1 << p.shift) - 1)
    for matrix in range(p.first, p.end):
        start = matrix * rows * channels
        sums[:] = 0
        squares[:] = 0
        for first in range(0, rows, _ROWS):
            some[:] = 0
            some_squares[:] = 0
            for r in range(first, min(first + _ROWS, rows)):
                values = x[start + r * channels : start + (r + 1) * channels]
                for c in range(channels):
                    value = np.int32(values[c] ^ flip)
                    some[c] += value
                    some_squares[c] += np.int32(value * value)
            for c in range(channels):
                sums[c] += some[c]
                squares[c] += some_squares[c]
        for g in range(groups):
            total, square = 0, 0
            part, part_squares = (
                sums[g * each : (g + 1) * each], squares[g * each : (g + 1) * each]
            )  # fmt: skip
            for c in range(each):
                total += part[c]
                square += part_squares[c]
            mean = min(max(nearest_mean(total, count), p.low), p.high)
            variance = 0
            if p.var_shift >= 0:
                variance = (square - 2 * mean * total + count * mean * mean) >> p.var_shift
            gain = (inverse_root(variance, table) + 32768) >> 16
            means[g * each : (g + 1) * each] = np.int32(mean)
            gains[g * each : (g + 1) * each] = np.int32(gain)
        for r in range(rows):
            row = start + r * channels
            values = x[row : row + channels]
            place = r * channels * p.own
            factors = all_factors[place : place + channels]
            offsets = all_offsets[place : place + channels]
            for c in range(channels):
                distance = np.int32(np.int32(values[c] ^ flip) - means[c])
                product = np.int32(distance * gains[c])
                u = np.int32(product >> shift)
                left = np.int32(product & mask)
                more = np.int32(left > half) | (np.int32(left == half) & (u & np.int32(1)))
                u = min(max(np.int32(u + more), np.int32(-128)), np.int32(127))
                acc[c] = np.int32(np.int32(u * factors[c]) + offsets[c])
            epilogue_rows(
                acc.ctypes.data, 0, epilogue.ctypes.data, 0, p.pitch, channels, 1,
                out.ctypes.data + row, 0,
            )  # fmt: skip


@kernel
def norm_wide(frame):  # type: ignore[no-untyped-def]
    """The same in int64, a value at a time; any shift."""
    p, x, weights, bias, table, epilogue, out = arrays(frame, Norm, "uiiiiu")
    rows, channels, flip = p.rows, p.channels, p.flip
    each = channels // p.groups
    count = rows * each
    for matrix in range(p.first, p.end):
        start = matrix * rows * channels
        for g in range(p.groups):
            total, square = 0, 0
            for i in range(count):
                value = np.int64(x[start + i // each * channels + g * each + i % each]) ^ flip
                total += value
                square += value * value
            mean = min(max(nearest_mean(total, count), p.low), p.high)
            variance = 0
            if p.var_shift >= 0:
                variance = (square - 2 * mean * total + count * mean * mean) >> p.var_shift
            gain = (inverse_root(variance, table) + 32768) >> 16
            for i in range(count):
                r, c = i // each, g * each + i % each
                place = start + r * channels + c
                distance = (np.int64(x[place]) ^ flip) - mean
                u = round_shift_wide(distance * gain, p.shift, HALF_EVEN)
                u = min(max(u, -128), 127)
                entry = r * channels * p.own + c
                value = u * weights[entry] + bias[entry]
                out[place] = np.uint8(epilogue_wide(value, epilogue, c, channels) & 255)


def prepare_standardize(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    x, axis = inputs[0], op.integer("axis")
    channels = x.shape[-1]
    weights, bias = (op.consts[name].astype(np.int64) for name in ("weights", "bias"))
    rows = int(np.prod(x.shape[axis:], dtype=np.int64)) // channels
    matrices = int(np.prod(x.shape[:axis], dtype=np.int64))
    bound = 128 * int(np.abs(weights).max()) + int(np.abs(bias).max())
    epilogue = prepare_epilogue(op, output, channels, bound)
    shift = _FRACTION + op.integer("norm_shift")
    norm = Norm(
        first=0,
        end=matrices,
        rows=rows,
        channels=channels,
        groups=op.integer("groups"),
        flip=flip_of(x),
        low=x.qmin + flip_of(x),
        high=x.qmax + flip_of(x),
        var_shift=op.integer("var_shift"),
        shift=shift,
        own=int(weights.size > channels),
        pitch=epilogue.pitch,
    )
    factors, offsets = np.ascontiguousarray(weights).reshape(-1), bias.reshape(-1)
    table = op.consts["table"].astype(np.int64)
    narrow = [aligned(each.astype(np.int32).view(np.uint8)) for each in (factors, offsets)]
    wide = epilogue.wide or bound > INT32_MAX or not 1 <= shift <= 30

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(norm._replace(end=batch * matrices))
        if wide:
            constants = (factors, offsets, table, epilogue.wide_constants)
            return [(norm_wide, (p, inputs[0], *constants, output))]
        constants = (narrow[0], narrow[1], table, epilogue.constants)
        return [(norm_matrices, (p, inputs[0], *constants, output, scratch))]

    size = 0 if wide else 36 * channels + _LANES
    return OpPlan("int64-norm" if wide else "vector-norm", bind, lambda batch: size, True)


PREPARE = {"standardize": prepare_standardize}
