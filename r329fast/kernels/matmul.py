"""Product of two tensors: the tile of convolution, with the second tensor as its weights.

b of a pair is packed panel by panel into the bytes (or int16) that the tile multiplies; rows of a
are taken where they lie if the tile can read them so. Bytes lack a part of their integers, which
zero points and the tile's form take away: it comes back as a term per column, and per row where
b lacks one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels.epilogue import Epilogue, prepare_epilogue
from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.kernels.ir import gemm_tile as gemm_tile_ir
from r329fast.kernels.leaves.gemm_tile import HALF, row_tile_wide
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.leaves.vector import move_bytes
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import SLACK, OpPlan, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.words.products import prepare_product
from r329fast.program.program import Op, TensorSpec

_ROWS, _WIDTH, _KGROUP, _SIZE = ISA.rows, ISA.width, ISA.kgroup, ISA.element
_BITS = 8 * _SIZE  # of an operand
_MASK = (1 << _BITS) - 1
_KIND: Any = np.uint8 if _SIZE == 1 else np.int16
_LARGEST = (1 << 15) - 1  # of an int16 operand
_STORE = gemm_tile_ir.STORE


class Product(NamedTuple):
    """out [pairs, rows, columns] = a [pairs, rows, inner] * b [pairs, inner, columns]."""

    first: int  # pair (over all images) to begin with
    end: int
    rows: int
    inner: int
    columns: int
    a_row: int  # elements from one row of a to the next
    a_inner: int
    b_inner: int
    b_column: int
    flip_a: int  # 128 for int8, 0 for uint8
    flip_b: int


class Tiling(NamedTuple):
    """What the tile multiplies, and where it lies in scratch memory, in int32 (`_at`)."""

    steps: int  # of the tile's dot product
    packs: int  # 1: rows of a are packed, 0: they are read in place
    row_bytes: int  # from one row that the tile reads to the next
    add_a: int  # to (byte ^ flip) of a: the operand
    add_b: int
    lack_a: int  # added to an operand: the integer with its zero point
    lack_b: int
    constant: int  # of every term of a column
    whole_words: int  # 1: b [columns, inner] has four bytes of K in every word of memory
    flip_words: int  # what is exclusive-ored into those
    fuse: int  # the tile's own epilogue: STORE (none), ONCE or TWICE
    pitch: int  # entries of a row of epilogue constants
    constants_at: int
    biases_at: int  # among the constants
    terms_at: int  # of columns, then of rows
    terms: int  # of columns, with room for a whole panel
    words_at: int  # of a panel
    rows_at: int  # of packed rows, in bytes


@kernel_part
def pack_panel(p, t, b, b0, first, ints):  # type: ignore[no-untyped-def]
    """Operands of the columns from `first` on, [step][column][kgroup], and their sums."""
    left, words, terms = min(_WIDTH, p.columns - first), t.words_at, t.terms_at + first
    flip, add, column = np.uint8(p.flip_b), np.int32(t.add_b), p.b_column
    for j in range(left):
        ints[terms + j] = np.int32(0)
    if t.whole_words:
        whole, flips = b.view(np.int32), np.int32(t.flip_words)
        for j in range(left):
            start = b0 + (first + j) * column
            word = start // 4
            for step in range(t.steps):
                ints[words + step * _WIDTH + j] = whole[word + step] ^ flips
            total, octets = np.int32(0), b[start : start + p.inner]
            for k in range(p.inner):
                total += np.int32(octets[k] ^ flip)
            ints[terms + j] = np.int32(total + p.inner * add)
        return
    for i in range(words, words + t.steps * _WIDTH):
        ints[i] = np.int32(0)
    for k in range(p.inner):
        # one part of a word after the other, columns inside: vectors of them
        step = k // _KGROUP
        place, factor = words + step * _WIDTH, 1 << (k - step * _KGROUP) * _BITS
        source = b0 + k * p.b_inner + first * column
        totals, parts = ints[terms : terms + left], ints[place : place + left]
        if column == 1:
            octets = b[source : source + left]
            for j in range(left):
                value = np.int32(np.int32(octets[j] ^ flip) + add)
                totals[j] += value
                parts[j] |= np.int32(np.int64(value & _MASK) * factor)
        else:
            for j in range(left):
                value = np.int32(np.int32(b[source + j * column] ^ flip) + add)
                totals[j] += value
                parts[j] |= np.int32(np.int64(value & _MASK) * factor)


@kernel_part
def pack_left(p, t, a, a0, packed, ints):  # type: ignore[no-untyped-def]
    """Rows of a for the tile, where it cannot read them in place, and their terms."""
    flip, add = np.uint8(p.flip_a), np.int32(t.add_a)
    pitch = t.row_bytes // _SIZE
    for r in range(p.rows):
        start = a0 + r * p.a_row
        if t.packs:
            for k in range(p.inner):
                value = np.int32(a[start + k * p.a_inner] ^ flip)
                packed[r * pitch + k] = _KIND(np.int32(value + add))
        if t.lack_b:
            total = np.int32(0)
            for k in range(p.inner):
                total += np.int32(a[start + k * p.a_inner] ^ flip)
            ints[t.terms_at + t.terms + r] = np.int32(total * t.lack_b)


@kernel_part
def multiply_panel(p, t, rows_at, constants_at, first, ints, out):  # type: ignore[no-untyped-def]
    """All rows against the panel of columns from `first` on; out: of the pair."""
    columns, stride, steps, pitch = p.columns, t.row_bytes, t.steps, t.pitch
    left, count = min(_WIDTH, columns - first), min(HALF, p.rows)
    terms = ints[t.terms_at + first : t.terms_at + first + _WIDTH]
    now = t.fuse if left == _WIDTH and count == HALF else _STORE
    runs = (p.rows + HALF - 1) // HALF
    sums, last = ints.ctypes.data, p.rows - count
    words_at = sums + 4 * t.words_at
    for run in range(0, runs, 2):
        # the last run begins earlier; past it, it is made again
        r0, r1 = min(run * HALF, last), min((run + 1) * HALF, last)
        row_tile_wide(
            rows_at + r0 * stride, rows_at + r1 * stride, stride, 1, 0, steps, words_at,
            constants_at, first, pitch, now, sums, out + r0 * columns + first,
            out + r1 * columns + first, columns,
        )  # fmt: skip
        if now != _STORE:
            continue
        for index in range(min(2, runs - run)):
            place = min((run + index) * HALF, last)
            start = index * HALF * _WIDTH
            if t.fuse == _STORE:
                for row in range(count):
                    at = start + row * _WIDTH
                    own, term = ints[at : at + _WIDTH], ints[t.terms_at + t.terms + place + row]
                    for j in range(_WIDTH):
                        own[j] += np.int32(terms[j] + term)
            epilogue_rows(
                sums + 4 * start, 4 * _WIDTH, constants_at, first, pitch, left, count,
                out + place * columns + first, columns,
            )  # fmt: skip


@kernel
def matmul_tiles(frame):  # type: ignore[no-untyped-def]
    """Pairs first..end. The last panel begins earlier, where there are columns enough for one.

    scratch: int32 sums of a tile, the epilogue's constants with the biases of a pair, terms of
    columns and rows, a panel of b, rows of a.
    """
    p, t, a, b, epilogue, out, scratch = arrays(frame, Product, Tiling, "uufuu")
    rows, inner, columns = p.rows, p.inner, p.columns
    ints, packed = scratch[: t.rows_at].view(np.int32), scratch[t.rows_at :].view(_KIND)
    constants_at = scratch.ctypes.data + 4 * t.constants_at
    move_bytes(constants_at, 0, epilogue.ctypes.data, 0, 1, 8 * epilogue.size)
    for i in range(t.terms_at, t.words_at):
        ints[i] = np.int32(0)
    for pair in range(p.first, p.end):
        rows_at = packed.ctypes.data if t.packs else a.ctypes.data + pair * rows * inner
        if t.packs or t.lack_b:
            pack_left(p, t, a, pair * rows * inner, packed, ints)
        for column in range(0, columns, _WIDTH):
            first = max(min(column, columns - _WIDTH), 0)
            pack_panel(p, t, b, pair * inner * columns, first, ints)
            for j in range(first, min(first + _WIDTH, columns)):
                term = np.int32(ints[t.terms_at + j] * t.lack_a + t.constant)
                ints[t.terms_at + j] = term
                if t.fuse != _STORE:
                    ints[t.biases_at + j] = term
            multiply_panel(
                p, t, rows_at, constants_at, first, ints, out.ctypes.data + pair * rows * columns
            )


def prepare_matmul(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """Pairs of matrices; int64 where int32 or the tile's operands do not hold the numbers."""
    a = inputs[0]
    rows, columns = output.shape[-2:]
    inner = a.shape[-2] if op.integer("trans_a") else a.shape[-1]
    strides_a = (1, rows) if op.integer("trans_a") else (inner, 1)
    strides_b = (1, inner) if op.integer("trans_b") else (columns, 1)
    flips = [flip_of(spec) for spec in inputs]
    moves = [spec.zero_point - flip for spec, flip in zip(inputs, flips, strict=True)]
    reach = [max(abs(move), abs(255 + move)) for move in moves]
    bound = inner * reach[0] * reach[1]
    product = Product(
        first=0,
        end=int(np.prod(output.shape[:-2], dtype=np.int64)),
        rows=rows,
        inner=inner,
        columns=columns,
        a_row=strides_a[0],
        a_inner=strides_a[1],
        b_inner=strides_b[0],
        b_column=strides_b[1],
        flip_a=flips[0],
        flip_b=flips[1],
    )
    epilogue = prepare_epilogue(op, output, columns, bound)
    if epilogue.wide or bound > INT32_MAX or (_SIZE > 1 and max(reach) > _LARGEST):
        return prepare_product(op, inputs, output)
    return _prepare_tiles(product, epilogue, moves)


def _prepare_tiles(product: Product, epilogue: Epilogue, moves: Sequence[int]) -> OpPlan:
    """moves: added to (byte ^ flip) of a and b they give the integers with their zero points."""
    rows, inner, columns = product.rows, product.inner, product.columns
    adds = (moves[0], moves[1])
    if _SIZE == 1:  # b as int8; a as uint8, or as int8
        adds = (-128 if ISA.signed else 0, -128)
    lacks = (moves[0] - adds[0], moves[1] - adds[1])
    in_place = _SIZE == 1 and product.a_inner == 1 and rows >= HALF
    in_place = in_place and product.flip_a == (128 if ISA.signed else 0)
    fuse = gemm_tile_ir.fused(int(epilogue.constants[epilogue_ir.FORM]))
    steps = -(-inner // _KGROUP)
    row_bytes = inner if in_place else -(-steps * _KGROUP * _SIZE // 64) * 64 + 64
    terms = columns + _WIDTH
    constants_at = _ROWS * _WIDTH  # behind the sums of a tile
    terms_at = constants_at + -(-2 * epilogue.constants.size // 16) * 16
    words_at = terms_at + -(-(terms + rows + HALF) // 16) * 16
    rows_at = 4 * (words_at + steps * _WIDTH)
    tiling = Tiling(
        steps=steps,
        packs=int(not in_place),
        row_bytes=row_bytes,
        add_a=adds[0],
        add_b=adds[1],
        lack_a=lacks[0],
        lack_b=lacks[1],
        constant=inner * moves[0] * lacks[1],  # sums of rows are of bytes, not of operands
        whole_words=int(_SIZE == 1 and product.b_inner == 1 < inner and inner % 4 == 0),
        flip_words=0 if product.flip_b else 0x80808080 - (1 << 32),
        fuse=_STORE if lacks[1] else fuse,
        pitch=epilogue.pitch,
        constants_at=constants_at,
        biases_at=constants_at + 2 * epilogue_ir.HEADER + epilogue.pitch,
        terms_at=terms_at,
        terms=terms,
        words_at=words_at,
        rows_at=rows_at,
    )
    size = rows_at + (0 if in_place else max(rows, HALF) * row_bytes) + SLACK
    path, constants = f"{ISA.name}-matmul", (epilogue.constants,)
    return ranged_plan(path, matmul_tiles, product, constants, size, (pack(tiling),))


PREPARE = {"matmul": prepare_matmul}
