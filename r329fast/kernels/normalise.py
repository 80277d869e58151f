"""Softmax in its integer forms, log softmax and local response normalisation, in int64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r329fast.kernels.epilogue import ROUNDING_CODES, prepare_epilogue
from r329fast.kernels.finish_wide import finish_wide, round_shift_wide
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import Prepared, Step, flip_of, integers
from r329fast.program.program import Op, TensorSpec

_SQRT2_Q30 = 1518500250  # sqrt(2) * 2**30


@kernel
def softmax_lut_lines(frame):  # type: ignore[no-untyped-def]
    """p: outer, n, inner, flip, form, bits, M, N, rounding, zero point, qmin, qmax, log."""
    p, x, table, log_table, out = arrays(frame, "iuiiu")
    outer, n, inner, flip, form, bits = p[0], p[1], p[2], p[3], p[4], p[5]
    mult, shift, rounding = p[6], p[7], p[8]
    for line in range(outer * inner):
        start = line // inner * n * inner + line % inner
        largest = 0
        for i in range(n):
            largest = max(largest, np.int64(x[start + i * inner]) ^ flip)
        total = 0
        for i in range(n):
            total += table[(np.int64(x[start + i * inner]) ^ flip) - largest + 255]
        total = max(total, 1)
        reciprocal = (mult << bits) // total
        for i in range(n):
            power = table[(np.int64(x[start + i * inner]) ^ flip) - largest + 255]
            if form == 0:
                product = ((power << bits) + (total >> 1)) // total * mult
            else:
                product = power * reciprocal
            value = round_shift_wide(product, shift + bits, rounding) - p[9]
            value = min(max(value, p[10]), p[11])
            if p[12]:
                value = log_table[value]
            out[start + i * inner] = np.uint8(value & 255)


@kernel
def softmax_fast_exp_lines(frame):  # type: ignore[no-untyped-def]
    """p: outer, n, inner, flip, mult_in, shift_in, q_bits."""
    p, x, out = arrays(frame, "iuu")
    outer, n, inner, flip, mult_in, shift_in, q_bits = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    for line in range(outer * inner):
        start = line // inner * n * inner + line % inner
        largest = 0
        for i in range(n):
            largest = max(largest, np.int64(x[start + i * inner]) ^ flip)
        total = 0
        for i in range(n):
            distance = (np.int64(x[start + i * inner]) ^ flip) - largest
            power = q_bits + ((distance * mult_in) >> shift_in)
            if power >= 0:
                total += 1 << min(power, 62)
        total = min(max(total, 1), 2147483647)
        zeros = 0
        for _ in range(30):
            if total << zeros < 1 << 30:
                zeros += 1
        log = -((zeros - (30 - q_bits)) << 1)
        if total << zeros > _SQRT2_Q30:
            log += 1
        for i in range(n):
            distance = (np.int64(x[start + i * inner]) ^ flip) - largest
            exponent = (distance * mult_in) >> shift_in
            result = (((exponent + 8) << 1) - log) >> 1
            value = 1 << min(result, 62) if result >= 0 else 0
            out[start + i * inner] = np.uint8(min(value, 255))


@kernel
def lrn_rows(frame):  # type: ignore[no-untyped-def]
    """p: rows, channels, flip, move, before, after, sum_mult, sum_shift, rounding, entries."""
    p, x, table, ei, out = arrays(frame, "iuiiu")
    rows, channels, flip, move, before, after = p[0], p[1], p[2], p[3], p[4], p[5]
    for r in range(rows):
        start = r * channels
        for c in range(channels):
            total = 0
            for i in range(max(c - before, 0), min(c + after, channels - 1) + 1):
                near = (np.int64(x[start + i]) ^ flip) + move
                total += near * near
            scaled = round_shift_wide(total * p[6], p[7], p[8])
            u = min(max(scaled, 0), 65535)
            index, fraction = u >> 8, u & 255
            low = table[index]
            factor = low + (((table[min(index + 1, 255)] - low) * fraction) >> 8)
            value = finish_wide(
                ((np.int64(x[start + c]) ^ flip) + move) * factor, ei, c % p[9], p[9]
            )
            out[start + c] = np.uint8(value & 255)


def _lines(x: TensorSpec, axis: int) -> tuple[int, int, int]:
    """(outer, n, inner) of `axis`."""
    outer = int(np.prod(x.shape[:axis], dtype=np.int64))
    return outer, x.shape[axis], int(np.prod(x.shape[axis + 1 :], dtype=np.int64))


def prepare_softmax(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
    """softmax_lut and log_softmax."""
    x, log = inputs[0], op.kind == "log_softmax"
    outer, n, inner = _lines(x, op.integer("axis"))
    bounds = (0, 0, 255) if log else (output.zero_point, output.qmin, output.qmax)
    fixed = (
        n,
        inner,
        flip_of(x),
        op.integer("form"),
        op.integer("bits"),
        int(op.consts["mult"][0]),
        int(op.consts["shift"][0]),
        ROUNDING_CODES[op.text("rounding")],
        *bounds,
        int(log),
    )
    table = op.consts["table"].astype(np.int64)
    log_table = op.consts["log_table"].astype(np.int64) if log else np.zeros(1, dtype=np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(batch * outer, *fixed)
        return [(softmax_lut_lines, (p, inputs[0], table, log_table, output))]

    return Prepared("int64-softmax", bind, lambda batch: 0)


def prepare_softmax_fast_exp(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
    x = inputs[0]
    outer, n, inner = _lines(x, op.integer("axis"))
    words = (op.integer("mult_in"), op.integer("shift_in"), op.integer("q_bits"))

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(batch * outer, n, inner, flip_of(x), *words)
        return [(softmax_fast_exp_lines, (p, inputs[0], output))]

    return Prepared("int64-softmax", bind, lambda batch: 0)


def prepare_lrn(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
    x, channels, size = inputs[0], inputs[0].shape[-1], op.integer("size")
    entries = int(max(op.consts["mult"].size, op.consts["shift"].size))
    epilogue = prepare_epilogue(op, output, entries, 1 << 34)
    fixed = (
        channels,
        flip_of(x),
        x.zero_point - flip_of(x),
        size // 2,
        (size - 1) // 2,
        op.integer("sum_mult"),
        op.integer("sum_shift"),
        ROUNDING_CODES[op.text("rounding")],
        entries,
    )
    table = op.consts["table"].astype(np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(batch * x.elements // channels, *fixed)
        return [(lrn_rows, (p, inputs[0], table, epilogue.ei, output))]

    return Prepared("int64-lrn", bind, lambda batch: 0)
