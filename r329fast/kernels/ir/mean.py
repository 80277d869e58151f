"""LLVM IR of sums of bytes: rows into words, then windows of columns, rounded once in float32."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    join,
    load,
    part_of,
    splat,
    store,
)
from r329fast.kernels.ir.epilogue import LANES, Rounded
from r329fast.kernels.ir.move import LARGEST, Pieces, by_class

MOST = 257  # bytes whose sum fits a word


def _sums(builder: Builder) -> dict[int, Value]:
    """Slots of words that LLVM turns into registers, by their number."""
    with builder.goto_entry_block():
        sizes = [1 << log for log in range(LARGEST + 1)]
        return {size: builder.alloca(ir.VectorType(I16, size)) for size in sizes}


def _add_to(builder: Builder, slot: Value, value: Value) -> None:
    builder.store(builder.add(builder.load(slot, typ=value.type), value), slot)


def emit_sum_rows(
    builder: Builder,
    dst: Pointer,
    src: Pointer,
    row_stride: Value,
    rows: Value,
    count: Value,
    flip: Value,
) -> None:
    """Words dst[i] = sum of the bytes src[row, i] ^ flip, for i of `count`; at most MOST rows."""
    slots, mask = _sums(builder), builder.trunc(flip, I8)

    def body(pieces: Pieces) -> None:
        def piece(offset: Value, kind: Any) -> None:
            words, slot = ir.VectorType(I16, kind.count), slots[kind.count]
            builder.store(ir.Constant(words, [0] * kind.count), slot)
            flips, source = splat(builder, mask, kind.count), at(builder, src, offset)
            with Loop(builder, rows, 1, "sum.row") as row:
                place = at(builder, source, builder.mul(row, row_stride))
                octets = builder.xor(load(builder, place, kind), flips)
                _add_to(builder, slot, builder.zext(octets, words))
            place = at(builder, dst, builder.shl(offset, I64(1)))
            store(builder, builder.load(slot, typ=words), place)

        pieces(piece)

    by_class(builder, count, body)


def emit_mean_columns(
    builder: Builder,
    dst: Pointer,
    src: Pointer,
    windows: Value,
    stride: Value,
    column_stride: Value,
    columns: Value,
    channels: Value,
    which: Pointer,
    epilogue: Pointer,
    pitch: Value,
) -> None:
    """Bytes dst[window, c] = finish(sum of words src[window * stride + column * column_stride][c]).

    Strides in bytes; the sums fit words. which: int64 per window, its entry of `epilogue`, which is
    of the form ONCE.
    """
    slots = _sums(builder)
    forms = {1 << log: Rounded(builder, epilogue, I64(0), pitch, 1 << log) for log in range(5)}
    shared = forms[LANES]  # all have the same entries

    def body(pieces: Pieces) -> None:
        with Loop(builder, windows, 1, "mean.window") as window:
            first = at(builder, src, builder.mul(window, stride))
            target = at(builder, dst, builder.mul(window, channels))
            entry = load(builder, at(builder, which, builder.shl(window, I64(3))), I64)
            place = at(builder, shared.channels, builder.shl(entry, I64(2)))
            factor, bias = load(builder, place, F32), load(builder, shared.biases_at(entry), I32)

            def piece(offset: Value, kind: Any) -> None:
                words, slot = ir.VectorType(I16, kind.count), slots[kind.count]
                source = at(builder, first, builder.shl(offset, I64(1)))
                builder.store(ir.Constant(words, [0] * kind.count), slot)
                with Loop(builder, columns, 1, "mean.column") as column:
                    place = at(builder, source, builder.mul(column, column_stride))
                    _add_to(builder, slot, load(builder, place, words))
                octets = _finish(builder, forms, builder.load(slot, typ=words), factor, bias)
                store(builder, octets, at(builder, target, offset))

            pieces(piece)

    by_class(builder, channels, body)


def _finish(
    builder: Builder, forms: dict[int, Rounded], sums: Value, factor: Value, bias: Value
) -> Value:
    """Bytes of a vector of words, in parts of at most LANES."""
    lanes = min(sums.type.count, LANES)
    wide, parts = ir.VectorType(I32, lanes), []
    for index in range(sums.type.count // lanes):
        values = builder.zext(part_of(builder, sums, index, lanes), wide)
        values = builder.add(values, splat(builder, bias, lanes))
        parts.append(forms[lanes].value(values, splat(builder, factor, lanes), False))
    return join(builder, parts)
