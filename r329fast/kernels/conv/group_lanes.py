"""Grouped convolution of few channels per group on the byte paths of x86: no zeros between groups.

For groups with as many outputs as inputs, 4, 8 or 16: then the channels of 64 bytes are whole
groups, and every vector of sums is filled. Wider groups fill the columns of a tile themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from r329fast.kernels.conv.block_rows import POSSIBLE, block_parts, ring_row_bytes, takes
from r329fast.kernels.conv.layout import ConvLayout, Geometry
from r329fast.kernels.conv.ring import fill_ring
from r329fast.kernels.conv.windows import clear_rows
from r329fast.kernels.ir import channel_blocks
from r329fast.kernels.ir import group_lanes as lanes_ir
from r329fast.kernels.leaves.leaf import leaf
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import KERNELS, arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import TensorSpec

SIZES = (4, 8, 16)  # channels of a group
lanes_row: Any = leaf("lanes_row", lanes_ir.emit_lanes_row, ISA)


class LanesRows(NamedTuple):
    first: int  # output row image * out_height + y to begin with
    end: int
    row_bytes: int  # of a ring row
    ring_rows: int  # input rows under one output row
    columns: int  # of a padded input row


@kernel
def group_lanes(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end. scratch: addresses of the window's rows, then a ring of them."""
    p, g, x, constants, pads, epilogue, out, scratch = arrays(frame, LanesRows, Geometry, "uuufuu")
    outs, out_height, out_width = g.outs, g.out_height, g.out_width
    row_bytes, ring_rows, columns = p.row_bytes, p.ring_rows, p.columns
    rows = scratch[: 8 * g.kernel_y].view(np.int64)
    ring = scratch.ctypes.data + (8 * g.kernel_y + 63) // 64 * 64
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    clear_rows(g, ring, row_bytes, ring_rows, columns, pads_start, pads_end)
    made, image = 0, -1
    for place in range(p.first, p.end):
        if place // out_height != image:
            image = place // out_height
            made = 0
        made = fill_ring(
            g, rows, ring, row_bytes, ring_rows, columns, x_start, x_end, pads_start, pads_end,
            image, place - image * out_height, made,
        )  # fmt: skip
        lanes_row(
            scratch.ctypes.data, g.kernel_y, g.kernel_x, g.dilation_x, g.group_channels // 4, outs,
            constants.ctypes.data, epilogue.ctypes.data, out_width,
            out.ctypes.data + place * out_width * outs, g.stride_x,
        )  # fmt: skip


if not POSSIBLE:
    KERNELS.remove(group_lanes)  # other paths lack its instructions: nothing may compile it


def _constants(weights: np.ndarray, biases: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """uint8: for each block its weights [ky][kx][step][output][lane][4 inputs], biases, factors.

    weights: int8 (C, ky, kx, channels of a group).
    """
    channels, kernel_y, kernel_x, size = weights.shape
    group_lanes = size // 4
    by_lane = weights.reshape(channels, kernel_y, kernel_x, group_lanes, 4)
    parts = []
    for first, lanes in channel_blocks.blocks(ISA.lanes, channels):
        order = np.arange(4 * lanes).reshape(lanes, 4).T
        places = first + np.ascontiguousarray(order)  # [output][lane]
        valid, chosen = places < channels, np.minimum(places, channels - 1)
        taps = np.empty((kernel_y, kernel_x, group_lanes, 4, lanes, 4), dtype=np.int8)
        for step in range(group_lanes):
            # the lane of its group that a lane meets in this step
            met = np.broadcast_to(np.arange(lanes) % group_lanes ^ step, places.shape)
            values = by_lane[chosen, :, :, met] * valid[..., None, None, None]
            taps[:, :, step] = values.transpose(2, 3, 0, 1, 4)
        parts += block_parts(taps, biases, factors, chosen, valid)
    return aligned(np.concatenate(parts))


def prepare_lanes(layout: ConvLayout, output: TensorSpec) -> OpPlan | None:
    """The path for a layer whose sums fit int32; None where it is of another form, or not exact."""
    outs, size = len(layout.weights), layout.weights.shape[3]
    alike = layout.group > 1 and outs == layout.channels and size in SIZES
    if not (alike and takes(layout, output) and layout.epilogue.rounds_once):
        return None
    (kernel_y, kernel_x), (dilation_y, dilation_x) = layout.kernel, layout.dilation
    constants = _constants(
        layout.weights, layout.epilogue.biases[:outs], layout.epilogue.factors[:outs]
    )
    columns = (layout.out_width - 1) * layout.stride[1] + (kernel_x - 1) * dilation_x + 1
    ring_rows = (kernel_y - 1) * dilation_y + 1
    row_bytes = ring_row_bytes(columns, outs)
    parameters = LanesRows(
        first=0,
        end=layout.out_height,
        row_bytes=row_bytes,
        ring_rows=ring_rows,
        columns=columns,
    )
    size = 8 * kernel_y + 64 + ring_rows * row_bytes + 512
    packed = (constants, layout.pads, layout.epilogue.constants)
    geometry = pack(layout.geometry(layout.tile_flip))
    return ranged_plan(f"{ISA.name}-lanes", group_lanes, parameters, packed, size, (geometry,))
