"""LLVM IR of products of two tensors: of the same shape, or with one value per channel."""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    F32,
    I8,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    load,
    splat,
    store,
)
from r329fast.kernels.ir.epilogue import HEADER, LANES, Rounded, is_twice, store_part


class _Side:
    """Integers of one tensor: (byte ^ flip) + move, as float32; moves: two float32."""

    def __init__(self, builder: Builder, flip: Value, moves: Pointer, index: int) -> None:
        self.builder = builder
        self.flips = splat(builder, builder.trunc(flip, I8), LANES)
        self.move = splat(builder, load(builder, at(builder, moves, 4 * index), F32), LANES)

    def values(self, place: Pointer) -> Value:
        builder = self.builder
        octets = builder.xor(load(builder, place, ir.VectorType(I8, LANES)), self.flips)
        return builder.fadd(builder.uitofp(octets, ir.VectorType(F32, LANES)), self.move)


class _Product:
    """Finished bytes of exact products."""

    def __init__(self, builder: Builder, epilogue: Pointer) -> None:
        self.builder, self.epilogue = builder, epilogue
        self.rounded = Rounded(builder, epilogue, I64(0), I64(0))
        self.factors = splat(builder, load(builder, at(builder, epilogue, 8 * HEADER), F32), LANES)
        with builder.goto_entry_block():
            self.spare = builder.alloca(ir.VectorType(I8, LANES))

    def value(self, a: Value, b: Value, twice: bool) -> Value:
        return self.rounded.rounded(self.builder.fmul(a, b), self.factors, twice)

    def store_some(self, value: Value, place: Pointer, left: Value) -> None:
        """The first `left` < LANES bytes."""
        self.builder.store(value, self.spare)
        store_part(self.builder, self.spare, place, left)


def emit_multiply(
    builder: Builder,
    a: Pointer,
    b: Pointer,
    flip_a: Value,
    flip_b: Value,
    moves: Pointer,
    epilogue: Pointer,
    count: Value,
    out: Pointer,
) -> None:
    """Bytes out[count] = finish(a' * b'), a' = (a ^ flip_a) + moves[0].

    All products are exact in float32 (<= 2**24). epilogue: a float32 form with one factor. Reads
    whole vectors.
    """
    product = _Product(builder, epilogue)
    left, right = _Side(builder, flip_a, moves, 0), _Side(builder, flip_b, moves, 1)
    whole = builder.and_(count, I64(-LANES))

    def value(index: Value, twice: bool) -> Value:
        first, second = left.values(at(builder, a, index)), right.values(at(builder, b, index))
        return product.value(first, second, twice)

    with builder.if_else(is_twice(builder, epilogue)) as branches:
        for twice, branch in zip((True, False), branches, strict=True):
            with branch:
                with Loop(builder, whole, LANES, "multiply") as index:
                    store(builder, value(index, twice), at(builder, out, index))
                with builder.if_then(builder.icmp_signed("<", whole, count), likely=False):
                    rest = builder.sub(count, whole)
                    product.store_some(value(whole, twice), at(builder, out, whole), rest)


def emit_scale(
    builder: Builder,
    a: Pointer,
    b: Pointer,
    flip_a: Value,
    flip_b: Value,
    moves: Pointer,
    epilogue: Pointer,
    channels: Value,
    rows: Value,
    out: Pointer,
    factors: Pointer,
) -> None:
    """Bytes out[rows, channels] = finish(a'[rows, channels] * b'[channels]).

    factors: room for float32 [channels + LANES]: b' is made once. Rows outside, so that memory is
    read in order; the last vector of a row begins earlier where channels are no multiple of it.
    """
    product = _Product(builder, epilogue)
    left, right = _Side(builder, flip_a, moves, 0), _Side(builder, flip_b, moves, 1)
    with Loop(builder, channels, LANES, "scale.factors") as channel:
        place = at(builder, factors, builder.shl(channel, I64(2)))
        store(builder, right.values(at(builder, b, channel)), place)
    full = builder.sub(channels, I64(LANES))
    vector = ir.VectorType(F32, LANES)

    def value(row: Value, channel: Value, twice: bool) -> Value:
        scale = load(builder, at(builder, factors, builder.shl(channel, I64(2))), vector)
        return product.value(left.values(at(builder, a, builder.add(row, channel))), scale, twice)

    with builder.if_else(is_twice(builder, epilogue)) as branches:
        for twice, branch in zip((True, False), branches, strict=True):
            with branch, Loop(builder, rows, 1, "scale.row") as index:
                row = builder.mul(index, channels)
                target = at(builder, out, row)
                with builder.if_else(builder.icmp_signed(">=", full, I64(0))) as (whole, part):
                    with whole:
                        with Loop(builder, full, LANES, "scale") as channel:
                            store(builder, value(row, channel, twice), at(builder, target, channel))
                        store(builder, value(row, full, twice), at(builder, target, full))
                    with part:
                        product.store_some(value(row, I64(0), twice), target, channels)
