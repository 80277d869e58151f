"""LLVM IR of the depthwise row: int16 activations, pairs of taps, vectors of channels.

Two taps' channels are interleaved, so that one multiply-add of int16 pairs serves both:
acc[c] += x[tap, c] * w[tap, c] + x[tap + 1, c] * w[tap + 1, c].
"""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    BYTES,
    I16,
    I32,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    declare,
    generic_dot,
    load,
    store,
)
from r329fast.kernels.runtime.isa import Isa

TAPS = 10  # of one pass, five pairs: a 3x3 kernel and a spare one of zeros


def channels(isa: Isa) -> int:
    """Channels of one pass: an int16 vector's worth."""
    return 2 * isa.lanes


def interleaved(count: int) -> list[int]:
    """Channel of each int32 lane after the unpacks, which work on 8 channels at a time."""
    low = [8 * block + i for block in range(count // 8) for i in range(4)]
    return low + [channel + 4 for channel in low]


def _dot_words(builder: Builder, isa: Isa, acc: Value, a: Value, w: Value) -> Value:
    """acc + sums of int16 pairs; a, w: <2*lanes x i16>."""
    vector, words = ir.VectorType(I32, isa.lanes), ir.VectorType(I16, 2 * isa.lanes)
    if isa.emulated or isa.name in ("plain", "neon"):
        pairs = Isa("pairs", isa.lanes, 2, 2, True, 1, 1, ())
        return generic_dot(builder, pairs, acc, a, w)
    if isa.name == "vnni512":
        name = "llvm.x86.avx512.vpdpwssd.512"
        operands = [acc, builder.bitcast(a, vector), builder.bitcast(w, vector)]
        return builder.call(declare(builder, name, vector, [vector] * 3), operands)
    name = "llvm.x86.avx512.pmaddw.d.512" if isa.lanes == 16 else "llvm.x86.avx2.pmadd.wd"
    return builder.add(acc, builder.call(declare(builder, name, vector, [words, words]), [a, w]))


def _shuffle(builder: Builder, a: Value, b: Value, picked: list[int]) -> Value:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(picked)), picked))


def emit_depthwise(
    builder: Builder,
    isa: Isa,
    taps: Pointer,
    stride: Value,
    weights: Pointer,
    columns: Value,
    acc: Pointer,
    more: Value,
) -> None:
    """int32 acc[columns, channels] = (more = 0) or += the taps of `channels` channels.

    taps: TAPS int64 addresses of int16 [channels] for the first column, `stride` bytes per column;
    weights: int16 [TAPS/2][channels in `interleaved` order][2].
    """
    count = channels(isa)
    words, vector = ir.VectorType(I16, count), ir.VectorType(I32, isa.lanes)
    order = interleaved(count)
    low = [index for channel in order[: isa.lanes] for index in (channel, channel + count)]
    high = [index for channel in order[isa.lanes :] for index in (channel, channel + count)]
    back = [order.index(channel) for channel in range(count)]
    starts = [
        builder.inttoptr(load(builder, at(builder, taps, 8 * tap), I64), BYTES)
        for tap in range(TAPS)
    ]
    packed = [load(builder, at(builder, weights, 4 * isa.lanes * i), words) for i in range(TAPS)]
    again = builder.icmp_signed("!=", more, I64(0))
    zero = ir.Constant(vector, [0] * isa.lanes)
    # All weights of a pass stay in registers (ten of them), two sums per column.
    with Loop(builder, columns, 1, "depthwise") as column:
        offset = builder.mul(column, stride)
        sums = [zero, zero]
        for pair in range(TAPS // 2):
            first = load(builder, at(builder, starts[2 * pair], offset), words)
            second = load(builder, at(builder, starts[2 * pair + 1], offset), words)
            for half, picked in enumerate((low, high)):
                value = _shuffle(builder, first, second, picked)
                sums[half] = _dot_words(builder, isa, sums[half], value, packed[2 * pair + half])
        place = at(builder, acc, builder.mul(column, I64(4 * count)))
        natural = [
            _shuffle(builder, sums[0], sums[1], back[: isa.lanes]),
            _shuffle(builder, sums[0], sums[1], back[isa.lanes :]),
        ]
        for half, value in enumerate(natural):
            cell = at(builder, place, 4 * isa.lanes * half)
            before = builder.select(again, load(builder, cell, vector), zero)
            store(builder, builder.add(value, before), cell)
