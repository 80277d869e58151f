"""Convolution of any form in int64: where int32 sums, float64 or byte-sized padding fall short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.conv.layout import ConvLayout, Geometry
from r329fast.kernels.epilogue_wide import epilogue_wide
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.kernels.runtime.parameters import pack


class ConvWide(NamedTuple):
    first: int  # output position (over all images) to begin with
    end: int


@kernel
def conv_wide(frame):  # type: ignore[no-untyped-def]
    """Positions first..end, one output value at a time; weights int64 flat, pads int64 (kw*C,)."""
    p, g, x, weights, pads, epilogue, out = arrays(frame, ConvWide, Geometry, "uiiiu")
    height, width, channels = g.height, g.width, g.channels
    out_height, out_width, channels_out = g.out_height, g.out_width, g.outs
    kernel_y, kernel_x, stride_y, stride_x = g.kernel_y, g.kernel_x, g.stride_y, g.stride_x
    dilation_y, dilation_x, top, left = g.dilation_y, g.dilation_x, g.top, g.left
    per_group, per_out, flip = g.group_channels, g.group_outs, g.flip
    inner = kernel_y * kernel_x * per_group
    for position in range(p.first, p.end):
        image = position // (out_height * out_width)
        y = position // out_width - image * out_height
        column = position % out_width
        for o in range(channels_out):
            base = o // per_out * per_group
            total = 0
            w0 = o * inner
            for ky in range(kernel_y):
                source_y = y * stride_y - top + ky * dilation_y
                for kx in range(kernel_x):
                    source_x = column * stride_x - left + kx * dilation_x
                    inside = 0 <= source_y < height and 0 <= source_x < width
                    x0 = ((image * height + source_y) * width + source_x) * channels + base
                    for c in range(per_group):
                        value = (np.int64(x[x0 + c]) ^ flip) - flip if inside else pads[base + c]
                        total += value * weights[w0 + c]
                    w0 += per_group
            out[position * channels_out + o] = np.uint8(
                epilogue_wide(total, epilogue, o, channels_out) & 255
            )


def prepare_wide(layout: ConvLayout) -> OpPlan:
    weights = layout.weights.astype(np.int64).reshape(-1)
    pads = layout.pad_row.astype(np.int64)
    geometry = pack(layout.geometry(layout.input_flip))

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(ConvWide(first=0, end=batch * layout.positions))
        constants = layout.wide_epilogue.wide_constants
        return [(conv_wide, (p, geometry, inputs[0], weights, pads, constants, output))]

    return OpPlan("int64-conv", bind, lambda batch: 0, True)
