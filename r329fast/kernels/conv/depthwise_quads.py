"""3x3 depthwise convolution on the byte paths of x86: four columns in one dot product."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from r329fast.kernels.conv.block_rows import (
    POSSIBLE,
    block_parts,
    depthwise_epilogue,
    ring_row_bytes,
    takes,
)
from r329fast.kernels.conv.layout import ConvLayout, Geometry
from r329fast.kernels.conv.ring import fill_ring
from r329fast.kernels.conv.windows import clear_rows
from r329fast.kernels.ir import channel_blocks
from r329fast.kernels.ir import depthwise_quads as quads_ir
from r329fast.kernels.leaves.leaf import leaf
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import KERNELS, arrays, kernel
from r329fast.kernels.runtime.one_call import pitched_plan, ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec

quad_row: Any = leaf("quad_row", quads_ir.emit_quad_row, ISA)


class QuadRows(NamedTuple):
    first: int  # output row image * out_height + y to begin with
    end: int
    row_bytes: int  # of a ring row


@kernel
def depthwise_quads(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end; two of the three input rows of each are there from the one before.

    scratch: the addresses of three rows, then a ring of three padded input rows.
    """
    p, g, x, constants, pads, epilogue, out, scratch = arrays(frame, QuadRows, Geometry, "uuufuu")
    channels, out_height, out_width = g.channels, g.out_height, g.out_width
    row_bytes = p.row_bytes
    rows = scratch[:24].view(np.int64)
    ring = scratch.ctypes.data + 64
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    columns = (out_width - 1) * g.stride_x + 3
    clear_rows(g, ring, row_bytes, 3, columns, pads_start, pads_end)
    made, image = 0, -1
    for place in range(p.first, p.end):
        if place // out_height != image:
            image = place // out_height
            made = 0
        made = fill_ring(
            g, rows, ring, row_bytes, 3, columns, x_start, x_end, pads_start, pads_end, image,
            place - image * out_height, made,
        )  # fmt: skip
        quad_row(
            scratch.ctypes.data, channels, constants.ctypes.data, epilogue.ctypes.data, out_width,
            out.ctypes.data + place * out_width * channels, g.stride_x,
        )  # fmt: skip


if not POSSIBLE:
    KERNELS.remove(depthwise_quads)  # other paths lack its instructions: nothing may compile it


def _constants(
    weights: np.ndarray, biases: np.ndarray, factors: np.ndarray, stride: int
) -> np.ndarray:
    """uint8: for each block its weights [ky][shift][quarter][lane][4 taps], biases, factors."""
    channels = len(weights)
    shifts = quads_ir.shifts(stride)
    parts = []
    for first, lanes in channel_blocks.blocks(ISA.lanes, channels):
        size = 4 * lanes
        # [quarter][lane] -> channel of the block, as interleaving leaves them
        groups = np.arange(size).reshape(lanes // 4, 4, 4).transpose(1, 0, 2).reshape(4, lanes)
        valid = first + groups < channels
        chosen = np.minimum(first + groups, channels - 1)
        taps = np.zeros((3, shifts, 4, lanes, 4), dtype=np.int8)
        for shift in range(shifts):
            values = weights[chosen] * valid[..., None, None]  # [quarter, lane, ky, kx]
            taps[:, shift, ..., shift : shift + 3] = values.transpose(2, 0, 1, 3)
        parts += block_parts(taps, biases, factors, chosen, valid)
    return aligned(np.concatenate(parts))


def prepare_quads(op: Op, layout: ConvLayout, output: TensorSpec) -> OpPlan | None:
    """The path for a 3x3 layer to uint8; None where it is another layer, or not exact."""
    channels = layout.channels
    square = layout.kernel == (3, 3) and layout.dilation == (1, 1)
    strides = layout.stride in ((1, 1), (2, 2))
    if not (square and strides and takes(layout, output)):
        return None
    exact = depthwise_epilogue(op, layout, output)
    if exact is None:
        return None
    bias, epilogue = exact
    weights = layout.weights.reshape(channels, 3, 3)
    constants = _constants(weights, bias, epilogue.factors[:channels], layout.stride[0])
    columns = (layout.out_width - 1) * layout.stride[1] + 3
    row_bytes = ring_row_bytes(columns, channels)
    # the last dot products read two columns past a row's end, the last block past its channels
    size = 3 * row_bytes + 2 * channels + 512
    parameters = QuadRows(first=0, end=layout.out_height, row_bytes=row_bytes)
    packed = (constants, layout.pads, epilogue.constants)
    path, geometry = f"{ISA.name}-quads", layout.geometry(layout.input_flip)

    def reading(pitch: int) -> OpPlan:
        before = (pack(geometry._replace(pitch=pitch)),)
        return ranged_plan(path, depthwise_quads, parameters, packed, size, before)

    return pitched_plan(reading, layout.channels)
