"""Exact integer Winograd convolution, F(4x4, 3x3): 3x3, stride 1, dilation 1, one group.

Blocks of tiles of 4x4 outputs: windows are transformed to int16, multiplied position by position
through the register tile of int16 pairs, and a few panels of columns at a time are transformed
back to the int32 accumulators that the direct kernel would have made, and finished while in L1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from r329fast.kernels.conv_pack import ConvLayout
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.isa import ISA
from r329fast.kernels.prepared import Prepared, Step, integers
from r329fast.kernels.tile import finish_rows
from r329fast.kernels.winograd_ir import POSITIONS, TILE, WINDOW
from r329fast.kernels.winograd_tile import (
    BLOCK,
    INPUT_PITCH,
    PANELS,
    PRODUCT_PITCH,
    ROW_BYTES,
    WORDS,
    copy_bytes,
    input_transform,
    output_transform,
    words_narrow,
    words_wide,
)
from r329fast.kernels.winograd_weights import (
    channel_chunk,
    largest_sum,
    pack_transformed,
    transformed_fit,
)
from r329fast.program.program import Op, TensorSpec

_ROWS, _WIDTH, _LANES = WORDS.rows, WORDS.width, 2 * WORDS.lanes
_INPUT_CHUNK, _PRODUCT_CHUNK = POSITIONS * INPUT_PITCH, POSITIONS * PRODUCT_PITCH
_SUM_ROW = 4 * TILE * BLOCK * _WIDTH + 64  # bytes of one of the four rows of int32 sums


@njit(nogil=True, cache=True)
def load_window(p, window, x, pads, pads_end, x_end, image, top, left):  # type: ignore[no-untyped-def]
    """The 6x6 positions from (top, left) on, with padding around the image, as [6][6][C] bytes."""
    height, width, channels = p[2], p[3], p[4]
    before = min(max(-left, 0), WINDOW)
    end = max(min(width - left, WINDOW), before)
    for row in range(WINDOW):
        y = top + row
        target = window + row * WINDOW * channels
        if y < 0 or y >= height:
            copy_bytes(target, channels, pads, 0, WINDOW, channels, pads_end, 0)
            continue
        if before > 0:
            copy_bytes(target, channels, pads, 0, before, channels, pads_end, 0)
        if end > before:
            source = x + ((image * height + y) * width + left + before) * channels
            place = target + before * channels
            copy_bytes(place, 0, source, 0, 1, (end - before) * channels, x_end, 0)
        if end < WINDOW:
            place = target + end * channels
            copy_bytes(place, channels, pads, 0, WINDOW - end, channels, pads_end, 0)


@njit(nogil=True, cache=True)
def transform_inputs(p, v, window, x, x_end, pads, pads_end, first, tiles):  # type: ignore[no-untyped-def]
    """Transformed windows of `tiles` tiles from tile `first` on, into packed rows at `v`."""
    height, width, channels, chunk = p[2], p[3], p[4], p[12]
    tiles_y, tiles_x = p[10], p[11]
    for index in range(tiles):
        tile = first + index
        line = tile // tiles_x
        image = line // tiles_y
        top = (line - image * tiles_y) * TILE - p[8]
        left = (tile - line * tiles_x) * TILE - p[9]
        source = x + ((image * height + top) * width + left) * channels
        row_stride = width * channels
        inside = top >= 0 and left >= 0 and top + WINDOW <= height and left + WINDOW <= width
        # Whole vectors are read: up to _LANES - 1 bytes past the last channel.
        last = source + (WINDOW - 1) * (row_stride + channels) + channels + _LANES
        if not inside or last > x_end:
            load_window(p, window, x, pads, pads_end, x_end, image, top, left)
            source, row_stride = window, WINDOW * channels
        for start in range(0, channels, chunk):
            count = min(chunk, channels - start)
            target = v + start // chunk * _INPUT_CHUNK + index * ROW_BYTES
            input_transform(target, source + start, row_stride, channels, count, p[15])


@njit(nogil=True, cache=True)
def multiply(p, v, m, w, tiles, columns):  # type: ignore[no-untyped-def]
    """Products of `columns` (one group of panels), all positions and chunks; returns the end of w.

    v: packed rows; m: int32 [chunk][position][panel][BLOCK][columns of the panel].
    """
    channels, chunk = p[4], p[12]
    for start in range(0, channels, chunk):
        steps = (min(chunk, channels - start) + 1) // 2
        a_position = v + start // chunk * _INPUT_CHUNK
        position_m = m + start // chunk * _PRODUCT_CHUNK
        for _ in range(POSITIONS):
            acc_panel = position_m
            for column in range(0, columns, _WIDTH):
                wide = columns - column > _WIDTH // 2
                panel = _WIDTH if wide else _WIDTH // 2
                acc, a = acc_panel, a_position
                for _ in range(0, tiles, _ROWS):
                    if wide:
                        words_wide(a, w, steps, acc, 0)
                    else:
                        words_narrow(a, w, steps, acc, 0)
                    acc += _ROWS * 4 * panel
                    a += _ROWS * ROW_BYTES
                acc_panel += BLOCK * 4 * _WIDTH
                w += steps * panel * 4
            a_position += INPUT_PITCH
            position_m += PRODUCT_PITCH
    return w


@njit(nogil=True, cache=True)
def finish_panel(p, m, sums, ef, out, first, tiles, channel, left, pitch):  # type: ignore[no-untyped-def]
    """Transform one panel's products back, finish and store its `left` channels."""
    channels, chunk, out_height, out_width, outs = p[4], p[12], p[5], p[6], p[7]
    tiles_y, tiles_x = p[10], p[11]
    columns = _WIDTH if left > _WIDTH // 2 else _WIDTH // 2
    cell = 4 * columns
    done = 0
    while done < tiles:  # runs of tiles that lie side by side
        tile = first + done
        line = tile // tiles_x
        column = tile - line * tiles_x
        count = min(tiles - done, tiles_x - column)
        for start in range(0, channels, chunk):
            products = m + start // chunk * _PRODUCT_CHUNK + done * cell
            output_transform(sums, _SUM_ROW, products, columns, count, start)
        image = line // tiles_y
        top = (line - image * tiles_y) * TILE
        x = column * TILE
        width = min(count * TILE, out_width - x)
        target = out + ((image * out_height + top) * out_width + x) * outs + channel
        for row in range(min(TILE, out_height - top)):
            place = target + row * out_width * outs
            finish_rows(sums + row * _SUM_ROW, cell, ef, channel, pitch, left, width, place, outs)
        done += count


@njit(nogil=True, cache=True)
def winograd_tiles(p, x, weights, pads, ef, out, scratch):  # type: ignore[no-untyped-def]
    """Tiles p[0]..p[1]. p from 2 on: input height, width, channels, output height, width, channels,
    top, left, tile rows, tile columns, channels of a chunk, chunks, pitch of ef, signed.
    """
    outs, chunks = p[7], p[13]
    v = scratch.ctypes.data
    m = v + chunks * _INPUT_CHUNK
    sums = m + chunks * _PRODUCT_CHUNK
    window = sums + TILE * _SUM_ROW
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    for first in range(p[0], p[1], BLOCK):
        tiles = min(BLOCK, p[1] - first)
        transform_inputs(p, v, window, x_start, x_end, pads_start, pads_end, first, tiles)
        w = weights.ctypes.data
        for group in range(0, outs, PANELS * _WIDTH):
            columns = min(PANELS * _WIDTH, outs - group)
            w = multiply(p, v, m, w, tiles, columns)
            for column in range(0, columns, _WIDTH):
                left = min(_WIDTH, columns - column)
                products = m + column * BLOCK * 4
                finish_panel(
                    p,
                    products,
                    sums,
                    ef.ctypes.data,
                    out.ctypes.data,
                    first,
                    tiles,
                    group + column,
                    left,
                    p[14],
                )


def prepare_winograd(op: Op, layout: ConvLayout, output: TensorSpec) -> Prepared | None:
    """The path for a 3x3 layer of stride 1, dilation 1 and one group; None where no certificate
    makes it exact."""
    signed = layout.input_flip == 128
    if not layout.fits or not transformed_fit(layout.weights):
        return None
    chunk = channel_chunk(layout.weights, signed)
    if chunk == 0:
        return None
    bias = op.consts["bias"].astype(np.int64)
    bound = largest_sum(layout.weights, signed)
    epilogue = prepare_epilogue(op, output, len(layout.weights), bound, bias)
    if epilogue.wide:
        return None
    packed = pack_transformed(layout.weights, chunk)
    chunks = -(-layout.channels // chunk)
    tiles_y, tiles_x = -(-layout.out_height // TILE), -(-layout.out_width // TILE)
    window_bytes = POSITIONS * layout.channels + 128
    scratch_bytes = chunks * (_INPUT_CHUNK + _PRODUCT_CHUNK) + TILE * _SUM_ROW + window_bytes
    fixed = (
        *(layout.height, layout.width, layout.channels),
        *(layout.out_height, layout.out_width, len(layout.weights)),
        *layout.top_left,
        *(tiles_y, tiles_x, chunk, chunks, epilogue.pitch, int(signed)),
    )

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(0, batch * tiles_y * tiles_x, *fixed)
        arguments = (p, inputs[0], packed, layout.pads, epilogue.ef, output, scratch)
        return [(winograd_tiles, arguments)]

    return Prepared(f"winograd4 {ISA.name}", bind, lambda batch: scratch_bytes, True)
