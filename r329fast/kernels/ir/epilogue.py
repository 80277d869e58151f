"""LLVM IR of the epilogue: int32 accumulators to int8, by rows of channels, all acts and roundings.

In float32, where a fused multiply-add does the rounding (`epilogue.py` checks when that is exact):

    ONCE       t = fma(a + bias, factor, MAGIC)                         (NONE and RELU)
    TWICE      t = fma(fma(a + bias, factor, MAGIC), 1/256, MAGIC - MAGIC / 256)  (CLIP)
    q = low byte of clamp(t, MAGIC + low, MAGIC + high) - zero_point

In float64, everything else:

    WIDE        z = a * factor + offset                                 (NONE and RELU)
    WIDE_TWICE  z = rint(a * factor + offset) * second + second_offset  (CLIP)
    LEAKY       s = max(a', 0) + rint(min(a', 0) * slope + slope_offset),  a' = a + bias
                z = s * factor + offset
    q = int(rint(clamp(z, low, high))) - zero_point

where the bias is in offset unless LEAKY. `epilogue.py` lays out the array `epilogue`.
"""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    F32,
    F64,
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
    splat,
    store,
)

LANES = 16  # channels per step: LLVM splits the vectors as the target needs
HEADER = 8  # doubles before the channel rows of `epilogue`
LOW, HIGH, SECOND, SECOND_OFFSET, ZERO_POINT, FORM = range(6)
FACTOR, OFFSET, BIAS, SLOPE, SLOPE_OFFSET = range(5)
WIDE, WIDE_TWICE, LEAKY, ONCE, TWICE = range(5)
MAGIC = 3.0 * (1 << 22)  # float32 from here to 2**24 are integers, and this one's low byte is 0
_FUSE = ("contract",)  # every product and sum is exact, so that fusing them changes nothing


def _rint(builder: Builder, value: Value) -> Value:
    name = f"llvm.rint.v{LANES}f64"
    return builder.call(declare(builder, name, value.type, [value.type]), [value])


def _clamp(builder: Builder, value: Value, low: Value | None, high: Value | None) -> Value:
    if low is not None:
        value = builder.select(builder.fcmp_ordered(">", value, low), value, low)
    if high is not None:
        value = builder.select(builder.fcmp_ordered("<", value, high), value, high)
    return value


def fma(builder: Builder, a: Value, b: Value, c: Value) -> Value:
    """a * b + c of float32 vectors, rounded once."""
    kind = a.type
    function = declare(builder, f"llvm.fma.v{kind.count}f32", kind, [kind] * 3)
    return builder.call(function, [a, b, c])


def round_once(builder: Builder, x: Value, factors: Value, twice: bool = False) -> Value:
    """MAGIC + the integer that exact sums (float32) times their factors round to, half to even."""
    kind = x.type
    x = fma(builder, x, factors, ir.Constant(kind, [MAGIC] * kind.count))
    return round_again(builder, x) if twice else x


def round_again(builder: Builder, x: Value) -> Value:
    """MAGIC + r -> MAGIC + r / 256, rounded; all but the rounding is exact."""
    kind = x.type
    small = ir.Constant(kind, [1 / 256] * kind.count)
    return fma(builder, x, small, ir.Constant(kind, [MAGIC - MAGIC / 256] * kind.count))


def is_twice(builder: Builder, epilogue: Pointer) -> Value:
    """Whether a float32 form rounds twice."""
    form = load(builder, at(builder, epilogue, 8 * FORM), F64)
    return builder.fcmp_ordered("==", form, F64(TWICE))


class Rounded:
    """The float32 forms, from `channel` on; each has a float32 factor and an int32 bias."""

    def __init__(
        self, builder: Builder, epilogue: Pointer, channel: Value, pitch: Value, lanes: int = LANES
    ) -> None:
        self.builder, self.pitch, self.lanes = builder, pitch, lanes
        first = builder.add(builder.shl(channel, I64(2)), I64(8 * HEADER))
        self.channels = at(builder, epilogue, first)
        self.vector, self.words = ir.VectorType(F32, lanes), ir.VectorType(I32, lanes)
        scalars = [load(builder, at(builder, epilogue, 8 * name), F64) for name in (LOW, HIGH)]
        self.low, self.high = (
            splat(builder, builder.fptrunc(builder.fadd(v, F64(MAGIC)), F32), lanes)
            for v in scalars
        )
        zero = load(builder, at(builder, epilogue, 8 * ZERO_POINT), F64)
        self.zero = splat(builder, builder.trunc(builder.fptosi(zero, I32), I8), lanes)

    def factors(self, column: Value) -> Value:
        """Factors of the channels `column` further on."""
        place = at(self.builder, self.channels, self.builder.shl(column, I64(2)))
        return load(self.builder, place, self.vector)

    def biases_at(self, column: Value) -> Value:
        """Address of their biases."""
        builder = self.builder
        return at(builder, self.channels, builder.shl(builder.add(column, self.pitch), I64(2)))

    def constants(self, column: Value) -> list[Value]:
        """Factors and biases, as `EpilogueRows` wants them."""
        return [self.factors(column), load(self.builder, self.biases_at(column), self.words)]

    def value(self, sums: Value, factors: Value, twice: bool) -> Value:
        """<lanes x i32> sums, bias included -> <lanes x i8>."""
        return self.rounded(self.builder.sitofp(sums, self.vector), factors, twice)

    def rounded(self, x: Value, factors: Value, twice: bool) -> Value:
        """<lanes x float> exact sums -> <lanes x i8>."""
        builder = self.builder
        x = round_once(builder, x, factors, twice)
        x = _clamp(builder, x, self.low, self.high)
        octets = builder.trunc(builder.bitcast(x, self.words), ir.VectorType(I8, self.lanes))
        return builder.sub(octets, self.zero)


def store_part(
    builder: Builder, spare: Pointer, place: Pointer, left: Value, whole: int = LANES
) -> None:
    """The first `left` < `whole` bytes of `spare` to `place`, by halves."""
    done: Value = I64(0)
    size = whole // 2
    while size:
        kind = ir.IntType(8 * size)
        bit = builder.and_(left, I64(size))
        with builder.if_then(builder.icmp_signed("!=", bit, I64(0))):
            value = load(builder, at(builder, spare, done), kind)
            store(builder, value, at(builder, place, done))
        done = builder.add(done, bit)
        size //= 2


class EpilogueRows:
    """Emits the loops; `channels` is the pointer to the first channel's factor."""

    def __init__(self, builder: Builder, epilogue: Pointer, channel: Value, pitch: Value) -> None:
        self.builder, self.pitch = builder, pitch
        self.header = epilogue
        first = builder.add(builder.shl(channel, I64(3)), I64(8 * HEADER))
        self.channels = at(builder, epilogue, first)
        vector = ir.VectorType(F64, LANES)
        self.vector = vector
        names = (LOW, HIGH, SECOND, SECOND_OFFSET, ZERO_POINT)
        scalars = [load(builder, at(builder, epilogue, 8 * name), F64) for name in names]
        self.low, self.high, self.second, self.second_offset = (
            splat(builder, scalar, LANES) for scalar in scalars[:4]
        )
        self.zero = splat(builder, builder.fptosi(scalars[4], I32), LANES)
        self.form = load(builder, at(builder, epilogue, 8 * FORM), F64)
        self.rounded = Rounded(builder, epilogue, channel, pitch)

    def _row(self, index: Value, column: Value) -> Value:
        builder = self.builder
        offset = builder.mul(self.pitch, index)
        place = builder.shl(builder.add(offset, column), I64(3))
        return load(builder, at(builder, self.channels, place), self.vector)

    def constants(self, column: Value, form: int) -> list[Value]:
        """Channel vectors at `column`, as many as the form needs, indexed by FACTOR and so on."""
        if form in (ONCE, TWICE):
            return self.rounded.constants(column)
        count = SLOPE_OFFSET + 1 if form == LEAKY else OFFSET + 1
        return [self._row(I64(index), column) for index in range(count)]

    def value(
        self, acc: Pointer, acc_stride: Value, row: Value, constants: list[Value], form: int
    ) -> Value:
        """<LANES x i32> accumulators of `row` -> <LANES x i8>."""
        builder = self.builder
        place = at(builder, acc, builder.mul(row, acc_stride))
        sums = load(builder, place, ir.VectorType(I32, LANES))
        if form in (ONCE, TWICE):
            factors, biases = constants
            return self.rounded.value(builder.add(sums, biases), factors, form == TWICE)
        x = builder.sitofp(sums, self.vector)
        if form == LEAKY:
            zero = ir.Constant(self.vector, [0.0] * LANES)
            x = builder.fadd(x, constants[BIAS])
            below = builder.fmul(_clamp(builder, x, None, zero), constants[SLOPE], flags=_FUSE)
            below = builder.fadd(below, constants[SLOPE_OFFSET], flags=_FUSE)
            x = builder.fadd(_clamp(builder, x, zero, None), _rint(builder, below))
        x = builder.fmul(x, constants[FACTOR], flags=_FUSE)
        x = builder.fadd(x, constants[OFFSET], flags=_FUSE)
        if form == WIDE_TWICE:
            x = builder.fmul(_rint(builder, x), self.second, flags=_FUSE)
            x = builder.fadd(x, self.second_offset, flags=_FUSE)
        x = _rint(builder, _clamp(builder, x, self.low, self.high))
        q = builder.sub(builder.fptosi(x, ir.VectorType(I32, LANES)), self.zero)
        return builder.trunc(q, ir.VectorType(I8, LANES))

    def rows(
        self,
        acc: Pointer,
        acc_stride: Value,
        count: Value,
        rows: Value,
        out: Pointer,
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
        # the last columns go through a spare vector, so that nothing past them is written
        with Loop(builder, count, LANES, "epilogue.columns") as column:
            constants = self.constants(column, form)
            acc_column = at(builder, acc, builder.shl(column, I64(2)))
            out_column = at(builder, out, column)
            left = builder.sub(count, column)
            with builder.if_else(builder.icmp_signed(">=", left, I64(LANES))) as (full, part):
                with full, Loop(builder, rows, 1, "epilogue.row") as row:
                    value = self.value(acc_column, acc_stride, row, constants, form)
                    store(builder, value, at(builder, out_column, builder.mul(row, out_stride)))
                with part, Loop(builder, rows, 1, "epilogue.part") as row:
                    value = self.value(acc_column, acc_stride, row, constants, form)
                    builder.store(value, spare)
                    place = at(builder, out_column, builder.mul(row, out_stride))
                    store_part(builder, spare, place, left)


def emit_epilogue(
    builder: Builder,
    acc: Pointer,
    acc_stride: Value,
    epilogue: Pointer,
    channel: Value,
    pitch: Value,
    count: Value,
    rows: Value,
    out: Pointer,
    out_stride: Value,
) -> None:
    """All forms behind one uniform branch."""
    forms = EpilogueRows(builder, epilogue, channel, pitch)
    arguments = (acc, acc_stride, count, rows, out, out_stride)
    form = builder.fptosi(forms.form, I32)
    done = builder.append_basic_block("epilogue.done")
    blocks = [builder.append_basic_block(f"epilogue.form{index}") for index in range(TWICE + 1)]
    switch = builder.switch(form, blocks[WIDE])
    for index in range(WIDE_TWICE, TWICE + 1):
        switch.add_case(I32(index), blocks[index])
    for index, block in enumerate(blocks):
        builder.position_at_end(block)
        forms.rows(*arguments, form=index)
        builder.branch(done)
    builder.position_at_end(done)
