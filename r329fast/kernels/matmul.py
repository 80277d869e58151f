"""Product of two tensors: rows of the first against a widened copy of the second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.epilogue_wide import epilogue_wide
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec


class Product(NamedTuple):
    """out [pairs, rows, columns] = a [pairs, rows, inner] * b [pairs, inner, columns]."""

    pairs: int  # over all images
    rows: int
    inner: int
    columns: int
    a_row: int  # elements from one row of a to the next
    a_inner: int
    b_inner: int
    b_column: int
    flip_a: int  # 128 for int8, 0 for uint8
    flip_b: int
    move_a: int  # added to (byte ^ flip): the integer with its zero point
    move_b: int


class Widened(NamedTuple):
    pitch: int  # entries of a row of epilogue constants
    start: int  # byte of the scratch memory where the widened b begins


@kernel
def matmul_rows(frame):  # type: ignore[no-untyped-def]
    """Rows of a against b, which is widened once per pair: its columns are then whole vectors.

    scratch: int32 accumulators [columns], then int32 b [inner, columns] with its zero point.
    """
    p, s, a, b, epilogue, out, scratch = arrays(frame, Product, Widened, "uufuu")
    pairs, rows, inner, columns = p.pairs, p.rows, p.inner, p.columns
    flip_a, flip_b = np.uint8(p.flip_a), np.uint8(p.flip_b)
    move_a, move_b = np.int32(p.move_a), np.int32(p.move_b)
    acc = scratch[: 4 * columns].view(np.int32)
    start, pitch = s.start, s.pitch
    wide = scratch[start : start + 4 * inner * columns].view(np.int32)
    for pair in range(pairs):
        a0, b0 = pair * rows * inner, pair * inner * columns
        # b with its zero point, [inner, columns] whatever its strides: all rows of a use it.
        for k in range(inner):
            for j in range(columns):
                value = b[b0 + k * p.b_inner + j * p.b_column] ^ flip_b
                wide[k * columns + j] = np.int32(np.int32(value) + move_b)
        for r in range(rows):
            # One factor of a times a row of b, columns inside: vectors of accumulators.
            acc[:] = 0
            for k in range(inner):
                left = np.int32(np.int32(a[a0 + r * p.a_row + k * p.a_inner] ^ flip_a) + move_a)
                values = wide[k * columns : (k + 1) * columns]
                for j in range(columns):
                    acc[j] += np.int32(left * values[j])
            place = (pair * rows + r) * columns
            epilogue_rows(
                scratch.ctypes.data,
                0,
                epilogue.ctypes.data,
                0,
                pitch,
                columns,
                1,
                out.ctypes.data + place,
                0,
            )


@kernel
def matmul_wide(frame):  # type: ignore[no-untyped-def]
    """The same in int64, a value at a time."""
    p, a, b, epilogue, out = arrays(frame, Product, "uuiu")
    pairs, rows, inner, columns = p.pairs, p.rows, p.inner, p.columns
    for pair in range(pairs):
        a0, b0 = pair * rows * inner, pair * inner * columns
        for r in range(rows):
            for j in range(columns):
                total = 0
                for k in range(inner):
                    left = np.int64(a[a0 + r * p.a_row + k * p.a_inner])
                    right = np.int64(b[b0 + k * p.b_inner + j * p.b_column])
                    total += ((left ^ p.flip_a) + p.move_a) * ((right ^ p.flip_b) + p.move_b)
                value = epilogue_wide(total, epilogue, 0, 1)
                out[(pair * rows + r) * columns + j] = np.uint8(value & 255)


def prepare_matmul(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    a = inputs[0]
    rows, columns = output.shape[-2:]
    inner = a.shape[-2] if op.integer("trans_a") else a.shape[-1]
    strides_a = (1, rows) if op.integer("trans_a") else (inner, 1)
    strides_b = (1, inner) if op.integer("trans_b") else (columns, 1)
    flips = [flip_of(spec) for spec in inputs]
    moves = [spec.zero_point - flip for spec, flip in zip(inputs, flips, strict=True)]
    reach = [max(abs(move), abs(255 + move)) for move in moves]
    bound = inner * reach[0] * reach[1]
    pairs = int(np.prod(output.shape[:-2], dtype=np.int64))
    product = Product(
        pairs=pairs,
        rows=rows,
        inner=inner,
        columns=columns,
        a_row=strides_a[0],
        a_inner=strides_a[1],
        b_inner=strides_b[0],
        b_column=strides_b[1],
        flip_a=flips[0],
        flip_b=flips[1],
        move_a=moves[0],
        move_b=moves[1],
    )
    epilogue = prepare_epilogue(op, output, columns, bound)
    if epilogue.wide or bound > INT32_MAX:
        wide = prepare_epilogue(op, output, 1, bound)

        def bind_wide(
            batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
        ) -> list[Step]:
            p = pack(product._replace(pairs=batch * pairs))
            return [(matmul_wide, (p, inputs[0], inputs[1], wide.wide_constants, output))]

        return OpPlan("int64-matmul", bind_wide, lambda batch: 0)
    start = -(-4 * columns // 64) * 64 + 64
    widened = Widened(pitch=epilogue.pitch, start=start)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p, s = pack(product._replace(pairs=batch * pairs)), pack(widened)
        return [(matmul_rows, (p, s, inputs[0], inputs[1], epilogue.constants, output, scratch))]

    return OpPlan("vector-matmul", bind, lambda batch: start + 4 * inner * columns + 256)


PREPARE = {"matmul": prepare_matmul}
