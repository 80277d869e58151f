"""Max pooling: windows cut at the image's border, vectors of channels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from r329fast.kernels.leaves.rows import max_columns, max_rows
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec


class Window(NamedTuple):
    """Geometry of a pooling layer, in elements."""

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    kernel_y: int
    kernel_x: int
    stride_y: int
    stride_x: int
    dilation_y: int
    dilation_x: int
    top: int  # padding above the first row
    left: int
    flip: int  # 128 for int8, 0 for uint8: byte ^ flip is in unsigned order


class MaxPool(NamedTuple):
    first: int  # output row (over all images) to begin with
    end: int
    columns: int  # of a padded row
    lowest: int  # the smallest integer, in unsigned order: what an empty window gives


@kernel
def maxpool_rows(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end; bytes are compared as q + 128 when int8.

    scratch: one row with its padding, the largest of the window's rows.
    """
    p, g, x, out, scratch = arrays(frame, MaxPool, Window, "uuu")
    height, width, channels, lowest = g.height, g.width, g.channels, p.lowest
    out_height, out_width, dilation = g.out_height, g.out_width, g.dilation_y
    row_bytes = width * channels
    scratch[: p.columns * channels] = np.uint8(lowest)  # what stays of it is the padding
    inside = scratch.ctypes.data + g.left * channels
    for place in range(p.first, p.end):
        image = place // out_height
        y = (place - image * out_height) * g.stride_y - g.top
        # The window's rows inside the image, first..last: none leave `lowest`.
        first = max((dilation - 1 - y) // dilation, 0)
        last = min((height - 1 - y) // dilation + 1, g.kernel_y)
        start = x.ctypes.data + (image * height + y + first * dilation) * row_bytes
        rows = max(last - first, 0)
        max_rows(inside, start, dilation * row_bytes, rows, row_bytes, lowest, g.flip)
        max_columns(
            out.ctypes.data + place * out_width * channels, scratch.ctypes.data, out_width,
            g.stride_x * channels, g.dilation_x * channels, g.kernel_x, channels, g.flip,
        )  # fmt: skip


def pool_window(op: Op, x: TensorSpec, output: TensorSpec) -> np.ndarray:
    """The packed geometry, a `Window`."""
    height, width, channels = x.shape
    out_height, out_width = output.shape[:2]
    kernel, stride, dilation = op.integers("kernel"), op.integers("stride"), op.integers("dilation")
    return pack(
        Window(
            height=height,
            width=width,
            channels=channels,
            out_height=out_height,
            out_width=out_width,
            kernel_y=kernel[0],
            kernel_x=kernel[1],
            stride_y=stride[0],
            stride_x=stride[1],
            dilation_y=dilation[0],
            dilation_x=dilation[1],
            top=op.integers("pads")[0],
            left=op.integers("pads")[1],
            flip=flip_of(x),
        )
    )


def padded_columns(op: Op, x: TensorSpec, output: TensorSpec) -> int:
    """Columns of a row that every window of it lies in."""
    reach = (output.shape[1] - 1) * op.integers("stride")[1]
    reach += (op.integers("kernel")[1] - 1) * op.integers("dilation")[1] + 1
    return max(reach, op.integers("pads")[1] + x.shape[1])


def prepare_maxpool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    x = inputs[0]
    window, lowest = pool_window(op, x, output), (x.qmin & 255) ^ flip_of(x)
    rows, columns = output.shape[0], padded_columns(op, x, output)
    parameters = MaxPool(first=0, end=rows, columns=columns, lowest=lowest)
    room = columns * x.shape[2]
    return ranged_plan("vector-maxpool", maxpool_rows, parameters, (), room, (window,))


PREPARE = {"maxpool": prepare_maxpool}
