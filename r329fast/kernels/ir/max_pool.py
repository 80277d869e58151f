"""LLVM IR of max pooling: rows first, all columns of them at once, then windows of columns."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from r329fast.kernels.ir.emit import I8, Builder, Loop, Pointer, Value, at, load, splat, store
from r329fast.kernels.ir.move import LARGEST, Pieces, by_class


def _spares(builder: Builder) -> dict[int, Value]:
    """Slots that LLVM turns into registers, by number of bytes."""
    with builder.goto_entry_block():
        sizes = [1 << log for log in range(LARGEST + 1)]
        return {size: builder.alloca(ir.VectorType(I8, size)) for size in sizes}


def _keep_larger(builder: Builder, best: Value, value: Value) -> None:
    before = builder.load(best, typ=value.type)
    larger = builder.icmp_unsigned(">", value, before)
    builder.store(builder.select(larger, value, before), best)


def emit_max_rows(
    builder: Builder,
    dst: Pointer,
    src: Pointer,
    row_stride: Value,
    rows: Value,
    count: Value,
    lowest: Value,
    flip: Value,
) -> None:
    """dst[i] = the largest of `lowest` and src[row, i] ^ flip, unsigned, for i of `count`."""
    spares = _spares(builder)
    start, mask = builder.trunc(lowest, I8), builder.trunc(flip, I8)

    def body(pieces: Pieces) -> None:
        def piece(offset: Value, kind: Any) -> None:
            best = spares[kind.count]
            builder.store(splat(builder, start, kind.count), best)
            flips, source = splat(builder, mask, kind.count), at(builder, src, offset)
            with Loop(builder, rows, 1, "max.row") as row:
                place = at(builder, source, builder.mul(row, row_stride))
                _keep_larger(builder, best, builder.xor(load(builder, place, kind), flips))
            store(builder, builder.load(best, typ=kind), at(builder, dst, offset))

        pieces(piece)

    by_class(builder, count, body)


def emit_max_columns(
    builder: Builder,
    dst: Pointer,
    src: Pointer,
    windows: Value,
    stride: Value,
    column_stride: Value,
    columns: Value,
    channels: Value,
    flip: Value,
) -> None:
    """dst[window, c] = flip ^ the largest of src[window * stride + column * column_stride + c].

    Strides in bytes; at least one column.
    """
    spares = _spares(builder)
    mask = builder.trunc(flip, I8)

    def body(pieces: Pieces) -> None:
        with Loop(builder, windows, 1, "max.window") as window:
            first = at(builder, src, builder.mul(window, stride))
            target = at(builder, dst, builder.mul(window, channels))

            def piece(offset: Value, kind: Any) -> None:
                best, source = spares[kind.count], at(builder, first, offset)
                builder.store(ir.Constant(kind, [0] * kind.count), best)
                with Loop(builder, columns, 1, "max.column") as column:
                    place = at(builder, source, builder.mul(column, column_stride))
                    _keep_larger(builder, best, load(builder, place, kind))
                value = builder.xor(builder.load(best, typ=kind), splat(builder, mask, kind.count))
                store(builder, value, at(builder, target, offset))

            pieces(piece)

    by_class(builder, channels, body)
