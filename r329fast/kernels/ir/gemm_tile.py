"""LLVM IR of the tile of direct convolution: rows x columns of sums in registers, over all of K.

A tile's rows are two runs of neighbouring output positions, four where it has half the columns.
The rows of a run lie a constant distance apart, wherever they are: in the input itself (1x1), in a
padded copy of some image rows (windows overlap, nothing is copied twice), or in packed windows.
K runs over `taps` spans of each
row, `jump` bytes apart: the rows of a kernel. Where the epilogue is one of the float32 forms and
the tile is full, the sums become bytes before they leave the registers.

Of the vector registers, rows * vectors hold sums, `vectors` the weights of a step, and one an
activation that is broadcast to all lanes: 14 * 2 + 2 + 1 of 32 (AVX-512), 6 * 2 + 2 + 1 of 16
(AVX2), 6 * 4 + 4 + 1 of 32 (NEON). Each weight that is loaded serves all rows, each activation all
columns; rows * vectors independent sums hide the latency of the dot product.
"""

from __future__ import annotations

from dataclasses import replace

from llvmlite import ir

from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.kernels.ir.channel_blocks import Block, Bounds, limits
from r329fast.kernels.ir.emit import (
    F32,
    I32,
    I64,
    Builder,
    Loop,
    Pointer,
    Value,
    at,
    dot,
    join,
    load,
    part_of,
    splat,
    store,
)
from r329fast.kernels.ir.epilogue import Rounded
from r329fast.kernels.runtime.isa import Isa

STORE, ONCE, TWICE = range(3)  # what becomes of the sums: `fuse`
_FUSED = {epilogue_ir.ONCE: ONCE, epilogue_ir.TWICE: TWICE}
GROUP = 8  # vectors of sums of a group of rows
# A block of columns, its bounds, float32 factors
Packs = tuple[Block, Bounds, list[Value]]
_PACKS = ("vnni512", "avxvnni", "avx512", "avx2")  # paths with the packs that `Block` takes


def fused(form: int) -> int:
    """`fuse` of an epilogue's form: the tile finishes float32 forms itself."""
    return _FUSED.get(form, STORE)


class RowTile:
    """Emits one tile; see `emit_row_tile`."""

    def __init__(self, builder: Builder, isa: Isa, vectors: int, runs: int = 2) -> None:
        self.builder, self.isa, self.vectors = builder, isa, vectors
        self.vector = ir.VectorType(I32, isa.lanes)
        self.size = 4 * isa.lanes
        self.half = isa.rows // 2
        self.rows = runs * self.half
        self.cells = [(row, v) for row in range(self.rows) for v in range(vectors)]
        self.packs = isa.family in _PACKS and not isa.emulated and len(self.cells) % 4 == 0

    def start(self, fuse: Value, biases: Pointer) -> list[Value]:
        """Sums begin at the biases where the epilogue is fused, at zero elsewhere."""
        builder = self.builder
        before = builder.basic_block
        loading = builder.append_basic_block("rows.biases")
        enter = builder.append_basic_block("rows.enter")
        builder.cbranch(builder.icmp_signed("!=", fuse, I64(STORE)), loading, enter)
        builder.position_at_end(loading)
        loaded = self.biases(biases)
        builder.branch(enter)
        builder.position_at_end(enter)
        columns = []
        for value in loaded:
            phi = builder.phi(self.vector)
            phi.add_incoming(ir.Constant(self.vector, [0] * self.isa.lanes), before)
            phi.add_incoming(value, loading)
            columns.append(phi)
        return [columns[v] for _, v in self.cells]

    def biases(self, place: Pointer) -> list[Value]:
        """int32 of every vector of columns."""
        return [
            load(self.builder, at(self.builder, place, v * self.size), self.vector)
            for v in range(self.vectors)
        ]

    def sums(
        self,
        bases: list[Value],
        row_stride: Value,
        taps: Value,
        jump: Value,
        steps: Value,
        w: Pointer,
        start: list[Value],
    ) -> list[Value]:
        """The loops over taps and steps of K."""
        builder, isa = self.builder, self.isa
        offsets = [builder.mul(row_stride, I64(row)) for row in range(self.half)]
        enter = builder.basic_block
        outer = builder.append_basic_block("rows.tap")
        loop = builder.append_basic_block("rows.step")
        latch = builder.append_basic_block("rows.next")
        done = builder.append_basic_block("rows.done")
        builder.branch(outer)

        builder.position_at_end(outer)
        tap = builder.phi(I64)
        tap_bases = [builder.phi(base.type) for base in bases]
        tap_w = builder.phi(w.type)
        tap_sums = [builder.phi(self.vector) for _ in self.cells]
        phis = (tap, *tap_bases, tap_w, *tap_sums)
        for phi, value in zip(phis, (I64(0), *bases, w, *start), strict=True):
            phi.add_incoming(value, enter)
        builder.branch(loop)

        builder.position_at_end(loop)
        step = builder.phi(I64)
        now = [builder.phi(base.type) for base in bases]
        w_now = builder.phi(w.type)
        sums = [builder.phi(self.vector) for _ in self.cells]
        phis = (step, *now, w_now, *sums)
        for phi, value in zip(phis, (I64(0), *tap_bases, tap_w, *tap_sums), strict=True):
            phi.add_incoming(value, outer)
        # weights first: they are used by every row of this step
        columns = [
            load(builder, at(builder, w_now, v * self.size), self.vector)
            for v in range(self.vectors)
        ]
        results: list[Value] = []
        for row in range(self.rows):
            place = at(builder, now[row // self.half], offsets[row % self.half])
            value = splat(builder, load(builder, place, I32), isa.lanes)
            for v in range(self.vectors):
                index = row * self.vectors + v
                results.append(dot(builder, isa, sums[index], value, columns[v]))
        following = builder.add(step, I64(1))
        w_next = at(builder, w_now, self.vectors * self.size)
        forward = [at(builder, base, 4) for base in now]
        for phi, value in zip(phis, (following, *forward, w_next, *results), strict=True):
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, latch)

        builder.position_at_end(latch)
        tap_next = builder.add(tap, I64(1))
        jumped = [at(builder, base, jump) for base in tap_bases]
        outer_phis = (tap, *tap_bases, tap_w, *tap_sums)
        for phi, value in zip(outer_phis, (tap_next, *jumped, w_next, *results), strict=True):
            phi.add_incoming(value, latch)
        builder.cbranch(builder.icmp_signed("<", tap_next, taps), outer, done)
        builder.position_at_end(done)
        return results

    def store(self, sums: list[Value], acc: Pointer) -> None:
        """int32 acc[rows, columns] = sums."""
        for (row, v), value in zip(self.cells, sums, strict=True):
            place = at(self.builder, acc, (row * self.vectors + v) * self.size)
            store(self.builder, value, place)

    def finish(
        self,
        sums: list[Value],
        rounded: Rounded,
        packs: Packs | None,
        outs: list[Value],
        stride: Value,
        twice: bool,
    ) -> None:
        """Bytes of all rows to the outputs of their runs; packs: see `packs_of`."""
        if packs is not None:
            self._finish_by_packs(sums, packs, outs, stride, twice)
            return
        builder = self.builder
        factors = rounded.factors(I64(0))
        for row in range(self.rows):
            first = row * self.vectors
            joined = join(builder, sums[first : first + self.vectors])
            self.store_row(rounded.value(joined, factors, twice), row, outs, stride)

    def packs_of(self, epilogue: Pointer, rounded: Rounded) -> Packs | None:
        """What `finish` takes of the columns' constants; None where rows go one by one."""
        if not self.packs:
            return None
        builder, vectors = self.builder, self.vectors
        block = Block(builder, self.isa, self.isa.lanes)
        floats = ir.VectorType(F32, self.isa.lanes)
        factors = [
            load(builder, at(builder, rounded.channels, v * self.size), floats)
            for v in range(vectors)
        ] * (4 // vectors)
        return block, block.bounds(limits(builder, epilogue)), factors

    def _finish_by_packs(
        self, sums: list[Value], packs: Packs, outs: list[Value], stride: Value, twice: bool
    ) -> None:
        """The same where four vectors become one of bytes by packs that saturate."""
        builder, vectors = self.builder, self.vectors
        block, bounds, factors = packs
        # Packs work within 16 bytes, where they leave four results of each vector.
        groups = self.isa.lanes // 4
        order = [4 * group + quarter for quarter in range(4) for group in range(groups)]
        mask = ir.Constant(ir.VectorType(I32, self.isa.lanes), order)
        for first in range(0, len(self.cells), 4):
            value = block.rounded(sums[first : first + 4], factors, bounds, twice)
            words = builder.bitcast(value, block.words)
            value = builder.bitcast(builder.shuffle_vector(words, words, mask), block.octets)
            size = block.bytes * vectors // 4
            for part in range(4 // vectors):
                row = first // vectors + part
                self.store_row(part_of(builder, value, part, size), row, outs, stride)

    def store_row(self, value: Value, row: int, outs: list[Value], stride: Value) -> None:
        offset = self.builder.mul(stride, I64(row % self.half))
        store(self.builder, value, at(self.builder, outs[row // self.half], offset))


def emit_row_tile(
    builder: Builder,
    isa: Isa,
    vectors: int,
    a: Pointer,
    b: Pointer,
    row_stride: Value,
    taps: Value,
    jump: Value,
    steps: Value,
    w: Pointer,
    epilogue: Pointer,
    channel: Value,
    pitch: Value,
    fuse: Value,
    acc: Pointer,
    out_a: Pointer,
    out_b: Pointer,
    out_stride: Value,
) -> None:
    """Sums of rows/2 positions from `a` on and of as many from `b` on, vectors * lanes columns.

    a, b: byte addresses of the first rows; rows `row_stride` apart; w: [taps][steps][columns]
    [kgroup]; every tap starts `jump` bytes after the one before. fuse STORE: int32 sums without
    bias to acc[rows, columns]; ONCE or TWICE: finished bytes to out_a and out_b, `out_stride`
    apart, by the constants `epilogue` of the columns from `channel` on.
    """
    _emit_tile(
        builder, RowTile(builder, isa, vectors), [a, b], row_stride, taps, jump, steps, w, epilogue,
        channel, pitch, fuse, acc, [out_a, out_b], out_stride,
    )  # fmt: skip


def emit_tall_tile(
    builder: Builder,
    isa: Isa,
    vectors: int,
    a: Pointer,
    b: Pointer,
    c: Pointer,
    d: Pointer,
    row_stride: Value,
    taps: Value,
    jump: Value,
    steps: Value,
    w: Pointer,
    epilogue: Pointer,
    channel: Value,
    pitch: Value,
    fuse: Value,
    acc: Pointer,
    out_a: Pointer,
    out_b: Pointer,
    out_c: Pointer,
    out_d: Pointer,
    out_stride: Value,
) -> None:
    """The same with four runs of positions and half the columns: as many sums.

    Fewer rows would leave too few sums: 14 rows of one vector ran at 0.4 of their rate in every
    other process on Zen 4.
    """
    _emit_tile(
        builder, RowTile(builder, isa, vectors, 4), [a, b, c, d], row_stride, taps, jump, steps, w,
        epilogue, channel, pitch, fuse, acc, [out_a, out_b, out_c, out_d], out_stride,
    )  # fmt: skip


def _emit_tile(
    builder: Builder,
    tile: RowTile,
    bases: list[Value],
    row_stride: Value,
    taps: Value,
    jump: Value,
    steps: Value,
    w: Pointer,
    epilogue: Pointer,
    channel: Value,
    pitch: Value,
    fuse: Value,
    acc: Pointer,
    outs: list[Value],
    out_stride: Value,
) -> None:
    rounded = Rounded(builder, epilogue, channel, pitch, tile.vectors * tile.isa.lanes)
    sums = tile.sums(
        bases, row_stride, taps, jump, steps, w, tile.start(fuse, rounded.biases_at(I64(0)))
    )
    done = builder.append_basic_block("rows.end")
    blocks = [builder.append_basic_block(f"rows.{name}") for name in ("store", "once", "twice")]
    switch = builder.switch(fuse, blocks[STORE])
    for index in (ONCE, TWICE):
        switch.add_case(I64(index), blocks[index])
    for index, block in enumerate(blocks):
        builder.position_at_end(block)
        if index == STORE:
            tile.store(sums, acc)
        else:
            packs = tile.packs_of(epilogue, rounded)
            tile.finish(sums, rounded, packs, outs, out_stride, index == TWICE)
        builder.branch(done)
    builder.position_at_end(done)


def emit_sum_tile(
    builder: Builder,
    isa: Isa,
    vectors: int,
    a: Pointer,
    row_stride: Value,
    steps: Value,
    w: Pointer,
    acc: Pointer,
) -> None:
    """int32 acc[rows, columns] = sums of rows `row_stride` apart from `a` on, one span of K."""
    tile = RowTile(builder, isa, vectors)
    b = at(builder, a, builder.mul(row_stride, I64(tile.half)))
    zero = ir.Constant(tile.vector, [0] * isa.lanes)
    start = [zero] * len(tile.cells)
    tile.store(tile.sums([a, b], row_stride, I64(1), I64(0), steps, w, start), acc)


def emit_row_groups(
    builder: Builder,
    isa: Isa,
    vectors: int,
    a: Pointer,
    row_stride: Value,
    count: Value,
    taps: Value,
    jump: Value,
    steps: Value,
    w: Pointer,
    epilogue: Pointer,
    channel: Value,
    pitch: Value,
    fuse: Value,
    out: Pointer,
    out_stride: Value,
) -> None:
    """Finished bytes of `count` positions from `a` on, vectors * lanes columns, by a few rows.

    GROUP vectors of sums hide the latency of the dot product, and what finishes them is so little
    that the processor does it beside the products of the next rows; a tile's 28 it does not. At
    least GROUP / vectors positions, of which the last groups may share some. Arguments as in
    `emit_row_tile`, fuse ONCE or TWICE.
    """
    rows = GROUP // vectors
    tile = RowTile(builder, replace(isa, rows=2 * rows), vectors, 1)
    rounded = Rounded(builder, epilogue, channel, pitch, vectors * isa.lanes)
    biases = tile.biases(rounded.biases_at(I64(0)))
    start = [biases[v] for _, v in tile.cells]
    packs = tile.packs_of(epilogue, rounded)
    last = builder.sub(count, I64(rows))
    with Loop(builder, count, rows, "groups") as index:
        row = builder.select(builder.icmp_signed("<", index, last), index, last)
        base = at(builder, a, builder.mul(row, row_stride))
        outs = [at(builder, out, builder.mul(row, out_stride))]
        sums = tile.sums([base], row_stride, taps, jump, steps, w, start)
        with builder.if_else(builder.icmp_signed("==", fuse, I64(TWICE))) as branches:
            for branch, twice in zip(branches, (True, False), strict=True):
                with branch:
                    tile.finish(sums, rounded, packs, outs, out_stride, twice)
