"""LLVM IR of depthwise convolution of any window by the dot product of bytes.

As for 3x3 (`depthwise_quads`), vectors of 4 * lanes channels are read at neighbouring columns and
the bytes of four columns interleaved, so that an int32 lane holds four neighbours of one channel.
Here a loop goes over the rows of the window and over groups of four columns, as many as four
outputs read; every output takes a dot product with every group, with zeros where its window does
not reach.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from r329fast.kernels.ir.channel_blocks import AT_ONCE, Block, BlockRow
from r329fast.kernels.ir.emit import (
    BYTES,
    I8,
    I16,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    dot,
    load,
    store,
)
from r329fast.kernels.runtime.isa import Isa


def groups(kernel_x: int, stride: int) -> int:
    """Groups of four columns that AT_ONCE outputs read."""
    return -(-((AT_ONCE - 1) * stride + kernel_x) // 4)


def group_bytes(lanes: int) -> int:
    """Bytes of the weights of a group of 4 * lanes channels: [output][quarter][lane][4 columns]."""
    return 16 * AT_ONCE * lanes


class TapsRow(BlockRow):
    """Emits one output row; see `emit_taps_row`."""

    def __init__(
        self, builder: Builder, isa: Isa, kernel_y: Value, columns: Value, step: Value, *rest: Any
    ) -> None:
        super().__init__(builder, isa, *rest)
        self.kernel_y, self.group_count, self.step = kernel_y, columns, step

    def stride(self, known: int) -> Value:
        return self.step

    def weight_bytes(self, lanes: int, stride: int) -> Value:
        count = self.builder.mul(self.kernel_y, self.group_count)
        return self.builder.mul(count, I64(group_bytes(lanes)))

    def sums(
        self, block: Block, stride: int, source: Value, place: Pointer, constants: Pointer
    ) -> list[list[Value]]:
        builder, size = self.builder, group_bytes(block.lanes)
        slots = self.slots(block, constants)
        with Loop(builder, self.kernel_y, 1, "taps.row") as ky:
            row = load(builder, at(builder, self.rows, builder.shl(ky, I64(3))), I64)
            start = at(builder, builder.inttoptr(row, BYTES), source)
            first = builder.mul(ky, self.group_count)
            with Loop(builder, self.group_count, 1, "taps.group") as group:
                index = builder.mul(builder.add(first, group), I64(size))
                columns = builder.mul(builder.shl(group, I64(2)), self.channels)
                self.group(block, at(builder, start, columns), at(builder, place, index), slots)
        return [[builder.load(slot, typ=block.words) for slot in column] for column in slots]

    def group(
        self, block: Block, start: Pointer, weights: Pointer, slots: list[list[Value]]
    ) -> None:
        """Add four columns from `start` on to all outputs."""
        builder = self.builder
        loaded = [
            load(builder, at(builder, start, builder.mul(self.channels, I64(x))), block.octets)
            for x in range(4)
        ]
        a = [block.unpack(loaded[0], loaded[1], 1, high) for high in (False, True)]
        b = [block.unpack(loaded[2], loaded[3], 1, high) for high in (False, True)]
        for quarter in range(4):
            quad = block.unpack(a[quarter // 2], b[quarter // 2], 2, quarter % 2 == 1)
            value = builder.bitcast(quad, block.words)
            for column, sums in enumerate(slots):
                place = at(builder, weights, (4 * column + quarter) * block.bytes)
                taps = load(builder, place, block.words)
                total = builder.load(sums[quarter], typ=block.words)
                builder.store(dot(builder, block.isa, total, value, taps), sums[quarter])


def emit_double_row(builder: Builder, target: Pointer, source: Pointer, count: Value) -> None:
    """Each of `count` bytes twice; reads up to 31 behind them, and writes as many pairs."""
    octets, words = ir.VectorType(I8, 32), ir.VectorType(I16, 32)
    twice = ir.Constant(words, [257] * 32)
    with Loop(builder, count, 32, "double") as index:
        values = load(builder, at(builder, source, index), octets)
        pairs = builder.mul(builder.zext(values, words), twice)
        store(builder, pairs, at(builder, target, builder.add(index, index)))


def emit_taps_row(
    builder: Builder,
    isa: Isa,
    rows: Pointer,
    kernel_y: Value,
    groups: Value,
    channels: Value,
    constants: Pointer,
    epilogue: Pointer,
    columns: Value,
    out: Pointer,
    stride: Value,
) -> None:
    """One output row of all channels, uint8; `columns` (at least AT_ONCE) outputs.

    rows: int64 addresses of `kernel_y` padded input rows, `channels` bytes per column; groups: of
    four columns; constants: by blocks of 4 * isa.lanes channels, then half and quarter ones:
    weights [kernel_y][groups] of `group_bytes`, int32 biases, float32 factors; epilogue: header of
    a float32 form. Reads whole vectors, and up to three columns past the last.
    """
    row = TapsRow(
        builder, isa, kernel_y, groups, stride, rows, channels, constants, epilogue, columns, out
    )
    row.all_channels(1)
