"""LLVM IR of one max-pooling window: vectors of channels, taps in a loop."""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.ir.emit import I8, I64, Builder, Loop, Pointer, Value, at, load, splat, store

_LENGTHS = (32, 8, 1)  # channels at a time: as many as are left


def emit_max_window(
    builder: Builder,
    x: Pointer,
    row_stride: Value,
    rows: Value,
    column_stride: Value,
    columns: Value,
    channels: Value,
    lowest: Value,
    flip: Value,
    out: Pointer,
) -> None:
    """out[c] = the largest of `lowest` and x[row, column, c], as bytes q ^ flip, unsigned."""
    # Channels outside: the largest so far stays in a register while the window is read.
    done: Value = I64(0)
    for length in _LENGTHS:
        kind = ir.VectorType(I8, length)
        flips = splat(builder, builder.trunc(flip, I8), length)
        start = splat(builder, builder.trunc(lowest, I8), length)
        best = _spare(builder, kind)
        end = builder.and_(channels, I64(-length))
        first = done
        with Loop(builder, builder.sub(end, first), length, "max") as index:
            channel = builder.add(index, first)
            builder.store(start, best)
            source = at(builder, x, channel)
            with Loop(builder, rows, 1, "max.row") as row:
                line = at(builder, source, builder.mul(row, row_stride))
                with Loop(builder, columns, 1, "max.column") as column:
                    place = at(builder, line, builder.mul(column, column_stride))
                    value = builder.xor(load(builder, place, kind), flips)
                    before = builder.load(best, typ=kind)
                    larger = builder.icmp_unsigned(">", value, before)
                    builder.store(builder.select(larger, value, before), best)
            result = builder.xor(builder.load(best, typ=kind), flips)
            store(builder, result, at(builder, out, channel))
        done = end


def _spare(builder: Builder, kind: ir.Type) -> Value:
    """A slot that LLVM turns into a register."""
    with builder.goto_entry_block():
        return builder.alloca(kind)
