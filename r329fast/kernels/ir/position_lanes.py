"""LLVM IR of first layers: rows of 3x3 windows on three channels, 16 positions in the lanes.

Where a row of outputs is broadcast input times columns of weights, windows of 27 bytes have to be
copied to lie side by side. Here the lanes of a vector are output positions: one permutation of an
image row's bytes is one step of K for 16 of them, and serves all outputs, each of which multiplies
it by four bytes of its own. Nothing is copied; padding comes by masks of the loads. K = 27 takes 7
steps: two for each kernel row, and one for the last bytes of all three.

Sums of one output lie side by side then, so that the bytes are turned: four outputs become a vector
by packs, permutations of two vectors each make positions of 8, 16, and 24 or 32 outputs of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from r329fast.kernels.ir.channel_blocks import Block, Bounds, limits, where
from r329fast.kernels.ir.emit import (
    F32,
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
    dot,
    load,
    part_of,
    splat,
    store,
)
from r329fast.kernels.ir.epilogue import is_twice, round_again, round_once
from r329fast.kernels.runtime.isa import Isa

LANES = 16  # output positions
CHANNELS, KERNEL = 3, 3
SPAN = KERNEL * CHANNELS  # bytes of a window's row
STEPS = 7
# (kernel row, byte of it) of each step's four bytes of K; None: its weight is zero
ORDER: tuple[tuple[tuple[int, int] | None, ...], ...] = (
    *(tuple((row, first + i) for i in range(4)) for row in range(KERNEL) for first in (0, 4)),
    ((0, 8), (1, 8), (2, 8), None),
)
SEEN = 128  # bytes of an image row that 16 positions look at
STRIDES = (1, 2)
SPARE = 4 * 64  # bytes of 16 outputs that wait for their neighbours
_OCTETS = ir.VectorType(I8, 64)


def block_bytes(outs: int) -> int:
    """Constants of a block: weights [step][output][4], int32 biases, float32 factors."""
    return outs * (4 * STEPS + 8)


class PositionLanes:
    """Emits 16 positions; see `emit_position_lines`."""

    def __init__(
        self, builder: Builder, isa: Isa, outs: Value, epilogue: Pointer, padding: Pointer
    ) -> None:
        self.builder, self.isa, self.outs, self.padding = builder, isa, outs, padding
        self.block = Block(builder, isa, LANES)
        self.bounds: Bounds = self.block.bounds(limits(builder, epilogue))
        self.twice = is_twice(builder, epilogue)

    def _ones(self, count: Value) -> Value:
        """i64: the lowest `count` bits, of any count."""
        builder = self.builder
        count = builder.select(builder.icmp_signed("<", count, I64(0)), I64(0), count)
        some = builder.sub(builder.shl(I64(1), builder.and_(count, I64(63))), I64(1))
        return builder.select(builder.icmp_signed(">=", count, I64(64)), I64(-1), some)

    def seen(self, rows: list[Pointer], start: Value, row_bytes: Value) -> list[list[Value]]:
        """[row][half] bytes from `start` on; those outside 0..row_bytes are padding."""
        builder = self.builder
        mask_type = ir.VectorType(I1, 64)
        name = "llvm.masked.load.v64i8.p0"
        pointer = _OCTETS.as_pointer()
        function = declare(builder, name, _OCTETS, [pointer, I32, mask_type, _OCTETS])
        halves = []
        for half in range(2):
            first = builder.add(start, I64(64 * half))
            inside = builder.and_(
                self._ones(builder.sub(row_bytes, first)),
                builder.not_(self._ones(builder.neg(first))),
            )
            edge = load(builder, at(builder, self.padding, 64 * half), _OCTETS)
            halves.append((first, builder.bitcast(inside, mask_type), edge))
        return [
            [
                builder.call(
                    function,
                    [builder.bitcast(at(builder, row, first), pointer), I32(1), mask, edge],
                )
                for first, mask, edge in halves
            ]
            for row in rows
        ]

    def steps(self, rows: list[list[Value]], stride: int) -> list[Value]:
        """Vectors of every step: four bytes of K of all positions."""
        builder = self.builder
        # A vector of 64 bytes reaches all that is seen at stride 1.
        halves = [row if stride > 1 else [row[0], row[0]] for row in rows]

        def spread(row: int, bytes_of_k: Sequence[int]) -> Value:
            places = [
                position * stride * CHANNELS + byte
                for position in range(LANES)
                for byte in bytes_of_k
            ]
            mask = ir.Constant(ir.VectorType(I32, 64), places)
            return builder.shuffle_vector(*halves[row], mask)

        result = [
            spread(row, [first + i for i in range(4)]) for row in range(3) for first in (0, 4)
        ]
        last = [spread(row, [SPAN - 1] * 4) for row in range(3)]
        mixed = last[0]
        for row in (1, 2):
            mask = [64 + i if i % 4 == row else i for i in range(64)]
            vector = ir.Constant(ir.VectorType(I32, 64), mask)
            mixed = builder.shuffle_vector(mixed, last[row], vector)
        return [builder.bitcast(value, self.block.words) for value in (*result, mixed)]

    def either_stride(self, rows: list[list[Value]], stride: Value) -> list[Value]:
        """`steps` of the stride that it is."""
        builder = self.builder
        with builder.if_else(builder.icmp_signed("==", stride, I64(1))) as (one, two):
            with one:
                close, close_end = self.steps(rows, 1), builder.basic_block
            with two:
                apart, apart_end = self.steps(rows, 2), builder.basic_block
        result = []
        for a, b in zip(close, apart, strict=True):
            phi = builder.phi(a.type)
            phi.add_incoming(a, close_end)
            phi.add_incoming(b, apart_end)
            result.append(phi)
        return result

    def products(self, steps: list[Value], count: int, constants: Pointer) -> list[Value]:
        """Bytes of `count` outputs, eight after eight: [8 outputs of 8 positions] * 2 each."""
        builder = self.builder
        floats = ir.VectorType(F32, LANES)

        def constant(index: int, kind: ir.Type) -> Value:
            return splat(builder, load(builder, at(builder, constants, 4 * index), kind), LANES)

        biases, factors = STEPS * count, (STEPS + 1) * count
        sums = [constant(biases + out, I32) for out in range(count)]
        for step, value in enumerate(steps):
            for out in range(count):
                weights = constant(step * count + out, I32)
                sums[out] = dot(builder, self.isa, sums[out], value, weights)
        once = [
            round_once(builder, builder.sitofp(total, floats), constant(factors + out, F32))
            for out, total in enumerate(sums)
        ]
        results = where(builder, self.twice, once, lambda x: round_again(builder, x))
        fours = [
            self.block.clamped(results[first : first + 4], self.bounds)
            for first in range(0, count, 4)
        ]
        turned = []
        for a, b in zip(fours[::2], fours[1::2], strict=True):
            for first in (0, LANES // 2):
                places = [
                    64 * (out // 4) + 16 * (position // 4) + 4 * (out % 4) + position % 4
                    for position in range(first, first + LANES // 2)
                    for out in range(8)
                ]
                mask = ir.Constant(ir.VectorType(I32, 64), places)
                turned.append(builder.shuffle_vector(a, b, mask))
        return turned

    def together(self, vectors: list[Value], out: Pointer) -> None:
        """All outputs of every position, side by side in `vectors`."""
        for index, value in enumerate(vectors):
            store(self.builder, value, at(self.builder, out, 64 * index))

    def apart(self, vectors: list[Value], out: Pointer) -> None:
        """Some of the outputs of every position, side by side in `vectors`, where they belong."""
        builder = self.builder
        each = LANES // len(vectors)  # positions of a vector
        for value in vectors:
            for index in range(each):
                store(builder, part_of(builder, value, index, value.type.count // each), out)
                out = at(builder, out, self.outs)

    def positions(
        self, steps: list[Value], constants: Pointer, spare: Pointer, out: Pointer
    ) -> None:
        """All outputs of 16 positions: by 32, then 16 and 8 that are left."""
        builder, outs = self.builder, self.outs
        sixteens = builder.ashr(outs, I64(4))

        def rows(turned: list[Value]) -> list[Value]:
            return _side_by_side(builder, [turned[:2], turned[2:]])

        def before() -> list[Value]:
            return [load(builder, at(builder, spare, 64 * index), _OCTETS) for index in range(4)]

        def whole(width: int) -> Value:
            return builder.icmp_signed("==", outs, I64(width))

        with Loop(builder, sixteens, 1, "sixteen") as index:
            place = at(builder, constants, builder.mul(index, I64(block_bytes(16))))
            turned = self.products(steps, 16, place)
            with builder.if_else(builder.trunc(index, I1)) as (odd, even):
                with odd:
                    joined = _side_by_side(builder, [rows(before()), rows(turned)], 2)
                    with builder.if_else(whole(32)) as (all_of_it, part):
                        with all_of_it:
                            self.together(joined, out)
                        with part:
                            first = builder.mul(builder.sub(index, I64(1)), I64(16))
                            self.apart(joined, at(builder, out, first))
                with even, builder.if_else(whole(16)) as (all_of_it, part):
                    with all_of_it:
                        self.together(rows(turned), out)
                    with part:
                        # In memory: the compiler would spill them to a stack that is aligned to 16
                        # bytes, from where whole vectors are not forwarded.
                        for number, value in enumerate(turned):
                            store(builder, value, at(builder, spare, 64 * number))
        left = builder.and_(outs, I64(31))
        target = at(builder, out, builder.sub(outs, left))
        alone = builder.not_(builder.or_(whole(16), whole(24)))
        with builder.if_then(builder.and_(builder.icmp_signed(">=", left, I64(16)), alone)):
            self.apart(rows(before()), target)
        with builder.if_then(builder.icmp_signed("!=", builder.and_(left, I64(8)), I64(0))):
            place = at(builder, constants, builder.mul(sixteens, I64(block_bytes(16))))
            turned = self.products(steps, 8, place)
            with builder.if_else(whole(24)) as (all_of_it, part):
                with all_of_it:
                    first = before()
                    self.together(_side_by_side(builder, [first[:2], first[2:], turned]), out)
                with part:
                    self.apart(turned, at(builder, target, builder.and_(left, I64(16))))


def _joined(builder: Builder, places: list[tuple[Value, int]]) -> Value:
    """A vector of 8 words of 64 bits, each of (vector, word of it)."""
    words = ir.VectorType(I64, 8)
    sources: list[Value] = []
    for vector, _ in places:
        if not any(vector is source for source in sources):
            sources.append(vector)
    result = builder.bitcast(sources[0], words)
    kept = [word if vector is sources[0] else 0 for vector, word in places]
    for source in sources[1:]:
        mask = [
            8 + word if vector is source else kept[place]
            for place, (vector, word) in enumerate(places)
        ]
        result = builder.shuffle_vector(
            result, builder.bitcast(source, words), ir.Constant(ir.VectorType(I32, 8), mask)
        )
        kept = list(range(8))  # what was picked stays where it is
    return result


def _side_by_side(builder: Builder, groups: list[list[Value]], size: int = 1) -> list[Value]:
    """Groups of outputs, each `size` words of 64 bits of every position -> those of all groups."""
    words = [
        (group[position * size // 8], position * size % 8 + word)
        for position in range(LANES)
        for group in groups
        for word in range(size)
    ]
    return [_joined(builder, words[first : first + 8]) for first in range(0, len(words), 8)]


def emit_position_lines(
    builder: Builder,
    isa: Isa,
    a: Pointer,
    b: Pointer,
    c: Pointer,
    down: Value,
    lines: Value,
    row_bytes: Value,
    left: Value,
    stride: Value,
    columns: Value,
    outs: Value,
    constants: Pointer,
    epilogue: Pointer,
    padding: Pointer,
    spare: Pointer,
    out: Pointer,
) -> None:
    """`lines` output rows of `columns` (at least 16) positions of `outs` (a multiple of 8) bytes.

    a, b, c: image rows (or padding) of `row_bytes` under the window's rows, `down` bytes from line
    to line; left: bytes of padding before them, at most 63; padding: as `SEEN` bytes of a row;
    stride: one of STRIDES; constants: blocks of 16 outputs, then one of 8 (`block_bytes`);
    epilogue: a float32 form; spare: SPARE bytes of memory, best on whole cache lines.
    """
    lanes = PositionLanes(builder, isa, outs, epilogue, padding)
    last = builder.sub(columns, I64(LANES))
    with Loop(builder, lines, 1, "lines") as line:
        moved = builder.mul(line, down)
        rows = [at(builder, row, moved) for row in (a, b, c)]
        target = at(builder, out, builder.mul(builder.mul(line, columns), outs))
        with Loop(builder, columns, LANES, "positions") as index:
            # the last ones begin earlier where fewer are left
            column = builder.select(builder.icmp_signed("<", index, last), index, last)
            start = builder.sub(builder.mul(column, builder.mul(stride, I64(CHANNELS))), left)
            steps = lanes.either_stride(lanes.seen(rows, start, row_bytes), stride)
            place = at(builder, target, builder.mul(column, outs))
            lanes.positions(steps, constants, spare, place)
