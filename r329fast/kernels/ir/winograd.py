"""LLVM IR of the two transforms of exact integer Winograd, F(4, 3) and F(3, 3) in each direction.

A tile of 4x4 outputs takes 36 products per channel pair instead of 144 (Winograd 1980; Lavin and
Gray 2016, interpolation points 0, 1, -1, 2, -2, infinity), one of 3 outputs in a direction leaves
the point -2 out:

    y = A^T [ sum over channels of (G w G^T) * (B^T x B) ] A

with G's fractions cleared, so that every step is an integer one (`winograd_weights.py`): the sum
is 576 * y = 2**6 * 9 * y modulo 2**32, whatever wraps on the way. Times the inverse of 9 modulo
2**32 that is 64 * y, which an arithmetic shift turns into y wherever |y| < 2**25. The rows of G
at the five shared points are the same up to a factor, which F(3, 3) has in its B^T: so tiles of
all sizes multiply the same transformed weights.

Inputs count as -128..127: B^T's rows are at most 10 in absolute sum for four outputs and 12 for
three, so that |B^T x B| <= 144 * 128 fits int16.
"""

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
    load,
    store,
)
from r329fast.kernels.runtime.isa import Isa

SIZES = (4, 3)  # outputs of a tile in a direction
WINDOW = 6  # points of a direction: places of the transformed weights
POSITIONS = WINDOW * WINDOW
POINTS = {4: (0, 1, 2, 3, 4, 5), 3: (0, 1, 2, 3, 5)}  # 0, 1, -1, 2, -2, infinity
KINDS = tuple((y, x) for y in SIZES for x in SIZES)
CENTRE = 36 * 128  # B^T 128 B: the transform of a constant is zero but for its place (1, 1)
_INVERSE = 954437177  # 9 * 954437177 = 1 modulo 2**32
_SHIFT = 6


class Lanes:
    """Vector arithmetic with the constant factors of the transforms."""

    def __init__(self, builder: Builder, element: ir.IntType, count: int) -> None:
        self.builder, self.kind, self.element = builder, ir.VectorType(element, count), element

    def constant(self, value: int) -> Value:
        return ir.Constant(self.kind, [self.element(value)] * self.kind.count)

    def times(self, value: Value, bits: int) -> Value:
        """value * 2**bits."""
        return self.builder.shl(value, self.constant(bits))

    def add(self, a: Value, b: Value) -> Value:
        return self.builder.add(a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.builder.sub(a, b)

    def input(self, d: list[Value]) -> list[Value]:
        """B^T d for six or five inputs, at the points of their size.

        Six: rows 4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0;
        0 4 0 -5 0 1. Five: 4 -2 -4 2 0; 0 -6 -3 3 0; 0 2 -3 1 0; 0 -4 0 4 0; 0 4 -2 -4 2.
        """
        add, sub, times = self.add, self.sub, self.times
        odd = sub(d[3], d[1])
        if len(d) == 5:
            near, turn = sub(odd, add(d[1], d[2])), sub(d[1], d[2])
            even, odd4 = sub(d[0], d[2]), times(odd, 2)
            return [
                add(times(even, 2), times(odd, 1)),
                add(near, times(near, 1)),
                add(odd, add(turn, times(turn, 1))),
                odd4,
                sub(times(sub(d[4], d[2]), 1), odd4),
            ]
        even = sub(d[4], d[2])
        even4, odd4 = sub(d[4], times(d[2], 2)), sub(d[3], times(d[1], 2))
        odd2 = times(odd, 1)
        return [
            add(times(sub(d[0], d[2]), 2), even),
            add(even4, odd4),
            sub(even4, odd4),
            add(even, odd2),
            sub(even, odd2),
            sub(sub(d[5], d[3]), times(odd, 2)),
        ]

    def output(self, m: list[Value]) -> list[Value]:
        """A^T m for six or five points.

        Six: rows 1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 2. Five: 1 1 1 1 0;
        0 1 -1 2 0; 0 1 1 4 1.
        """
        add, sub, times = self.add, self.sub, self.times
        near, turn = add(m[1], m[2]), sub(m[1], m[2])
        if len(m) == 5:
            return [
                add(add(m[0], near), m[3]),
                add(turn, times(m[3], 1)),
                add(add(near, times(m[3], 2)), m[4]),
            ]
        far, spin = add(m[3], m[4]), sub(m[3], m[4])
        last = add(times(spin, 2), m[5])
        return [
            add(add(m[0], near), far),
            add(turn, times(spin, 1)),
            add(near, times(far, 2)),
            add(turn, times(last, 1)),
        ]


def _by_kind(builder: Builder, kind: Value, name: str, emit: object) -> None:
    """`emit(size_y, size_x)` for the tile kind (an index into KINDS) that is asked for."""
    assert callable(emit)
    done = builder.append_basic_block(f"{name}.done")
    blocks = [builder.append_basic_block(f"{name}.{y}{x}") for y, x in KINDS]
    switch = builder.switch(kind, blocks[0])
    for index, block in enumerate(blocks[1:], 1):
        switch.add_case(I64(index), block)
    for sizes, block in zip(KINDS, blocks, strict=True):
        builder.position_at_end(block)
        emit(*sizes)
        builder.branch(done)
    builder.position_at_end(done)


class _Walk:
    """Addresses of the points, in ascending order: one addition each."""

    def __init__(self, builder: Builder, start: Pointer, pitch: Value) -> None:
        self.builder, self.place, self.pitch, self.at = builder, start, pitch, 0

    def to(self, y: int, x: int) -> Value:
        steps = WINDOW * y + x - self.at
        if steps:
            step = self.pitch if steps == 1 else self.builder.mul(self.pitch, I64(steps))
            self.place, self.at = at(self.builder, self.place, step), self.at + steps
        return self.place


def emit_input(
    builder: Builder,
    isa: Isa,
    dst: Pointer,
    pitch: Value,
    src: Pointer,
    row_stride: Value,
    pixel_stride: Value,
    count: Value,
    kind: Value,
) -> None:
    """int16 B^T x B of one window of channels, uint8 less 128.

    kind: of the tile, an index into KINDS; dst: point (y, x) at (6*y + x) * pitch. Reads and
    writes whole vectors of `lanes` channels.
    """
    whole = 2 * isa.lanes
    rounded = builder.and_(builder.add(count, I64(isa.lanes - 1)), I64(-whole))

    def vector(lanes_count: int, channel: Value, size_y: int, size_x: int) -> None:
        lanes, octets = Lanes(builder, I16, lanes_count), ir.VectorType(I8, lanes_count)
        rows = [at(builder, src, builder.mul(row_stride, I64(y))) for y in range(size_y + 2)]
        columns = []
        for x in range(size_x + 2):
            offset = builder.add(channel, builder.mul(pixel_stride, I64(x)))
            loaded = [load(builder, at(builder, row, offset), octets) for row in rows]
            wide = [builder.zext(value, lanes.kind) for value in loaded]
            columns.append(lanes.input(wide))
        walk = _Walk(builder, at(builder, dst, builder.shl(channel, I64(1))), pitch)
        for index, y in enumerate(POINTS[size_y]):
            values = lanes.input([column[index] for column in columns])
            if y == 1:
                values[1] = lanes.sub(values[1], lanes.constant(CENTRE))
            for x, value in zip(POINTS[size_x], values, strict=True):
                store(builder, value, walk.to(y, x))

    def emit(size_y: int, size_x: int) -> None:
        with Loop(builder, rounded, whole, "winograd.input") as channel:
            vector(whole, channel, size_y, size_x)
        with builder.if_then(builder.icmp_signed("<", rounded, count)):
            vector(isa.lanes, rounded, size_y, size_x)

    _by_kind(builder, kind, "winograd.kind", emit)


def emit_output(
    builder: Builder,
    isa: Isa,
    y: Pointer,
    row_stride: Value,
    m: Pointer,
    pitch: Value,
    columns: Value,
    tiles: Value,
    more: Value,
    kind: Value,
) -> None:
    """int32 y = (more = 0) or += A^T m A / 576 of `tiles` neighbours, `columns` channels each.

    m: point (i, j) at (6*i + j) * pitch: [tiles][columns]; y: a tile's rows, `row_stride` bytes
    apart, of [tile's columns * tiles][columns].
    """
    lanes = Lanes(builder, I32, isa.lanes)
    inverse, shift = lanes.constant(_INVERSE), lanes.constant(_SHIFT)
    cell = builder.shl(columns, I64(2))

    def vector(source: Pointer, target: Pointer, size_y: int, size_x: int, again: bool) -> None:
        walk = _Walk(builder, source, pitch)
        rows = []
        for i in POINTS[size_y]:
            loaded = [load(builder, walk.to(i, j), lanes.kind) for j in POINTS[size_x]]
            rows.append(lanes.output(loaded))
        for x in range(size_x):
            pixel = at(builder, target, builder.mul(cell, I64(x)))
            for line, total in enumerate(lanes.output([row[x] for row in rows])):
                place = at(builder, pixel, builder.mul(row_stride, I64(line)))
                value = builder.ashr(builder.mul(total, inverse), shift)
                if again:
                    value = builder.add(value, load(builder, place, lanes.kind))
                store(builder, value, place)

    def run(size_y: int, size_x: int, again: bool) -> None:
        with Loop(builder, tiles, 1, "winograd.tile") as tile:
            source = at(builder, m, builder.mul(tile, cell))
            target = at(builder, y, builder.mul(tile, builder.mul(cell, I64(size_x))))
            with Loop(builder, cell, 4 * isa.lanes, "winograd.output") as offset:
                places = (at(builder, source, offset), at(builder, target, offset))
                vector(*places, size_y, size_x, again)

    def emit(size_y: int, size_x: int) -> None:
        first = builder.icmp_signed("==", more, I64(0))
        with builder.if_else(first, likely=True) as (then, otherwise):
            with then:
                run(size_y, size_x, again=False)
            with otherwise:
                run(size_y, size_x, again=True)

    _by_kind(builder, kind, "winograd.kind", emit)
