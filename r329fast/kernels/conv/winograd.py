"""Exact integer Winograd convolution: 3x3, stride 1, dilation 1, one group.

Blocks of tiles: windows are transformed to int16, multiplied point by point through the register
tile of int16 pairs, and a few panels of columns at a time are transformed back to the int32
accumulators that the direct kernel would have made, and finished while in L1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from r329fast.kernels.conv.layout import ConvLayout
from r329fast.kernels.conv.windows import clear_rows, load_band
from r329fast.kernels.conv.winograd_tiling import MIXED_BLOCK, Kind, tiling
from r329fast.kernels.conv.winograd_weights import (
    channel_chunk,
    largest_sum,
    pack_transformed,
    transformed_fit,
)
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.ir.winograd import KINDS, POSITIONS, WINDOW
from r329fast.kernels.leaves.tile import finish_rows
from r329fast.kernels.leaves.winograd import (
    FEW,
    WORDS,
    few_narrow,
    few_wide,
    input_transform,
    output_transform,
    words_narrow,
    words_wide,
)
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import Prepared, Step, integers
from r329fast.program.program import Op, TensorSpec

_ROWS, _FEW, _WIDTH = WORDS.rows, FEW.rows, WORDS.width
_GAP = 64  # bytes: keeps rows and points out of each other's cache sets
# Tiles that are transformed and multiplied together, up to so many bytes of weights: those of L2
# are read again for every tile of rows, those of memory as seldom as may be.
_BLOCKS = ((1 << 20, _ROWS), (8 << 20, 3 * _ROWS), (1 << 62, 6 * _ROWS))
_FIXED = 35  # where the kinds begin in p, _ENTRIES each
_ENTRIES = 7  # index, height, width, top, left, tile rows, tile columns


@njit(nogil=True, cache=True)
def transform_inputs(p, kind, v, band, x, x_end, pads, pads_end, first, tiles):  # type: ignore[no-untyped-def]
    """Transformed windows of `tiles` tiles of a kind from its tile `first` on, as rows at `v`.

    kind: where its entries begin in p.
    """
    channels, chunk = p[4], p[19]
    row_bytes, band_bytes, point, chunk_bytes = p[26], p[27], p[28], p[30]
    size_y, size_x, lines, columns = p[kind + 1], p[kind + 2], p[kind + 5], p[kind + 6]
    if tiles == 0:  # no tiles of this size in one of the directions
        return
    line, column = first // columns, first % columns
    loaded = -1
    for index in range(tiles):
        if line != loaded:
            image = line // lines
            y = p[kind + 3] + (line - image * lines) * size_y
            load_band(p, band, band_bytes, x, x_end, pads, pads_end, image, y, size_y)
            loaded = line
        source = band + (p[kind + 4] + column * size_x) * channels
        for start in range(0, channels, chunk):
            count = min(chunk, channels - start)
            target = v + start // chunk * chunk_bytes + index * row_bytes
            input_transform(target, point, source + start, band_bytes, channels, count, p[kind])
        column += 1
        if column == columns:
            line, column = line + 1, 0


@njit(nogil=True, cache=True)
def multiply(p, v, m, w, rows, columns):  # type: ignore[no-untyped-def]
    """Products of `columns` (one group of panels), all points and chunks; returns the end of w.

    rows: first row of each of four kinds, and the end; v: packed rows; m: int32
    [chunk][point][panel][rows of a block][columns of the panel].
    """
    channels, chunk, row_bytes = p[4], p[19], p[26]
    panel_bytes = p[33]
    for start in range(0, channels, chunk):
        steps = (min(chunk, channels - start) + 1) // 2
        a_point = v + start // chunk * p[30]
        m_point = m + start // chunk * p[31]
        for point in range(POSITIONS):
            # the point -2 of the rows is in the first two kinds, of the columns in 1 and 2
            by_row, by_column = point // WINDOW == 4, point % WINDOW == 4
            first = rows[1] if by_column else rows[0]
            end = rows[3] if by_column else rows[4]
            end = min(end, rows[2]) if by_row else end
            m_panel = m_point
            for column in range(0, columns, _WIDTH):
                wide = columns - column > _WIDTH // 2
                panel = _WIDTH if wide else _WIDTH // 2
                row = first
                while row < end:
                    acc, a = m_panel + row * 4 * panel, a_point + row * row_bytes
                    if end - row > 2 * _FEW:
                        if wide:
                            words_wide(a, row_bytes, steps, w, acc)
                        else:
                            words_narrow(a, row_bytes, steps, w, acc)
                        row += _ROWS
                    else:
                        if wide:
                            few_wide(a, row_bytes, steps, w, acc)
                        else:
                            few_narrow(a, row_bytes, steps, w, acc)
                        row += _FEW
                m_panel += panel_bytes
                w += steps * panel * 4
            a_point += p[28]
            m_point += p[29]
    return w


@njit(nogil=True, cache=True)
def finish_panel(p, kind, m, sums, ef, out, first, tiles, channel, left):  # type: ignore[no-untyped-def]
    """Transform one panel's products of a kind back, finish and store its `left` channels."""
    channels, chunk, out_height, out_width, outs = p[4], p[19], p[5], p[6], p[7]
    pitch, m_pitch, sum_row = p[21], p[29], p[32]
    size_y, size_x, lines, per_line = p[kind + 1], p[kind + 2], p[kind + 5], p[kind + 6]
    columns = _WIDTH if left > _WIDTH // 2 else _WIDTH // 2
    cell = 4 * columns
    done = 0
    while done < tiles:  # runs of tiles that lie side by side
        tile = first + done
        line = tile // per_line
        column = tile - line * per_line
        count = min(tiles - done, per_line - column)
        for start in range(0, channels, chunk):
            products = m + start // chunk * p[31] + done * cell
            output_transform(sums, sum_row, products, m_pitch, columns, count, start, p[kind])
        image = line // lines
        top = p[kind + 3] + (line - image * lines) * size_y
        x = p[kind + 4] + column * size_x
        width = min(count * size_x, out_width - x)
        target = out + ((image * out_height + top) * out_width + x) * outs + channel
        for row in range(min(size_y, out_height - top)):
            place = target + row * out_width * outs
            finish_rows(sums + row * sum_row, cell, ef, channel, pitch, left, width, place, outs)
        done += count


@kernel
def winograd_tiles(frame):  # type: ignore[no-untyped-def]
    """Units p[0]..p[1]: tiles, or images where tiles are mixed; p: see `_parameters`."""
    p, x, weights, pads, ef, out, scratch = arrays(frame, "iuuufuu")
    outs, chunks, block, group, kinds = p[7], p[20], p[24], p[25], p[34]
    rows = scratch[:40].view(np.int64)
    v = scratch.ctypes.data + 64
    m = v + chunks * p[30]
    sums = m + chunks * p[31]
    band = sums + 4 * p[32]
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    clear_rows(p, band, p[27], WINDOW, p[6] + 2, pads_start, pads_end)
    for first in range(p[0], p[1], block):
        units = min(block, p[1] - first)
        row = 0
        for index in range(4):
            rows[index] = row
            if index < kinds:
                kind = _FIXED + _ENTRIES * index
                each = p[kind + 5] * p[kind + 6] if kinds > 1 else 1
                transform_inputs(
                    p, kind, v + row * p[26], band, x_start, x_end, pads_start, pads_end,
                    first * each, units * each,
                )  # fmt: skip
                row += units * each
        rows[4] = row
        if kinds == 1:
            rows[:2] = 0
        w = weights.ctypes.data
        for start in range(0, outs, group):
            columns = min(group, outs - start)
            w = multiply(p, v, m, w, rows, columns)
            for column in range(0, columns, _WIDTH):
                left = min(_WIDTH, columns - column)
                cell = 4 * (_WIDTH if left > _WIDTH // 2 else _WIDTH // 2)
                panel = m + column // _WIDTH * p[33]
                for index in range(kinds):
                    kind = _FIXED + _ENTRIES * index
                    each = p[kind + 5] * p[kind + 6] if kinds > 1 else 1
                    finish_panel(
                        p, kind, panel + rows[index] * cell, sums, ef.ctypes.data,
                        out.ctypes.data, first * each, units * each, start + column, left,
                    )  # fmt: skip


def _parameters(
    layout: ConvLayout, kinds: list[Kind], block: int, chunk: int, panels: int, pitch: int
) -> tuple[tuple[int, ...], int]:
    """p[2:] of `winograd_tiles` and bytes of scratch; block: units of a block.

    After the geometry: channels of a chunk, chunks (20), pitch of ef, flip (22), nothing, units
    of a block (24), columns of a group, bytes of a packed row (26), of a band's, of a point of the
    inputs (28) and of the products, of a chunk of each (30, 31), of a row of sums (32) and of a
    panel of products, kinds (34), and the kinds themselves.
    """
    rows = block * (sum(kind.tiles for kind in kinds) if len(kinds) > 1 else 1)
    chunks = -(-layout.channels // chunk)
    vector = 2 * WORDS.lanes  # whole vectors are written
    row_bytes = -(-min(chunk, layout.channels) // vector) * 2 * vector + _GAP
    columns = layout.out_width + 2 + WINDOW  # tiles may reach past the map
    band_bytes = -(-columns * layout.channels // 64) * 64 + _GAP
    input_pitch = _odd_lines((rows + _ROWS) * row_bytes)
    panel_bytes = 4 * (rows + _ROWS) * _WIDTH
    product_pitch = _odd_lines(panels * panel_bytes)
    input_chunk, product_chunk = POSITIONS * input_pitch, POSITIONS * product_pitch
    sum_row = 16 * max(kind.columns for kind in kinds) * _WIDTH + _GAP
    described = []
    for kind in kinds:
        position = (kind.top, kind.left, kind.lines, kind.columns)
        described += [kind.index, *KINDS[kind.index], *position]
    values = (
        *layout.geometry(),
        *(chunk, chunks, pitch, layout.input_flip, 0, block, panels * _WIDTH),
        *(row_bytes, band_bytes, input_pitch, product_pitch, input_chunk, product_chunk),
        *(sum_row, panel_bytes, len(kinds), *described),
    )
    scratch = chunks * (input_chunk + product_chunk) + 4 * sum_row + (WINDOW + 1) * band_bytes
    return values, scratch + 320


def _odd_lines(size: int) -> int:
    """At least `size`, an odd number of cache lines."""
    lines = -(-size // 64)
    return 64 * (lines + 1 - lines % 2)


def prepare_winograd(op: Op, layout: ConvLayout, output: TensorSpec) -> Prepared | None:
    """The path for a 3x3 layer of stride 1, dilation 1 and one group; None where no certificate
    makes it exact."""
    if not layout.fits or not transformed_fit(layout.weights):
        return None
    chunk = channel_chunk(layout.weights)
    if chunk == 0:
        return None
    bias = op.consts["bias"].astype(np.int64)
    if layout.input_flip == 0:  # the transform takes 128 from uint8
        bias += 128 * layout.weights.reshape(len(layout.weights), -1).sum(axis=1, dtype=np.int64)
    bound = largest_sum(layout.weights)
    epilogue = prepare_epilogue(op, output, len(layout.weights), bound, bias)
    if epilogue.wide:
        return None
    panels = max(64 // _WIDTH, 1)
    packed = pack_transformed(layout.weights, chunk, panels)
    block = next(tiles for most, tiles in _BLOCKS if packed.size <= most)
    common = (chunk, panels, epilogue.pitch)

    def settings(batch: int) -> tuple[int, tuple[int, ...], int]:
        """Units of a batch, p[2:], bytes of scratch."""
        kinds, several = tiling(layout.out_height, layout.out_width, batch)
        each = sum(kind.tiles for kind in kinds)
        if not several:
            tiles = min(block, batch * each)
            return batch * each, *_parameters(layout, kinds, tiles, *common)
        images = min(max(MIXED_BLOCK // each, 1), batch)
        return batch, *_parameters(layout, kinds, images, *common)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        units, fixed, _ = settings(batch)
        arguments = (
            integers(0, units, *fixed), inputs[0], packed, layout.pads, epilogue.ef, output,
            scratch,
        )  # fmt: skip
        return [(winograd_tiles, arguments)]

    return Prepared(f"winograd4 {ISA.name}", bind, lambda batch: settings(batch)[2], True)
