"""Convolution and fully connected: rows of input positions through the row tile.

A row is one output position: the K = kh*kw*C activations under its window. Where rows lie decides
the mode of a layer:

    DIRECT  1x1 of stride 1: rows are the input's own positions, nothing is copied
    BAND    a band of image rows with its padding is copied once; rows are kh spans of it, or, where
            spans of three rows are too short for whole steps, windows made of them
    PARTS   the same for each part of the channels: groups that share the columns of a tile
    PACKED  windows are copied one by one: where the tile needs wider elements or another form,
            where dilation tears the spans apart, and where half a tile is too many rows
"""

from __future__ import annotations

from math import ceil, gcd
from typing import NamedTuple

import numpy as np

from r329fast.kernels.conv.layout import ConvLayout, Geometry, Parts, merged_groups, pack_weights
from r329fast.kernels.conv.tiles import tile_lines, tiled_positions
from r329fast.kernels.conv.windows import clear_rows, load_band, load_part, pack_rows
from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.kernels.ir import gemm_tile as gemm_tile_ir
from r329fast.kernels.ir.copy_rows import COPY, GAP, joins_three_rows
from r329fast.kernels.leaves.gemm_tile import HALF
from r329fast.kernels.leaves.rows import three_rows
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import pitched_plan, ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.runtime.team import Piece, cut

DIRECT, BAND, PARTS, PACKED = range(4)
_ROWS, _WIDTH = ISA.rows, ISA.width
_SMALL, _SLIM = _WIDTH // 2, ISA.slim
_ROW_BLOCK = 192 * 1024  # bytes of rows that all columns run over: well inside L2
_MAX_ROWS = 420 // _ROWS * _ROWS
_JOINED_BLOCK = 48 * 1024  # bytes of a band and of windows made of its rows
_PART_BLOCK = 16 * 1024  # bytes of a part's band: inside L1
_WASTE = 1.25  # positions of a band's tiles to output positions, at most
_PARTS_WASTE = 2.5  # the same for parts and thin rows of a window: packing those costs more
_COPIES = 24  # output channels whose products take as long as packing a window
_THIN = 32  # bytes of a window's row
_FEW_TILES = 7  # a thread with so many tiles of rows, or fewer, gets columns instead
_LEAST_TILES = 4  # of rows in a piece: it reads all weights for them


class ConvRows(NamedTuple):
    first: int  # unit to begin with: an output position, or an output row (BAND, PARTS)
    end: int
    column: int  # output channel to begin with (the whole width of tiles; one part of groups only)
    column_end: int
    mode: int  # DIRECT, BAND, PARTS or PACKED
    block: int  # units whose rows are made ready at once
    plain: int  # 1: a packed row is a whole input position
    row_bytes: int  # of a packed row, or of an image row in a band
    taps: int  # spans of K: kernel rows (BAND, PARTS; `row_bytes` apart), else 1
    steps: int  # of the tile's dot product in a span
    column_bytes: int  # packed weights of one column
    group_bytes: int  # packed weights of one part
    pitch: int  # entries of a row of epilogue constants
    fuse: int  # the tile's own epilogue: STORE (none), ONCE or TWICE
    windows: int  # bytes before the windows that are made of a band's rows; 0: rows where they lie


@kernel
def conv_rows(frame):  # type: ignore[no-untyped-def]
    """Units first..end: output positions, or output rows (BAND, PARTS).

    A block of rows is made ready, then all columns run over it: the rows stay in L2, and the
    weights of a few columns in L1, while every tile of the block uses them.
    scratch: int32 sums of a tile, then rows or a band.
    """
    p, g, x, weights, pads, epilogue, out, scratch = arrays(frame, ConvRows, Geometry, "uuufuu")
    out_height, out_width, outs = g.out_height, g.out_width, g.outs
    groups, per_out, block, mode, row_bytes = g.groups, g.group_outs, p.block, p.mode, p.row_bytes
    panel = (p.taps, row_bytes, p.steps, p.column, p.column_end, p.column_bytes, p.pitch, p.fuse)
    acc = scratch.ctypes.data
    rows_at = acc + 4 * _ROWS * _WIDTH
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    w, constants, o = weights.ctypes.data, epilogue.ctypes.data, out.ctypes.data
    if mode in (BAND, PARTS):
        # Every image row of a block is copied once, and serves all kernel rows and all columns.
        image, y = p.first // out_height, p.first % out_height
        done, padded = p.first, True  # rows above and below an image, from `clear_rows` on
        if mode == BAND:
            columns = (out_width - 1) * g.stride_x + g.kernel_x
            rows = (min(block, p.end - p.first) - 1) * g.stride_y + g.kernel_y
            clear_rows(g, rows_at, row_bytes, rows, columns, pads_start, pads_end)
        while done < p.end:
            lines = min(block, out_height - y, p.end - done)
            for part in range(groups):
                if mode == BAND:
                    whole = lines == out_height  # image after image in the same rows
                    load_band(
                        g, rows_at, row_bytes, x_start, x_end, pads_start, pads_end, image, y,
                        lines, whole and padded,
                    )  # fmt: skip
                    padded = whole
                else:
                    load_part(
                        g, rows_at, row_bytes, x_start, x_end, pads_start, pads_end, image, y,
                        lines, part * g.group_channels,
                    )  # fmt: skip
                a, across, along = rows_at, g.stride_y * row_bytes, g.stride_x * g.group_channels
                if p.windows:
                    a = rows_at + p.windows
                    for line in range(lines):
                        three_rows(
                            a + line * out_width * COPY, rows_at + line * across, row_bytes, along,
                            g.kernel_x * g.group_channels, out_width,
                        )  # fmt: skip
                    across, along = out_width * COPY, COPY
                tile_lines(
                    panel, g, a, across, along, lines, out_width, w + part * p.group_bytes,
                    constants, o + done * out_width * outs, part * per_out, acc,
                )  # fmt: skip
            done += lines
            y += lines
            if y == out_height:
                image, y = image + 1, 0
        return
    # Rows in place: a run may start anywhere, but always has HALF rows.
    if mode == DIRECT and p.end - p.first >= HALF:
        for place in range(p.first, p.end, block):
            start = min(place, p.end - HALF)  # a short last block begins earlier
            rows = min(block, p.end - start)
            source = x_start + start * g.pitch
            tile_lines(
                panel, g, source, 0, g.pitch, 1, rows, w, constants, o + start * outs, 0, acc
            )
        return
    # Parts inside: each packs its own channels of the same positions into the same rows.
    for start in range(p.first, p.end, block):
        rows = min(block, p.end - start)
        for group in range(groups):
            pack_rows(
                g, rows_at, row_bytes, x_start, x_end, pads_start, pads_end, start, rows, group,
                p.plain,
            )  # fmt: skip
            tile_lines(
                panel, g, rows_at, 0, row_bytes, 1, rows, w + group * p.group_bytes, constants,
                o + start * outs, group * per_out, acc,
            )  # fmt: skip


def choose_mode(layout: ConvLayout) -> int:
    """Where the rows of a layer lie."""
    if ISA.element > 1 or layout.dilation != (1, 1):
        return PACKED
    tiled, exact = tiled_positions(layout.out_height, layout.out_width), layout.positions
    if layout.group > 1:
        return PARTS if tiled <= _PARTS_WASTE * exact else PACKED
    if layout.plain and not layout.tile_flip:
        return DIRECT
    if layout.plain or layout.kernel == (1, 1) == layout.stride:
        return PACKED
    thin = layout.kernel[1] * layout.channels < _THIN
    waste = _PARTS_WASTE if thin else min(_WASTE, 1 + _COPIES / len(layout.weights))
    return BAND if tiled <= waste * exact else PACKED


def joins_rows(layout: ConvLayout) -> bool:
    """Whether windows are made of three rows of a band: where that saves steps.

    3x3 on three channels: 27 bytes are 7 steps, three times 9 are 9.
    """
    span = layout.kernel[1] * layout.channels
    if layout.kernel[0] != 3 or 3 * span > COPY or not joins_three_rows(ISA):
        return False
    # a window is made for the time of half a step of a wide tile
    fewer = -(-3 * span // ISA.kgroup) < 3 * -(-span // ISA.kgroup)
    return fewer and len(layout.weights) > _SMALL


def _parameters(layout: ConvLayout, mode: int, parts: Parts) -> tuple[ConvRows, np.ndarray, int]:
    """Parameters of one image, packed weights, bytes of scratch."""
    kernel_y, kernel_x = layout.kernel
    bands = mode in (BAND, PARTS)
    joins = mode == BAND and joins_rows(layout)
    taps = kernel_y if bands and not joins else 1
    packed, group_bytes, steps = pack_weights(parts, taps)
    windows = 0
    if bands:
        columns = (layout.out_width - 1) * layout.stride[1] + kernel_x
        row_bytes = -(-columns * parts.channels // 64) * 64 + GAP
        room = _JOINED_BLOCK if joins else _ROW_BLOCK if mode == BAND else _PART_BLOCK
        made = layout.out_width * COPY if joins else 0
        lines = room // (row_bytes * layout.stride[0] + made)
        block = max(1, min(lines, layout.out_height))
        rows = (block - 1) * layout.stride[0] + kernel_y
        # a last half is read beyond its line's end
        size = rows * row_bytes + HALF * layout.stride[1] * parts.channels
        if joins:
            windows = -(-size // 64) * 64
            size = windows + block * made
    else:
        row_bytes = -(-parts.inner * ISA.element // 64) * 64 + GAP
        held = layout.channels if mode == DIRECT else row_bytes
        block = min(max(_ROW_BLOCK // held // _ROWS, 1) * _ROWS, _MAX_ROWS)
        size = (_ROWS if mode == DIRECT else block) * row_bytes  # DIRECT: fewer than HALF
    fuse = gemm_tile_ir.fused(int(layout.epilogue.constants[epilogue_ir.FORM]))
    parameters = ConvRows(
        first=0,
        end=layout.out_height if bands else layout.positions,
        column=0,
        column_end=parts.outs,
        mode=mode,
        block=block,
        plain=int(layout.plain),
        row_bytes=row_bytes,
        taps=taps,
        steps=steps,
        column_bytes=4 * taps * steps,
        group_bytes=group_bytes,
        pitch=layout.epilogue.pitch,
        fuse=fuse,
        windows=windows,
    )
    return parameters, packed, 4 * _ROWS * _WIDTH + size + 256


def prepare_rows(layout: ConvLayout) -> OpPlan:
    """The direct path for `layout`, whose sums are known to fit int32."""
    mode, parts = choose_mode(layout), merged_groups(layout)
    parameters, packed, scratch_bytes = _parameters(layout, mode, parts)
    geometry = layout.geometry(layout.tile_flip)._replace(
        groups=len(parts.weights), group_channels=parts.channels, group_outs=parts.outs
    )

    def pieces(batch: int, threads: int, wanted: int) -> list[Piece]:
        units = batch * parameters.end
        positions = batch * layout.positions
        if len(parts.weights) == 1 and positions <= _ROWS * _FEW_TILES * threads:
            # few positions: every piece reads weights of its own
            columns = cut(parts.outs, threads, wanted, _WIDTH)
            # shared evenly, at least as evenly as positions are
            even = ceil(parts.outs / (_WIDTH * threads)) * _WIDTH * threads <= 1.1 * parts.outs
            if len(columns) >= threads and (even or positions < 2 * HALF):
                return [Piece(0, units, *ends) for ends in columns]
        at_once = 2 if parts.outs > _SMALL + _SLIM else 4
        if mode in (BAND, PARTS):
            runs = -(-layout.out_width // HALF)
            grain = at_once // gcd(runs, at_once)
            if layout.out_width % HALF and layout.out_height >= 2 * HALF * threads:
                grain = HALF  # the last columns by runs along columns
        else:
            grain = at_once * HALF
        wanted = min(wanted, max(positions // (_ROWS * _LEAST_TILES * threads), 1) * threads)
        return [Piece(*ends, 0, parts.outs) for ends in cut(units, threads, wanted, grain)]

    path = f"{ISA.name}-{layout.describe()}"
    constants = (packed, layout.pads, layout.epilogue.constants)

    def reading(pitch: int) -> OpPlan:
        before = (pack(geometry._replace(pitch=pitch)),)
        return ranged_plan(path, conv_rows, parameters, constants, scratch_bytes, before, pieces)

    return pitched_plan(reading, layout.channels)
