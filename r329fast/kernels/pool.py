"""Max and average pooling: windows cut at the image's border, vectors of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.base.limits import check_memory
from r329fast.errors import UnsupportedModelError
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.leaves.rows import epilogue_rows, max_columns, max_rows
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step, flip_of
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


class AvgPool(NamedTuple):
    first: int  # output position (over all images) to begin with
    end: int
    move: int  # added to (byte ^ flip): the integer with its zero point
    pitch: int  # entries of a row of epilogue constants
    padded: int  # of which so many belong to one pair of multiplier and shift


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


@kernel
def avgpool_rows(frame):  # type: ignore[no-untyped-def]
    """Output positions first..end; which: which constants each position takes."""
    p, g, x, which, epilogue, out, scratch = arrays(frame, AvgPool, Window, "uifuu")
    height, width, channels = g.height, g.width, g.channels
    out_height, out_width = g.out_height, g.out_width
    flip, move = np.uint8(g.flip), np.int32(p.move)
    acc = scratch[: 4 * channels].view(np.int32)
    for position in range(p.first, p.end):
        image = position // (out_height * out_width)
        place = position - image * out_height * out_width
        y0 = place // out_width * g.stride_y - g.top
        x0 = place % out_width * g.stride_x - g.left
        # Taps outside, channels inside: LLVM makes vectors of the inner loop.
        acc[:] = 0
        for ky in range(g.kernel_y):
            source_y = y0 + ky * g.dilation_y
            if source_y < 0 or source_y >= height:
                continue
            for kx in range(g.kernel_x):
                source_x = x0 + kx * g.dilation_x
                if source_x < 0 or source_x >= width:
                    continue
                start = ((image * height + source_y) * width + source_x) * channels
                values = x[start : start + channels]
                for c in range(channels):
                    acc[c] += np.int32(np.int32(values[c] ^ flip) + move)
        epilogue_rows(
            scratch.ctypes.data,
            0,
            epilogue.ctypes.data,
            which[place] * p.padded,
            p.pitch,
            channels,
            1,
            out.ctypes.data + position * channels,
            channels,
        )


def _window(op: Op, x: TensorSpec, output: TensorSpec) -> np.ndarray:
    """The packed geometry."""
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


def prepare_maxpool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    x = inputs[0]
    window, lowest = _window(op, x, output), (x.qmin & 255) ^ flip_of(x)
    rows, left = output.shape[0], op.integers("pads")[1]
    reach = (output.shape[1] - 1) * op.integers("stride")[1]
    reach += (op.integers("kernel")[1] - 1) * op.integers("dilation")[1] + 1
    columns = max(reach, left + x.shape[1])
    parameters = MaxPool(first=0, end=rows, columns=columns, lowest=lowest)
    room = columns * x.shape[2]

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(parameters._replace(end=batch * rows))
        return [(maxpool_rows, (p, window, inputs[0], output, scratch))]

    return OpPlan("vector-maxpool", bind, lambda batch: room, True)


def prepare_avgpool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """mult and shift (Ho, Wo) or (1, 1): distinct pairs get a row of constants each."""
    x, channels = inputs[0], output.shape[2]
    positions = output.shape[0] * output.shape[1]
    shape = output.shape[:2]
    check_memory("an average at each place", 160 * positions)
    pairs = np.stack(
        [np.broadcast_to(op.consts[name], shape).reshape(-1) for name in ("mult", "shift")], axis=1
    )
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    padded = -(-channels // 32) * 32
    reach = max(abs(v + x.zero_point) for v in (-flip_of(x), 255 - flip_of(x)))
    bound = reach * int(np.prod(op.integers("kernel"), dtype=np.int64))
    mult, shift = (np.repeat(distinct[:, i], padded) for i in (0, 1))
    epilogue = prepare_epilogue(op, output, len(mult), bound, mult=mult, shift=shift)
    if epilogue.wide or bound > INT32_MAX:
        raise UnsupportedModelError(
            f"layer {op.layer!r}: avgpool window {op.integers('kernel')} or zero point "
            f"{output.zero_point} is too large for 32-bit sums",
            layer=op.layer,
        )
    window = _window(op, x, output)
    parameters = AvgPool(
        first=0,
        end=positions,
        move=x.zero_point - flip_of(x),
        pitch=epilogue.pitch,
        padded=padded,
    )
    index = which.reshape(-1).astype(np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(parameters._replace(end=batch * positions))
        return [(avgpool_rows, (p, window, inputs[0], index, epilogue.constants, output, scratch))]

    return OpPlan("vector-avgpool", bind, lambda batch: 4 * channels + 256, True)


PREPARE = {
    "maxpool": prepare_maxpool,
    "avgpool": prepare_avgpool,
}
