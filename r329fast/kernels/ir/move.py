"""LLVM IR of exact copies: rows, runs that an index names, two rows interleaved, blocks turned.

`count` bytes are two vectors that overlap, or as many whole ones as fit and one that ends with the
last byte: nothing past them is read or written, and from four on no byte is moved alone. The class
of `count` is chosen once, outside the loop over rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    I1,
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
    store,
)

LARGEST = 6  # log2 of the largest vector
SIDE = 16  # rows and columns of a block that is turned
_CLASSES = (0, 2, 3, 4, 5, LARGEST)  # log2 of the vectors: bytes one by one below four
# (offset, LLVM type) -> code for the bytes from there on
Piece = Callable[[Value, Any], None]
# what goes over all pieces of `count` bytes
Pieces = Callable[[Piece], None]


def _pieces(builder: Builder, log: int, count: Value) -> Pieces:
    """`count` bytes by vectors of 2**log: one or two of them, but for the smallest and largest."""
    kind = ir.VectorType(I8, 1 << log)
    last = builder.sub(count, I64(1 << log))

    def every(piece: Piece) -> None:
        if log in (0, LARGEST):
            with Loop(builder, last if log else count, 1 << log, "move.piece") as offset:
                piece(offset, kind)
        else:
            piece(I64(0), kind)
        if log:
            piece(last, kind)

    return every


def by_class(builder: Builder, count: Value, body: Callable[[Pieces], None]) -> None:
    """`body` for the class of `count`, with what goes over so many bytes; nothing for none."""
    leading = declare(builder, "llvm.ctlz.i64", I64, [I64, I1])
    log = builder.sub(I64(63), builder.call(leading, [count, I1(0)]))
    done = builder.append_basic_block("move.done")
    blocks = {each: builder.append_basic_block(f"move.class{each}") for each in _CLASSES}
    switch = builder.switch(builder.trunc(log, I32), blocks[LARGEST])
    switch.add_case(I32(-1), done)
    for each in range(LARGEST):
        switch.add_case(I32(each), blocks.get(each, blocks[0]))
    for each, block in blocks.items():
        builder.position_at_end(block)
        body(_pieces(builder, each, count))
        builder.branch(done)
    builder.position_at_end(done)


def _copy(builder: Builder, target: Pointer, source: Pointer) -> Piece:
    def piece(offset: Value, kind: Any) -> None:
        store(
            builder, load(builder, at(builder, source, offset), kind), at(builder, target, offset)
        )

    return piece


def emit_move(
    builder: Builder,
    dst: Pointer,
    dst_stride: Value,
    src: Pointer,
    src_stride: Value,
    rows: Value,
    count: Value,
) -> None:
    """dst[row, i] = src[row, i], not a byte more (the row copy of the tiles may write more)."""

    def body(pieces: Pieces) -> None:
        with Loop(builder, rows, 1, "move.row") as row:
            source = at(builder, src, builder.mul(row, src_stride))
            pieces(_copy(builder, at(builder, dst, builder.mul(row, dst_stride)), source))

    by_class(builder, count, body)


def emit_gather(
    builder: Builder,
    dst: Pointer,
    src: Pointer,
    fill: Pointer,
    index: Pointer,
    runs: Value,
    count: Value,
) -> None:
    """Run i of `count` bytes of dst from src + index[i] (int64), from `fill` where that is < 0."""

    def body(pieces: Pieces) -> None:
        with Loop(builder, runs, 1, "gather.run") as run:
            offset = load(builder, at(builder, index, builder.shl(run, I64(3))), I64)
            absent = builder.icmp_signed("<", offset, I64(0))
            source = builder.select(absent, fill, at(builder, src, offset))
            pieces(_copy(builder, at(builder, dst, builder.mul(run, count)), source))

    by_class(builder, count, body)


def emit_interleave(builder: Builder, dst: Pointer, src: Pointer, rows: Value, half: Value) -> None:
    """dst[row, i, k] = src[row, k, i] for k of 2 and i of `half`: a shuffle of two groups."""
    whole = builder.shl(half, I64(1))

    def body(pieces: Pieces) -> None:
        with Loop(builder, rows, 1, "interleave.row") as row:
            start = builder.mul(row, whole)
            first, target = at(builder, src, start), at(builder, dst, start)
            second = at(builder, first, half)

            def piece(offset: Value, kind: Any) -> None:
                a, b = (load(builder, at(builder, part, offset), kind) for part in (first, second))
                order = [i for pair in range(kind.count) for i in (pair, kind.count + pair)]
                mask = ir.Constant(ir.VectorType(I32, len(order)), order)
                place = at(builder, target, builder.shl(offset, I64(1)))
                store(builder, builder.shuffle_vector(a, b, mask), place)

            pieces(piece)

    by_class(builder, half, body)


def emit_turn(
    builder: Builder, dst: Pointer, dst_stride: Value, src: Pointer, src_stride: Value, rows: Value
) -> None:
    """dst[column, row] = src[row, column] for SIDE columns and SIDE rows or more.

    A block of SIDE rows at a time; the last begins earlier. Every round interleaves row i with row
    i + SIDE / 2, and log2(SIDE) such rounds turn a block.
    """
    kind, half = ir.VectorType(I8, SIDE), SIDE // 2
    low, high = (
        ir.Constant(
            ir.VectorType(I32, SIDE), [k // 2 + first + SIDE * (k % 2) for k in range(SIDE)]
        )
        for first in (0, half)
    )
    last = builder.sub(rows, I64(SIDE))
    with Loop(builder, rows, SIDE, "turn.block") as index:
        row = builder.select(builder.icmp_signed("<", index, last), index, last)
        source = at(builder, src, builder.mul(row, src_stride))
        values = [
            load(builder, at(builder, source, builder.mul(src_stride, I64(i))), kind)
            for i in range(SIDE)
        ]
        size = half
        while size:
            values = [
                builder.shuffle_vector(values[i], values[i + half], mask)
                for i in range(half)
                for mask in (low, high)
            ]
            size //= 2
        target = at(builder, dst, row)
        for i, value in enumerate(values):
            store(builder, value, at(builder, target, builder.mul(dst_stride, I64(i))))
