"""LLVM IR of quads of few channels: a row is taken as bytes, 16 in the lanes of a vector."""

from __future__ import annotations

from llvmlite import ir

from r329fast.kernels.ir.emit import I8, I32, I64, Builder, Pointer, Value, at, declare, load, splat


class FlatRows:
    """Quads of bytes of a row, of any columns and channels, each with those one and two columns on.

    channels: bytes of a run of output columns (`Kind`); pitch: of a column.
    """

    def __init__(
        self, builder: Builder, permutes: bool, stride: int, pitch: Value, channels: Value
    ) -> None:
        self.builder, self.permutes, self.stride = builder, permutes, stride
        self.pitch, self.channels = pitch, channels
        octets = ir.VectorType(I8, 64)
        lanes = ir.Constant(octets, [index // 4 for index in range(64)])
        columns = ir.Constant(octets, [(0, 1, 2, 0)[index % 4] for index in range(64)])
        between = splat(builder, builder.trunc(pitch, I8), 64)
        self.places = builder.add(lanes, builder.mul(columns, between))

    def quad(self, row: Pointer, run: int, quarter: int) -> Value:
        """For 16 bytes of a row of outputs, `run` runs on."""
        builder = self.builder
        begin = builder.mul(self.channels, I64(self.stride * run))
        start = at(builder, at(builder, row, begin), 16 * self.stride * quarter)
        if self.permutes:
            octets = self.places.type
            name = "llvm.x86.avx512.permvar.qi.512"
            permute = declare(builder, name, octets, [octets] * 2)
            mixed = builder.call(permute, [load(builder, start, octets), self.places])
            return builder.bitcast(mixed, ir.VectorType(I32, 16))
        words = ir.VectorType(I32, 16)
        value = ir.Constant(words, [0] * 16)
        for column in range(3):
            place = at(builder, start, builder.mul(self.pitch, I64(column)))
            wide = builder.zext(load(builder, place, ir.VectorType(I8, 16)), words)
            shift = ir.Constant(words, [8 * column] * 16)
            value = builder.or_(value, builder.shl(wide, shift))
        return value

    def ordered(self, value: Value) -> Value:
        """Bytes of two vectors of words in turns, 8 of each -> one after the other."""
        eights = self.builder.bitcast(value, ir.VectorType(I64, 8))
        mask = ir.Constant(ir.VectorType(I32, 8), [0, 2, 4, 6, 1, 3, 5, 7])
        return self.builder.bitcast(self.builder.shuffle_vector(eights, eights, mask), value.type)
