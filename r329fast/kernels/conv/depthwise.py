"""Depthwise convolution: one filter per channel.

Input rows are widened to int16 once, with their padding around them, into a ring of as many rows
as the kernel spans; a block of channels is chosen so that the ring stays in L1. Then each output
row is made for a vector of channels at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from r329fast.kernels.conv.layout import ConvLayout, Geometry
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.ir import depthwise as depthwise_ir
from r329fast.kernels.leaves.rows import depthwise_row, epilogue_rows, widen_rows
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec

_TAPS = depthwise_ir.TAPS
_CHANNELS = depthwise_ir.channels(ISA)
_RING_BYTES = 24 * 1024
_GAP = 256  # bytes after a ring row: whole vectors are written and read past its end


class DepthwiseRows(NamedTuple):
    first: int  # output row image * out_height + y to begin with
    end: int
    block: int  # channels whose ring stays in L1
    passes: int  # of _TAPS taps each
    ring_rows: int  # input rows under one output row
    columns: int  # of an input row with its padding
    row_bytes: int  # of a ring row
    pitch: int  # entries of a row of epilogue constants


@kernel_part
def widen_row(g, columns, ring, x, x_end, pads, pads_end, image, padded_y, channel, count):  # type: ignore[no-untyped-def]
    """Widen padded input row `padded_y` of `count` channels from `channel` on into `ring`."""
    height, width, channels, left, flip = g.height, g.width, g.channels, g.left, g.flip
    size = 2 * count
    y = padded_y - g.top
    source = pads + channel
    if y < 0 or y >= height:
        widen_rows(ring, size, source, 0, columns, count, pads_end, flip)
        return
    inside = min(width, columns - left)
    widen_rows(ring, size, source, 0, min(left, columns), count, pads_end, flip)
    if inside > 0:
        row = x + (image * height + y) * width * channels + channel
        target = ring + left * size
        if count == channels:
            widen_rows(target, size, row, 0, 1, inside * channels, x_end, flip)
        else:
            widen_rows(target, size, row, channels, inside, count, x_end, flip)
    behind = left + max(inside, 0)
    if columns > behind:
        target = ring + behind * size
        widen_rows(target, size, source, 0, columns - behind, count, pads_end, flip)


@kernel
def depthwise_rows(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end: blocks of channels outermost, so that one ring after the other is
    filled and used while in L1; each input row is widened once per block.

    scratch: addresses of the taps, int32 accumulators [Wo, _CHANNELS], the ring.
    """
    p, g, x, weights, pads, epilogue, out, scratch = arrays(
        frame, DepthwiseRows, Geometry, "uuufuu"
    )
    channels, out_height, out_width = g.channels, g.out_height, g.out_width
    kernel_y, kernel_x, stride_y, stride_x = g.kernel_y, g.kernel_x, g.stride_y, g.stride_x
    dilation_y, dilation_x = g.dilation_y, g.dilation_x
    block, passes, ring_rows = p.block, p.passes, p.ring_rows
    pitch, row_bytes = p.pitch, p.row_bytes
    taps = scratch[: 8 * passes * _TAPS].view(np.int64)
    acc = scratch.ctypes.data + (8 * passes * _TAPS + 63) // 64 * 64
    ring = acc + 4 * _CHANNELS * out_width + 64
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    pass_bytes = 2 * _TAPS * _CHANNELS
    for channel in range(0, channels, block):
        count = min(block, channels - channel)
        loaded = 0  # rows of the padded image before this one are, or were, in the ring
        image = -1
        for place in range(p.first, p.end):
            if place // out_height != image:
                image = place // out_height
                loaded = 0
            y = place - image * out_height
            top = y * stride_y
            # neighbouring output rows share input rows: only the new ones are widened
            for row in range(max(loaded, top), top + ring_rows):
                target = ring + row % ring_rows * row_bytes
                widen_row(
                    g, p.columns, target, x_start, x_end, pads_start, pads_end, image, row,
                    channel, count,
                )  # fmt: skip
            loaded = top + ring_rows
            # A vector of channels at a time: its weights stay in registers over the whole row.
            for part in range(0, count, _CHANNELS):
                for tap in range(passes * _TAPS):
                    ky = tap // kernel_x
                    kx = tap - ky * kernel_x
                    if ky >= kernel_y:  # a spare tap: its weights are zero
                        ky, kx = 0, 0
                    row = (top + ky * dilation_y) % ring_rows
                    column = kx * dilation_x * count
                    taps[tap] = ring + row * row_bytes + 2 * (column + part)
                w = weights.ctypes.data + (channel + part) // _CHANNELS * passes * pass_bytes
                # kernels of more than _TAPS taps add their passes up in the accumulators
                for index in range(passes):
                    depthwise_row(
                        scratch.ctypes.data + 8 * index * _TAPS,
                        2 * stride_x * count,
                        w + index * pass_bytes,
                        out_width,
                        acc,
                        index,
                    )
                epilogue_rows(
                    acc,
                    4 * _CHANNELS,
                    epilogue.ctypes.data,
                    channel + part,
                    pitch,
                    min(_CHANNELS, count - part),
                    out_width,
                    out.ctypes.data + place * out_width * channels + channel + part,
                    channels,
                )


def _pack(weights: np.ndarray, passes: int) -> np.ndarray:
    """(C, kh, kw, 1) -> int16 [vectors of channels][passes][_TAPS/2][interleaved channels][2]."""
    channels = len(weights)
    vectors = -(-channels // _CHANNELS)
    taps = weights.reshape(channels, -1)
    padded = np.zeros((vectors * _CHANNELS, passes * _TAPS), dtype=np.int16)
    padded[:channels, : taps.shape[1]] = taps
    split = padded.reshape(vectors, _CHANNELS, passes, _TAPS // 2, 2)
    split = split[:, depthwise_ir.interleaved(_CHANNELS)]
    return aligned(np.ascontiguousarray(split.transpose(0, 2, 3, 1, 4)).reshape(-1).view(np.uint8))


def prepare_depthwise(op: Op, layout: ConvLayout, output: TensorSpec) -> OpPlan:
    """One output channel per input channel, accumulators known to fit int32."""
    channels = layout.channels
    magnitude = int(np.abs(layout.weights.astype(np.int64)).sum(axis=(1, 2, 3)).max())
    bias = op.consts["bias"].astype(np.int64)
    epilogue = prepare_epilogue(op, output, channels, magnitude * 256, bias)
    kernel, stride, dilation = layout.kernel, layout.stride, layout.dilation
    passes = -(-kernel[0] * kernel[1] // _TAPS)
    weights = _pack(layout.weights, passes)
    ring_rows = (kernel[0] - 1) * dilation[0] + 1
    columns = (layout.out_width - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1
    block = max(_RING_BYTES // (2 * ring_rows * columns) // _CHANNELS, 1) * _CHANNELS
    block = min(block, channels)
    row_bytes = 2 * columns * block + _GAP
    parameters = DepthwiseRows(
        first=0,
        end=layout.out_height,
        block=block,
        passes=passes,
        ring_rows=ring_rows,
        columns=columns,
        row_bytes=row_bytes,
        pitch=epilogue.pitch,
    )
    sums_bytes = 4 * _CHANNELS * layout.out_width
    size = 8 * passes * _TAPS + sums_bytes + ring_rows * row_bytes + 512
    packed = (weights, layout.pads, epilogue.constants)
    geometry = pack(layout.geometry(layout.input_flip))
    path = f"{ISA.name}-depthwise"
    return ranged_plan(path, depthwise_rows, parameters, packed, size, (geometry,))
