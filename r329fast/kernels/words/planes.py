"""Dense convolution of 16 bits on the byte tile: integers as planes of bytes.

An integer is 256 * high + low, so that its products are those of two bytes: the tile of the 8-bit
path runs once for each plane of the activations (and of the weights, where they have 16 bits too),
and its int32 sums are joined in int64. Planes lie as the tile takes them, shifted by 128 where the
sign is the other one; what that adds is in the bias. Of 16-bit weights the low byte less 128 is a
signed plane; 128 times the sum of each row makes up for it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels import epilogue_wide
from r329fast.kernels.conv.layout import Geometry, Parts, pack_weights, plain_panels
from r329fast.kernels.conv.windows import pack_rows
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.ir.copy_rows import GAP
from r329fast.kernels.leaves.gemm_tile import sum_tile_narrow, sum_tile_wide
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.runtime.team import Piece, cut
from r329fast.kernels.words.elements import code_of, finish, write
from r329fast.program.program import Op, TensorSpec

_ROWS, _WIDTH, _ELEMENT = ISA.rows, ISA.width, ISA.element
_SMALL = _WIDTH // 2
_SIGNED_BYTES = ISA.element == 1 and ISA.signed
_CELLS = _ROWS * _WIDTH
_TILE = 4 * _CELLS  # bytes of its sums
_ROW_BLOCK = 128 * 1024  # bytes of a plane's rows that all columns run over
_MAX_ROWS = 420 // _ROWS * _ROWS
_SLACK = 256


class PlaneRows(NamedTuple):
    first: int  # output position (over all images) to begin with
    end: int
    block: int  # positions whose rows are made ready at once
    plain: int  # 1: a packed row is a whole input position
    inner: int  # products of one sum
    row_bytes: int  # of a packed row
    steps: int  # of the tile's dot product
    column_bytes: int  # packed weights of one column
    group_bytes: int  # packed weights of one group
    planes: int  # of the activations: bytes of an element
    weight_planes: int
    weight_bytes: int  # packed weights of one plane
    pad_bytes: int  # padding of one plane
    elements: int  # of an input image
    flip_low: int  # what turns a byte into the tile's form, by exclusive or
    flip_high: int
    kind: int  # code of the output's dtype
    plain_end: int  # 1: the epilogue is one of vectors (`epilogue_wide.PLAIN`)
    in_float32: int  # 1: sums are rectified in float32
    least: int  # sums are at least this
    zero_point: int
    qmin: int
    qmax: int
    blocks: int  # blocks of columns of a group


@kernel_part
def split(x, first, count, planes, flip_low, flip_high, low, high):  # type: ignore[no-untyped-def]
    """Elements first.. of the flat bytes x as planes of bytes."""
    below, above = np.uint8(flip_low), np.uint8(flip_high)
    if planes == 1:
        octets = x[first : first + count]
        for i in range(count):
            low[i] = octets[i] ^ below
        return
    words = x[: x.size & -2].view(np.uint16)[first : first + count]
    for i in range(count):
        word = words[i]
        low[i] = np.uint8(word & 255) ^ below
        high[i] = np.uint8(word >> 8) ^ above


@kernel_part
def add_row_sums(rows, count, row_bytes, inner, factor, sums):  # type: ignore[no-untyped-def]
    """sums[r] += factor * (sum of a packed row); rows: their bytes."""
    for r in range(count):
        row = rows[r * row_bytes : r * row_bytes + inner * _ELEMENT]
        total = np.int32(0)
        if _ELEMENT == 2:
            words = row.view(np.int16)
            for i in range(inner):
                total += np.int32(words[i])
        elif _SIGNED_BYTES:
            octets = row.view(np.int8)
            for i in range(inner):
                total += np.int32(octets[i])
        else:
            for i in range(inner):
                total += np.int32(row[i])
        sums[r] += np.int64(total) * factor


@kernel_part
def join(cells, count, pairs, shifts, offsets, sums):  # type: ignore[no-untyped-def]
    """sums[:count] = offsets + the planes' int32 sums, each moved to its place."""
    for i in range(count):
        sums[i] = offsets[i]
    for pair in range(pairs):
        part, shift = cells[pair * _CELLS : pair * _CELLS + count], shifts[pair]
        for i in range(count):
            sums[i] += np.int64(part[i]) << shift


@kernel_part
def requantise(sums, count, mults, shifts, p):  # type: ignore[no-untyped-def]
    """What `finish` does, of a whole tile: constants are those of every cell."""
    if p.in_float32:
        for i in range(count):
            sums[i] = np.int64(np.float32(max(sums[i], 0)))
    least, zero, low, high = p.least, p.zero_point, p.qmin, p.qmax
    for i in range(count):
        product, shift = max(sums[i], least) * mults[i], shifts[i]
        below = (np.int64(1) << (shift - 1)) - 1
        rounded = (product + below + ((product >> shift) & 1)) >> shift
        sums[i] = min(max(rounded - zero, low), high)


@kernel_part
def tile_planes(p, g, rows_at, plane_bytes, rows, w, room, epilogue, table, channel, out, place):  # type: ignore[no-untyped-def]
    """All columns of a group over packed rows; place: output element of the first row and column.

    w: address of the group's weights; room: int32 sums of a tile for every pair of planes,
    int64 [4] shifts of the pairs, a tile of int64, sums of rows; table: of the group's columns
    (`cell_table`).
    """
    cells, moves, tile_sums, row_sums = room
    outs, per_out, row_bytes, steps = g.outs, g.group_outs, p.row_bytes, p.steps
    pairs = p.planes * p.weight_planes
    entry = 0
    for column in range(0, per_out, _WIDTH):
        left = min(per_out - column, _WIDTH)
        wide = left > _SMALL
        columns = _WIDTH if wide else _SMALL
        mults = table[entry : entry + _CELLS]
        shifts = table[entry + _CELLS : entry + 2 * _CELLS]
        offsets = table[entry + 2 * _CELLS : entry + 3 * _CELLS]
        entry += 3 * _CELLS
        for tile in range(0, rows, _ROWS):
            for plane in range(p.planes):
                a = rows_at + plane * plane_bytes + tile * row_bytes
                for kind in range(p.weight_planes):
                    pair = plane * p.weight_planes + kind
                    at = cells.ctypes.data + pair * _TILE
                    source = w + kind * p.weight_bytes
                    moves[pair] = 8 * (plane + kind)
                    if wide:
                        sum_tile_wide(a, row_bytes, steps, source, at)
                    else:
                        sum_tile_narrow(a, row_bytes, steps, source, at)
            there = min(_ROWS, rows - tile)
            join(cells, there * columns, pairs, moves, offsets, tile_sums)
            if p.weight_planes > 1:
                for row in range(there):
                    line = tile_sums[row * columns : (row + 1) * columns]
                    line += 128 * row_sums[tile + row]
            if p.plain_end:
                requantise(tile_sums, there * columns, mults, shifts, p)
            target = place + tile * outs + column
            if p.plain_end and left == columns == outs:
                write(tile_sums, there * columns, out, p.kind, target)
                continue
            for row in range(there):
                line = tile_sums[row * columns : row * columns + left]
                if p.plain_end:
                    write(line, left, out, p.kind, target)
                else:
                    finish(line, epilogue, channel + column, 1, left, out, p.kind, target)
                target += outs
        w += columns * p.column_bytes


@kernel
def conv_planes(frame):  # type: ignore[no-untyped-def]
    """Positions first..end, image by image.

    scratch: sums of the tiles, a tile of int64, sums of rows, rows of both planes, both planes.
    """
    p, g, x, weights, pads, epilogue, table, out, scratch = arrays(
        frame, PlaneRows, Geometry, "uuuiiuu"
    )
    positions, elements, block = g.out_height * g.out_width, p.elements, p.block
    plane_bytes = block * p.row_bytes
    cells = scratch[: 4 * _TILE].view(np.int32)
    at = 4 * _TILE
    tile_sums = scratch[at : at + 8 * _CELLS].view(np.int64)
    at += 8 * _CELLS
    moves = scratch[at : at + 64].view(np.int64)
    at += 64
    sums = scratch[at : at + 8 * block].view(np.int64)
    at += (8 * block + 63) // 64 * 64
    packed = scratch[at : at + 2 * plane_bytes]
    at += 2 * plane_bytes + _SLACK
    low = scratch[at : at + elements]
    at += (elements + _SLACK) // 64 * 64
    high = scratch[at : at + elements]
    position = p.first
    while position < p.end:
        image = position // positions
        last = min(p.end, (image + 1) * positions) - image * positions
        split(x, image * elements, elements, p.planes, p.flip_low, p.flip_high, low, high)
        for start in range(position - image * positions, last, block):
            rows = min(block, last - start)
            for group in range(g.groups):
                sums[:rows] = 0
                for plane in range(p.planes):
                    source = low.ctypes.data if plane == 0 else high.ctypes.data
                    filling = pads.ctypes.data + plane * p.pad_bytes
                    pack_rows(
                        g, packed.ctypes.data + plane * plane_bytes, p.row_bytes, source,
                        source + elements, filling, filling + p.pad_bytes, start, rows, group,
                        p.plain,
                    )  # fmt: skip
                    if p.weight_planes > 1:
                        lines = packed[plane * plane_bytes : (plane + 1) * plane_bytes]
                        add_row_sums(lines, rows, p.row_bytes, p.inner, 1 << (8 * plane), sums)
                channel = group * g.group_outs
                place = (image * positions + start) * g.outs + channel
                own = table[3 * _CELLS * p.blocks * group :]
                tile_planes(
                    p, g, packed.ctypes.data, plane_bytes, rows,
                    weights.ctypes.data + group * p.group_bytes,
                    (cells, moves, tile_sums, sums), epilogue, own, channel, out, place,
                )  # fmt: skip
        position = image * positions + last


def weight_planes(weights: np.ndarray) -> list[np.ndarray]:
    """int8 planes: the weights, or of 16 bits the low byte less 128 and the high one."""
    if weights.dtype == np.int8:
        return [weights]
    wide = weights.astype(np.int32)
    return [((wide & 255) - 128).astype(np.int8), (wide >> 8).astype(np.int8)]


def activation_planes(values: np.ndarray, x: TensorSpec) -> tuple[list[np.ndarray], list[int]]:
    """(planes of integers as the tile takes them, uint8; what was added to each)."""
    planes, moves = [], []
    for plane in range(x.itemsize):
        signed = x.signed and plane == x.itemsize - 1
        move = 0
        if signed != _SIGNED_BYTES:
            move = 128 if signed else -128
        planes.append((((values >> (8 * plane)) + move) & 255).astype(np.uint8))
        moves.append(move)
    return planes, moves


def cell_table(constants: np.ndarray, geometry: Geometry) -> np.ndarray:
    """int64: for every block of columns the multipliers, shifts and biases of a tile's cells.

    constants: of `epilogue_wide`; cells that no output has multiply by 0.
    """
    rows = constants[epilogue_wide.HEADER :].reshape(4, geometry.outs)
    per_out, blocks = geometry.group_outs, []
    for group in range(geometry.groups):
        own = rows[:, group * per_out : (group + 1) * per_out]
        for column in range(0, per_out, _WIDTH):
            left = min(per_out - column, _WIDTH)
            columns = _WIDTH if left > _SMALL else _SMALL
            for row in (epilogue_wide.MULT, epilogue_wide.SHIFT, epilogue_wide.BIAS):
                line = np.full(columns, int(row == epilogue_wide.SHIFT), dtype=np.int64)
                line[:left] = own[row, column : column + left]
                if row == epilogue_wide.BIAS and not constants[epilogue_wide.PLAIN]:
                    line[:] = 0  # `finish` adds it
                cells = np.zeros(_CELLS, dtype=np.int64)
                cells[: _ROWS * columns] = np.tile(line, _ROWS)
                blocks.append(cells)
    return np.concatenate(blocks)


def fits(op: Op, x: TensorSpec, geometry: Geometry, pads: np.ndarray) -> bool:
    """Whether the tile's int32 sums are exact, and the padding is an integer of the input."""
    weights = op.consts["weights"]
    inner = int(np.prod(weights.shape[1:]))
    inside = x.lowest <= pads.min(initial=0) and pads.max(initial=0) < x.lowest + (1 << x.bits)
    return inner * 255 * 128 <= INT32_MAX and bool(inside) and geometry.group_channels > 1


def prepare_planes(
    op: Op, x: TensorSpec, output: TensorSpec, geometry: Geometry, pads: np.ndarray
) -> OpPlan:
    """conv2d and fully_connected; pads: int64 (C,)."""
    weights = op.consts["weights"]
    weights = weights.reshape(len(weights), geometry.kernel_y, geometry.kernel_x, -1)
    inner = int(np.prod(weights.shape[1:]))
    kinds = weight_planes(weights)
    packs = [
        pack_weights(
            Parts(np.split(kind, geometry.groups), weights.shape[3], geometry.group_outs),
            1,
            plain_panels,
        )
        for kind in kinds
    ]
    packed = aligned(np.concatenate([words for words, _, _ in packs]))
    filling, moves = activation_planes(np.tile(pads.astype(np.int64), geometry.kernel_x), x)
    pad_bytes = -(-(len(filling[0]) + 64) // 64) * 64
    padding = np.zeros((2, pad_bytes), dtype=np.uint8)
    for plane, values in enumerate(filling):
        padding[plane, : len(values)] = values
    total = weights.astype(np.int64).reshape(len(weights), -1).sum(axis=1)
    moved = sum(move << (8 * plane) for plane, move in enumerate(moves))
    bias = op.consts["bias"].astype(np.int64) - moved * total
    constants = prepare_epilogue(op, output, len(weights), INT32_MAX, bias).wide_constants
    act, table = int(constants[epilogue_wide.ACT]), cell_table(constants, geometry)
    row_bytes = -(-inner * _ELEMENT // 64) * 64 + GAP
    block = min(max(_ROW_BLOCK // row_bytes // _ROWS, 1) * _ROWS, _MAX_ROWS)
    same = (geometry.height, geometry.width) == (geometry.out_height, geometry.out_width)
    unit = (geometry.kernel_y, geometry.kernel_x, geometry.stride_y, geometry.stride_x)
    plain = same and unit == (1, 1, 1, 1) and geometry.groups == 1
    elements, positions = x.elements, geometry.out_height * geometry.out_width
    parameters = PlaneRows(
        first=0,
        end=positions,
        block=block,
        plain=int(plain and geometry.top == geometry.left == 0),
        inner=inner,
        row_bytes=row_bytes,
        steps=packs[0][2],
        column_bytes=4 * packs[0][2],
        group_bytes=packs[0][1],
        planes=x.itemsize,
        weight_planes=len(kinds),
        weight_bytes=packs[0][0].size,
        pad_bytes=pad_bytes,
        elements=elements,
        flip_low=128 if moves[0] else 0,
        flip_high=128 if moves[-1] else 0,
        kind=code_of(output),
        plain_end=int(constants[epilogue_wide.PLAIN]),
        in_float32=int(act == epilogue_wide.RELU_FLOAT32),
        least=0 if act == epilogue_wide.RELU else -(1 << 62),
        zero_point=output.zero_point,
        qmin=output.qmin,
        qmax=output.qmax,
        blocks=-(-geometry.group_outs // _WIDTH),
    )
    packed_geometry, flat_padding = pack(geometry), padding.reshape(-1)
    size = 4 * _TILE + 8 * _CELLS + 8 * block + 2 * block * row_bytes + 2 * elements + 4 * _SLACK

    def pieces(batch: int, threads: int, wanted: int) -> list[Piece]:
        # every call takes whole inputs apart: one for each thread
        return [Piece(*ends) for ends in cut(batch * positions, threads, threads)]

    fixed, path = (packed, flat_padding, constants, table), f"{ISA.name}-planes"
    return ranged_plan(path, conv_planes, parameters, fixed, size, (packed_geometry,), pieces)
