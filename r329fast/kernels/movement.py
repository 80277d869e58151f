"""Ops that move bytes: reshape, transpose, slice, pad, channel shuffle, nearest resize, blocks.

Most are out[i] = x[index[i]], where the index is a sum of places per axis (`places.py`): it is cut
into the longest runs that it allows, and one kernel copies runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.places import Places, moved_places, run_places
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.ops import OPS
from r329fast.program.program import Op, TensorSpec


class Runs(NamedTuple):
    batch: int  # images
    in_elements: int  # bytes of one image
    out_elements: int  # bytes of one image
    run: int  # bytes copied from every place of the index
    item: int  # bytes of an element
    fill: int  # element that is written where the index is negative


@kernel
def copy_runs(frame):  # type: ignore[no-untyped-def]
    """Runs of bytes from x at index (byte offsets in an image), or of the filling at -1."""
    p, x, index, out = arrays(frame, Runs, "uiu")
    batch, in_elements, out_elements, run = p.batch, p.in_elements, p.out_elements, p.run
    item, fill = p.item, p.fill
    for image in range(batch):
        x0, out0 = image * in_elements, image * out_elements
        for i in range(index.size):
            start = out0 + i * run
            if index[i] < 0:
                for j in range(run):
                    out[start + j] = np.uint8((fill >> (8 * (j % item))) & 255)
            else:
                source = x0 + index[i]
                for j in range(run):
                    out[start + j] = x[source + j]


@kernel
def copy_grid(frame):  # type: ignore[no-untyped-def]
    """The same where the index is outer[i] + inner[j], or the filling where one of them is -1."""
    p, x, outer, inner, out = arrays(frame, Runs, "uiiu")
    run, item, fill = p.run, p.item, p.fill
    start = 0
    for image in range(p.batch):
        x0 = image * p.in_elements
        for i in range(outer.size):
            for j in range(inner.size):
                if outer[i] < 0 or inner[j] < 0:
                    for k in range(run):
                        out[start + k] = np.uint8((fill >> (8 * (k % item))) & 255)
                else:
                    source = x0 + outer[i] + inner[j]
                    for k in range(run):
                        out[start + k] = x[source + k]
                start += run


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
    x, fill = inputs[0], 0
    if op.kind == "pad":
        fill = op.integer("value") & ((1 << 8 * x.itemsize) - 1)
    path = "alias" if OPS[op.kind].alias else "runs"
    return prepare_runs(moved_places(op, x, output), x, fill, path)


def prepare_runs(places: Places, x: TensorSpec, fill: int, path: str) -> OpPlan:
    """out[i] = x[index[i]], or the integer `fill` where the index is -1."""
    item = x.itemsize
    outer, inner, run = run_places(places)
    runs = Runs(
        batch=1,
        in_elements=x.bytes,
        out_elements=len(outer) * len(inner) * run * item,
        run=run * item,
        item=item,
        fill=fill,
    )
    tables = [np.where(table < 0, -1, table * item) for table in (outer, inner)]

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(runs._replace(batch=batch))
        if len(outer) == 1 and tables[0][0] == 0:
            return [(copy_runs, (p, inputs[0], tables[1], output))]
        return [(copy_grid, (p, inputs[0], *tables, output))]

    return OpPlan(path, bind, lambda batch: 0)


def prepare_constant(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """The same bytes for every image."""
    value = aligned(op.consts["value"].reshape(-1).view(np.uint8))
    runs = Runs(batch=1, in_elements=0, out_elements=output.bytes, run=output.bytes, item=1, fill=0)
    start = np.zeros(1, dtype=np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        return [(copy_runs, (pack(runs._replace(batch=batch)), value, start, output))]

    return OpPlan("constant", bind, lambda batch: 0)


# Every op that moves bytes, and those that have a faster kernel of their own.
PREPARE = {
    **{kind: prepare_movement for kind, spec in OPS.items() if spec.moves},
    "constant": prepare_constant,
    "depth_to_space": prepare_depth_to_space,
}
