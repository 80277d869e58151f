"""LLVM IR of the two transforms of exact integer Winograd, F(4x4, 3x3).

One tile makes 4x4 outputs from 6x6 inputs by 36 products a channel pair instead of 144 (Winograd
1980; Lavin and Gray 2016, interpolation points 0, 1, -1, 2, -2, infinity):

    y = A^T [ sum over channels of (G w G^T) * (B^T x B) ] A

with G's fractions cleared, so that every step is an integer one (`winograd_weights.py`): the sum
is 576 * y = 2**6 * 9 * y modulo 2**32, whatever wraps on the way. Times the inverse of 9 modulo
2**32 that is 64 * y, which an arithmetic shift turns into y wherever |y| < 2**25.

B^T's rows are at most 10 in absolute sum, so that |B^T x B| <= 100 * 255 fits int16.
"""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.isa import Isa
from r329fast.kernels.tile_ir import (
    I8,
    I16,
    I32,
    I64,
    Builder,
    Loop,
    Value,
    _at,
    _load,
    _store,
)

TILE = 4  # outputs of a tile in each direction
WINDOW = TILE + 2  # inputs of a tile in each direction
POSITIONS = WINDOW * WINDOW
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
        """B^T d: rows 4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0;
        0 2 -1 -2 1 0; 0 4 0 -5 0 1."""
        add, sub, times = self.add, self.sub, self.times
        even, odd = sub(d[4], d[2]), sub(d[3], d[1])
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
        """A^T m: rows 1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 2."""
        add, sub, times = self.add, self.sub, self.times
        near, far = add(m[1], m[2]), add(m[3], m[4])
        turn, spin = sub(m[1], m[2]), sub(m[3], m[4])
        last = add(times(spin, 2), m[5])
        return [
            add(add(m[0], near), far),
            add(turn, times(spin, 1)),
            add(near, times(far, 2)),
            add(turn, times(last, 1)),
        ]


def _input_rows(
    builder: Builder,
    isa: Isa,
    pitch: int,
    dst: Value,
    src: Value,
    row_stride: Value,
    pixel_stride: Value,
    count: Value,
    signed: bool,
) -> None:
    lanes = Lanes(builder, I16, 2 * isa.lanes)
    octets = ir.VectorType(I8, 2 * isa.lanes)
    extend = builder.sext if signed else builder.zext
    rows = [_at(builder, src, builder.mul(row_stride, I64(row))) for row in range(WINDOW)]
    with Loop(builder, count, 2 * isa.lanes, "winograd.input") as channel:
        columns = []
        for x in range(WINDOW):
            offset = builder.add(channel, builder.mul(pixel_stride, I64(x)))
            loaded = [_load(builder, _at(builder, row, offset), octets) for row in rows]
            columns.append(lanes.input([extend(value, lanes.kind) for value in loaded]))
        target = _at(builder, dst, builder.shl(channel, I64(1)))
        for y in range(WINDOW):
            values = lanes.input([column[y] for column in columns])
            for x, value in enumerate(values):
                _store(builder, value, _at(builder, target, (y * WINDOW + x) * pitch))


def emit_input(
    builder: Builder,
    isa: Isa,
    pitch: int,
    dst: Value,
    src: Value,
    row_stride: Value,
    pixel_stride: Value,
    count: Value,
    signed: Value,
) -> None:
    """B^T x B of one window of int8 (signed != 0) or uint8 channels, as int16.

    src: 6x6 positions; dst: position (y, x) at (6*y + x) * pitch. Reads and writes whole vectors
    of 2 * lanes channels.
    """
    arguments = (builder, isa, pitch, dst, src, row_stride, pixel_stride, count)
    with builder.if_else(builder.icmp_signed("!=", signed, I64(0))) as (then, otherwise):
        with then:
            _input_rows(*arguments, signed=True)
        with otherwise:
            _input_rows(*arguments, signed=False)


def _output_tiles(
    builder: Builder,
    isa: Isa,
    pitch: int,
    y: Value,
    row_stride: Value,
    m: Value,
    columns: Value,
    tiles: Value,
    more: bool,
) -> None:
    lanes = Lanes(builder, I32, isa.lanes)
    inverse, shift = lanes.constant(_INVERSE), lanes.constant(_SHIFT)
    cell = builder.shl(columns, I64(2))
    with Loop(builder, tiles, 1, "winograd.tile") as tile:
        source = _at(builder, m, builder.mul(tile, cell))
        target = _at(builder, y, builder.mul(tile, builder.shl(cell, I64(2))))
        with Loop(builder, cell, 4 * isa.lanes, "winograd.output") as offset:
            products = _at(builder, source, offset)
            rows = []
            for row in range(WINDOW):
                places = [(row * WINDOW + x) * pitch for x in range(WINDOW)]
                loaded = [_load(builder, _at(builder, products, at), lanes.kind) for at in places]
                rows.append(lanes.output(loaded))
            for x in range(TILE):
                pixel = _at(builder, target, builder.add(offset, builder.mul(cell, I64(x))))
                for line, value in enumerate(lanes.output([row[x] for row in rows])):
                    place = _at(builder, pixel, builder.mul(row_stride, I64(line)))
                    value = builder.ashr(builder.mul(value, inverse), shift)
                    if more:
                        value = builder.add(value, _load(builder, place, lanes.kind))
                    _store(builder, value, place)


def emit_output(
    builder: Builder,
    isa: Isa,
    pitch: int,
    y: Value,
    row_stride: Value,
    m: Value,
    columns: Value,
    tiles: Value,
    more: Value,
) -> None:
    """int32 y = (more = 0) or += A^T m A / 576 of `tiles` neighbours, `columns` channels each.

    m: position (i, j) at (6*i + j) * pitch: [tiles][columns]; y: 4 rows `row_stride` bytes apart
    of [4 * tiles][columns].
    """
    arguments = (builder, isa, pitch, y, row_stride, m, columns, tiles)
    with builder.if_else(builder.icmp_signed("!=", more, I64(0))) as (then, otherwise):
        with then:
            _output_tiles(*arguments, more=True)
        with otherwise:
            _output_tiles(*arguments, more=False)
