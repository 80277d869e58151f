"""LLVM IR of the register tile and of the row copy that feeds it.

Written once over an `Isa`: only `_dot` differs from path to path. Everything else is generic
vector IR that LLVM lowers for any target. Pointers are byte pointers, offsets bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from r329fast.kernels.runtime.isa import Isa

COPY = 32  # elements that the row copy moves at once
SHORT = 4  # vectors of a row that the copy takes by straight code
GAP = 64  # bytes between packed rows: keeps rows out of each other's cache sets, takes overrun

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()
Value = Any  # llvmlite's values are untyped
Builder = Any


def _splat(builder: Builder, value: Value, count: int) -> Value:
    vector = ir.VectorType(value.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(
        first,
        ir.Constant(vector, ir.Undefined),
        ir.Constant(ir.VectorType(I32, count), [0] * count),
    )


def _declare(builder: Builder, name: str, result: Any, arguments: list[Any]) -> Value:
    module = builder.function.module
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


def _at(builder: Builder, pointer: Value, offset: Value | int) -> Value:
    offset = I64(offset) if isinstance(offset, int) else offset
    return builder.gep(pointer, [offset], source_etype=I8)


def _load(builder: Builder, pointer: Value, kind: Any) -> Value:
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()), typ=kind)
    value.align = 1
    return value


def _store(builder: Builder, value: Value, pointer: Value) -> None:
    stored = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    stored.align = 1


def _join(builder: Builder, values: list[Value]) -> Value:
    """One vector of all of theirs, a power of two of them."""
    while len(values) > 1:
        count = 2 * values[0].type.count
        mask = ir.Constant(ir.VectorType(I32, count), list(range(count)))
        values = [
            builder.shuffle_vector(a, b, mask)
            for a, b in zip(values[::2], values[1::2], strict=True)
        ]
    return values[0]


def _move(builder: Builder, target: Value, source: Value, count: Value) -> None:
    """`count` bytes, not one more."""
    byte = ir.IntType(8).as_pointer()
    arguments = [byte, byte, I64, I1]
    copy = _declare(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), arguments)
    builder.call(copy, [target, builder.bitcast(source, byte), count, I1(0)])


def _generic_dot(builder: Builder, isa: Isa, acc: Value, a: Value, w: Value) -> Value:
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


def _dot(builder: Builder, isa: Isa, acc: Value, a: Value, w: Value) -> Value:
    """acc + products of `kgroup` neighbours, summed in each int32 lane; a, w: <lanes x i32>."""
    vector = ir.VectorType(I32, isa.lanes)
    if isa.emulated or isa.family == "plain" or (isa.family == "neon" and isa.element == 2):
        return _generic_dot(builder, isa, acc, a, w)
    if isa.family in ("vnni512", "avxvnni"):
        instruction = "vpdpbusd" if isa.element == 1 else "vpdpwssd"
        name = f"llvm.x86.avx512.{instruction}.{32 * isa.lanes}"
        return builder.call(_declare(builder, name, vector, [vector] * 3), [acc, a, w])
    if isa.family == "neon":
        octets = ir.VectorType(I8, 16)
        function = _declare(
            builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", vector, [vector, octets, octets]
        )
        return builder.call(function, [acc, builder.bitcast(a, octets), builder.bitcast(w, octets)])
    words = ir.VectorType(I16, 2 * isa.lanes)
    name = "llvm.x86.avx512.pmaddw.d.512" if isa.lanes == 16 else "llvm.x86.avx2.pmadd.wd"
    pairs = builder.call(
        _declare(builder, name, vector, [words, words]),
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


def _copy_vector(
    builder: Builder, element: int, dst: Value, src: Value, index: Value, flips: Value, signed: bool
) -> None:
    """COPY elements at `index`, in the form of `emit_copy`."""
    value = _load(builder, _at(builder, src, index), ir.VectorType(I8, COPY))
    if element == 1:
        _store(builder, builder.xor(value, flips), _at(builder, dst, index))
    else:
        extend = builder.sext if signed else builder.zext
        place = _at(builder, dst, builder.shl(index, I64(1)))
        _store(builder, extend(value, ir.VectorType(I16, COPY)), place)


def _copy_any_rows(
    builder: Builder,
    element: int,
    dst: Value,
    dst_stride: Value,
    src: Value,
    src_stride: Value,
    rows: Value,
    count: Value,
    end: Value,
    flip: Value,
    signed: bool,
) -> None:
    """Rows of any length; whole vectors where a row lasts until `end`, single elements after."""
    octet = builder.trunc(flip, I8)
    flips = _splat(builder, octet, COPY)
    rounded = builder.and_(builder.add(count, I64(COPY - 1)), I64(-COPY))
    with Loop(builder, rows, 1, "copy.row") as row:
        source = _at(builder, src, builder.mul(row, src_stride))
        target = _at(builder, dst, builder.mul(row, dst_stride))
        room = builder.sub(end, builder.ptrtoint(source, I64))
        free = builder.icmp_signed("<=", rounded, room)
        whole = builder.select(free, rounded, builder.and_(count, I64(-COPY)))
        with Loop(builder, whole, COPY, "copy") as index:
            _copy_vector(builder, element, target, source, index, flips, signed)
        with (
            builder.if_then(builder.icmp_signed("<", whole, count), likely=False),
            Loop(builder, builder.sub(count, whole), 1, "copy.rest") as index,
        ):
            place = builder.add(index, whole)
            single = _load(builder, _at(builder, source, place), I8)
            if element == 1:
                _store(builder, builder.xor(single, octet), _at(builder, target, place))
            else:
                extend = builder.sext if signed else builder.zext
                double = _at(builder, target, builder.shl(place, I64(1)))
                _store(builder, extend(single, I16), double)


def _copy_rows(
    builder: Builder,
    element: int,
    dst: Value,
    dst_stride: Value,
    src: Value,
    src_stride: Value,
    rows: Value,
    count: Value,
    end: Value,
    flip: Value,
    signed: bool,
) -> None:
    """Short rows (up to SHORT vectors) far from `end` by straight code, all others by loops."""
    flips = _splat(builder, builder.trunc(flip, I8), COPY)
    vectors = builder.lshr(builder.add(count, I64(COPY - 1)), I64(COPY.bit_length() - 1))
    last = builder.mul(builder.sub(rows, I64(1)), src_stride)
    read = builder.add(
        builder.add(builder.ptrtoint(src, I64), last), builder.mul(vectors, I64(COPY))
    )
    far = builder.icmp_signed("<=", read, end)
    done = builder.append_basic_block("copy.done")
    any_rows = builder.append_basic_block("copy.any")
    blocks = [builder.append_basic_block(f"copy.short{n}") for n in range(1, SHORT + 1)]
    switch = builder.switch(builder.select(far, vectors, I64(0)), any_rows)
    for size, block in enumerate(blocks, 1):
        switch.add_case(I64(size), block)
        builder.position_at_end(block)
        with Loop(builder, rows, 1, "copy.short") as row:
            source = _at(builder, src, builder.mul(row, src_stride))
            target = _at(builder, dst, builder.mul(row, dst_stride))
            for vector in range(size):
                _copy_vector(builder, element, target, source, I64(COPY * vector), flips, signed)
        builder.branch(done)
    builder.position_at_end(any_rows)
    _copy_any_rows(
        builder, element, dst, dst_stride, src, src_stride, rows, count, end, flip, signed
    )
    builder.branch(done)
    builder.position_at_end(done)


def emit_copy(
    builder: Builder,
    element: int,
    dst: Value,
    dst_stride: Value,
    src: Value,
    src_stride: Value,
    rows: Value,
    count: Value,
    end: Value,
    flip: Value,
) -> None:
    """`count` elements of each of `rows` rows, `src_stride` apart, to rows `dst_stride` apart.

    element 1: bytes q ^ flip, that is q + 128 as uint8, or q - 128 as int8, where a tile needs it;
    element 2: the int16 value of an int8 (flip 128) or uint8 (flip 0). Whole vectors are
    moved wherever the input lasts until `end`, so that up to COPY - 1 elements after a row's last
    are overwritten: spans of a row are filled in ascending order.
    """
    arguments = (builder, element, dst, dst_stride, src, src_stride, rows, count, end, flip)
    if element == 1:
        _copy_rows(*arguments, signed=False)
        return
    with builder.if_else(builder.icmp_signed("!=", flip, I64(0))) as (then, otherwise):
        with then:
            _copy_rows(*arguments, signed=True)
        with otherwise:
            _copy_rows(*arguments, signed=False)
