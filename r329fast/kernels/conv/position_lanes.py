"""First layers on 512-bit byte paths: 3x3 on three channels, 16 output positions in the lanes.

Image rows are read where they are: no band, no windows (ir/position_lanes.py says how).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from r329fast.kernels.conv.block_rows import block_parts
from r329fast.kernels.conv.layout import ConvLayout, Geometry
from r329fast.kernels.ir import position_lanes as positions_ir
from r329fast.kernels.leaves.leaf import leaf
from r329fast.kernels.runtime.isa import ISA, JIT, PERMUTES_BYTES
from r329fast.kernels.runtime.kernel import KERNELS, arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, aligned
from r329fast.kernels.runtime.parameters import pack

# Bytes of two vectors are permuted by one instruction.
POSSIBLE = JIT and ISA.family == "vnni512" and ISA.lanes == positions_ir.LANES
POSSIBLE = POSSIBLE and (PERMUTES_BYTES or ISA.emulated)
position_lines: Any = leaf("position_lines", positions_ir.emit_position_lines, ISA)


class PositionRows(NamedTuple):
    first: int  # output row image * out_height + y to begin with
    end: int


@kernel
def position_lanes(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end. padding: a row of an image that is padding only."""
    p, g, x, constants, padding, epilogue, out, spare = arrays(
        frame, PositionRows, Geometry, "uuufuu"
    )
    outs, out_height, out_width, height = g.outs, g.out_height, g.out_width, g.height
    row_bytes = g.width * g.channels
    down = g.stride_y * row_bytes
    x_start, nothing = x.ctypes.data, padding.ctypes.data
    place = p.first
    while place < p.end:
        image, line = place // out_height, place % out_height
        y = line * g.stride_y - g.top
        row = x_start + (image * height + y) * row_bytes
        a = row if 0 <= y < height else nothing
        b = row + row_bytes if 0 <= y + 1 < height else nothing
        c = row + 2 * row_bytes if 0 <= y + 2 < height else nothing
        # Windows that are inside the image from top to bottom follow each other.
        lines = 1
        if y >= 0 and y + 2 < height:
            lines = min(out_height - line, p.end - place, (height - 3 - y) // g.stride_y + 1)
        position_lines(
            a, b, c, down, lines, row_bytes, g.left * g.channels, g.stride_x, out_width, outs,
            constants.ctypes.data, epilogue.ctypes.data, nothing, spare.ctypes.data,
            out.ctypes.data + place * out_width * outs,
        )  # fmt: skip
        place += lines


if not POSSIBLE:
    KERNELS.remove(position_lanes)  # other paths lack its instructions: nothing may compile it


def _constants(layout: ConvLayout) -> np.ndarray:
    """uint8: of each block of 16 outputs, and of 8 that are left, what `block_bytes` says."""
    outs = len(layout.weights)
    spread = np.zeros((positions_ir.STEPS, outs, 4), dtype=np.int8)
    rows = layout.weights.reshape(outs, positions_ir.KERNEL, positions_ir.SPAN)
    for step, four in enumerate(positions_ir.ORDER):
        for index, source in enumerate(four):
            if source is not None:
                spread[step, :, index] = rows[:, source[0], source[1]]
    parts = []
    for first in range(0, outs, 16):
        own = np.arange(first, min(first + 16, outs))
        there = np.ones(len(own), dtype=bool)
        parts += block_parts(
            spread[:, own], layout.epilogue.biases, layout.epilogue.factors, own, there
        )
    return aligned(np.concatenate(parts))


def _takes(layout: ConvLayout) -> bool:
    """Whether the path has the instructions, and the layer the form."""
    kernel = (positions_ir.KERNEL, positions_ir.KERNEL)
    form = layout.kernel == kernel and layout.channels == positions_ir.CHANNELS
    plain = layout.group == 1 and layout.dilation == (1, 1) and not layout.tile_flip
    near = layout.stride[1] in positions_ir.STRIDES and layout.top_left[1] < positions_ir.KERNEL
    sizes = layout.out_width >= positions_ir.LANES and len(layout.weights) % 8 == 0
    exact = layout.weights.dtype == np.int8 and layout.epilogue.rounds_once
    return POSSIBLE and form and plain and near and sizes and exact


def prepare_positions(layout: ConvLayout) -> OpPlan | None:
    """The path for a layer whose sums fit int32; None where it is of another form, or not exact."""
    if not _takes(layout):
        return None
    width = max(layout.width, -(-positions_ir.SEEN // layout.channels))
    padding = aligned(np.tile(layout.pad_row[: layout.channels], width).astype(np.uint8))
    constants = (_constants(layout), padding, layout.epilogue.constants)
    return ranged_plan(
        f"{ISA.name}-positions",
        position_lanes,
        PositionRows(first=0, end=layout.out_height),
        constants,
        positions_ir.SPARE,
        before=(pack(layout.geometry(layout.tile_flip)),),
    )
