"""LLVM IR of ops that go over bytes once: sums of two, lines of a factor and a bias, tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    BYTES,
    F32,
    I8,
    I32,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    declare,
    load,
    splat,
    store,
)
from r329fast.kernels.ir.epilogue import HEADER, fma, is_twice, store_part
from r329fast.kernels.ir.quarters import PARTS, Quarters
from r329fast.kernels.runtime.isa import Isa

TABLE_STEP = 64  # bytes that the table lookup takes at once


def _bytes(builder: Builder, quarters: Quarters, place: Pointer, flips: Value) -> Value:
    return builder.xor(load(builder, place, quarters.octets), flips)


def _each_step(
    builder: Builder,
    step: int,
    count: Value,
    out: Pointer,
    value: Callable[[Value], Value],
) -> None:
    """out[i..] = value(i) for every `step` bytes; of the last ones no byte more than `count`."""
    with builder.goto_entry_block():
        spare = builder.alloca(ir.VectorType(I8, step))
    whole = builder.and_(count, I64(-step))
    with Loop(builder, whole, step, "step") as index:
        store(builder, value(index), at(builder, out, index))
    with builder.if_then(builder.icmp_signed("<", whole, count), likely=False):
        builder.store(value(whole), spare)
        left = builder.sub(count, whole)
        store_part(builder, spare, at(builder, out, whole), left, step)


def emit_add(
    builder: Builder,
    isa: Isa,
    a: Pointer,
    b: Pointer,
    flip_a: Value,
    flip_b: Value,
    scales: Pointer,
    epilogue: Pointer,
    count: Value,
    out: Pointer,
) -> None:
    """Bytes out[count] = finish(a' * scales[0] + b' * scales[1] + scales[2]), a' = a ^ flip_a.

    scales: three float32; all sums are exact in float32 (|sum| <= 2**24). epilogue: a float32 form
    with one factor. Reads whole vectors.
    """
    quarters = Quarters(builder, isa, epilogue)
    lanes = quarters.lanes
    scalars = [load(builder, at(builder, scales, 4 * index), F32) for index in range(3)]
    scale_a, scale_b, move = (splat(builder, scalar, lanes) for scalar in scalars)
    flips = [splat(builder, builder.trunc(f, I8), quarters.step) for f in (flip_a, flip_b)]
    factors = [splat(builder, load(builder, at(builder, epilogue, 8 * HEADER), F32), lanes)] * PARTS

    def value(index: Value, twice: bool) -> Value:
        first, second = (
            quarters.floats(_bytes(builder, quarters, at(builder, side, index), flip))
            for side, flip in zip((a, b), flips, strict=True)
        )
        sums = [
            fma(builder, right, scale_b, fma(builder, left, scale_a, move))
            for left, right in zip(first, second, strict=True)
        ]
        return quarters.finish(sums, factors, twice)

    by_form(builder, epilogue, quarters.step, count, out, value)


def by_form(
    builder: Builder,
    epilogue: Pointer,
    step: int,
    count: Value,
    out: Pointer,
    value: Callable[[Value, bool], Value],
) -> None:
    """out[i..] = value(i, whether the epilogue rounds twice), `step` bytes at once."""
    with builder.if_else(is_twice(builder, epilogue)) as branches:
        for twice, branch in zip((True, False), branches, strict=True):
            with branch:

                def finished(index: Value, twice: bool = twice) -> Value:
                    return value(index, twice)

                _each_step(builder, step, count, out, finished)


def emit_affine(
    builder: Builder,
    isa: Isa,
    x: Pointer,
    flip: Value,
    constants: Pointer,
    epilogue: Pointer,
    width: Value,
    rows: Value,
    out: Pointer,
) -> None:
    """Bytes out[rows, width] = finish((x ^ flip) * weights[column] + biases[column]).

    constants: for every `step` columns four quarters each of int32 weights, int32 biases (of int32
    sums) and float32 factors (`quarter_order`). epilogue: the header of a float32 form. Reads whole
    vectors.
    """
    quarters = Quarters(builder, isa, epilogue)
    flips = splat(builder, builder.trunc(flip, I8), quarters.step)
    size = 4 * quarters.lanes  # bytes of a quarter

    with builder.if_else(is_twice(builder, epilogue)) as branches:
        for twice, branch in zip((True, False), branches, strict=True):
            with branch, Loop(builder, rows, 1, "affine.row") as row:
                start = builder.mul(row, width)
                source, target = at(builder, x, start), at(builder, out, start)

                def value(index: Value, source: Value = source, twice: bool = twice) -> Value:
                    block = at(builder, constants, builder.mul(index, I64(3 * 4)))

                    def quarter(name: int, part: int, kind: Any) -> Value:
                        place = at(builder, block, (PARTS * name + part) * size)
                        return load(builder, place, kind)

                    octets = _bytes(builder, quarters, at(builder, source, index), flips)
                    sums, factors = [], []
                    for part, each in enumerate(quarters.widen(octets)):
                        product = builder.mul(each, quarter(0, part, quarters.words))
                        total = builder.add(product, quarter(1, part, quarters.words))
                        sums.append(builder.sitofp(total, quarters.vector))
                        factors.append(quarter(2, part, quarters.vector))
                    return quarters.finish(sums, factors, twice)

                _each_step(builder, quarters.step, width, target, value)


def emit_spread(
    builder: Builder,
    isa: Isa,
    b: Pointer,
    flip: Value,
    moves: Pointer,
    epilogue: Pointer,
    width: Value,
    factors: Pointer,
) -> None:
    """Factors of `emit_scale`: b' [width] times the epilogue's only one, four quarters each.

    b' = (b ^ flip) + moves[1]; moves: two float32. The products are exact in float32. Reads and
    writes whole vectors.
    """
    quarters = Quarters(builder, isa, epilogue)
    flips = splat(builder, builder.trunc(flip, I8), quarters.step)
    move, factor = (
        splat(builder, load(builder, at(builder, base, place), F32), quarters.lanes)
        for base, place in ((moves, 4), (epilogue, 8 * HEADER))
    )
    with Loop(builder, width, quarters.step, "spread") as index:
        octets = _bytes(builder, quarters, at(builder, b, index), flips)
        for part, each in enumerate(quarters.floats(octets)):
            value = builder.fmul(builder.fadd(each, move), factor)
            place = builder.add(builder.shl(index, I64(2)), I64(4 * quarters.lanes * part))
            store(builder, value, at(builder, factors, place))


def emit_scale(
    builder: Builder,
    isa: Isa,
    x: Pointer,
    flip: Value,
    moves: Pointer,
    factors: Pointer,
    epilogue: Pointer,
    width: Value,
    rows: Value,
    out: Pointer,
) -> None:
    """Bytes out[rows, width] = finish((x ^ flip) + moves[0]) with the factor of each column.

    moves: two float32; factors: as `emit_spread` makes them. epilogue: the header of a float32
    form. Reads whole vectors.
    """
    quarters = Quarters(builder, isa, epilogue)
    flips = splat(builder, builder.trunc(flip, I8), quarters.step)
    move = splat(builder, load(builder, moves, F32), quarters.lanes)
    size = 4 * quarters.lanes
    with builder.if_else(is_twice(builder, epilogue)) as branches:
        for twice, branch in zip((True, False), branches, strict=True):
            with branch, Loop(builder, rows, 1, "scale.row") as row:
                start = builder.mul(row, width)
                source, target = at(builder, x, start), at(builder, out, start)

                def value(index: Value, source: Value = source, twice: bool = twice) -> Value:
                    block = at(builder, factors, builder.shl(index, I64(2)))
                    octets = _bytes(builder, quarters, at(builder, source, index), flips)
                    sums = [builder.fadd(each, move) for each in quarters.floats(octets)]
                    places = [at(builder, block, size * part) for part in range(PARTS)]
                    own = [load(builder, place, quarters.vector) for place in places]
                    return quarters.finish(sums, own, twice)

                _each_step(builder, quarters.step, width, target, value)


def emit_lookup(
    builder: Builder,
    dst: Pointer,
    dst_stride: Value,
    src: Pointer,
    src_stride: Value,
    rows: Value,
    count: Value,
    table: Pointer,
) -> None:
    """dst[row, i] = table[src[row, i]] for `count` bytes of `rows` rows: AVX-512 VBMI.

    Two permutations of 128 entries each, chosen between by the index's top bit. Reads whole
    vectors, writes none past `count`.
    """
    octets = ir.VectorType(I8, TABLE_STEP)
    quarters = [load(builder, at(builder, table, TABLE_STEP * i), octets) for i in range(4)]
    permute = declare(builder, "llvm.x86.avx512.vpermi2var.qi.512", octets, [octets] * 3)
    mask = ir.VectorType(ir.IntType(1), TABLE_STEP)
    masked_store = declare(
        builder,
        "llvm.masked.store.v64i8.p0",
        ir.VoidType(),
        [octets, BYTES, I32, mask],
    )
    zero = ir.Constant(octets, [0] * TABLE_STEP)
    lanes = ir.Constant(octets, list(range(TABLE_STEP)))
    whole = builder.and_(count, I64(-TABLE_STEP))
    left = builder.sub(count, whole)
    kept = builder.icmp_unsigned("<", lanes, splat(builder, builder.trunc(left, I8), TABLE_STEP))

    def value(place: Pointer) -> Value:
        index = load(builder, place, octets)
        low = builder.call(permute, [quarters[0], index, quarters[1]])
        high = builder.call(permute, [quarters[2], index, quarters[3]])
        return builder.select(builder.icmp_signed("<", index, zero), high, low)

    with Loop(builder, rows, 1, "lookup.row") as row:
        source = at(builder, src, builder.mul(row, src_stride))
        target = at(builder, dst, builder.mul(row, dst_stride))
        with Loop(builder, whole, TABLE_STEP, "lookup") as index:
            store(builder, value(at(builder, source, index)), at(builder, target, index))
        with builder.if_then(builder.icmp_signed("!=", left, I64(0))):
            place = at(builder, target, whole)
            builder.call(masked_store, [value(at(builder, source, whole)), place, I32(1), kept])


def emit_plain_lookup(
    builder: Builder,
    dst: Pointer,
    dst_stride: Value,
    src: Pointer,
    src_stride: Value,
    rows: Value,
    count: Value,
    table: Pointer,
) -> None:
    """The same for any target, byte by byte."""
    with Loop(builder, rows, 1, "lookup.row") as row:
        source = at(builder, src, builder.mul(row, src_stride))
        target = at(builder, dst, builder.mul(row, dst_stride))
        with Loop(builder, count, 1, "lookup") as index:
            entry = builder.zext(load(builder, at(builder, source, index), I8), I64)
            store(builder, load(builder, at(builder, table, entry), I8), at(builder, target, index))
