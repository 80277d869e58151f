"""LLVM IR of bytes widened to four vectors and back: one load and one store of a whole vector.

Quarter k of a vector of bytes has the bytes 4k..4k+3 of each 16, as int32: a shuffle within 16
bytes widens them, and the packing instructions of x86, which also work within 16 bytes, put
finished quarters back in order, saturated, so that no clamp is left but that of the upper bound.
"""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.ir.emit import (
    F32,
    F64,
    I8,
    I16,
    I32,
    Builder,
    Pointer,
    Value,
    at,
    declare,
    join,
    load,
    splat,
)
from r329fast.kernels.ir.epilogue import HIGH, LOW, ZERO_POINT, round_once
from r329fast.kernels.runtime.isa import Isa

PARTS = 4
_MAGIC_BITS = 0x4B400000  # of MAGIC, a float32
_PACKS = {16: ("avx512.packssdw.512", "avx512.packuswb.512"), 8: ("avx2.packssdw", "avx2.packuswb")}


def quarter_lanes(isa: Isa) -> int:
    """int32 of a quarter: what a vector of the path holds."""
    return {"vnni512": 16, "avx512": 16, "avxvnni": 8, "avx2": 8}.get(isa.family, 4)


def quarter_step(isa: Isa) -> int:
    """Bytes at once."""
    return PARTS * quarter_lanes(isa)


def quarter_order(isa: Isa) -> list[int]:
    """Which of the bytes at once each int32 of all quarters is, one quarter after the other."""
    return [
        16 * block + 4 * part + byte
        for part in range(PARTS)
        for block in range(quarter_lanes(isa) // 4)
        for byte in range(4)
    ]


class Quarters:
    """Widening and finishing for one path and one epilogue, of a float32 form."""

    def __init__(self, builder: Builder, isa: Isa, epilogue: Pointer) -> None:
        self.builder, self.lanes, self.step = builder, quarter_lanes(isa), quarter_step(isa)
        self.order = quarter_order(isa)
        self.octets, self.words = ir.VectorType(I8, self.step), ir.VectorType(I32, self.lanes)
        self.vector = ir.VectorType(F32, self.lanes)
        self.packs = not isa.emulated and self.lanes in _PACKS
        names = (LOW, HIGH, ZERO_POINT)
        low, high, zero = (
            builder.fptosi(load(builder, at(builder, epilogue, 8 * name), F64), I32)
            for name in names
        )
        base = builder.add(low, I32(_MAGIC_BITS))
        self.base = splat(builder, base, self.lanes)
        self.span = splat(builder, builder.trunc(builder.sub(high, low), I8), self.step)
        self.first = splat(builder, builder.trunc(builder.sub(low, zero), I8), self.step)

    def widen(self, octets: Value) -> list[Value]:
        """<step x i8> -> four <lanes x i32> of 0..255."""
        builder = self.builder
        zeros = ir.Constant(self.octets, [0] * self.step)
        parts = []
        for part in range(PARTS):
            mask = []
            for place in self.order[part * self.lanes : (part + 1) * self.lanes]:
                mask += [place] + [self.step + place] * 3
            wide = builder.shuffle_vector(
                octets, zeros, ir.Constant(ir.VectorType(I32, self.step), mask)
            )
            parts.append(builder.bitcast(wide, self.words))
        return parts

    def floats(self, octets: Value) -> list[Value]:
        """The same as float32."""
        return [self.builder.sitofp(part, self.vector) for part in self.widen(octets)]

    def finish(self, sums: list[Value], factors: list[Value], twice: bool) -> Value:
        """Four <lanes x float> exact sums and their factors -> <step x i8>."""
        builder = self.builder
        rounded = [
            builder.bitcast(round_once(builder, each, factor, twice), self.words)
            for each, factor in zip(sums, factors, strict=True)
        ]
        above = [builder.sub(each, self.base) for each in rounded]  # the lower bound
        octets = self._pack(above) if self.packs else self._narrow(above)
        name = f"llvm.umin.v{self.step}i8"
        function = declare(builder, name, self.octets, [self.octets] * 2)
        return builder.add(builder.call(function, [octets, self.span]), self.first)

    def _pack(self, values: list[Value]) -> Value:
        """int32 cut to 0..255 by the instructions that narrow."""
        builder, (to_words, to_bytes) = self.builder, _PACKS[self.lanes]
        halves = ir.VectorType(I16, 2 * self.lanes)
        words = declare(builder, f"llvm.x86.{to_words}", halves, [self.words] * 2)
        octets = declare(builder, f"llvm.x86.{to_bytes}", self.octets, [halves] * 2)
        pairs = [builder.call(words, values[i : i + 2]) for i in (0, 2)]
        return builder.call(octets, pairs)

    def _narrow(self, values: list[Value]) -> Value:
        """The same for any target."""
        builder, kind = self.builder, self.words
        suffix = f"v{self.lanes}i32"
        most, least = (
            declare(builder, f"llvm.{name}.{suffix}", kind, [kind] * 2) for name in ("smin", "smax")
        )
        zeros, full = (ir.Constant(kind, [limit] * self.lanes) for limit in (0, 255))
        narrow = [
            builder.trunc(
                builder.call(most, [builder.call(least, [value, zeros]), full]),
                ir.VectorType(I8, self.lanes),
            )
            for value in values
        ]
        places = [self.order.index(byte) for byte in range(self.step)]
        joined = join(builder, narrow)
        mask = ir.Constant(ir.VectorType(I32, self.step), places)
        return builder.shuffle_vector(joined, joined, mask)
