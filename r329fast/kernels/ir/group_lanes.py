"""LLVM IR of grouped convolution by the dot product of bytes, where a group has few channels.

Channels lie in memory as the dot product wants them: an int32 lane of a vector holds four inputs of
one group. With four channels per group each output of a group takes one dot product of the whole
vector, with no zeros between groups; with 4 * m channels it takes m, on the vector with its lanes
exchanged (lane ^ step), so that every lane meets all lanes of its group. Lane L gathers the outputs
4L..4L+3 in four vectors of sums, which one permutation of the finished bytes puts in order.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from r329fast.kernels.ir.channel_blocks import AT_ONCE, Block, BlockRow
from r329fast.kernels.ir.emit import (
    BYTES,
    F32,
    I32,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    declare,
    dot,
    join,
    load,
    part_of,
    splat,
)
from r329fast.kernels.runtime.isa import Isa


def step_bytes(lanes: int) -> int:
    """Bytes of the weights of a dot product of 4 * lanes channels: [output][lane][4 inputs]."""
    return 16 * lanes


class LanesRow(BlockRow):
    """Emits one output row; see `emit_lanes_row`."""

    def __init__(
        self,
        builder: Builder,
        isa: Isa,
        kernel_y: Value,
        kernel_x: Value,
        spread: Value,
        group_lanes: Value,
        step: Value,
        *rest: Any,
    ) -> None:
        super().__init__(builder, isa, *rest)
        self.kernel_y, self.kernel_x, self.spread = kernel_y, kernel_x, spread
        self.group_lanes, self.step = group_lanes, step
        row_steps = builder.mul(kernel_x, group_lanes)
        self.row_steps, self.steps = row_steps, builder.mul(kernel_y, row_steps)

    def stride(self, known: int) -> Value:
        return self.step

    def weight_bytes(self, lanes: int, stride: int) -> Value:
        return self.builder.mul(self.steps, I64(step_bytes(lanes)))

    def sums(
        self, block: Block, stride: int, source: Value, place: Pointer, constants: Pointer
    ) -> list[list[Value]]:
        slots = self.slots(block, constants)
        self.products(block, block.lanes, slots, source, place)
        return [[self.builder.load(slot, typ=block.words) for slot in column] for column in slots]

    def products(
        self, block: Block, lanes: int, slots: list[list[Value]], source: Value, place: Pointer
    ) -> None:
        """All taps and steps added to the sums; lanes: of the weights at `place`."""
        builder = self.builder
        between = builder.mul(self.channels, self.step)
        columns = [builder.mul(between, I64(x)) for x in range(AT_ONCE)]
        tap_bytes = builder.mul(self.channels, self.spread)
        with Loop(builder, self.kernel_y, 1, "lanes.row") as ky:
            row = load(builder, at(builder, self.rows, builder.shl(ky, I64(3))), I64)
            start = at(builder, builder.inttoptr(row, BYTES), source)
            first = builder.mul(ky, self.row_steps)
            with Loop(builder, self.kernel_x, 1, "lanes.tap") as kx:
                inputs = at(builder, start, builder.mul(kx, tap_bytes))
                tap = builder.add(first, builder.mul(kx, self.group_lanes))
                taps = at(builder, place, builder.mul(tap, I64(step_bytes(lanes))))
                self.add(block, lanes, slots, inputs, columns, taps, None)
                more = builder.sub(self.group_lanes, I64(1))
                with Loop(builder, more, 1, "lanes.step") as index:
                    index = builder.add(index, I64(1))
                    now = at(builder, taps, builder.mul(index, I64(step_bytes(lanes))))
                    self.add(block, lanes, slots, inputs, columns, now, index)

    def add(
        self,
        block: Block,
        lanes: int,
        slots: list[list[Value]],
        inputs: Pointer,
        columns: list[Value],
        weights: Pointer,
        index: Value | None,
    ) -> None:
        """Step `index` of a tap (None: the first, of lanes as they are): one product per sum."""
        builder = self.builder
        exchanged = None if index is None else exchange(block, index)
        taps = [
            self.repeated(block, lanes, at(builder, weights, quarter * 4 * lanes), I32)
            for quarter in range(4)
        ]
        some = ir.VectorType(I32, lanes)
        several = block.lanes // lanes  # columns in a vector
        for number, sums in enumerate(slots):
            own = columns[number * several : (number + 1) * several]
            value = join(builder, [load(builder, at(builder, inputs, x), some) for x in own])
            if exchanged is not None:
                value = permute(block, value, exchanged)
            for slot, weight in zip(sums, taps, strict=True):
                total = builder.load(slot, typ=block.words)
                builder.store(dot(builder, block.isa, total, value, weight), slot)

    def repeated(self, block: Block, lanes: int, place: Pointer, kind: ir.Type) -> Value:
        """A vector of `lanes` at `place`, once for every column of the block's."""
        value = load(self.builder, place, ir.VectorType(kind, lanes))
        return join(self.builder, [value] * (block.lanes // lanes))

    def block(self, lanes: int, stride: int, first: Value, place: Pointer) -> None:
        if lanes == self.isa.lanes // 4:
            self.pairs(lanes, first, place)
        else:
            super().block(lanes, stride, first, place)

    def pairs(self, lanes: int, first: Value, place: Pointer) -> None:
        """The last block: vectors of half the length take two columns of it, side by side."""
        builder, channels = self.builder, self.channels
        block = Block(builder, self.isa, 2 * lanes)
        bounds = block.bounds(self.limits)
        constants = at(builder, place, self.weight_bytes(lanes, 1))
        biases, factors = (
            [
                self.repeated(block, lanes, at(builder, constants, 4 * lanes * quarter), kind)
                for quarter in quarters
            ]
            for kind, quarters in ((I32, range(4)), (F32, range(4, 8)))
        )
        with builder.goto_entry_block():
            slots = [[builder.alloca(block.words) for _ in range(4)] for _ in range(AT_ONCE // 2)]
        left = builder.sub(channels, first)
        full = builder.icmp_signed(">=", left, I64(4 * lanes))
        with Loop(builder, self.columns, AT_ONCE, "pairs.column") as index:
            # the last four begin earlier where fewer are left
            inside = builder.icmp_signed("<", index, self.last)
            column = builder.select(inside, index, self.last)
            for pair in slots:
                for slot, bias in zip(pair, biases, strict=True):
                    builder.store(bias, slot)
            source = builder.mul(channels, builder.mul(column, self.step))
            self.products(block, lanes, slots, builder.add(first, source), place)
            sums = [[builder.load(slot, typ=block.words) for slot in pair] for pair in slots]
            target = at(builder, self.out, builder.add(first, builder.mul(column, channels)))
            for value in self.finish(block, sums, factors, bounds):
                for half in range(2):
                    self.put(part_of(builder, value, half, 4 * lanes), target, left, full)
                    target = at(builder, target, channels)

    def ordered(self, block: Block, value: Value) -> Value:
        # per 16 channels, the packs leave the outputs 0, 4, 8, 12, 1, 5, ...
        order = [16 * (i // 16) + 4 * (i % 4) + i % 16 // 4 for i in range(block.bytes)]
        mask = ir.Constant(ir.VectorType(I32, block.bytes), order)
        return self.builder.shuffle_vector(value, value, mask)


def exchange(block: Block, step: Value) -> Value:
    """<lanes x i32>: lane ^ step."""
    builder = block.builder
    own = ir.Constant(block.words, list(range(block.lanes)))
    return builder.xor(own, splat(builder, builder.trunc(step, I32), block.lanes))


def permute(block: Block, value: Value, order: Value) -> Value:
    """Lane i of the result is lane order[i] of `value`."""
    builder, words = block.builder, block.words
    if block.isa.emulated:
        result = value
        for lane in range(block.lanes):
            chosen = builder.extract_element(value, builder.extract_element(order, I32(lane)))
            result = builder.insert_element(result, chosen, I32(lane))
        return result
    if block.lanes == 4:
        floats = ir.VectorType(F32, 4)
        name = "llvm.x86.avx.vpermilvar.ps"
        function = declare(builder, name, floats, [floats, words])
        moved = builder.call(function, [builder.bitcast(value, floats), order])
        return builder.bitcast(moved, words)
    name = {16: "llvm.x86.avx512.permvar.si.512", 8: "llvm.x86.avx2.permd"}[block.lanes]
    return builder.call(declare(builder, name, words, [words, words]), [value, order])


def emit_lanes_row(
    builder: Builder,
    isa: Isa,
    rows: Pointer,
    kernel_y: Value,
    kernel_x: Value,
    spread: Value,
    group_lanes: Value,
    channels: Value,
    constants: Pointer,
    epilogue: Pointer,
    columns: Value,
    out: Pointer,
    stride: Value,
) -> None:
    """One output row of all channels, uint8; `columns` (at least AT_ONCE) outputs.

    rows: int64 addresses of `kernel_y` padded input rows, `channels` bytes per column; spread:
    columns between two taps; group_lanes: channels of a group / 4, a power of two; constants: by
    blocks of 4 * isa.lanes channels, then half and quarter ones: weights [kernel_y][kernel_x]
    [group_lanes] of `step_bytes`, int32 biases, float32 factors; epilogue: header of a float32
    form. Reads whole vectors.
    """
    row = LanesRow(
        builder, isa, kernel_y, kernel_x, spread, group_lanes, stride, rows, channels, constants,
        epilogue, columns, out,
    )  # fmt: skip
    row.all_channels(1)
