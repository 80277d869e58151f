"""The leaves that work on rows: copies, epilogue, depthwise, max windows; and their twins.

All take addresses (int64, of bytes): an array costs a dozen registers per call. Un-jitted runs take
the twins, which compute the same in NumPy, in the form of the plain path.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.kernels.ir import depthwise as depthwise_ir
from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.kernels.ir.copy_rows import COPY, emit_copy, emit_three_rows
from r329fast.kernels.ir.max_pool import emit_max_columns, emit_max_rows
from r329fast.kernels.ir.mean import emit_mean_columns, emit_sum_rows
from r329fast.kernels.leaves.leaf import leaf, memory
from r329fast.kernels.runtime.isa import ISA, JIT


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


def _three_rows_twin(
    dst: int, src: int, row_stride: int, src_stride: int, span: int, count: int
) -> None:
    for index in range(count):
        for row in range(3):
            source = memory(src + index * src_stride + row * row_stride, span)
            memory(dst + index * COPY + row * span, span)[:] = source


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


def _epilogue_twin(
    acc: int,
    acc_stride: int,
    epilogue: int,
    channel: int,
    pitch: int,
    count: int,
    rows: int,
    out: int,
    out_stride: int,
) -> None:
    header = memory(epilogue, epilogue_ir.HEADER, np.float64)
    form, zero = header[epilogue_ir.FORM], np.int32(header[epilogue_ir.ZERO_POINT])
    first = epilogue + 8 * epilogue_ir.HEADER
    once = form in (epilogue_ir.ONCE, epilogue_ir.TWICE)
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
            x = x / 256 if form == epilogue_ir.TWICE else x
        else:
            x = _wide_forms(sums.astype(np.float64), table, header)
        clamped = np.minimum(np.maximum(x, header[epilogue_ir.LOW]), header[epilogue_ir.HIGH])
        q = np.rint(clamped).astype(np.int32) - zero
        memory(out + row * out_stride, count)[:] = q.astype(np.uint8)


def _wide_forms(x: np.ndarray, table: np.ndarray, header: np.ndarray) -> np.ndarray:
    """The float64 forms, before their last rounding."""
    form = header[epilogue_ir.FORM]
    if form == epilogue_ir.LEAKY:
        x = x + table[epilogue_ir.BIAS]
        below = np.minimum(x, 0) * table[epilogue_ir.SLOPE] + table[epilogue_ir.SLOPE_OFFSET]
        x = np.maximum(x, 0) + np.rint(below)
    x = x * table[epilogue_ir.FACTOR] + table[epilogue_ir.OFFSET]
    if form == epilogue_ir.WIDE_TWICE:
        x = np.rint(x) * header[epilogue_ir.SECOND] + header[epilogue_ir.SECOND_OFFSET]
    return x


def _max_rows_twin(
    dst: int, src: int, row_stride: int, rows: int, count: int, lowest: int, flip: int
) -> None:
    result = np.full(count, lowest, dtype=np.uint8)
    for row in range(rows):
        result = np.maximum(result, memory(src + row * row_stride, count) ^ np.uint8(flip))
    memory(dst, count)[:] = result


def _max_columns_twin(
    dst: int,
    src: int,
    windows: int,
    stride: int,
    column_stride: int,
    columns: int,
    channels: int,
    flip: int,
) -> None:
    for window in range(windows):
        places = [src + window * stride + column * column_stride for column in range(columns)]
        largest = np.stack([memory(place, channels) for place in places]).max(axis=0)
        memory(dst + window * channels, channels)[:] = largest ^ np.uint8(flip)


def _sum_rows_twin(dst: int, src: int, row_stride: int, rows: int, count: int, flip: int) -> None:
    total = np.zeros(count, dtype=np.uint16)
    for row in range(rows):
        total += memory(src + row * row_stride, count) ^ np.uint8(flip)
    memory(dst, count, np.uint16)[:] = total


def _mean_columns_twin(
    dst: int,
    src: int,
    windows: int,
    stride: int,
    column_stride: int,
    columns: int,
    channels: int,
    which: int,
    epilogue: int,
    pitch: int,
) -> None:
    for window, entry in enumerate(memory(which, windows, np.int64)):
        places = [src + window * stride + column * column_stride for column in range(columns)]
        words = np.stack([memory(place, channels, np.uint16) for place in places])
        sums = words.sum(axis=0, dtype=np.int32)
        for channel in range(channels):  # one entry serves all
            place = dst + window * channels + channel
            value = sums[channel : channel + 1].ctypes.data
            _epilogue_twin(value, 0, epilogue, int(entry), pitch, 1, 1, place, 0)


copy_rows: Any  # in the form of the tile
widen_rows: Any  # as int16
copy_bytes: Any  # as they are, or flipped
three_rows: Any  # windows of three short rows
depthwise_row: Any
epilogue_rows: Any
max_rows: Any
max_columns: Any
sum_rows: Any
mean_columns: Any
if JIT:
    copy_bytes, widen_rows = (
        leaf(f"copy_rows_{element}", emit_copy, element) for element in (1, 2)
    )
    copy_rows = copy_bytes if ISA.element == 1 else widen_rows
    three_rows = leaf("three_rows", emit_three_rows, ISA)
    depthwise_row = leaf("depthwise_row", depthwise_ir.emit_depthwise, ISA)
    epilogue_rows = leaf("epilogue_rows", epilogue_ir.emit_epilogue)
    max_rows = leaf("max_rows", emit_max_rows)
    max_columns = leaf("max_columns", emit_max_columns)
    sum_rows = leaf("sum_rows", emit_sum_rows)
    mean_columns = leaf("mean_columns", emit_mean_columns)
else:
    copy_rows = widen_rows = _widen_twin
    copy_bytes = copy_twin
    three_rows = _three_rows_twin
    depthwise_row, epilogue_rows = _depthwise_twin, _epilogue_twin
    max_rows, max_columns = _max_rows_twin, _max_columns_twin
    sum_rows, mean_columns = _sum_rows_twin, _mean_columns_twin
