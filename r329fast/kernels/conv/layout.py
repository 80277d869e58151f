"""What convolution kernels share: geometry, bounds, packed weights, padding rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels.epilogue import Epilogue, prepare_epilogue
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.op_plan import aligned, flip_of
from r329fast.program.program import Op, TensorSpec


class Geometry(NamedTuple):
    """What every convolution kernel gets to know of its layer, in elements."""

    height: int
    width: int
    channels: int
    pitch: int  # from one input position to the next: channels, or more of a channel view
    out_height: int
    out_width: int
    outs: int  # output channels
    kernel_y: int
    kernel_x: int
    stride_y: int
    stride_x: int
    dilation_y: int
    dilation_x: int
    top: int  # padding above the first row
    left: int
    groups: int
    group_channels: int  # input channels of a group
    group_outs: int  # output channels of a group
    flip: int  # what the kernel exclusive-ors into the bytes that it copies or reads


@dataclass(frozen=True)
class ConvLayout:
    """A convolution (or a fully connected layer, as 1x1 on `positions` x 1) in kernel terms.

    weights int8/int16 (O, kh, kw, C/group); pads uint8 (kw*C + slack,): padding in input form;
    tile_flip: what `copy_row` takes; fits: whether the tile's int32 accumulators are exact.
    """

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    weights: np.ndarray
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    top_left: tuple[int, int]
    group: int
    pads: np.ndarray
    pad_row: np.ndarray
    tile_flip: int
    epilogue: Epilogue
    wide_epilogue: Epilogue
    input_flip: int
    fits: bool

    @property
    def positions(self) -> int:
        return self.out_height * self.out_width

    @property
    def inner(self) -> int:
        """K: products of one accumulator."""
        return int(np.prod(self.weights.shape[1:]))

    @property
    def plain(self) -> bool:
        """Whether a packed row is a whole input position (1x1, stride 1, no padding)."""
        same = (self.height, self.width) == (self.out_height, self.out_width)
        unit = self.kernel == (1, 1) and self.stride == (1, 1) and self.top_left == (0, 0)
        return same and unit and self.group == 1

    def describe(self) -> str:
        return "gemm" if self.plain else "conv" if self.group == 1 else "groups"

    def geometry(self, flip: int) -> Geometry:
        """The parameters that all kernels take."""
        return Geometry(
            height=self.height,
            width=self.width,
            channels=self.channels,
            pitch=self.channels,
            out_height=self.out_height,
            out_width=self.out_width,
            outs=len(self.weights),
            kernel_y=self.kernel[0],
            kernel_x=self.kernel[1],
            stride_y=self.stride[0],
            stride_x=self.stride[1],
            dilation_y=self.dilation[0],
            dilation_x=self.dilation[1],
            top=self.top_left[0],
            left=self.top_left[1],
            groups=self.group,
            group_channels=self.weights.shape[3],
            group_outs=len(self.weights) // self.group,
            flip=flip,
        )


def conv_layout(op: Op, x: TensorSpec, output: TensorSpec) -> ConvLayout:
    """Geometry and constants of conv2d, depthwise_conv2d and fully_connected."""
    weights = op.consts["weights"]
    out_shape: tuple[int, ...] = output.shape[:2]
    if op.kind == "fully_connected":
        rows = int(np.prod(x.shape[:-1], dtype=np.int64))
        shape, out_shape = (rows, 1, x.shape[-1]), (rows, 1)
        weights = weights.reshape(weights.shape[0], 1, 1, weights.shape[1])
        kernel = stride = dilation = (1, 1)
        top_left, group = (0, 0), 1
        pad_values = np.zeros(x.shape[-1], dtype=np.int64)
    else:
        shape = (x.shape[0], x.shape[1], x.shape[2])
        kernel, stride, dilation = (
            (op.integers(name)[0], op.integers(name)[1])
            for name in ("kernel", "stride", "dilation")
        )
        top_left, group = (op.integers("pads")[0], op.integers("pads")[1]), op.integer("group")
        fill = np.full(x.shape[2], op.integer("pad_value"))
        pad_values = op.consts.get("pad_values", fill).astype(np.int64)
    input_flip = flip_of(x)
    low = -input_flip
    byte_pads = bool(((pad_values >= low) & (pad_values <= low + 255)).all())
    pad_row = np.tile(pad_values, kernel[1])
    pads = np.zeros(len(pad_row) + 64, dtype=np.uint8)
    pads[: len(pad_row)] = pad_row.astype(np.uint8)

    # Byte paths multiply q + 128 (unsigned tile) or q - 128 (signed tile): undone in the bias.
    moved = 0
    if ISA.element == 1 and ISA.signed != (input_flip == 128):
        moved = -128 if ISA.signed else 128
    tile_flip = (128 if moved else 0) if ISA.element == 1 else input_flip
    flat = weights.reshape(len(weights), -1)
    sums = flat.sum(axis=1, dtype=np.int64)
    magnitude = 2 * np.maximum(flat, 0).sum(axis=1, dtype=np.int64) - sums  # of absolute values
    reach = 255 if moved > 0 or input_flip == 0 else 128
    bound = int(magnitude.max(initial=0)) * reach
    bias = op.consts["bias"].astype(np.int64)
    tile_bias = bias - moved * sums
    epilogue = prepare_epilogue(op, output, len(weights), bound, tile_bias)
    largest_pad = int(np.abs(pad_values).max(initial=0))
    wide_bound = int(magnitude.max(initial=0)) * max(255, largest_pad)
    wide_epilogue = prepare_epilogue(op, output, len(weights), wide_bound, bias)
    narrow_weights = weights.dtype == np.int8 or ISA.element == 2
    return ConvLayout(
        *shape,
        out_shape[0],
        out_shape[1],
        weights,
        kernel,
        stride,
        dilation,
        top_left,
        group,
        pads,
        pad_row,
        tile_flip,
        epilogue,
        wide_epilogue,
        input_flip,
        fits=byte_pads and narrow_weights and bound <= INT32_MAX and not epilogue.wide,
    )


@dataclass(frozen=True)
class Parts:
    """Groups side by side in the columns of a tile, as many as fit; the last part may have fewer.

    weights: of each part (outs, kh, kw, channels), zeros between the groups; channels, outs: of a
    whole part.
    """

    weights: list[np.ndarray]
    channels: int
    outs: int

    @property
    def inner(self) -> int:
        """K: products of one accumulator, the zeros between groups included."""
        return int(np.prod(self.weights[0].shape[1:]))


def merged_groups(layout: ConvLayout) -> Parts:
    """Groups joined until they fill the columns of a narrow tile: no more products than alone."""
    outs, inputs = len(layout.weights) // layout.group, layout.weights.shape[3]
    several = min(max(ISA.width // 2 // outs, 1), layout.group)
    if several == 1:
        return Parts(np.split(layout.weights, layout.group), inputs, outs)
    parts = []
    for first in range(0, layout.group, several):
        count = min(several, layout.group - first)
        part = np.zeros((count * outs, *layout.kernel, several * inputs), layout.weights.dtype)
        for index in range(count):
            rows = slice(index * outs, (index + 1) * outs)
            own = layout.weights[(first + index) * outs : (first + index + 1) * outs]
            part[rows, ..., index * inputs : (index + 1) * inputs] = own
        parts.append(part)
    return Parts(parts, several * inputs, several * outs)


def panels(outs: int) -> list[tuple[int, int]]:
    """(first column, columns) of the tiles of a part, as `tile_lines` takes them.

    Every tile is full where there are enough columns at all: the last begins earlier, and makes
    some outputs twice, so that finished bytes are written by whole vectors.
    """
    wide, narrow, slim = ISA.width, ISA.width // 2, ISA.slim
    result = [(column, wide) for column in range(0, outs - wide + 1, wide)]
    done = len(result) * wide
    if outs - done > narrow + slim and outs >= wide:
        return [*result, (outs - wide, wide)]
    if outs - done > narrow:
        result.append((done, narrow))
        done += narrow
    last = narrow if outs - done > slim else slim
    return result if done == outs else [*result, (max(outs - last, 0), last)]


def plain_panels(outs: int) -> list[tuple[int, int]]:
    """The same where the last tile may have fewer columns than it makes."""
    wide, narrow = ISA.width, ISA.width // 2
    return [(column, wide if outs - column > narrow else narrow) for column in range(0, outs, wide)]


def pack_weights(
    parts: Parts, taps: int, cut: Callable[[int], list[tuple[int, int]]] = panels
) -> tuple[np.ndarray, int, int]:
    """Per part and panel of columns [taps][steps][columns][kgroup], uint8; bytes per part; steps.

    taps: spans that K is cut into, each filled up with zeros to whole steps; cut: a part's panels.
    """
    kind = np.dtype(np.int8 if ISA.element == 1 else np.int16)
    span = parts.inner // taps
    steps = -(-span // ISA.kgroup)
    packed = []
    for matrix in parts.weights:
        for first, columns in cut(len(matrix)):
            left = min(len(matrix) - first, columns)
            panel = np.zeros((columns, taps, steps * ISA.kgroup), dtype=kind)
            panel[:left, :, :span] = matrix[first : first + left].reshape(left, taps, span)
            grouped = panel.reshape(columns, taps * steps, ISA.kgroup)
            packed.append(np.ascontiguousarray(grouped.transpose(1, 0, 2)).reshape(-1))
    width = sum(columns for _, columns in cut(parts.outs))
    part_bytes = width * taps * steps * ISA.kgroup * ISA.element
    return aligned(np.concatenate(packed).view(np.uint8)), part_bytes, steps
