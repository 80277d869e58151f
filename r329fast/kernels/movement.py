"""Ops that move bytes: reshape, transpose, slice, pad, channel shuffle, nearest resize, blocks.

Most are out[i] = x[index[i]], where the index is a sum of places per axis (`places.py`): it is cut
into the longest runs that it allows, and one kernel copies runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.ir.move import SIDE
from r329fast.kernels.leaves.vector import gather_runs, interleave_rows, turn_columns
from r329fast.kernels.places import Places, moved_places, run_places
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, Step, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.ops import OPS
from r329fast.program.program import Op, TensorSpec


class Runs(NamedTuple):
    first: int  # run (over all images) to begin with
    end: int
    runs: int  # of one image
    in_bytes: int  # of one image
    run: int  # bytes copied from every place of the index


@kernel
def copy_runs(frame):  # type: ignore[no-untyped-def]
    """Runs first..end: bytes of x at index (offsets in an image), of `fill` where that is -1."""
    p, x, index, fill, out = arrays(frame, Runs, "uiuu")
    runs, in_bytes, run = p.runs, p.in_bytes, p.run
    place = p.first
    while place < p.end:
        image = place // runs
        start = place - image * runs
        count = min(runs - start, p.end - place)
        gather_runs(
            out.ctypes.data + place * run, x.ctypes.data + image * in_bytes, fill.ctypes.data,
            index.ctypes.data + 8 * start, count, run,
        )  # fmt: skip
        place += count


class Pairs(NamedTuple):
    first: int  # row (over all images) to begin with
    end: int
    half: int  # bytes of each of two groups


@kernel
def shuffle_pairs(frame):  # type: ignore[no-untyped-def]
    """Rows first..end: the bytes of two groups in turn."""
    p, x, out = arrays(frame, Pairs, "uu")
    start = 2 * p.first * p.half
    interleave_rows(out.ctypes.data + start, x.ctypes.data + start, p.end - p.first, p.half)


class Matrices(NamedTuple):
    """out [matrices, columns, rows] = x [matrices, rows, columns], turned."""

    first: int  # block of columns (over all images) to begin with
    end: int
    blocks: int  # of a matrix: SIDE columns each, the last begins earlier
    rows: int
    columns: int


@kernel
def turn_matrices(frame):  # type: ignore[no-untyped-def]
    """Blocks first..end of SIDE columns, which become rows."""
    p, x, out = arrays(frame, Matrices, "uu")
    rows, columns, blocks = p.rows, p.columns, p.blocks
    for block in range(p.first, p.end):
        matrix = block // blocks
        column = min((block - matrix * blocks) * SIDE, columns - SIDE)
        start = matrix * rows * columns
        turn_columns(
            out.ctypes.data + start + column * rows, rows, x.ctypes.data + start + column, columns,
            rows,
        )  # fmt: skip


class Grid(NamedTuple):
    first: int  # row (over all images) to begin with: the runs of one place of `outer`
    end: int
    rows: int  # of one image
    in_bytes: int  # of one image
    run: int  # bytes copied from every place


@kernel
def copy_grid(frame):  # type: ignore[no-untyped-def]
    """Rows first..end: runs of x at outer[row] + inner[i], of `fill` where one of them is -1."""
    p, x, outer, inner, nothing, fill, out = arrays(frame, Grid, "uiiiuu")
    rows, count, run = p.rows, inner.size, p.run
    for row in range(p.first, p.end):
        image = row // rows
        start = outer[row - image * rows]
        index = inner.ctypes.data
        if start < 0:  # `nothing`: -1 for every run
            start, index = 0, nothing.ctypes.data
        gather_runs(
            out.ctypes.data + row * count * run, x.ctypes.data + image * p.in_bytes + start,
            fill.ctypes.data, index, count, run,
        )  # fmt: skip


class PixelBlocks(NamedTuple):
    batch: int  # images
    height: int  # rows of the deep tensor
    width: int  # columns of the deep tensor
    channels: int  # of the wide tensor
    block: int  # rows and columns of a block
    inverse: int  # 1: the wide tensor is the input


@kernel
def move_blocks(frame):  # type: ignore[no-untyped-def]
    """Channels (channel, row, column) to blocks; the wide tensor in order, the deep in steps."""
    p, x, out = arrays(frame, PixelBlocks, "uu")
    width, channels, block, inverse = p.width, p.channels, p.block, p.inverse
    step = block * block
    wide = 0
    for y in range(p.batch * p.height):
        for row in range(block):
            for place in range(width):
                first = (y * width + place) * step * channels + row * block
                for column in range(block):
                    deep = first + column
                    if inverse:
                        for c in range(channels):
                            out[deep + c * step] = x[wide + c]
                    else:
                        for c in range(channels):
                            out[wide + c] = x[deep + c * step]
                    wide += channels


def prepare_depth_to_space(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """Mode CRD has no runs, so that an index would be eight bytes for each byte that is moved."""
    if op.text("mode") == "DCR" or inputs[0].itemsize > 1:
        return prepare_movement(op, inputs, output)
    inverse = op.integer("inverse")
    deep, wide = (output.shape, inputs[0].shape) if inverse else (inputs[0].shape, output.shape)
    blocks = PixelBlocks(
        batch=1,
        height=deep[0],
        width=deep[1],
        channels=wide[2],
        block=op.integer("block"),
        inverse=inverse,
    )

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        return [(move_blocks, (pack(blocks._replace(batch=batch)), inputs[0], output))]

    return OpPlan("blocks", bind, lambda batch: 0)


def prepare_movement(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    x, fill, spec = inputs[0], 0, OPS[op.kind]
    if spec.filling:
        fill = op.integer(spec.filling) & ((1 << 8 * x.itemsize) - 1)
    path = "alias" if spec.alias else "runs"
    return prepare_runs(moved_places(op, x, output), x, fill, path)


def prepare_runs(places: Places, x: TensorSpec, fill: int, path: str) -> OpPlan:
    """out[i] = x[index[i]], or the integer `fill` where the index is -1."""
    item = x.itemsize
    outer, inner, run = run_places(places)
    outer, inner = (np.where(table < 0, -1, table * item) for table in (outer, inner))
    count = len(outer) * len(inner)
    filled = bool((outer < 0).any() or (inner < 0).any())
    element = np.frombuffer(fill.to_bytes(item, "little"), dtype=np.uint8)
    filling = np.tile(element, run if filled else 1)
    runs = Runs(first=0, end=count, runs=count, in_bytes=x.bytes, run=run * item)
    rows = len(outer)
    grid = Grid(first=0, end=rows, rows=rows, in_bytes=x.bytes, run=run * item)
    nothing = np.full(len(inner) if (outer < 0).any() else 1, -1, dtype=np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        if rows == 1 and outer[0] == 0:
            p = pack(runs._replace(end=batch * count))
            return [(copy_runs, (p, inputs[0], inner, filling, output))]
        p = pack(grid._replace(end=batch * rows))
        return [(copy_grid, (p, inputs[0], outer, inner, nothing, filling, output))]

    return OpPlan(path, bind, lambda batch: 0, True)


def prepare_transpose(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """Two groups of neighbouring axes exchanged, behind others that stay: matrices turned."""
    x, perm = inputs[0], list(op.integers("perm"))
    kept = next((axis for axis, source in enumerate(perm) if axis != source), len(perm))
    cut = perm[kept] if kept < len(perm) else kept
    exchanged = perm == [*range(kept), *range(cut, len(perm)), *range(kept, cut)]
    matrices, rows, columns = (
        int(np.prod(x.shape[slice(*ends)], dtype=np.int64))
        for ends in ((0, kept), (kept, cut), (cut, len(perm)))
    )
    if not exchanged or x.itemsize != 1 or min(rows, columns) < SIDE:
        return prepare_movement(op, inputs, output)
    blocks = -(-columns // SIDE)
    turned = Matrices(first=0, end=matrices * blocks, blocks=blocks, rows=rows, columns=columns)
    return ranged_plan("vector-transpose", turn_matrices, turned)


def prepare_shuffle(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """Two groups of bytes without an index."""
    x = inputs[0]
    if op.integer("group") != 2 or x.itemsize != 1:
        return prepare_movement(op, inputs, output)
    rows = x.elements // x.shape[-1]
    pairs = Pairs(first=0, end=rows, half=x.shape[-1] // 2)
    return ranged_plan("vector-shuffle", shuffle_pairs, pairs)


def prepare_constant(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """The same bytes for every image."""
    value = aligned(op.consts["value"].reshape(-1).view(np.uint8))
    runs = Runs(first=0, end=1, runs=1, in_bytes=0, run=output.bytes)
    start = np.zeros(1, dtype=np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        return [(copy_runs, (pack(runs._replace(end=batch)), value, start, value, output))]

    return OpPlan("constant", bind, lambda batch: 0, True)


# Every op that moves bytes, and those that have a faster kernel of their own.
PREPARE = {
    **{kind: prepare_movement for kind, spec in OPS.items() if spec.moves},
    "constant": prepare_constant,
    "depth_to_space": prepare_depth_to_space,
    "channel_shuffle": prepare_shuffle,
    "transpose": prepare_transpose,
}
