"""Depthwise convolution of any window on the byte paths of x86: dot products of four columns.

Several filters per channel are taken as several channels: input rows are spread when they are
copied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from r329fast.kernels.conv.block_rows import (
    GAP,
    POSSIBLE,
    block_parts,
    depthwise_epilogue,
    ring_row_bytes,
    takes,
)
from r329fast.kernels.conv.layout import ConvLayout, Geometry
from r329fast.kernels.conv.ring import double_row
from r329fast.kernels.conv.windows import clear_rows, load_row
from r329fast.kernels.ir import channel_blocks
from r329fast.kernels.ir import depthwise_taps as taps_ir
from r329fast.kernels.leaves.leaf import leaf
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import KERNELS, arrays, leaf_kernel
from r329fast.kernels.runtime.one_call import pitched_plan, ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec

taps_row: Any = leaf("taps_row", taps_ir.emit_taps_row, ISA)


class TapsRows(NamedTuple):
    first: int  # output row image * out_height + y to begin with
    end: int
    row_bytes: int  # of a ring row
    ring_rows: int  # input rows under one output row
    columns: int  # of a padded input row
    groups: int  # of four columns that four outputs read
    multiplier: int  # filters per channel


@leaf_kernel
def depthwise_taps(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end; input rows stay in a ring for the output rows that share them.

    scratch: addresses of the window's rows, then the ring, then an input row to spread.
    """
    p, g, x, constants, pads, epilogue, out, scratch = arrays(frame, TapsRows, Geometry, "uuufuu")
    outs, out_height, out_width = g.outs, g.out_height, g.out_width
    kernel_y, dilation_y, stride = g.kernel_y, g.dilation_y, g.stride_y
    row_bytes, ring_rows, columns, multiplier = p.row_bytes, p.ring_rows, p.columns, p.multiplier
    rows = scratch[: 8 * kernel_y].view(np.int64)
    start = (8 * kernel_y + 63) // 64 * 64
    ring = scratch.ctypes.data + start
    loaded_at = start + ring_rows * row_bytes
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    if multiplier == 1:
        clear_rows(g, ring, row_bytes, ring_rows, columns, pads_start, pads_end)
    else:
        clear_rows(g, scratch.ctypes.data + loaded_at, 0, 1, columns, pads_start, pads_end)
    made, image = 0, -1
    for place in range(p.first, p.end):
        if place // out_height != image:
            image = place // out_height
            made = 0
        top = (place - image * out_height) * stride
        for row in range(max(made, top), top + ring_rows):
            target = start + row % ring_rows * row_bytes
            if multiplier == 1:
                load_row(
                    g, scratch.ctypes.data + target, columns, x_start, x_end, pads_start, pads_end,
                    image, row - g.top,
                )  # fmt: skip
                continue
            load_row(
                g, scratch.ctypes.data + loaded_at, columns, x_start, x_end, pads_start, pads_end,
                image, row - g.top,
            )  # fmt: skip
            count = columns * g.channels
            if multiplier == 2:
                double_row(scratch.ctypes.data + target, scratch.ctypes.data + loaded_at, count)
                continue
            source = scratch[loaded_at : loaded_at + count]
            spread = scratch[target : target + count * multiplier]
            for i in range(count):
                for k in range(multiplier):
                    spread[i * multiplier + k] = source[i]
        made = top + ring_rows
        for ky in range(kernel_y):
            rows[ky] = ring + (top + ky * dilation_y) % ring_rows * row_bytes
        taps_row(
            scratch.ctypes.data, kernel_y, p.groups, outs, constants.ctypes.data,
            epilogue.ctypes.data, out_width, out.ctypes.data + place * out_width * outs,
            g.stride_x,
        )  # fmt: skip


if not POSSIBLE:
    KERNELS.remove(depthwise_taps)  # other paths lack its instructions: nothing may compile it


def _constants(
    weights: np.ndarray, biases: np.ndarray, factors: np.ndarray, groups: int, stride: int
) -> np.ndarray:
    """uint8: for each block its weights [ky][group][output][quarter][lane][4 columns], biases,
    factors; weights: int8 (C, kh, kw)."""
    channels, kernel_y, kernel_x = weights.shape
    spread = np.zeros((channels, kernel_y, channel_blocks.AT_ONCE, 4 * groups), dtype=np.int8)
    for column in range(channel_blocks.AT_ONCE):
        spread[:, :, column, column * stride : column * stride + kernel_x] = weights
    by_group = spread.reshape(channels, kernel_y, channel_blocks.AT_ONCE, groups, 4)
    parts = []
    for first, lanes in channel_blocks.blocks(ISA.lanes, channels):
        # [quarter][lane] -> channel of the block, as interleaving leaves them
        order = np.arange(4 * lanes).reshape(lanes // 4, 4, 4).transpose(1, 0, 2)
        places = first + order.reshape(4, lanes)
        valid, chosen = places < channels, np.minimum(places, channels - 1)
        taps = by_group[chosen] * valid[..., None, None, None, None]
        # [quarter, lane, ky, output, group, 4] -> as above
        ordered = taps.transpose(2, 4, 3, 0, 1, 5)
        parts += block_parts(ordered, biases, factors, chosen, valid)
    return aligned(np.concatenate(parts))


def prepare_taps(op: Op, layout: ConvLayout, output: TensorSpec) -> OpPlan | None:
    """The path for a layer to uint8; None where it is not exact or columns are dilated."""
    outs, stride = len(layout.weights), layout.stride[1]
    if not (takes(layout, output) and layout.dilation[1] == 1):
        return None
    exact = depthwise_epilogue(op, layout, output)
    if exact is None:
        return None
    bias, epilogue = exact
    weights = layout.weights.reshape(outs, *layout.kernel)
    groups = taps_ir.groups(layout.kernel[1], stride)
    constants = _constants(weights, bias, epilogue.factors[:outs], groups, stride)
    multiplier = outs // layout.channels
    columns = (layout.out_width - 1) * stride + layout.kernel[1]
    ring_rows = (layout.kernel[0] - 1) * layout.dilation[0] + 1
    row_bytes = ring_row_bytes(columns, outs)
    loaded_bytes = 0 if multiplier == 1 else columns * layout.channels + GAP
    parameters = TapsRows(
        first=0,
        end=layout.out_height,
        row_bytes=row_bytes,
        ring_rows=ring_rows,
        columns=columns,
        groups=groups,
        multiplier=multiplier,
    )
    # the last dot products read three columns past a row's end, the last block past its channels
    size = 8 * layout.kernel[0] + ring_rows * row_bytes + loaded_bytes + 3 * outs + 768
    packed = (constants, layout.pads, epilogue.constants)
    path, geometry = f"{ISA.name}-taps", layout.geometry(layout.input_flip)

    def reading(pitch: int) -> OpPlan:
        before = (pack(geometry._replace(pitch=pitch)),)
        return ranged_plan(path, depthwise_taps, parameters, packed, size, before)

    return pitched_plan(reading, layout.channels)
