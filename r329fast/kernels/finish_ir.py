"""LLVM IR of the epilogue: int32 accumulators to int8, by rows of channels, all acts and roundings.

    LINEAR  z = a * factor + offset                                 (NONE and RELU)
    TWICE   z = rint(a * factor + offset) * second + second_offset  (CLIP)
    LEAKY   s = max(a', 0) + rint(min(a', 0) * slope + slope_offset),  a' = a + bias
            z = s * factor + offset
    q = int(rint(clamp(z, low, high))) - zero_point

in float64 (the bias is in offset unless LEAKY); `epilogue.py` says why every step is exact and
lays out the array `ef`.
"""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.tile_ir import (
    F64,
    I8,
    I32,
    I64,
    Builder,
    Loop,
    Value,
    _at,
    _declare,
    _load,
    _splat,
    _store,
)

LANES = 16  # channels a step: LLVM splits the vectors as the target needs
HEADER = 8  # doubles before the channel rows of `ef`
LOW, HIGH, SECOND, SECOND_OFFSET, ZERO_POINT, FORM = range(6)
FACTOR, OFFSET, BIAS, SLOPE, SLOPE_OFFSET = range(5)
LINEAR, TWICE, LEAKY = range(3)
_FUSE = ("contract",)  # every product and sum is exact, so that fusing them changes nothing


def _rint(builder: Builder, value: Value) -> Value:
    name = f"llvm.rint.v{LANES}f64"
    return builder.call(_declare(builder, name, value.type, [value.type]), [value])


def _clamp(builder: Builder, value: Value, low: Value | None, high: Value | None) -> Value:
    if low is not None:
        value = builder.select(builder.fcmp_ordered(">", value, low), value, low)
    if high is not None:
        value = builder.select(builder.fcmp_ordered("<", value, high), value, high)
    return value


class FinishRows:
    """Emits the loops; `channels` is the pointer to the first channel's factor."""

    def __init__(self, builder: Builder, ef: Value, channel: Value, pitch: Value) -> None:
        self.builder, self.pitch = builder, pitch
        self.header = ef
        first = builder.add(builder.shl(channel, I64(3)), I64(8 * HEADER))
        self.channels = _at(builder, ef, first)
        vector = ir.VectorType(F64, LANES)
        self.vector = vector
        names = (LOW, HIGH, SECOND, SECOND_OFFSET, ZERO_POINT)
        scalars = [_load(builder, _at(builder, ef, 8 * name), F64) for name in names]
        self.low, self.high, self.second, self.second_offset = (
            _splat(builder, scalar, LANES) for scalar in scalars[:4]
        )
        self.zero = _splat(builder, builder.fptosi(scalars[4], I32), LANES)
        self.form = _load(builder, _at(builder, ef, 8 * FORM), F64)

    def _row(self, index: Value, column: Value) -> Value:
        builder = self.builder
        offset = builder.mul(self.pitch, index)
        place = builder.shl(builder.add(offset, column), I64(3))
        return _load(builder, _at(builder, self.channels, place), self.vector)

    def constants(self, column: Value, form: int) -> list[Value]:
        """Channel vectors at `column`, as many as the form needs, indexed by FACTOR and so on."""
        count = SLOPE_OFFSET + 1 if form == LEAKY else OFFSET + 1
        return [self._row(I64(index), column) for index in range(count)]

    def value(
        self, acc: Value, acc_stride: Value, row: Value, constants: list[Value], form: int
    ) -> Value:
        """<LANES x i32> accumulators of `row` -> <LANES x i8>."""
        builder = self.builder
        place = _at(builder, acc, builder.mul(row, acc_stride))
        x = builder.sitofp(_load(builder, place, ir.VectorType(I32, LANES)), self.vector)
        if form == LEAKY:
            zero = ir.Constant(self.vector, [0.0] * LANES)
            x = builder.fadd(x, constants[BIAS])
            below = builder.fmul(_clamp(builder, x, None, zero), constants[SLOPE], flags=_FUSE)
            below = builder.fadd(below, constants[SLOPE_OFFSET], flags=_FUSE)
            x = builder.fadd(_clamp(builder, x, zero, None), _rint(builder, below))
        x = builder.fmul(x, constants[FACTOR], flags=_FUSE)
        x = builder.fadd(x, constants[OFFSET], flags=_FUSE)
        if form == TWICE:
            x = builder.fmul(_rint(builder, x), self.second, flags=_FUSE)
            x = builder.fadd(x, self.second_offset, flags=_FUSE)
        x = _rint(builder, _clamp(builder, x, self.low, self.high))
        q = builder.sub(builder.fptosi(x, ir.VectorType(I32, LANES)), self.zero)
        return builder.trunc(q, ir.VectorType(I8, LANES))

    def _store_part(self, spare: Value, place: Value, left: Value) -> None:
        """The first `left` < LANES bytes of `spare`, by halves."""
        builder = self.builder
        done: Value = I64(0)
        size = LANES // 2
        while size:
            kind = ir.IntType(8 * size)
            bit = builder.and_(left, I64(size))
            with builder.if_then(builder.icmp_signed("!=", bit, I64(0))):
                value = _load(builder, _at(builder, spare, done), kind)
                _store(builder, value, _at(builder, place, done))
            done = builder.add(done, bit)
            size //= 2

    def rows(
        self,
        acc: Value,
        acc_stride: Value,
        count: Value,
        rows: Value,
        out: Value,
        out_stride: Value,
        form: int,
    ) -> None:
        """acc int32 [rows, >= count], `acc_stride` bytes apart -> out int8, `out_stride` apart.

        Groups of columns outside, rows inside: a group's constants stay in registers. Reads (not
        writes) up to LANES - 1 accumulators and channels past `count`.
        """
        builder = self.builder
        octets = ir.VectorType(I8, LANES)
        with builder.goto_entry_block():
            spare = builder.alloca(octets)
        with Loop(builder, count, LANES, "finish.columns") as column:
            constants = self.constants(column, form)
            acc_column = _at(builder, acc, builder.shl(column, I64(2)))
            out_column = _at(builder, out, column)
            left = builder.sub(count, column)
            with builder.if_else(builder.icmp_signed(">=", left, I64(LANES))) as (full, part):
                with full, Loop(builder, rows, 1, "finish.row") as row:
                    value = self.value(acc_column, acc_stride, row, constants, form)
                    _store(builder, value, _at(builder, out_column, builder.mul(row, out_stride)))
                with part, Loop(builder, rows, 1, "finish.part") as row:
                    value = self.value(acc_column, acc_stride, row, constants, form)
                    builder.store(value, spare)
                    place = _at(builder, out_column, builder.mul(row, out_stride))
                    self._store_part(spare, place, left)


def emit_finish(
    builder: Builder,
    acc: Value,
    acc_stride: Value,
    ef: Value,
    channel: Value,
    pitch: Value,
    count: Value,
    rows: Value,
    out: Value,
    out_stride: Value,
) -> None:
    """All forms behind one uniform branch."""
    finish = FinishRows(builder, ef, channel, pitch)
    arguments = (acc, acc_stride, count, rows, out, out_stride)
    form = builder.fptosi(finish.form, I32)
    done = builder.append_basic_block("finish.done")
    blocks = [builder.append_basic_block(f"finish.form{index}") for index in range(LEAKY + 1)]
    switch = builder.switch(form, blocks[LINEAR])
    for index in (TWICE, LEAKY):
        switch.add_case(I32(index), blocks[index])
    for index, block in enumerate(blocks):
        builder.position_at_end(block)
        finish.rows(*arguments, form=index)
        builder.branch(done)
    builder.position_at_end(done)
