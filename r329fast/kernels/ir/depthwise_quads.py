"""LLVM IR of 3x3 depthwise convolution by the dot product of bytes, four columns at a time.

A vector of 4 * lanes channels is read at neighbouring columns; the bytes of four columns are
interleaved, so that every int32 lane holds four neighbours of one channel and one dot product
takes three taps of a row. At stride 1 the same four serve two outputs, with the weights moved by
one. Interleaving leaves the channels in an order that the saturating packs of the epilogue undo.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    BYTES,
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
    dot,
    join,
    load,
    splat,
    store,
)
from r329fast.kernels.ir.epilogue import HIGH, LOW, ZERO_POINT, is_twice, round_once
from r329fast.kernels.runtime.isa import Isa

AT_ONCE = 4  # output columns
Bounds = tuple[Value, Value, Value]  # what the rounded sums are moved by, lowest byte, highest
_MAGIC_BITS = 0x4B400000  # of the float32 MAGIC


def block_bytes(lanes: int, stride: int) -> int:
    """Bytes of the constants of 4 * lanes channels: weights, int32 biases, float32 factors."""
    return 16 * lanes * (3 * (2 if stride == 1 else 1) + 2)


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


class Quads:
    """One block of 4 * lanes channels."""

    def __init__(self, builder: Builder, isa: Isa, lanes: int, stride: int) -> None:
        self.builder, self.stride = builder, stride
        self.isa = replace(isa, lanes=lanes)
        self.lanes, self.bytes = lanes, 4 * lanes
        self.octets = ir.VectorType(I8, self.bytes)
        self.words = ir.VectorType(I32, lanes)

    def unpack(self, a: Value, b: Value, size: int, high: bool) -> Value:
        """Interleave elements of `size` bytes from the low or high halves of 16-byte groups."""
        kind = ir.VectorType(ir.IntType(8 * size), self.bytes // size)
        group, count = 16 // size, self.bytes // size
        picked = []
        for first in range(0, count, group):
            start = first + (group // 2 if high else 0)
            for index in range(start, start + group // 2):
                picked += [index, count + index]
        mask = ir.Constant(ir.VectorType(I32, count), picked)
        mixed = self.builder.shuffle_vector(
            self.builder.bitcast(a, kind), self.builder.bitcast(b, kind), mask
        )
        return self.builder.bitcast(mixed, self.octets)

    def row(self, sums: list[list[Value]], start: Pointer, step: Value, weights: Pointer) -> None:
        """Add one kernel row to the sums [output][quarter]; start: of the first column."""
        builder = self.builder
        columns = AT_ONCE + 2 if self.stride == 1 else 2 * AT_ONCE + 2
        loaded = [
            load(builder, at(builder, start, builder.mul(step, I64(x))), self.octets)
            for x in range(columns)
        ]
        pairs = [
            [self.unpack(a, b, 1, high) for high in (False, True)]
            for a, b in zip(loaded[::2], loaded[1::2], strict=True)
        ]
        shifts = 2 if self.stride == 1 else 1
        for quarter in range(4):
            taps = [
                load(builder, at(builder, weights, (4 * shift + quarter) * self.bytes), self.words)
                for shift in range(shifts)
            ]
            for first in range(0, AT_ONCE, shifts):
                pair = first // shifts
                a, b = pairs[pair][quarter // 2], pairs[pair + 1][quarter // 2]
                quad = self.unpack(a, b, 2, quarter % 2 == 1)
                value = builder.bitcast(quad, self.words)
                for shift in range(shifts):
                    sums[first + shift][quarter] = dot(
                        builder, self.isa, sums[first + shift][quarter], value, taps[shift]
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
        names = {
            16: ("avx512.packssdw.512", "avx512.packuswb.512"),
            8: ("avx2.packssdw", "avx2.packuswb"),
            4: ("sse2.packssdw.128", "sse2.packuswb.128"),
        }[self.lanes]
        halves = ir.VectorType(I16, 2 * self.lanes)
        narrow = declare(builder, f"llvm.x86.{names[0]}", halves, [self.words] * 2)
        last = declare(builder, f"llvm.x86.{names[1]}", self.octets, [halves] * 2)
        low, high = (builder.call(narrow, results[i : i + 2]) for i in (0, 2))
        return builder.call(last, [low, high])


def _columns(
    quads: Quads,
    starts: list[Value],
    step: Value,
    constants: Pointer,
    bounds: Bounds,
    twice: bool,
) -> list[Value]:
    """Finished bytes of AT_ONCE output columns; starts: their first inputs in each kernel row."""
    builder = quads.builder
    weights = 3 * (8 if quads.stride == 1 else 4) * quads.bytes
    biases = [
        load(builder, at(builder, constants, weights + quarter * quads.bytes), quads.words)
        for quarter in range(4)
    ]
    sums = [list(biases) for _ in range(AT_ONCE)]
    for ky, start in enumerate(starts):
        place = at(builder, constants, ky * weights // 3)
        quads.row(sums, start, step, place)
    return finish(quads, sums, at(builder, constants, weights), bounds, twice)


def finish(
    quads: Quads,
    sums: list[list[Value]],
    constants: Pointer,
    bounds: Bounds,
    twice: bool,
) -> list[Value]:
    """Sums [column][quarter] -> bytes of each column; constants: biases (used already), factors."""
    builder = quads.builder
    floats = ir.VectorType(F32, quads.lanes)
    zero, low, high = bounds
    finished = []
    for column in sums:
        results = []
        for quarter, total in enumerate(column):
            factor = load(builder, at(builder, constants, (4 + quarter) * quads.bytes), floats)
            x = round_once(builder, builder.sitofp(total, floats), factor, twice)
            results.append(builder.sub(builder.bitcast(x, quads.words), zero))
        value = quads.bytes_of(results)
        value = builder.select(builder.icmp_unsigned("<", value, low), low, value)
        finished.append(builder.select(builder.icmp_unsigned(">", value, high), high, value))
    return finished


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
        scalars = [load(builder, at(builder, epilogue, 8 * name), F64) for name in (LOW, HIGH)]
        zero = builder.fptosi(load(builder, at(builder, epilogue, 8 * ZERO_POINT), F64), I32)
        self.low, self.high = (
            builder.trunc(builder.sub(builder.fptosi(value, I32), zero), I8) for value in scalars
        )
        self.offset = builder.add(zero, I32(_MAGIC_BITS))
        self.last = builder.sub(columns, I64(AT_ONCE))
        with builder.goto_entry_block():
            self.spare = builder.alloca(ir.VectorType(I8, 4 * isa.lanes))

    def stride(self, known: int) -> Value:
        """Input columns between two outputs."""
        return I64(known)

    def block_bytes(self, lanes: int, stride: int) -> Value:
        """Of the constants of 4 * lanes channels."""
        return I64(block_bytes(lanes, stride))

    def columns_at(
        self, quads: Quads, source: Value, place: Pointer, bounds: Bounds, twice: bool
    ) -> list[Value]:
        """Finished bytes of AT_ONCE output columns, whose inputs begin `source` bytes on."""
        raise NotImplementedError

    def block(self, lanes: int, stride: int, twice: bool, first: Value, place: Pointer) -> None:
        """All columns of 4 * lanes channels from `first` on, whose constants are at `place`."""
        builder, channels = self.builder, self.channels
        quads = Quads(builder, self.isa, lanes, stride)
        bounds = (
            splat(builder, self.offset, lanes),
            splat(builder, self.low, quads.bytes),
            splat(builder, self.high, quads.bytes),
        )
        left = builder.sub(channels, first)
        full = builder.icmp_signed(">=", left, I64(quads.bytes))
        with Loop(builder, self.columns, AT_ONCE, "quads.column") as index:
            # the last four begin earlier where fewer are left
            inside = builder.icmp_signed("<", index, self.last)
            column = builder.select(inside, index, self.last)
            moved = builder.mul(column, self.stride(stride))
            source = builder.add(first, builder.mul(channels, moved))
            values = self.columns_at(quads, source, place, bounds, twice)
            target = at(builder, self.out, builder.add(first, builder.mul(column, channels)))
            for value in values:
                with builder.if_else(full, likely=True) as (then, otherwise):
                    with then:
                        store(builder, value, target)
                    with otherwise:
                        store(builder, value, self.spare)
                        copy_bytes(builder, target, self.spare, left)
                target = at(builder, target, channels)

    def all_channels(self, stride: int, twice: bool) -> None:
        """Whole blocks, then a half and a quarter one for what is left (see `blocks`)."""
        builder, isa, channels = self.builder, self.isa, self.channels
        whole = 4 * isa.lanes
        size = self.block_bytes(isa.lanes, stride)
        count = builder.sdiv(builder.add(channels, I64(whole // 4 - 1)), I64(whole))
        with Loop(builder, count, 1, "quads.block") as index:
            place = at(builder, self.constants, builder.mul(index, size))
            self.block(isa.lanes, stride, twice, builder.mul(index, I64(whole)), place)
        first = builder.mul(count, I64(whole))
        place = at(builder, self.constants, builder.mul(count, size))
        half = whole // 2
        more = builder.icmp_signed(">", builder.sub(channels, first), I64(half // 2))
        before = builder.basic_block
        with builder.if_then(more):
            self.block(isa.lanes // 2, stride, twice, first, place)
            inside = builder.basic_block
            first_next = builder.add(first, I64(half))
            place_next = at(builder, place, self.block_bytes(isa.lanes // 2, stride))
        phis = builder.phi(I64), builder.phi(place.type)
        for phi, old, new in zip(phis, (first, place), (first_next, place_next), strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, inside)
        with builder.if_then(builder.icmp_signed(">", channels, phis[0])):
            self.block(isa.lanes // 4, stride, twice, *phis)


class QuadRow(BlockRow):
    """Emits one output row of a 3x3 window; see `emit_quad_row`."""

    def __init__(self, builder: Builder, isa: Isa, rows: Pointer, *rest: Any) -> None:
        super().__init__(builder, isa, rows, *rest)
        self.starts = [
            builder.inttoptr(load(builder, at(builder, rows, 8 * ky), I64), BYTES)
            for ky in range(3)
        ]

    def columns_at(
        self, quads: Quads, source: Value, place: Pointer, bounds: Bounds, twice: bool
    ) -> list[Value]:
        inputs = [at(self.builder, start, source) for start in self.starts]
        return _columns(quads, inputs, self.channels, place, bounds, twice)


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
    blocks of 4 * isa.lanes channels, then half and quarter ones (see `block_bytes`); epilogue:
    header of a float32 form. Reads whole vectors, and two columns past the last; the last outputs
    are made twice where `columns` is no multiple of AT_ONCE.
    """
    row = QuadRow(builder, isa, rows, channels, constants, epilogue, columns, out)
    with builder.if_else(builder.icmp_signed("==", stride, I64(1))) as branches:
        for at_stride, branch in zip((1, 2), branches, strict=True):
            with branch, builder.if_else(is_twice(builder, epilogue)) as forms:
                for twice, chosen in zip((True, False), forms, strict=True):
                    with chosen:
                        row.all_channels(at_stride, twice)
