"""LLVM IR of depthwise convolution by the dot product of bytes: two output rows of four columns.

A vector of 4 * lanes channels is read at each position; the bytes of four positions are
interleaved, so that every int32 lane holds four inputs of one channel: a quad (`quad_forms`).
Interleaving leaves the channels in an order that the saturating packs of the epilogue undo. The
two halves of the channels that it makes are taken one after the other, so that the sums of eight
outputs stay in registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from r329fast.kernels.ir.channel_blocks import Block, where
from r329fast.kernels.ir.emit import (
    BYTES,
    F32,
    F64,
    I1,
    I8,
    I32,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    copy_bytes,
    declare,
    dot,
    load,
    splat,
    store,
)
from r329fast.kernels.ir.epilogue import HIGH, LOW, MAGIC, ZERO_POINT, fma, is_twice
from r329fast.kernels.ir.flat_rows import FlatRows
from r329fast.kernels.ir.quad_forms import FORMS, ROWS, Form, Place, Quad, form
from r329fast.kernels.runtime.isa import Isa


def cover(channels: int, lanes: tuple[int, ...]) -> tuple[int, int]:
    """Blocks of 64 channels, then of 32; the last of each begins earlier where fewer are left."""
    whole, left = divmod(channels, 4 * lanes[0])
    if len(lanes) == 1 or (whole and left > 4 * lanes[1]):
        return whole + (left > 0), 0
    return whole, -(-left // (4 * lanes[1]))


def block_starts(channels: int, lanes: tuple[int, ...]) -> list[tuple[int, int]]:
    """(first channel, lanes) of the blocks, in their order."""
    starts, first = [], 0
    for count, size in zip(cover(channels, lanes), lanes, strict=False):
        for _ in range(count):
            starts.append((max(min(first, channels - 4 * size), 0), size))
            first += 4 * size
    return starts


class _Bounds:
    """What turns rounded sums into bytes.

    Results count from the lowest allowed one, which the float32 constant that rounds contains: it
    is even, so that ties stay ties to even. Where it is odd, or where results are rounded twice, a
    second multiply-add brings it in (both at once are not taken). The low half of the float's bits
    is the result itself: it has 15 bits at most, as `conv/depthwise_quads.py` asks.
    """

    def __init__(self, builder: Builder, epilogue: Pointer) -> None:
        low, high, zero = (
            builder.fptosi(load(builder, at(builder, epilogue, 8 * name), F64), I32)
            for name in (LOW, HIGH, ZERO_POINT)
        )
        self.highest = builder.trunc(builder.sub(high, low), I8)
        self.move = builder.trunc(builder.sub(low, zero), I8)
        twice = is_twice(builder, epilogue)
        odd = builder.trunc(low, I1)
        self.again = builder.or_(twice, odd)
        magic, last = F32(MAGIC), builder.fsub(F32(MAGIC), builder.sitofp(low, F32))
        self.magic = builder.select(self.again, magic, last)
        # fma(MAGIC + r, scale, offset) = MAGIC - low + r * scale, rounded
        self.scale = builder.select(twice, F32(1 / 256), F32(1))
        self.offset = builder.fsub(last, builder.select(twice, F32(MAGIC / 256), magic))


class RowPairs:
    """Emits pairs of output rows; see `emit_quad_rows`."""

    def __init__(
        self, builder: Builder, isa: Isa, permutes: bool, form: Form, rows: Pointer, pairs: Value,
        lines: Value, pitch: Value, channels: Value, constants: Pointer, epilogue: Pointer,
        columns: Value, step: Value, out: Pointer, across: Value, below: Value, spare: Pointer,
    ) -> None:  # fmt: skip
        self.builder, self.isa, self.form = builder, isa, form
        self.rows, self.pairs = rows, pairs
        self.last_line = builder.sub(lines, I64(ROWS))
        self.channels, self.constants, self.columns = channels, constants, columns
        self.out, self.across, self.below, self.spare = out, across, below, spare
        self.bounds = _Bounds(builder, epilogue)
        self.pitch, self.columns_of_step = pitch, step
        self.pitches = [builder.mul(pitch, I64(column)) for column in range(form.columns)]
        self.between = builder.mul(pitch, I64(form.kind.stride))
        stride = form.kind.stride
        self.flat = FlatRows(builder, permutes, stride, pitch, channels) if form.kind.flat else None
        with builder.goto_entry_block():
            self.rest = builder.alloca(ir.VectorType(I8, 64))

    def block_bytes(self, lanes: int) -> int:
        """Of the constants of a block: weights, int32 biases, float32 factors."""
        return 16 * lanes * (len(self.form.weights) + self.form.biases + 1)

    def all_channels(self, whole: Value, halves: Value) -> None:
        """The blocks that `cover` counts."""
        builder = self.builder
        first: Value = I64(0)
        place = self.constants
        for lanes, count in zip(self.form.lanes, (whole, halves), strict=False):
            size = 4 * lanes
            last = builder.sub(self.channels, I64(size))
            last = builder.select(builder.icmp_signed("<", last, I64(0)), I64(0), last)
            with Loop(builder, count, 1, "quads.block") as index:
                begin = builder.add(first, builder.mul(index, I64(size)))
                inside = builder.icmp_signed("<", begin, last)
                start = at(builder, place, builder.mul(index, I64(self.block_bytes(lanes))))
                self.block(lanes, builder.select(inside, begin, last), start)
            first = builder.add(first, builder.mul(count, I64(size)))
            place = at(builder, place, builder.mul(count, I64(self.block_bytes(lanes))))

    def block(self, lanes: int, first: Value, weights: Pointer) -> None:
        """All rows of 4 * lanes channels from `first` on."""
        builder = self.builder
        block = Block(builder, self.isa, lanes)
        out = at(builder, self.out, first)
        with Loop(builder, self.pairs, 1, "quads.pair") as pair:
            # the last two begin earlier where only one is left
            line = builder.mul(pair, I64(ROWS))
            inside = builder.icmp_signed("<", line, self.last_line)
            line = builder.select(inside, line, self.last_line)
            rows = at(builder, self.rows, builder.mul(line, I64(8 * self.form.kind.stride)))
            addresses = [
                load(builder, at(builder, rows, 8 * row), I64) for row in range(self.form.rows)
            ]
            starts = [at(builder, builder.inttoptr(x, BYTES), first) for x in addresses]
            self.row_pair(block, starts, weights, at(builder, out, builder.mul(line, self.below)))

    def row_pair(self, block: Block, starts: list[Pointer], weights: Pointer, out: Pointer) -> None:
        """All columns of two rows. starts: of the input rows, at the block's first channel."""
        builder = self.builder
        if self.form.at_edge:
            self.step(block, starts, weights, out)
            return
        step, flat = self.columns_of_step, self.form.kind.flat
        last = builder.sub(self.columns, step)
        count = builder.sdiv(builder.add(last, builder.sub(builder.add(step, step), I64(1))), step)
        with Loop(builder, count, 1, "quads.column") as index:
            # the last columns begin earlier where fewer are left
            column = builder.mul(index, step)
            column = builder.select(builder.icmp_signed("<", column, last), column, last)
            source = builder.mul(column, self.between)
            made = builder.mul(column, self.pitch if flat else self.across)
            self.step(
                block, [at(builder, x, source) for x in starts], weights, at(builder, out, made)
            )

    def step(self, block: Block, starts: list[Pointer], weights: Pointer, target: Pointer) -> None:
        """A step's outputs of both rows. starts: of the input rows, at the first column read."""
        builder, form = self.builder, self.form
        for half in (0, 1):
            # inputs and weights are read again for the second half: no register holds them all
            builder.fence("seq_cst", "singlethread")
            made = Half(self, block, half, starts, weights)
            for quad in form.quads:
                made.add(quad)
            words = made.finish()
            if half == 0:
                for index, value in enumerate(words):
                    store(builder, value, at(builder, self.spare, index * block.bytes))
        values, places = [], []
        for index, high in enumerate(words):
            low = load(builder, at(builder, self.spare, index * block.bytes), high.type)
            values.append(self.as_bytes(block, low, high))
            column, row = divmod(index, ROWS)
            place = at(builder, target, builder.mul(self.across, I64(column)))
            places.append(at(builder, place, self.below) if row else place)
        self.store(block, values, places)

    def as_bytes(self, block: Block, low: Value, high: Value) -> Value:
        """Both halves of a vector of results -> bytes."""
        builder = self.builder
        highest = splat(builder, self.bounds.highest, block.bytes)
        move = splat(builder, self.bounds.move, block.bytes)
        value = block.octets_of(low, high)
        if self.flat:
            value = self.flat.ordered(value)
        value = builder.select(builder.icmp_unsigned(">", value, highest), highest, value)
        return builder.add(value, move)

    def store(self, block: Block, values: list[Value], places: list[Pointer]) -> None:
        """Bytes of a block, or as many as there are channels."""
        builder, stores = self.builder, list(zip(values, places, strict=True))
        if not self.form.parts or block.lanes > self.form.lanes[-1]:
            for value, place in stores:
                store(builder, value, place)
            return
        full = builder.icmp_signed(">=", self.channels, I64(block.bytes))
        with builder.if_else(full, likely=True) as (then, otherwise):
            with then:
                for value, place in stores:
                    store(builder, value, place)
            with otherwise:
                for value, place in stores:
                    self.store_part(block, value, place)

    def store_part(self, block: Block, value: Value, place: Pointer) -> None:
        """The first `channels` bytes of a block: by a mask, a copy of so few bytes is a call."""
        builder = self.builder
        if self.isa.emulated:
            store(builder, value, self.rest)
            copy_bytes(builder, place, self.rest, self.channels)
            return
        count = splat(builder, builder.trunc(self.channels, I8), block.bytes)
        numbers = ir.Constant(block.octets, list(range(block.bytes)))
        mask = builder.icmp_unsigned("<", numbers, count)
        kinds = [block.octets, BYTES, I32, mask.type]
        name = f"llvm.masked.store.v{block.bytes}i8.p0"
        function = declare(builder, name, ir.VoidType(), kinds)
        builder.call(function, [value, place, I32(1), mask])


class Half:
    """Sums of a step for two of the four quarters of a block's channels."""

    def __init__(
        self, rows: RowPairs, block: Block, half: int, starts: list[Pointer], weights: Pointer
    ) -> None:
        self.builder, self.block, self.bounds = rows.builder, block, rows.bounds
        self.flat = rows.flat
        self.half, self.starts, self.weights, self.pitches = half, starts, weights, rows.pitches
        self.quarters = (2 * half, 2 * half + 1)
        self.constants = at(self.builder, weights, len(rows.form.weights) * 4 * block.bytes)
        biases = [
            self.of_quarters(at(self.builder, self.constants, 4 * index * block.bytes), block.words)
            for index in range(rows.form.biases)
        ]
        every = biases if rows.form.biases > 1 else biases * rows.form.outputs
        self.sums = [[list(bias) for bias in every] for _ in range(ROWS)]
        self.loaded: dict[Place, Value] = {}
        self.pairs: dict[tuple[Place, Place], Value] = {}
        self.taps: dict[int, list[Value]] = {}
        self.scale = self.of_quarters(
            at(self.builder, self.constants, 4 * rows.form.biases * block.bytes),
            ir.VectorType(F32, block.lanes),
        )

    def of_quarters(self, place: Pointer, kind: Any) -> list[Value]:
        """The two vectors of this half, of four at `place`."""
        return [
            load(self.builder, at(self.builder, place, quarter * self.block.bytes), kind)
            for quarter in self.quarters
        ]

    def octets(self, place: Place) -> Value:
        if place not in self.loaded:
            start = at(self.builder, self.starts[place[0]], self.pitches[place[1]])
            self.loaded[place] = load(self.builder, start, self.block.octets)
        return self.loaded[place]

    def pair(self, a: Place, b: Place) -> Value:
        if (a, b) not in self.pairs:
            mixed = self.block.unpack(self.octets(a), self.octets(b), 1, self.half == 1)
            self.pairs[a, b] = mixed
        return self.pairs[a, b]

    def value(self, quad: Quad, index: int) -> Value:
        """Quarter `index` of this half: four inputs in each lane."""
        a, b, c, d = quad.places
        if self.flat:
            return self.flat.quad(self.starts[a[0]], a[1] // 4, self.quarters[index])
        mixed = self.block.unpack(self.pair(a, b), self.pair(c, d), 2, index == 1)
        return self.builder.bitcast(mixed, self.block.words)

    def add(self, quad: Quad) -> None:
        """All dot products of a quad."""
        builder, block = self.builder, self.block
        for index in (0, 1):
            value = self.value(quad, index)
            for use in quad.dots:
                if use.weight not in self.taps:
                    place = at(builder, self.weights, 4 * use.weight * block.bytes)
                    self.taps[use.weight] = self.of_quarters(place, block.words)
                total = self.sums[use.row][use.column]
                weights = self.taps[use.weight][index]
                total[index] = dot(builder, block.isa, total[index], value, weights)

    def finish(self) -> list[Value]:
        """int16 vectors [column][row] of rounded results, above the lowest."""
        builder, bounds, lanes = self.builder, self.bounds, self.block.lanes
        magic = splat(builder, bounds.magic, lanes)
        once = [
            fma(builder, builder.sitofp(total, factor.type), factor, magic)
            for column in range(len(self.sums[0]))
            for row in self.sums
            for total, factor in zip(row[column], self.scale, strict=True)
        ]
        scale, offset = (splat(builder, v, lanes) for v in (bounds.scale, bounds.offset))
        results = where(builder, bounds.again, once, lambda x: fma(builder, x, scale, offset))
        run = lanes if self.flat else 4
        pairs = zip(results[::2], results[1::2], strict=True)
        return [self.block.low_words(a, b, run) for a, b in pairs]


def emit_quad_rows(
    builder: Builder,
    isa: Isa,
    permutes: bool,
    kind: Value,
    rows: Pointer,
    pairs: Value,
    lines: Value,
    pitch: Value,
    channels: Value,
    whole: Value,
    halves: Value,
    constants: Pointer,
    epilogue: Pointer,
    columns: Value,
    step: Value,
    out: Pointer,
    across: Value,
    below: Value,
    spare: Pointer,
) -> None:
    """`pairs` pairs of output rows of all channels, uint8; `columns` outputs of each.

    permutes: whether vectors of 64 bytes can be permuted; kind: number of one of the FORMS; rows:
    int64 addresses of the input rows under all `lines` output rows (the last pair begins a row
    earlier where lines are odd), `pitch` bytes per column; whole, halves: what `cover` gives;
    constants: by blocks of channels (`block_starts`) the weights of the form
    [weight][quarter][lane][4], its int32 biases, float32 factors; epilogue: header of a float32
    form; step: columns that a step makes, no more than `columns`; below: bytes from one output row
    to the next; spare: 64 bytes for each output of a step. Whole blocks of channels are read. Flat
    forms: channels are those of a run of columns, lanes are in the order of bytes, and up to
    48 bytes behind the columns are read.
    """
    for index, chosen in enumerate(FORMS):
        with builder.if_then(builder.icmp_signed("==", kind, I64(index))):
            RowPairs(
                builder, isa, permutes, form(chosen), rows, pairs, lines, pitch, channels,
                constants, epilogue, columns, step, out, across, below, spare,
            ).all_channels(whole, halves)  # fmt: skip
