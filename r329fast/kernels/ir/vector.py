"""LLVM IR of ops that go over bytes once: sums of two, lines of a factor and a bias, tables."""

from __future__ import annotations

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
from r329fast.kernels.ir.epilogue import HEADER, LANES, Rounded, fma, is_twice, store_part

TABLE_STEP = 64  # bytes that the table lookup takes at once


def _floats(builder: Builder, place: Pointer, flips: Value) -> Value:
    """LANES bytes (byte ^ flip) as float32."""
    octets = builder.xor(load(builder, place, ir.VectorType(I8, LANES)), flips)
    return builder.uitofp(octets, ir.VectorType(F32, LANES))


def emit_add(
    builder: Builder,
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
    rounded = Rounded(builder, epilogue, I64(0), I64(0))
    scalars = [load(builder, at(builder, scales, 4 * index), F32) for index in range(3)]
    scale_a, scale_b, move = (splat(builder, scalar, LANES) for scalar in scalars)
    flips_a, flips_b = (splat(builder, builder.trunc(f, I8), LANES) for f in (flip_a, flip_b))
    factor = load(builder, at(builder, epilogue, 8 * HEADER), F32)
    factors = splat(builder, factor, LANES)
    with builder.goto_entry_block():
        spare = builder.alloca(ir.VectorType(I8, LANES))
    whole = builder.and_(count, I64(-LANES))

    def value(index: Value, twice: bool) -> Value:
        total = fma(builder, _floats(builder, at(builder, a, index), flips_a), scale_a, move)
        second = _floats(builder, at(builder, b, index), flips_b)
        total = fma(builder, second, scale_b, total)
        return rounded.rounded(total, factors, twice)

    with builder.if_else(is_twice(builder, epilogue)) as branches:
        for twice, branch in zip((True, False), branches, strict=True):
            with branch:
                with Loop(builder, whole, LANES, "add") as index:
                    store(builder, value(index, twice), at(builder, out, index))
                with builder.if_then(builder.icmp_signed("<", whole, count), likely=False):
                    builder.store(value(whole, twice), spare)
                    left = builder.sub(count, whole)
                    store_part(builder, spare, at(builder, out, whole), left)


def emit_affine(
    builder: Builder,
    x: Pointer,
    flip: Value,
    weights: Pointer,
    epilogue: Pointer,
    pitch: Value,
    channels: Value,
    rows: Value,
    out: Pointer,
) -> None:
    """Bytes out[rows, channels] = finish((x ^ flip) * weights[channel]), int32 weights.

    epilogue: a float32 form (its bias is added to the product). Reads whole vectors.
    """
    rounded = Rounded(builder, epilogue, I64(0), pitch)
    flips = splat(builder, builder.trunc(flip, I8), LANES)
    words = ir.VectorType(I32, LANES)
    with builder.goto_entry_block():
        spare = builder.alloca(ir.VectorType(I8, LANES))
    # Channels outside, rows inside: weights, factors and biases stay in registers.
    with builder.if_else(is_twice(builder, epilogue)) as branches:
        for twice, branch in zip((True, False), branches, strict=True):
            with branch, Loop(builder, channels, LANES, "affine.columns") as column:
                factors, biases = rounded.constants(column)
                place = at(builder, weights, builder.shl(column, I64(2)))
                scales = load(builder, place, words)
                left = builder.sub(channels, column)
                full = builder.icmp_signed(">=", left, I64(LANES))
                with Loop(builder, rows, 1, "affine.row") as row:
                    offset = builder.add(builder.mul(row, channels), column)
                    octets = load(builder, at(builder, x, offset), ir.VectorType(I8, LANES))
                    values = builder.zext(builder.xor(octets, flips), words)
                    sums = builder.add(builder.mul(values, scales), biases)
                    value = rounded.value(sums, factors, twice)
                    target = at(builder, out, offset)
                    with builder.if_else(full, likely=True) as (then, otherwise):
                        with then:
                            store(builder, value, target)
                        with otherwise:
                            builder.store(value, spare)
                            store_part(builder, spare, target, left)


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
