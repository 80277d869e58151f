"""Product of two tensors: rows of the first against a widened copy of the second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.finish_wide import finish_wide
from r329fast.kernels.leaves.tile import finish_rows
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import Prepared, Step, flip_of, integers
from r329fast.program.program import Op, TensorSpec

_INT32 = (1 << 31) - 1


@kernel
def matmul_rows(frame):  # type: ignore[no-untyped-def]
    """p: pairs, rows, inner, columns, a's strides (row, inner), b's (inner, column), flips, moves.

    scratch: int32 accumulators [columns], then int32 b [inner, columns] with its zero point.
    """
    p, a, b, ef, out, scratch = arrays(frame, "iuufuu")
    pairs, rows, inner, columns = p[0], p[1], p[2], p[3]
    flip_a, flip_b = np.uint8(p[8]), np.uint8(p[9])
    move_a, move_b, pitch = np.int32(p[10]), np.int32(p[11]), p[12]
    acc = scratch[: 4 * columns].view(np.int32)
    start = p[13]
    wide = scratch[start : start + 4 * inner * columns].view(np.int32)
    for pair in range(pairs):
        a0, b0 = pair * rows * inner, pair * inner * columns
        for k in range(inner):
            for j in range(columns):
                value = b[b0 + k * p[6] + j * p[7]] ^ flip_b
                wide[k * columns + j] = np.int32(np.int32(value) + move_b)
        for r in range(rows):
            acc[:] = 0
            for k in range(inner):
                left = np.int32(np.int32(a[a0 + r * p[4] + k * p[5]] ^ flip_a) + move_a)
                values = wide[k * columns : (k + 1) * columns]
                for j in range(columns):
                    acc[j] += np.int32(left * values[j])
            place = (pair * rows + r) * columns
            finish_rows(
                scratch.ctypes.data,
                0,
                ef.ctypes.data,
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
    p, a, b, ei, out = arrays(frame, "iuuiu")
    pairs, rows, inner, columns = p[0], p[1], p[2], p[3]
    for pair in range(pairs):
        a0, b0 = pair * rows * inner, pair * inner * columns
        for r in range(rows):
            for j in range(columns):
                total = 0
                for k in range(inner):
                    left = (np.int64(a[a0 + r * p[4] + k * p[5]]) ^ p[8]) + p[10]
                    right = (np.int64(b[b0 + k * p[6] + j * p[7]]) ^ p[9]) + p[11]
                    total += left * right
                value = finish_wide(total, ei, 0, 1)
                out[(pair * rows + r) * columns + j] = np.uint8(value & 255)


def prepare_matmul(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
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
    fixed = (rows, inner, columns, *strides_a, *strides_b, *flips, *moves)
    epilogue = prepare_epilogue(op, output, columns, bound)
    if epilogue.wide or bound > _INT32:
        wide = prepare_epilogue(op, output, 1, bound)

        def bind_wide(
            batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
        ) -> list[Step]:
            p = integers(batch * pairs, *fixed)
            return [(matmul_wide, (p, inputs[0], inputs[1], wide.ei, output))]

        return Prepared("int64-matmul", bind_wide, lambda batch: 0)
    start = -(-4 * columns // 64) * 64 + 64

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(batch * pairs, *fixed, epilogue.pitch, start)
        return [(matmul_rows, (p, inputs[0], inputs[1], epilogue.ef, output, scratch))]

    return Prepared("vector-matmul", bind, lambda batch: start + 4 * inner * columns + 256)
