"""LLVM IR of 3x3 depthwise convolution by the dot product of bytes, four columns at a time.

A vector of 4 * lanes channels is read at neighbouring columns; the bytes of four columns are
interleaved, so that every int32 lane holds four neighbours of one channel and one dot product
takes three taps of a row. At stride 1 the same four serve two outputs, with the weights moved by
one. Interleaving leaves the channels in an order that the saturating packs of the epilogue undo.
"""

from __future__ import annotations

from typing import Any

from r329fast.kernels.ir.channel_blocks import AT_ONCE, Block, BlockRow
from r329fast.kernels.ir.emit import BYTES, I64, Builder, Pointer, Value, at, dot, load
from r329fast.kernels.runtime.isa import Isa


def shifts(stride: int) -> int:
    """Outputs that one interleaved vector serves, each with its own weights."""
    return 2 if stride == 1 else 1


class QuadRow(BlockRow):
    """Emits one output row of a 3x3 window; see `emit_quad_row`."""

    def __init__(self, builder: Builder, isa: Isa, rows: Pointer, *rest: Any) -> None:
        super().__init__(builder, isa, rows, *rest)
        self.starts = [
            builder.inttoptr(load(builder, at(builder, rows, 8 * ky), I64), BYTES)
            for ky in range(3)
        ]

    def weight_bytes(self, lanes: int, stride: int) -> Value:
        return I64(16 * lanes * 3 * shifts(stride))

    def sums(
        self, block: Block, stride: int, source: Value, place: Pointer, constants: Pointer
    ) -> list[list[Value]]:
        biases = block.biases(constants)
        sums = [list(biases) for _ in range(AT_ONCE)]
        for ky, start in enumerate(self.starts):
            weights = at(self.builder, place, ky * 4 * shifts(stride) * block.bytes)
            self.add_row(block, stride, sums, at(self.builder, start, source), weights)
        return sums

    def add_row(
        self, block: Block, stride: int, sums: list[list[Value]], start: Pointer, weights: Pointer
    ) -> None:
        """Add one kernel row to the sums [output][quarter]; start: of the first column."""
        builder, count = self.builder, shifts(stride)
        columns = (AT_ONCE - 1) * stride + 4 - stride % 2
        loaded = [
            load(builder, at(builder, start, builder.mul(self.channels, I64(x))), block.octets)
            for x in range(columns)
        ]
        pairs = [
            [block.unpack(a, b, 1, high) for high in (False, True)]
            for a, b in zip(loaded[::2], loaded[1::2], strict=True)
        ]
        for quarter in range(4):
            taps = [
                load(
                    builder, at(builder, weights, (4 * shift + quarter) * block.bytes), block.words
                )
                for shift in range(count)
            ]
            for first in range(0, AT_ONCE, count):
                pair = first // count
                a, b = pairs[pair][quarter // 2], pairs[pair + 1][quarter // 2]
                quad = block.unpack(a, b, 2, quarter % 2 == 1)
                value = builder.bitcast(quad, block.words)
                for shift in range(count):
                    column = sums[first + shift]
                    column[quarter] = dot(builder, block.isa, column[quarter], value, taps[shift])


def emit_quad_row(
    builder: Builder,
    isa: Isa,
    rows: Pointer,
    channels: Value,
    constants: Pointer,
    epilogue: Pointer,
    columns: Value,
    out: Pointer,
    stride: Value,
) -> None:
    """One output row of all channels, uint8; `columns` (at least AT_ONCE) outputs.

    rows: int64 addresses of the three padded input rows, `channels` bytes per column; constants: by
    blocks of 4 * isa.lanes channels, then half and quarter ones (see `weight_bytes`); epilogue:
    header of a float32 form. Reads whole vectors, and two columns past the last; the last outputs
    are made twice where `columns` is no multiple of AT_ONCE.
    """
    row = QuadRow(builder, isa, rows, channels, constants, epilogue, columns, out)
    with builder.if_else(builder.icmp_signed("==", stride, I64(1))) as branches:
        for at_stride, branch in zip((1, 2), branches, strict=True):
            with branch:
                row.all_channels(at_stride)
