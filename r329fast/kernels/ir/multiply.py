"""LLVM IR of products of two tensors of the same shape."""

from __future__ import annotations

from r329fast.kernels.ir.emit import F32, I8, Builder, Pointer, Value, at, load, splat
from r329fast.kernels.ir.epilogue import HEADER
from r329fast.kernels.ir.quarters import PARTS, Quarters
from r329fast.kernels.ir.vector import by_form
from r329fast.kernels.runtime.isa import Isa


def emit_multiply(
    builder: Builder,
    isa: Isa,
    a: Pointer,
    b: Pointer,
    flip_a: Value,
    flip_b: Value,
    moves: Pointer,
    epilogue: Pointer,
    count: Value,
    out: Pointer,
) -> None:
    """Bytes out[count] = finish(a' * b'), a' = (a ^ flip_a) + moves[0]; moves: two float32.

    All products are exact in float32 (<= 2**24). epilogue: a float32 form with one factor. Reads
    whole vectors.
    """
    quarters = Quarters(builder, isa, epilogue)
    factor = load(builder, at(builder, epilogue, 8 * HEADER), F32)
    factors = [splat(builder, factor, quarters.lanes)] * PARTS
    flips = [splat(builder, builder.trunc(f, I8), quarters.step) for f in (flip_a, flip_b)]
    added = [
        splat(builder, load(builder, at(builder, moves, 4 * index), F32), quarters.lanes)
        for index in range(2)
    ]

    def value(index: Value, twice: bool) -> Value:
        sides = []
        for side, flip, move in zip((a, b), flips, added, strict=True):
            octets = builder.xor(load(builder, at(builder, side, index), quarters.octets), flip)
            sides.append([builder.fadd(part, move) for part in quarters.floats(octets)])
        products = [builder.fmul(left, right) for left, right in zip(*sides, strict=True)]
        return quarters.finish(products, factors, twice)

    by_form(builder, epilogue, quarters.step, count, out, value)
