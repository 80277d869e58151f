"""The leaves that many kernels share: row copies, epilogue, windows; and their twins.

All take addresses (int64, of bytes): arrays cost a dozen registers a call. Un-jitted runs take the
twins, which compute the same in NumPy, in the form of the plain path.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.kernels.ir import depthwise as depthwise_ir
from r329fast.kernels.ir import epilogue as finish_ir
from r329fast.kernels.ir import max_pool as max_ir
from r329fast.kernels.ir import tile as tile_ir
from r329fast.kernels.runtime.isa import ISA, JIT
from r329fast.kernels.runtime.leaf import leaf, memory


def copy_twin(
    dst: int, dst_stride: int, src: int, src_stride: int, rows: int, count: int, end: int, flip: int
) -> None:
    """Rows of bytes q ^ flip."""
    for row in range(rows):
        source = memory(src + row * src_stride, count)
        memory(dst + row * dst_stride, count)[:] = source ^ np.uint8(flip)


def _widen_twin(
    dst: int, dst_stride: int, src: int, src_stride: int, rows: int, count: int, end: int, flip: int
) -> None:
    for row in range(rows):
        source = memory(src + row * src_stride, count)
        values = (source ^ np.uint8(flip)).astype(np.int16) - np.int16(flip)
        memory(dst + row * dst_stride, count, np.int16)[:] = values


def _depthwise_twin(
    taps: int, stride: int, weights: int, columns: int, acc: int, more: int
) -> None:
    channels, count = depthwise_ir.channels(ISA), depthwise_ir.TAPS
    packed = memory(weights, count * channels, np.int16)
    order = depthwise_ir.interleaved(channels)
    pairs = packed.reshape(count // 2, channels, 2)[:, np.argsort(order)].transpose(0, 2, 1)
    matrix = pairs.reshape(count, channels).astype(np.int64)
    starts = memory(taps, count, np.int64)
    for column in range(columns):
        rows = [memory(start + column * stride, channels, np.int16) for start in starts]
        total = (np.stack(rows).astype(np.int64) * matrix).sum(axis=0)
        cells = memory(acc + 4 * channels * column, channels, np.int32)
        cells[:] = total + cells if more else total


def _finish_twin(
    acc: int,
    acc_stride: int,
    ef: int,
    channel: int,
    pitch: int,
    count: int,
    rows: int,
    out: int,
    out_stride: int,
) -> None:
    low, high, second, second_offset, zero, form = memory(ef, 6, np.float64)
    first = ef + 8 * finish_ir.HEADER
    once = form in (finish_ir.ONCE, finish_ir.TWICE)
    if once:
        factors = memory(first + 4 * channel, count, np.float32).astype(np.float64)
        biases = memory(first + 4 * (pitch + channel), count, np.int32)
    else:
        table = memory(first, 5 * pitch, np.float64).reshape(5, pitch)
        table = table[:, channel : channel + count]
    for row in range(rows):
        sums = memory(acc + row * acc_stride, count, np.int32)
        if once:  # products of float32 are exact in float64
            x = np.rint((sums + biases).astype(np.float32).astype(np.float64) * factors)
            x = x / 256 if form == finish_ir.TWICE else x
        else:
            x = _finish_wide(sums.astype(np.float64), table, form, second, second_offset)
        q = np.rint(np.minimum(np.maximum(x, low), high)).astype(np.int32) - np.int32(zero)
        memory(out + row * out_stride, count)[:] = q.astype(np.uint8)


def _finish_wide(
    x: np.ndarray, table: np.ndarray, form: float, second: float, second_offset: float
) -> np.ndarray:
    """The float64 forms, before their last rounding."""
    if form == finish_ir.LEAKY:
        x = x + table[finish_ir.BIAS]
        below = np.minimum(x, 0) * table[finish_ir.SLOPE] + table[finish_ir.SLOPE_OFFSET]
        x = np.maximum(x, 0) + np.rint(below)
    x = x * table[finish_ir.FACTOR] + table[finish_ir.OFFSET]
    if form == finish_ir.WIDE_TWICE:
        x = np.rint(x) * second + second_offset
    return x


def _max_window_twin(
    x: int,
    row_stride: int,
    rows: int,
    column_stride: int,
    columns: int,
    channels: int,
    lowest: int,
    flip: int,
    out: int,
) -> None:
    result = np.full(channels, lowest, dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            values = memory(x + row * row_stride + column * column_stride, channels)
            result = np.maximum(result, values ^ np.uint8(flip))
    memory(out, channels)[:] = result ^ np.uint8(flip)


copy_rows: Any  # in the form of the tile
widen_rows: Any  # as int16
copy_bytes: Any  # as they are, or flipped
depthwise_row: Any
finish_rows: Any
max_window: Any
if JIT:
    copy_bytes, widen_rows = (
        leaf(f"copy_rows_{element}", (0, 2), tile_ir.emit_copy, element) for element in (1, 2)
    )
    copy_rows = copy_bytes if ISA.element == 1 else widen_rows
    depthwise_row = leaf("depthwise_row", (0, 2, 4), depthwise_ir.emit_depthwise, ISA)
    finish_rows = leaf("finish_rows", (0, 2, 7), finish_ir.emit_finish)
    max_window = leaf("max_window", (0, 8), max_ir.emit_max_window)
else:
    copy_rows = widen_rows = _widen_twin
    copy_bytes = copy_twin
    depthwise_row, finish_rows = _depthwise_twin, _finish_twin
    max_window = _max_window_twin
