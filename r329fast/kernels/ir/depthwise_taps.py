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

from r329fast.kernels.ir.depthwise_quads import AT_ONCE, BlockRow, Bounds, Quads, finish
from r329fast.kernels.ir.emit import BYTES, I64, Builder, Loop, Pointer, Value, at, dot, load
from r329fast.kernels.ir.epilogue import is_twice
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
        with builder.goto_entry_block():
            self.slots = {
                lanes: [builder.alloca(ir.VectorType(ir.IntType(32), lanes)) for _ in range(16)]
                for lanes in (isa.lanes, isa.lanes // 2, isa.lanes // 4)
            }

    def stride(self, known: int) -> Value:
        return self.step

    def block_bytes(self, lanes: int, stride: int) -> Value:
        builder = self.builder
        count = builder.mul(self.kernel_y, self.group_count)
        weights = builder.mul(count, I64(group_bytes(lanes)))
        return builder.add(weights, I64(2 * 16 * lanes))

    def columns_at(
        self, quads: Quads, source: Value, place: Pointer, bounds: Bounds, twice: bool
    ) -> list[Value]:
        builder, lanes = self.builder, quads.lanes
        size = group_bytes(lanes)
        behind = builder.sub(self.block_bytes(lanes, 0), I64(2 * 16 * lanes))
        constants = at(builder, place, behind)
        slots = [self.slots[lanes][4 * column : 4 * column + 4] for column in range(AT_ONCE)]
        for quarter in range(4):
            bias = load(builder, at(builder, constants, quarter * quads.bytes), quads.words)
            for column in slots:
                builder.store(bias, column[quarter])
        with Loop(builder, self.kernel_y, 1, "taps.row") as ky:
            row = load(builder, at(builder, self.rows, builder.shl(ky, I64(3))), I64)
            start = at(builder, builder.inttoptr(row, BYTES), source)
            first = builder.mul(ky, self.group_count)
            with Loop(builder, self.group_count, 1, "taps.group") as group:
                index = builder.mul(builder.add(first, group), I64(size))
                columns = builder.mul(builder.shl(group, I64(2)), self.channels)
                self.group(quads, at(builder, start, columns), at(builder, place, index), slots)
        sums = [[builder.load(slot, typ=quads.words) for slot in column] for column in slots]
        return finish(quads, sums, constants, bounds, twice)

    def group(
        self, quads: Quads, start: Pointer, weights: Pointer, slots: list[list[Value]]
    ) -> None:
        """Add four columns from `start` on to all outputs."""
        builder = self.builder
        loaded = [
            load(builder, at(builder, start, builder.mul(self.channels, I64(x))), quads.octets)
            for x in range(4)
        ]
        a = [quads.unpack(loaded[0], loaded[1], 1, high) for high in (False, True)]
        b = [quads.unpack(loaded[2], loaded[3], 1, high) for high in (False, True)]
        for quarter in range(4):
            quad = quads.unpack(a[quarter // 2], b[quarter // 2], 2, quarter % 2 == 1)
            value = builder.bitcast(quad, quads.words)
            for column, sums in enumerate(slots):
                place = at(builder, weights, (4 * column + quarter) * quads.bytes)
                taps = load(builder, place, quads.words)
                total = builder.load(sums[quarter], typ=quads.words)
                builder.store(dot(builder, quads.isa, total, value, taps), sums[quarter])


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
    with builder.if_else(is_twice(builder, epilogue)) as forms:
        for twice, chosen in zip((True, False), forms, strict=True):
            with chosen:
                row.all_channels(1, twice)
