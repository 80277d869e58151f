"""What all emitters of LLVM IR share: memory at byte offsets, vectors, loops, the dot product.

Written once over an `Isa`: only `dot` differs from path to path. Everything else is generic
vector IR that LLVM lowers for any target. Pointers are byte pointers, offsets bytes.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from llvmlite import ir

from r329fast.kernels.runtime.isa import Isa

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
BYTES = I8.as_pointer()
F32, F64 = ir.FloatType(), ir.DoubleType()
Builder = Any  # llvmlite's classes are untyped
Value = Any
# A byte pointer. As the annotation of an emitter's argument: a leaf that is called with an address
# (int64) hands this to the emitter.
Pointer = Annotated[Any, "pointer"]


@cache
def picks(order: tuple[int, ...]) -> Value:
    """The mask of a shuffle; made once, since its text takes longer than what it says."""
    return ir.Constant(ir.VectorType(I32, len(order)), list(order))


def splat(builder: Builder, value: Value, count: int) -> Value:
    """A vector of `count` times `value`."""
    nothing = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(nothing, value, I32(0))
    return builder.shuffle_vector(first, nothing, picks((0,) * count))


def declare(builder: Builder, name: str, result: Any, arguments: list[Any]) -> Value:
    """The intrinsic `name` of LLVM, declared once per module."""
    module = builder.function.module
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


def at(builder: Builder, pointer: Pointer, offset: Value | int) -> Pointer:
    """The address `offset` bytes after `pointer`."""
    offset = I64(offset) if isinstance(offset, int) else offset
    return builder.gep(pointer, [offset], source_etype=I8)


def load(builder: Builder, pointer: Pointer, kind: Any) -> Value:
    """A value of LLVM type `kind`, at any alignment."""
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()), typ=kind)
    value.align = 1
    return value


def store(builder: Builder, value: Value, pointer: Pointer) -> None:
    """Write `value`, at any alignment."""
    stored = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    stored.align = 1


def join(builder: Builder, values: list[Value]) -> Value:
    """One vector of all of theirs, a power of two of them."""
    while len(values) > 1:
        count = 2 * values[0].type.count
        mask = picks(tuple(range(count)))
        values = [
            builder.shuffle_vector(a, b, mask)
            for a, b in zip(values[::2], values[1::2], strict=True)
        ]
    return values[0]


def part_of(builder: Builder, value: Value, index: int, count: int) -> Value:
    """The elements of a vector from `index` times `count` on, so many."""
    mask = picks(tuple(range(index * count, (index + 1) * count)))
    return builder.shuffle_vector(value, value, mask)


def copy_bytes(builder: Builder, target: Pointer, source: Pointer, count: Value) -> None:
    """`count` bytes, not one more."""
    arguments = [BYTES, BYTES, I64, I1]
    copy = declare(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), arguments)
    builder.call(copy, [target, builder.bitcast(source, BYTES), count, I1(0)])


def generic_dot(builder: Builder, isa: Isa, acc: Value, a: Value, w: Value) -> Value:
    """The same sum in IR that every target has; LLVM finds instructions such as pmaddwd in it."""
    count, element = isa.kgroup * isa.lanes, ir.IntType(8 * isa.element)
    narrow, wide = ir.VectorType(element, count), ir.VectorType(I32, count)
    extend = builder.sext if isa.signed else builder.zext
    products = builder.mul(
        extend(builder.bitcast(a, narrow), wide), builder.sext(builder.bitcast(w, narrow), wide)
    )
    total = None
    for part in range(isa.kgroup):
        picked = [isa.kgroup * lane + part for lane in range(isa.lanes)]
        mask = ir.Constant(ir.VectorType(I32, isa.lanes), picked)
        values = builder.shuffle_vector(products, products, mask)
        total = values if total is None else builder.add(total, values)
    return builder.add(acc, total)


def dot(builder: Builder, isa: Isa, acc: Value, a: Value, w: Value) -> Value:
    """acc + products of `kgroup` neighbours, summed in each int32 lane; a, w: <lanes x i32>."""
    vector = ir.VectorType(I32, isa.lanes)
    if isa.emulated or isa.family == "plain" or (isa.family == "neon" and isa.element == 2):
        return generic_dot(builder, isa, acc, a, w)
    if isa.family in ("vnni512", "avxvnni"):
        instruction = "vpdpbusd" if isa.element == 1 else "vpdpwssd"
        name = f"llvm.x86.avx512.{instruction}.{32 * isa.lanes}"
        return builder.call(declare(builder, name, vector, [vector] * 3), [acc, a, w])
    if isa.family == "neon":
        octets = ir.VectorType(I8, 16)
        function = declare(
            builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", vector, [vector, octets, octets]
        )
        return builder.call(function, [acc, builder.bitcast(a, octets), builder.bitcast(w, octets)])
    words = ir.VectorType(I16, 2 * isa.lanes)
    name = "llvm.x86.avx512.pmaddw.d.512" if isa.lanes == 16 else "llvm.x86.avx2.pmadd.wd"
    pairs = builder.call(
        declare(builder, name, vector, [words, words]),
        [builder.bitcast(a, words), builder.bitcast(w, words)],
    )
    return builder.add(acc, pairs)


class Loop:
    """for (i = 0; i < limit; i += step), body between `with`; `index` is i."""

    def __init__(self, builder: Builder, limit: Value, step: int, name: str) -> None:
        self.builder, self.limit, self.step = builder, limit, step
        self.head = builder.append_basic_block(name + ".head")
        self.body = builder.append_basic_block(name + ".body")
        self.done = builder.append_basic_block(name + ".done")
        before = builder.basic_block
        builder.branch(self.head)
        builder.position_at_end(self.head)
        self.index = builder.phi(I64)
        self.index.add_incoming(I64(0), before)

    def __enter__(self) -> Value:
        inside = self.builder.icmp_signed("<", self.index, self.limit)
        self.builder.cbranch(inside, self.body, self.done)
        self.builder.position_at_end(self.body)
        return self.index

    def __exit__(self, *exc: object) -> None:
        following = self.builder.add(self.index, I64(self.step))
        self.index.add_incoming(following, self.builder.basic_block)
        self.builder.branch(self.head)
        self.builder.position_at_end(self.done)
