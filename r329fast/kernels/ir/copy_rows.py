"""LLVM IR of the row copy that feeds the tiles: bytes, flipped, or widened to int16."""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    I8,
    I16,
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
from r329fast.kernels.runtime.isa import Isa

COPY = 32  # elements that the row copy moves at once
SHORT = 4  # vectors of a row that the copy takes by straight code
GAP = 64  # bytes between packed rows: keeps rows out of each other's cache sets, takes overrun


def _copy_vector(
    builder: Builder,
    element: int,
    dst: Pointer,
    src: Pointer,
    index: Value,
    flips: Value,
    signed: bool,
) -> None:
    """COPY elements at `index`, in the form of `emit_copy`."""
    value = load(builder, at(builder, src, index), ir.VectorType(I8, COPY))
    if element == 1:
        store(builder, builder.xor(value, flips), at(builder, dst, index))
    else:
        extend = builder.sext if signed else builder.zext
        place = at(builder, dst, builder.shl(index, I64(1)))
        store(builder, extend(value, ir.VectorType(I16, COPY)), place)


def _copy_any_rows(
    builder: Builder,
    element: int,
    dst: Pointer,
    dst_stride: Value,
    src: Pointer,
    src_stride: Value,
    rows: Value,
    count: Value,
    end: Value,
    flip: Value,
    signed: bool,
) -> None:
    """Rows of any length; whole vectors where a row lasts until `end`, single elements after."""
    octet = builder.trunc(flip, I8)
    flips = splat(builder, octet, COPY)
    rounded = builder.and_(builder.add(count, I64(COPY - 1)), I64(-COPY))
    with Loop(builder, rows, 1, "copy.row") as row:
        source = at(builder, src, builder.mul(row, src_stride))
        target = at(builder, dst, builder.mul(row, dst_stride))
        room = builder.sub(end, builder.ptrtoint(source, I64))
        free = builder.icmp_signed("<=", rounded, room)
        whole = builder.select(free, rounded, builder.and_(count, I64(-COPY)))
        with Loop(builder, whole, COPY, "copy") as index:
            _copy_vector(builder, element, target, source, index, flips, signed)
        with (
            builder.if_then(builder.icmp_signed("<", whole, count), likely=False),
            Loop(builder, builder.sub(count, whole), 1, "copy.rest") as index,
        ):
            place = builder.add(index, whole)
            single = load(builder, at(builder, source, place), I8)
            if element == 1:
                store(builder, builder.xor(single, octet), at(builder, target, place))
            else:
                extend = builder.sext if signed else builder.zext
                double = at(builder, target, builder.shl(place, I64(1)))
                store(builder, extend(single, I16), double)


def _copy_rows(
    builder: Builder,
    element: int,
    dst: Pointer,
    dst_stride: Value,
    src: Pointer,
    src_stride: Value,
    rows: Value,
    count: Value,
    end: Value,
    flip: Value,
    signed: bool,
) -> None:
    """Short rows (up to SHORT vectors) far from `end` by straight code, all others by loops."""
    flips = splat(builder, builder.trunc(flip, I8), COPY)
    vectors = builder.lshr(builder.add(count, I64(COPY - 1)), I64(COPY.bit_length() - 1))
    last = builder.mul(builder.sub(rows, I64(1)), src_stride)
    read = builder.add(
        builder.add(builder.ptrtoint(src, I64), last), builder.mul(vectors, I64(COPY))
    )
    far = builder.icmp_signed("<=", read, end)
    done = builder.append_basic_block("copy.done")
    any_rows = builder.append_basic_block("copy.any")
    blocks = [builder.append_basic_block(f"copy.short{n}") for n in range(1, SHORT + 1)]
    switch = builder.switch(builder.select(far, vectors, I64(0)), any_rows)
    for size, block in enumerate(blocks, 1):
        switch.add_case(I64(size), block)
        builder.position_at_end(block)
        with Loop(builder, rows, 1, "copy.short") as row:
            source = at(builder, src, builder.mul(row, src_stride))
            target = at(builder, dst, builder.mul(row, dst_stride))
            for vector in range(size):
                _copy_vector(builder, element, target, source, I64(COPY * vector), flips, signed)
        builder.branch(done)
    builder.position_at_end(any_rows)
    _copy_any_rows(
        builder, element, dst, dst_stride, src, src_stride, rows, count, end, flip, signed
    )
    builder.branch(done)
    builder.position_at_end(done)


def emit_copy(
    builder: Builder,
    element: int,
    dst: Pointer,
    dst_stride: Value,
    src: Pointer,
    src_stride: Value,
    rows: Value,
    count: Value,
    end: Value,
    flip: Value,
) -> None:
    """`count` elements of each of `rows` rows, `src_stride` apart, to rows `dst_stride` apart.

    element 1: bytes q ^ flip, that is q + 128 as uint8, or q - 128 as int8, where a tile needs it;
    element 2: the int16 value of an int8 (flip 128) or uint8 (flip 0). Whole vectors are
    moved wherever the input lasts until `end`, so that up to COPY - 1 elements after a row's last
    are overwritten: spans of a row are filled in ascending order.
    """
    arguments = (builder, element, dst, dst_stride, src, src_stride, rows, count, end, flip)
    if element == 1:
        _copy_rows(*arguments, signed=False)
        return
    with builder.if_else(builder.icmp_signed("!=", flip, I64(0))) as (then, otherwise):
        with then:
            _copy_rows(*arguments, signed=True)
        with otherwise:
            _copy_rows(*arguments, signed=False)


def joins_three_rows(isa: Isa) -> bool:
    """Whether a path has the shuffle of bytes that `emit_three_rows` takes."""
    return isa.name in ("vnni512", "avxvnni")


def emit_three_rows(
    builder: Builder,
    isa: Isa,
    dst: Pointer,
    src: Pointer,
    row_stride: Value,
    src_stride: Value,
    span: Value,
    count: Value,
) -> None:
    """`count` windows of three rows of `span` bytes each, side by side, COPY bytes apart at `dst`.

    src_stride: bytes from a window to the next, row_stride: between its rows; 3 * span <= COPY.
    Bytes behind the rows are zero. Nothing on other paths than those of `joins_three_rows`.

    Vectors of 256 bits: a load that repeats 16 bytes takes twice as long for 512 bits on Zen 4.
    """
    if not joins_three_rows(isa):
        return
    octets = ir.VectorType(I8, COPY)
    repeat = ir.Constant(ir.VectorType(I32, COPY), [place % 16 for place in range(COPY)])
    spans = splat(builder, builder.trunc(span, I8), COPY)
    nothing = ir.Constant(octets, [-128] * COPY)  # a shuffle makes zeros of it
    picks, index = [], ir.Constant(octets, list(range(COPY)))
    for _ in range(3):
        picks.append(builder.select(builder.icmp_unsigned("<", index, spans), index, nothing))
        index = builder.sub(index, spans)
    shuffle = declare(builder, "llvm.x86.avx2.pshuf.b", octets, [octets] * 2)
    with Loop(builder, count, 1, "three.rows") as window:
        source = at(builder, src, builder.mul(window, src_stride))
        value = None
        for pick in picks:
            row = load(builder, source, ir.VectorType(I8, 16))
            row = builder.call(shuffle, [builder.shuffle_vector(row, row, repeat), pick])
            value = row if value is None else builder.or_(value, row)
            source = at(builder, source, row_stride)
        store(builder, value, at(builder, dst, builder.mul(window, I64(COPY))))
