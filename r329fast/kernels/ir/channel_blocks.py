"""LLVM IR that rows of outputs by blocks of channels share: 3x3 and other windows, small groups.

A block is a vector of 4 * lanes channels, of which int32 sums fill four vectors ("quarters"). Four
columns of outputs are made at once, their sums rounded in float32 and joined to bytes by packs
that saturate, so that bounds are applied to all channels of a column at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    copy_bytes,
    declare,
    join,
    load,
    picks,
    splat,
    store,
)
from r329fast.kernels.ir.epilogue import HIGH, LOW, ZERO_POINT, is_twice, round_again, round_once
from r329fast.kernels.runtime.isa import Isa

AT_ONCE = 4  # output columns
# Vectors: what makes rounded sums begin at zero, the highest byte then, what makes bytes of them
Bounds = tuple[Value, Value, Value]
_MAGIC_BITS = 0x4B400000  # of the float32 MAGIC


def blocks(lanes: int, channels: int) -> list[tuple[int, int]]:
    """(first channel, lanes) of the blocks: whole ones, a half and a quarter one, the last may
    reach past the channels."""
    whole = 4 * lanes
    count = (channels + whole // 4 - 1) // whole
    result = [(index * whole, lanes) for index in range(count)]
    first = count * whole
    if channels - first > whole // 4:
        result.append((first, lanes // 2))
        first += whole // 2
    if channels > first:
        result.append((first, lanes // 4))
    return result


@cache
def _interleaved(count: int, group: int, high: bool) -> Value:
    """Mask of elements of the low or high halves of two vectors' groups, in turns."""
    order = []
    for first in range(0, count, group):
        start = first + (group // 2 if high else 0)
        for index in range(start, start + group // 2):
            order += [index, count + index]
    return picks(tuple(order))


@cache
def _low_words(lanes: int, run: int) -> Value:
    order = []
    for group in range(0, lanes, run):
        for first in (0, 2 * lanes):
            order += [first + 2 * (group + i) for i in range(run)]
    return picks(tuple(order))


class Block:
    """One block of 4 * lanes channels."""

    def __init__(self, builder: Builder, isa: Isa, lanes: int) -> None:
        self.builder = builder
        self.isa = replace(isa, lanes=lanes)
        self.lanes, self.bytes = lanes, 4 * lanes
        self.octets = ir.VectorType(I8, self.bytes)
        self.words = ir.VectorType(I32, lanes)

    def unpack(self, a: Value, b: Value, size: int, high: bool) -> Value:
        """Interleave elements of `size` bytes from the low or high halves of 16-byte groups."""
        kind = ir.VectorType(ir.IntType(8 * size), self.bytes // size)
        mask = _interleaved(self.bytes // size, 16 // size, high)
        mixed = self.builder.shuffle_vector(
            self.builder.bitcast(a, kind), self.builder.bitcast(b, kind), mask
        )
        return self.builder.bitcast(mixed, self.octets)

    def biases(self, constants: Pointer) -> list[Value]:
        """int32 [quarter], at the beginning of `constants`."""
        return [
            load(self.builder, at(self.builder, constants, quarter * self.bytes), self.words)
            for quarter in range(4)
        ]

    def factors(self, constants: Pointer) -> list[Value]:
        """float32 [quarter], behind the biases."""
        floats = ir.VectorType(F32, self.lanes)
        return [
            load(self.builder, at(self.builder, constants, (4 + quarter) * self.bytes), floats)
            for quarter in range(4)
        ]

    def rounded(
        self, sums: list[Value], factors: list[Value], bounds: Bounds, twice: bool
    ) -> Value:
        """Sums [quarter] of a column, bias included -> bytes as the packs leave them."""
        builder = self.builder
        results = [
            round_once(builder, builder.sitofp(total, factor.type), factor, twice)
            for total, factor in zip(sums, factors, strict=True)
        ]
        return self.clamped(results, bounds)

    def clamped(self, rounded: list[Value], bounds: Bounds) -> Value:
        """float32 MAGIC + results [quarter] of a column -> bytes as the packs leave them."""
        builder = self.builder
        lowest, highest, move = bounds
        value = self.bytes_of(
            [builder.sub(builder.bitcast(x, self.words), lowest) for x in rounded]
        )
        value = builder.select(builder.icmp_unsigned(">", value, highest), highest, value)
        return builder.add(value, move)

    def bounds(self, scalars: tuple[Value, Value, Value]) -> Bounds:
        """Vectors of what `limits` gives."""
        lowest, highest, move = scalars
        return (
            splat(self.builder, lowest, self.lanes),
            splat(self.builder, highest, self.bytes),
            splat(self.builder, move, self.bytes),
        )

    def bytes_of(self, results: list[Value]) -> Value:
        """Four int32 vectors in interleaved order -> bytes of all channels, saturated at 0..255."""
        builder = self.builder
        if self.isa.emulated:
            parts = []
            zero, most = (ir.Constant(self.words, [v] * self.lanes) for v in (0, 255))
            for value in results:
                value = builder.select(builder.icmp_signed("<", value, zero), zero, value)
                value = builder.select(builder.icmp_signed(">", value, most), most, value)
                parts.append(builder.trunc(value, ir.VectorType(I8, self.lanes)))
            joined = join(builder, parts)
            order = [
                quarter * self.lanes + 4 * group + i
                for group in range(self.lanes // 4)
                for quarter in range(4)
                for i in range(4)
            ]
            mask = ir.Constant(ir.VectorType(I32, self.bytes), order)
            return builder.shuffle_vector(joined, joined, mask)
        name = {16: "avx512.packssdw.512", 8: "avx2.packssdw", 4: "sse2.packssdw.128"}[self.lanes]
        halves = ir.VectorType(I16, 2 * self.lanes)
        narrow = declare(builder, f"llvm.x86.{name}", halves, [self.words] * 2)
        low, high = (builder.call(narrow, results[i : i + 2]) for i in (0, 2))
        return self.octets_of(low, high)

    def low_words(self, a: Value, b: Value, run: int = 4) -> Value:
        """The low int16 of two vectors of 32-bit values, runs in turns: 4 as the packs do."""
        kind = ir.VectorType(I16, 2 * self.lanes)
        mask = _low_words(self.lanes, run)
        a, b = self.builder.bitcast(a, kind), self.builder.bitcast(b, kind)
        return self.builder.shuffle_vector(a, b, mask)

    def octets_of(self, low: Value, high: Value) -> Value:
        """Two int16 vectors -> bytes in the order of the pack, saturated at 0..255."""
        builder = self.builder
        if self.isa.emulated:
            parts = []
            zero, most = (ir.Constant(low.type, [v] * low.type.count) for v in (0, 255))
            for value in (low, high):
                value = builder.select(builder.icmp_signed("<", value, zero), zero, value)
                value = builder.select(builder.icmp_signed(">", value, most), most, value)
                parts.append(builder.trunc(value, ir.VectorType(I8, low.type.count)))
            joined = join(builder, parts)
            order = []
            for group in range(0, 2 * self.lanes, 8):
                for first in (0, 2 * self.lanes):
                    order += [first + group + i for i in range(8)]
            mask = ir.Constant(ir.VectorType(I32, self.bytes), order)
            return builder.shuffle_vector(joined, joined, mask)
        name = {16: "avx512.packuswb.512", 8: "avx2.packuswb", 4: "sse2.packuswb.128"}[self.lanes]
        last = declare(builder, f"llvm.x86.{name}", self.octets, [low.type] * 2)
        return builder.call(last, [low, high])


def where(
    builder: Builder, condition: Value, values: list[Value], change: Callable[[Value], Value]
) -> list[Value]:
    """Each value changed where `condition` holds (a branch), else as it is."""
    before = builder.basic_block
    with builder.if_then(condition):
        changed = [change(value) for value in values]
        inside = builder.basic_block
    results = []
    for value, other in zip(values, changed, strict=True):
        results.append(builder.phi(value.type))
        results[-1].add_incoming(value, before)
        results[-1].add_incoming(other, inside)
    return results


def limits(builder: Builder, epilogue: Pointer) -> tuple[Value, Value, Value]:
    """Of a float32 form: i32 lowest result as rounded, i8 highest above it, i8 it as a byte.

    Bytes begin at the lowest result until they are clamped, so that packs to unsigned bytes serve
    outputs of either sign.
    """
    low, high, zero = (
        builder.fptosi(load(builder, at(builder, epilogue, 8 * name), F64), I32)
        for name in (LOW, HIGH, ZERO_POINT)
    )
    lowest = builder.add(low, I32(_MAGIC_BITS))
    return (
        lowest,
        builder.trunc(builder.sub(high, low), I8),
        builder.trunc(builder.sub(low, zero), I8),
    )


class BlockRow:
    """Emits one output row, block of channels after block; how sums come about is a subclass's."""

    def __init__(
        self,
        builder: Builder,
        isa: Isa,
        rows: Pointer,
        channels: Value,
        constants: Pointer,
        epilogue: Pointer,
        columns: Value,
        out: Pointer,
    ) -> None:
        self.builder, self.isa, self.rows = builder, isa, rows
        self.channels, self.constants, self.columns, self.out = channels, constants, columns, out
        self.limits = limits(builder, epilogue)
        self.twice = is_twice(builder, epilogue)
        self.last = builder.sub(columns, I64(AT_ONCE))
        with builder.goto_entry_block():
            self.spare = builder.alloca(ir.VectorType(I8, 4 * isa.lanes))

    def stride(self, known: int) -> Value:
        """Input columns between two outputs."""
        return I64(known)

    def weight_bytes(self, lanes: int, stride: int) -> Value:
        """Of 4 * lanes channels; their int32 biases and float32 factors follow."""
        raise NotImplementedError

    def sums(
        self, block: Block, stride: int, source: Value, place: Pointer, constants: Pointer
    ) -> list[list[Value]]:
        """[column][quarter] of AT_ONCE output columns, whose inputs begin `source` bytes on.

        place: of the block's weights; constants: of its biases.
        """
        raise NotImplementedError

    def slots(self, block: Block, constants: Pointer) -> list[list[Value]]:
        """[column][quarter]: variables for sums, which begin at the biases."""
        builder = self.builder
        with builder.goto_entry_block():
            made = [[builder.alloca(block.words) for _ in range(4)] for _ in range(AT_ONCE)]
        for quarter, bias in enumerate(block.biases(constants)):
            for column in made:
                builder.store(bias, column[quarter])
        return made

    def ordered(self, block: Block, value: Value) -> Value:
        """Bytes as the packs leave them -> in the order of the channels."""
        return value

    def finish(
        self, block: Block, sums: list[list[Value]], factors: list[Value], bounds: Bounds
    ) -> list[Value]:
        """Sums [column][quarter] -> bytes of each column."""
        builder, kind = self.builder, factors[0].type
        once = [
            round_once(builder, builder.sitofp(total, kind), factor)
            for column in sums
            for total, factor in zip(column, factors, strict=True)
        ]
        results = where(builder, self.twice, once, lambda x: round_again(builder, x))
        return [
            self.ordered(block, block.clamped(results[4 * column : 4 * column + 4], bounds))
            for column in range(len(sums))
        ]

    def block(self, lanes: int, stride: int, first: Value, place: Pointer) -> None:
        """All columns of 4 * lanes channels from `first` on, whose constants are at `place`."""
        builder, channels = self.builder, self.channels
        block = Block(builder, self.isa, lanes)
        bounds = block.bounds(self.limits)
        constants = at(builder, place, self.weight_bytes(lanes, stride))
        left = builder.sub(channels, first)
        full = builder.icmp_signed(">=", left, I64(block.bytes))
        with Loop(builder, self.columns, AT_ONCE, "block.column") as index:
            # the last four begin earlier where fewer are left
            inside = builder.icmp_signed("<", index, self.last)
            column = builder.select(inside, index, self.last)
            moved = builder.mul(column, self.stride(stride))
            source = builder.add(first, builder.mul(channels, moved))
            sums = self.sums(block, stride, source, place, constants)
            values = self.finish(block, sums, block.factors(constants), bounds)
            target = at(builder, self.out, builder.add(first, builder.mul(column, channels)))
            for value in values:
                self.put(value, target, left, full)
                target = at(builder, target, channels)

    def put(self, value: Value, target: Pointer, left: Value, full: Value) -> None:
        """The bytes of a column, of which `left` exist where they are not `full`."""
        builder = self.builder
        with builder.if_else(full, likely=True) as (then, otherwise):
            with then:
                store(builder, value, target)
            with otherwise:
                store(builder, value, self.spare)
                copy_bytes(builder, target, self.spare, left)

    def all_channels(self, stride: int) -> None:
        """Whole blocks, then a half and a quarter one for what is left (see `blocks`)."""
        builder, isa, channels = self.builder, self.isa, self.channels
        whole = 4 * isa.lanes

        def size(lanes: int) -> Value:
            return builder.add(self.weight_bytes(lanes, stride), I64(2 * 16 * lanes))

        count = builder.sdiv(builder.add(channels, I64(whole // 4 - 1)), I64(whole))
        step = size(isa.lanes)
        with Loop(builder, count, 1, "blocks") as index:
            place = at(builder, self.constants, builder.mul(index, step))
            self.block(isa.lanes, stride, builder.mul(index, I64(whole)), place)
        first = builder.mul(count, I64(whole))
        place = at(builder, self.constants, builder.mul(count, step))
        half = whole // 2
        more = builder.icmp_signed(">", builder.sub(channels, first), I64(half // 2))
        before = builder.basic_block
        with builder.if_then(more):
            self.block(isa.lanes // 2, stride, first, place)
            first_next = builder.add(first, I64(half))
            place_next = at(builder, place, size(isa.lanes // 2))
            inside = builder.basic_block
        phis = builder.phi(I64), builder.phi(place.type)
        for phi, old, new in zip(phis, (first, place), (first_next, place_next), strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, inside)
        with builder.if_then(builder.icmp_signed(">", channels, phis[0])):
            self.block(isa.lanes // 4, stride, *phis)
