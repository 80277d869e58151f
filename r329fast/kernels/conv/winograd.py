"""Exact integer Winograd convolution: 3x3, stride 1, dilation 1, one group.

Blocks of tiles: windows are transformed to int16, multiplied point by point through the register
tile of int16 pairs, and a few panels of columns at a time are transformed back to the int32
accumulators that the direct kernel would have made, and finished while in L1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.conv.layout import ConvLayout, Geometry
from r329fast.kernels.conv.windows import clear_rows, load_band
from r329fast.kernels.conv.winograd_tiling import MIXED_BLOCK, TileGroup, choose_tiling
from r329fast.kernels.conv.winograd_weights import (
    channel_chunk,
    largest_sum,
    pack_transformed,
    transformed_fit,
)
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.ir.winograd import POSITIONS, WINDOW
from r329fast.kernels.leaves.rows import epilogue_rows
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
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.runtime.team import Piece, cut
from r329fast.program.program import Op, TensorSpec

_ROWS, _FEW, _WIDTH = WORDS.rows, FEW.rows, WORDS.width
_GAP = 64  # bytes: keeps rows and points out of each other's cache sets
# Tiles that are transformed and multiplied together, up to so many bytes of weights: those of L2
# are read again for every tile of rows, those of memory as seldom as may be.
_BLOCKS = ((1 << 20, _ROWS), (8 << 20, 3 * _ROWS), (1 << 62, 6 * _ROWS))


class WinogradTiles(NamedTuple):
    first: int  # unit to begin with: a tile, or an image where tiles of several sizes are mixed
    end: int
    column: int  # output channel to begin with, a multiple of `group_columns`
    column_end: int
    block: int  # units that are transformed and multiplied together
    chunk: int  # input channels of one exact sum
    chunks: int
    group_columns: int  # output channels whose products are there at once
    group_bytes: int  # of their packed weights
    row_bytes: int  # of a packed row: one point of one transformed window
    band_bytes: int  # of an image row in the band
    input_pitch: int  # bytes from one point of the transformed inputs to the next
    product_pitch: int  # and of the products
    input_chunk: int  # bytes from one chunk of the transformed inputs to the next
    product_chunk: int  # and of the products
    panel_bytes: int  # products of a point in one panel of columns
    sum_row: int  # bytes of a row of sums, the transform's result
    pitch: int  # entries of a row of epilogue constants


@kernel_part
def transform_inputs(p, g, tiling, v, band, x, x_end, pads, pads_end, first, tiles):  # type: ignore[no-untyped-def]
    """Transformed windows of `tiles` tiles of one size from its tile `first` on, as rows at `v`.

    tiling: the `TileGroup`. A band of image rows is loaded once per row of tiles.
    """
    channels, chunk = g.channels, p.chunk
    row_bytes, band_bytes, point = p.row_bytes, p.band_bytes, p.input_pitch
    size_y, size_x, lines, columns = tiling.size_y, tiling.size_x, tiling.lines, tiling.columns
    if tiles == 0:  # no tiles of this size in one of the directions
        return
    line, column = first // columns, first % columns
    loaded = -1
    for index in range(tiles):
        if line != loaded:
            image = line // lines
            y = tiling.top + (line - image * lines) * size_y
            load_band(g, band, band_bytes, x, x_end, pads, pads_end, image, y, size_y, False)
            loaded = line
        source = band + (tiling.left + column * size_x) * channels
        # every chunk of channels is a matrix of its own, as its sums are exact only by themselves
        for start in range(0, channels, chunk):
            count = min(chunk, channels - start)
            target = v + start // chunk * p.input_chunk + index * row_bytes
            input_transform(target, point, source + start, band_bytes, channels, count, tiling.kind)
        column += 1
        if column == columns:
            line, column = line + 1, 0


@kernel_part
def multiply(p, g, v, m, w, rows, columns):  # type: ignore[no-untyped-def]
    """Products of `columns` (one group of panels), all points and chunks; returns the end of w.

    rows: first row of each of four sizes, and the end; v: packed rows; m: int32
    [chunk][point][panel][rows of a block][columns of the panel].
    """
    channels, chunk, row_bytes = g.channels, p.chunk, p.row_bytes
    panel_bytes = p.panel_bytes
    # Chunk, point, panel: the order in which the weights are packed, so that w only ever moves
    # forward. Rows innermost: the weights of one panel at one point serve all rows of the block.
    for start in range(0, channels, chunk):
        steps = (min(chunk, channels - start) + 1) // 2
        a_point = v + start // chunk * p.input_chunk
        m_point = m + start // chunk * p.product_chunk
        for point in range(POSITIONS):
            # the point -2 of the rows is in the first two sizes, of the columns in 1 and 2
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
                    # Both tiles write all their rows; nobody reads those past the end here.
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
            a_point += p.input_pitch
            m_point += p.product_pitch
    return w


@kernel_part
def output_panel(p, g, tiling, m, sums, epilogue, out, first, tiles, channel, left):  # type: ignore[no-untyped-def]
    """Transform one panel's products of a tile size back, finish and store its `left` channels."""
    channels, chunk = g.channels, p.chunk
    out_height, out_width, outs = g.out_height, g.out_width, g.outs
    pitch, m_pitch, sum_row = p.pitch, p.product_pitch, p.sum_row
    size_y, size_x, lines, per_line = tiling.size_y, tiling.size_x, tiling.lines, tiling.columns
    columns = _WIDTH if left > _WIDTH // 2 else _WIDTH // 2
    cell = 4 * columns
    done = 0
    while done < tiles:  # runs of tiles that lie side by side
        tile = first + done
        line = tile // per_line
        column = tile - line * per_line
        count = min(tiles - done, per_line - column)
        # int32 sums of all chunks are added; only the last result is finished to bytes
        for start in range(0, channels, chunk):
            products = m + start // chunk * p.product_chunk + done * cell
            output_transform(sums, sum_row, products, m_pitch, columns, count, start, tiling.kind)
        image = line // lines
        top = tiling.top + (line - image * lines) * size_y
        x = tiling.left + column * size_x
        width = min(count * size_x, out_width - x)
        target = out + ((image * out_height + top) * out_width + x) * outs + channel
        # a tile at the border makes rows and columns outside the map: they are not stored
        for row in range(min(size_y, out_height - top)):
            place = target + row * out_width * outs
            epilogue_rows(
                sums + row * sum_row, cell, epilogue, channel, pitch, left, width, place, outs
            )
        done += count


@kernel
def winograd_tiles(frame):  # type: ignore[no-untyped-def]
    """Units first..end: tiles of one size, or images where tiles of several sizes are mixed.

    tilings: a row per size. A block of windows is transformed once; then few columns at a time are
    multiplied, transformed back and finished, so that their products are still in L2.
    """
    p, g, tilings, x, weights, pads, epilogue, out, scratch = arrays(
        frame, WinogradTiles, Geometry, (TileGroup,), "uuufuu"
    )
    outs, chunks, block, group = g.outs, p.chunks, p.block, p.group_columns
    sizes = len(tilings)
    rows = scratch[:40].view(np.int64)
    v = scratch.ctypes.data + 64
    m = v + chunks * p.input_chunk
    sums = m + chunks * p.product_chunk
    band = sums + 4 * p.sum_row
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    clear_rows(g, band, p.band_bytes, WINDOW, g.out_width + 2, pads_start, pads_end)
    for first in range(p.first, p.end, block):
        units = min(block, p.end - first)
        row = 0
        for index in range(4):
            rows[index] = row
            if index < sizes:
                tiling = tilings[index]
                each = tiling.lines * tiling.columns if sizes > 1 else 1
                transform_inputs(
                    p, g, tiling, v + row * p.row_bytes, band, x_start, x_end, pads_start, pads_end,
                    first * each, units * each,
                )  # fmt: skip
                row += units * each
        rows[4] = row
        # all tiles are of the size that has every point: all four ranges are the whole block
        if sizes == 1:
            rows[:2] = 0
        w = np.int64(weights.ctypes.data) + p.column // group * p.group_bytes
        for start in range(p.column, p.column_end, group):
            columns = min(group, outs - start)
            w = multiply(p, g, v, m, w, rows, columns)
            for column in range(0, columns, _WIDTH):
                left = min(_WIDTH, columns - column)
                cell = 4 * (_WIDTH if left > _WIDTH // 2 else _WIDTH // 2)
                panel = m + column // _WIDTH * p.panel_bytes
                for index in range(sizes):
                    tiling = tilings[index]
                    each = tiling.lines * tiling.columns if sizes > 1 else 1
                    output_panel(
                        p, g, tiling, panel + rows[index] * cell, sums, epilogue.ctypes.data,
                        out.ctypes.data, first * each, units * each, start + column, left,
                    )  # fmt: skip


def _parameters(
    layout: ConvLayout,
    groups: list[TileGroup],
    units: int,
    block: int,
    chunk: int,
    panels: int,
    pitch: int,
) -> tuple[WinogradTiles, int]:
    """Parameters of `winograd_tiles` for `units`, of which `block` go together; scratch bytes."""
    rows = block * (sum(group.tiles for group in groups) if len(groups) > 1 else 1)
    chunks = -(-layout.channels // chunk)
    steps = sum(
        (min(chunk, layout.channels - i) + 1) // 2 for i in range(0, layout.channels, chunk)
    )
    vector = 2 * WORDS.lanes  # whole vectors are written
    row_bytes = -(-min(chunk, layout.channels) // vector) * 2 * vector + _GAP
    columns = layout.out_width + 2 + WINDOW  # tiles may reach past the map
    band_bytes = -(-columns * layout.channels // 64) * 64 + _GAP
    input_pitch = _odd_lines((rows + _ROWS) * row_bytes)
    panel_bytes = 4 * (rows + _ROWS) * _WIDTH
    product_pitch = _odd_lines(panels * panel_bytes)
    input_chunk, product_chunk = POSITIONS * input_pitch, POSITIONS * product_pitch
    sum_row = 16 * max(group.columns for group in groups) * _WIDTH + _GAP
    parameters = WinogradTiles(
        first=0,
        end=units,
        column=0,
        column_end=len(layout.weights),
        block=block,
        chunk=chunk,
        chunks=chunks,
        group_columns=panels * _WIDTH,
        group_bytes=POSITIONS * steps * 4 * panels * _WIDTH,
        row_bytes=row_bytes,
        band_bytes=band_bytes,
        input_pitch=input_pitch,
        product_pitch=product_pitch,
        input_chunk=input_chunk,
        product_chunk=product_chunk,
        panel_bytes=panel_bytes,
        sum_row=sum_row,
        pitch=pitch,
    )
    scratch = chunks * (input_chunk + product_chunk) + 4 * sum_row + (WINDOW + 1) * band_bytes
    return parameters, scratch + 320


def _odd_lines(size: int) -> int:
    """At least `size`, an odd number of cache lines."""
    lines = -(-size // 64)
    return 64 * (lines + 1 - lines % 2)


def group_panels(outs: int) -> int:
    """Panels of columns that are multiplied together: about 64 columns, as their products stay in
    L2; up to half as many more where two threads then get as many columns each."""
    usual, whole = max(64 // _WIDTH, 1), -(-outs // _WIDTH)
    for panels in range(usual, usual + usual // 2 + 1):
        if -(-whole // panels) % 2 == 0:
            return panels
    return usual


def prepare_winograd(op: Op, layout: ConvLayout, output: TensorSpec) -> OpPlan | None:
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
    panels = group_panels(len(layout.weights))
    packed = pack_transformed(layout.weights, chunk, panels)
    block = next(tiles for most, tiles in _BLOCKS if packed.size <= most)
    common = (chunk, panels, epilogue.pitch)
    geometry = pack(layout.geometry(layout.input_flip))

    def settings(batch: int) -> tuple[list[TileGroup], WinogradTiles, int]:
        """Tiles and parameters of a batch, bytes of scratch."""
        groups, several = choose_tiling(layout.out_height, layout.out_width, batch)
        each = sum(group.tiles for group in groups)
        if several:
            units, most = batch, max(MIXED_BLOCK // each, 1)
        else:
            units, most = batch * each, block
        return groups, *_parameters(layout, groups, units, min(most, units), *common)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        groups, parameters, _ = settings(batch)
        arguments = (
            pack(parameters), geometry, pack(*groups), inputs[0], packed, layout.pads,
            epilogue.constants, output, scratch,
        )  # fmt: skip
        return [(winograd_tiles, arguments)]

    def pieces(batch: int, threads: int, wanted: int) -> list[Piece]:
        _, parameters, _ = settings(batch)
        units, outs = parameters.end, parameters.column_end
        if units <= threads * parameters.block:
            # a piece transforms all inputs, but reads weights of its own
            columns = cut(outs, threads, threads, parameters.group_columns)
            if len(columns) == threads:
                return [Piece(0, units, *ends) for ends in columns]
        grain = _ROWS if units >= 2 * threads * _ROWS else _FEW if units >= threads * _FEW else 1
        wanted = min(wanted, max(units // parameters.block, threads))
        return [Piece(*ends, 0, outs) for ends in cut(units, threads, wanted, grain)]

    path = f"winograd4 {ISA.name}"
    return OpPlan(path, bind, lambda batch: settings(batch)[2], True, pieces)
