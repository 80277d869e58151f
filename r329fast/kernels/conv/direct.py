"""Convolution and fully connected: rows of input positions through the row tile.

A row is one output position: the K = kh*kw*C activations under its window. Where rows lie decides
the mode of a layer:

    DIRECT  1x1 of stride 1: rows are the input's own positions, nothing is copied
    BAND    a band of image rows with its padding is copied once; rows are kh spans of it
    PACKED  windows are copied one by one: where the tile needs wider elements or another form,
            where groups or dilation tear the spans apart, and where half a tile is too many rows
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from r329fast.kernels.conv.layout import ConvLayout, pack_weights
from r329fast.kernels.conv.windows import clear_rows, load_band, pack_rows
from r329fast.kernels.ir import epilogue as finish_ir
from r329fast.kernels.ir import gemm_tile as row_tile_ir
from r329fast.kernels.ir.tile import GAP
from r329fast.kernels.leaves.gemm_tile import HALF, row_tile_narrow, row_tile_wide
from r329fast.kernels.leaves.tile import finish_rows
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import Prepared, Step, integers

DIRECT, BAND, PACKED = range(3)
_ROWS, _WIDTH = ISA.rows, ISA.width
_SMALL = _WIDTH // 2
_ROW_BLOCK = 192 * 1024  # bytes of rows that all columns run over: well inside L2
_MAX_ROWS = 420 // _ROWS * _ROWS
_WASTE = 1.25  # positions of a band's tiles to output positions, at most
_FUSED = {finish_ir.ONCE: row_tile_ir.ONCE, finish_ir.TWICE: row_tile_ir.TWICE}


@njit(nogil=True, cache=True)
def tile_lines(p, a, line_stride, row_stride, lines, width, w, ef, out, channel, acc):  # type: ignore[no-untyped-def]
    """All columns of a group over `lines` runs of `width` positions, `line_stride` bytes apart.

    a: address of the first row; out: of the first position's first channel; the outputs of the
    lines follow each other. channel: the group's first; acc: int32 of one tile.
    """
    outs, per_out, pitch, fuse = p[7], p[18], p[23], p[25]
    steps, taps, jump, column_bytes = p[19], p[20], p[28], p[24]
    per_line = (width + HALF - 1) // HALF
    halves = lines * per_line
    count = min(HALF, width)  # positions of a half: the last of a line begins earlier if need be
    for column in range(0, per_out, _WIDTH):
        left = min(per_out - column, _WIDTH)
        wide = left > _SMALL
        columns = _WIDTH if wide else _SMALL
        first = channel + column
        now = fuse if left == columns and count == HALF else 0
        for half in range(0, halves, 2):
            line = half // per_line
            x = min((half - line * per_line) * HALF, width - count)
            place_a = a + line * line_stride + x * row_stride
            out_a = out + (line * width + x) * outs + first
            other = min(half + 1, halves - 1)  # an odd last one is made twice
            line = other // per_line
            x = min((other - line * per_line) * HALF, width - count)
            place_b = a + line * line_stride + x * row_stride
            out_b = out + (line * width + x) * outs + first
            if wide:
                row_tile_wide(
                    place_a, place_b, row_stride, taps, jump, steps, w, ef, first, pitch, now,
                    acc, out_a, out_b, outs,
                )  # fmt: skip
            else:
                row_tile_narrow(
                    place_a, place_b, row_stride, taps, jump, steps, w, ef, first, pitch, now,
                    acc, out_a, out_b, outs,
                )  # fmt: skip
            if not now:
                cell = 4 * columns
                finish_rows(acc, cell, ef, first, pitch, left, count, out_a, outs)
                finish_rows(acc + HALF * cell, cell, ef, first, pitch, left, count, out_b, outs)
        w += columns * column_bytes


@kernel
def conv_rows(frame):  # type: ignore[no-untyped-def]
    """Units p[0]..p[1]: output positions, or output rows (BAND). p: see `_parameters`.

    All flat uint8 except ef (float64). scratch: int32 sums of a tile, then rows or a band.
    """
    p, x, weights, pads, ef, out, scratch = arrays(frame, "iuuufuu")
    out_height, out_width, channels, outs = p[5], p[6], p[4], p[7]
    groups, per_out, block, mode, row_bytes, plain = p[16], p[18], p[21], p[26], p[27], p[29]
    acc = scratch.ctypes.data
    rows_at = acc + 4 * _ROWS * _WIDTH
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    w, e, o = weights.ctypes.data, ef.ctypes.data, out.ctypes.data
    if mode == BAND:
        image, y = p[0] // out_height, p[0] % out_height
        done = p[0]
        columns = (out_width - 1) * p[11] + p[9]
        clear_rows(p, rows_at, row_bytes, (block - 1) * p[10] + p[8], columns, pads_start, pads_end)
        while done < p[1]:
            lines = min(block, out_height - y, p[1] - done)
            load_band(p, rows_at, row_bytes, x_start, x_end, pads_start, pads_end, image, y, lines)
            place = o + done * out_width * outs
            stride = p[11] * channels
            tile_lines(p, rows_at, p[10] * row_bytes, stride, lines, out_width, w, e, place, 0, acc)
            done += lines
            y += lines
            if y == out_height:
                image, y = image + 1, 0
        return
    if mode == DIRECT and p[1] - p[0] >= HALF:
        for place in range(p[0], p[1], block):
            start = min(place, p[1] - HALF)  # a short last block begins earlier
            rows = min(block, p[1] - start)
            source = x_start + start * channels
            tile_lines(p, source, 0, channels, 1, rows, w, e, o + start * outs, 0, acc)
        return
    for start in range(p[0], p[1], block):
        rows = min(block, p[1] - start)
        for group in range(groups):
            pack_rows(
                p, rows_at, row_bytes, x_start, x_end, pads_start, pads_end, start, rows, group,
                plain,
            )  # fmt: skip
            group_w = w + group * p[30]
            place = o + start * outs
            tile_lines(p, rows_at, 0, row_bytes, 1, rows, group_w, e, place, group * per_out, acc)


def choose_mode(layout: ConvLayout) -> int:
    """Where the rows of a layer lie."""
    if ISA.element > 1 or layout.group > 1 or layout.dilation != (1, 1):
        return PACKED
    if layout.plain and not layout.tile_flip:
        return DIRECT
    if layout.plain or layout.kernel == (1, 1) == layout.stride:
        return PACKED
    tiled = -(-layout.out_width // HALF) * HALF
    return BAND if tiled <= _WASTE * layout.out_width else PACKED


def _parameters(layout: ConvLayout, mode: int) -> tuple[tuple[int, ...], np.ndarray, int]:
    """p[2:] of `conv_rows`, packed weights, bytes of scratch.

    After the geometry: steps, taps, block, flip (22), pitch, bytes of a column, fuse, mode (26),
    bytes of a packed row or a band's, jump, plain (29), bytes of a group.
    """
    kernel_y, kernel_x = layout.kernel
    taps = kernel_y if mode == BAND else 1
    packed, group_bytes, steps = pack_weights(layout, taps)
    if mode == BAND:
        columns = (layout.out_width - 1) * layout.stride[1] + kernel_x
        row_bytes = -(-columns * layout.channels // 64) * 64 + GAP
        lines = _ROW_BLOCK // (row_bytes * layout.stride[0])
        block = max(1, min(lines, layout.out_height))
        rows = (block - 1) * layout.stride[0] + kernel_y
        # a last half is read beyond its line's end
        size = rows * row_bytes + HALF * layout.stride[1] * layout.channels
    else:
        row_bytes = -(-layout.inner * ISA.element // 64) * 64 + GAP
        held = layout.channels if mode == DIRECT else row_bytes
        block = min(max(_ROW_BLOCK // held // _ROWS, 1) * _ROWS, _MAX_ROWS)
        size = (_ROWS if mode == DIRECT else block) * row_bytes  # DIRECT: fewer than HALF
    fuse = _FUSED.get(int(layout.epilogue.ef[finish_ir.FORM]), row_tile_ir.STORE)
    values = (
        *layout.geometry(),
        *(steps, taps, block, layout.tile_flip, layout.epilogue.pitch, 4 * taps * steps, fuse),
        *(mode, row_bytes, row_bytes, int(layout.plain), group_bytes),
    )
    return values, packed, 4 * _ROWS * _WIDTH + size + 256


def prepare_rows(layout: ConvLayout) -> Prepared:
    """The direct path for `layout`, whose sums are known to fit int32."""
    mode = choose_mode(layout)
    fixed, packed, scratch_bytes = _parameters(layout, mode)
    ef = layout.epilogue.ef
    units = layout.out_height if mode == BAND else layout.positions

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(0, batch * units, *fixed)
        return [(conv_rows, (p, inputs[0], packed, layout.pads, ef, output, scratch))]

    return Prepared(f"{ISA.name}-{layout.describe()}", bind, lambda batch: scratch_bytes, True)
