"""Softmax in its integer forms and log softmax: in float64 where it is exact, else in int64.

The quotient of two integers below 2**52 in float64, rounded down, is their integer quotient: what
lies below an integer k does so by 1 / divisor at least, which is more than float64 rounds at k. A
product below 2**52 and its part by a power of two are exact, and so is one rounding of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels.epilogue_wide import HALF_EVEN, HALF_UP, ROUNDING_CODES, round_shift_wide
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import SLACK, OpPlan, Step, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec

_SQRT2_Q30 = 1518500250  # sqrt(2) * 2**30
_EXACT, _MOST_SHIFT = 1 << 52, 51  # below: integers, and what they are shifted by, in float64


class LineRange(NamedTuple):
    """The same, shared by threads."""

    first: int  # line (over all images) to begin with
    end: int
    length: int
    inner: int  # bytes from one value of a line to the next
    flip: int  # 128 for int8, 0 for uint8


class Lines(NamedTuple):
    """x [outer, length, inner]: lines of `length` values that lie `inner` bytes apart."""

    outer: int
    length: int
    inner: int
    flip: int  # 128 for int8, 0 for uint8


class SoftmaxLut(NamedTuple):
    form: int  # 0: a division per value, 1: one reciprocal per line
    bits: int  # fraction bits of the quotient
    mult: int  # requantisation of the quotient
    shift: int
    rounding: int  # a value of ROUNDING_CODES
    zero_point: int
    qmin: int
    qmax: int
    log: int  # 1: log_table follows


class FastExp(NamedTuple):
    mult_in: int  # distance from the largest value to an exponent of two
    shift_in: int
    q_bits: int  # fraction bits of a power


@kernel
def softmax_vectors(frame):  # type: ignore[no-untyped-def]
    """Lines first..end of what `softmax_lut_lines` computes.

    scratch: int32 powers of a line, its bytes, those of its results.
    """
    g, p, x, table, log_table, out, scratch = arrays(frame, LineRange, SoftmaxLut, "uiiuu")
    n, inner, flip, form, bits = g.length, g.inner, np.uint8(g.flip), p.form, p.bits
    even, mult = p.rounding == HALF_EVEN, np.float64(p.mult)
    least, most = np.float64(p.qmin + p.zero_point), np.float64(p.qmax + p.zero_point)
    raised = 0.5 if p.rounding == HALF_UP else 0.0
    scale, part = np.float64(1 << bits), 1.0 / np.float64(1 << (p.shift + bits))
    powers = scratch[: 4 * n].view(np.int32)
    packed, made = scratch[4 * n : 5 * n], scratch[5 * n : 6 * n]
    for line in range(g.first, g.end):
        outer = line // inner
        start = outer * n * inner + line - outer * inner
        # lines side by side are copied: every loop then goes over neighbours, in vectors
        values, results = packed, made
        if inner == 1:
            values, results = x[start : start + n], out[start : start + n]
        else:
            for i in range(n):
                values[i] = x[start + i * inner]
        largest = np.uint8(0)
        for i in range(n):
            largest = max(largest, values[i] ^ flip)
        total, nearest = 0, 255 - np.int64(largest)
        for i in range(n):
            entry = np.int32(table[nearest + np.int64(values[i] ^ flip)])
            powers[i] = entry
            total += int(entry)
        total = max(total, 1)
        whole, half = np.float64(total), np.float64(total >> 1)
        reciprocal = np.float64((p.mult << bits) // total)
        for i in range(n):
            power = np.float64(powers[i])
            if form == 0:
                product = np.floor((power * scale + half) / whole) * mult
            else:
                product = power * reciprocal
            value = product * part
            value = np.rint(value) if even else np.floor(value + raised)
            value = min(max(value, least), most) - p.zero_point
            results[i] = np.uint8(np.int32(value) & 255)
        if p.log:
            for i in range(n):
                results[i] = np.uint8(log_table[results[i]] & 255)
        if inner > 1:
            for i in range(n):
                out[start + i * inner] = results[i]


@kernel
def softmax_lut_lines(frame):  # type: ignore[no-untyped-def]
    """table: powers by distance from the largest value, at 255; log_table: integers by quotient."""
    g, p, x, table, log_table, out = arrays(frame, Lines, SoftmaxLut, "uiiu")
    outer, n, inner, flip, form, bits = g.outer, g.length, g.inner, g.flip, p.form, p.bits
    mult, shift, rounding = p.mult, p.shift, p.rounding
    for line in range(outer * inner):
        start = line // inner * n * inner + line % inner
        largest = 0
        for i in range(n):
            largest = max(largest, np.int64(x[start + i * inner]) ^ flip)
        total = 0
        for i in range(n):
            total += table[(np.int64(x[start + i * inner]) ^ flip) - largest + 255]
        # two passes over a line: the sum must be known before the first quotient
        total = max(total, 1)
        reciprocal = (mult << bits) // total
        for i in range(n):
            power = table[(np.int64(x[start + i * inner]) ^ flip) - largest + 255]
            if form == 0:
                product = ((power << bits) + (total >> 1)) // total * mult
            else:
                product = power * reciprocal
            value = round_shift_wide(product, shift + bits, rounding) - p.zero_point
            value = min(max(value, p.qmin), p.qmax)
            if p.log:
                value = log_table[value]
            out[start + i * inner] = np.uint8(value & 255)


@kernel
def softmax_fast_exp_lines(frame):  # type: ignore[no-untyped-def]
    """Powers of two for exponentials; the sum's logarithm by counting its leading zeros."""
    g, p, x, out = arrays(frame, Lines, FastExp, "uu")
    outer, n, inner, flip = g.outer, g.length, g.inner, g.flip
    mult_in, shift_in, q_bits = p.mult_in, p.shift_in, p.q_bits
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
        total = min(max(total, 1), INT32_MAX)
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


def _lines(x: TensorSpec, axis: int) -> Lines:
    """Lines along `axis` of one image."""
    outer = int(np.prod(x.shape[:axis], dtype=np.int64))
    inner = int(np.prod(x.shape[axis + 1 :], dtype=np.int64))
    return Lines(outer=outer, length=x.shape[axis], inner=inner, flip=flip_of(x))


def prepare_softmax(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """softmax_lut and log_softmax."""
    x, log = inputs[0], op.kind == "log_softmax"
    lines = _lines(x, op.integer("axis"))
    zero_point, qmin, qmax = (0, 0, 255) if log else (output.zero_point, output.qmin, output.qmax)
    parameters = SoftmaxLut(
        form=op.integer("form"),
        bits=op.integer("bits"),
        mult=int(op.consts["mult"][0]),
        shift=int(op.consts["shift"][0]),
        rounding=ROUNDING_CODES[op.text("rounding")],
        zero_point=zero_point,
        qmin=qmin,
        qmax=qmax,
        log=int(log),
    )
    table = op.consts["table"].astype(np.int64)
    log_table = op.consts["log_table"].astype(np.int64) if log else np.zeros(1, dtype=np.int64)
    if _exact(parameters, table, lines.length):
        ranged = LineRange(
            first=0,
            end=lines.outer * lines.inner,
            length=lines.length,
            inner=lines.inner,
            flip=lines.flip,
        )
        constants, size = (table, log_table), 6 * lines.length + SLACK
        before = (pack(parameters),)
        return ranged_plan("vector-softmax", softmax_vectors, ranged, constants, size, before)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        g, p = pack(lines._replace(outer=batch * lines.outer)), pack(parameters)
        return [(softmax_lut_lines, (g, p, inputs[0], table, log_table, output))]

    return OpPlan("int64-softmax", bind, lambda batch: 0)


def _exact(p: SoftmaxLut, table: np.ndarray, length: int) -> bool:
    """Whether float64 holds all that `softmax_vectors` computes."""
    largest = int(table.max(initial=0))
    if table.min(initial=0) < 0 or largest > INT32_MAX or p.mult < 0 or p.bits < 0:
        return False
    quotients = (largest << p.bits) + length * largest < _EXACT
    products = ((1 << p.bits) + 1) * p.mult < _EXACT
    return quotients and products and 1 <= p.shift + p.bits <= _MOST_SHIFT


def prepare_softmax_fast_exp(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    lines = _lines(inputs[0], op.integer("axis"))
    parameters = FastExp(
        mult_in=op.integer("mult_in"), shift_in=op.integer("shift_in"), q_bits=op.integer("q_bits")
    )

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        g, p = pack(lines._replace(outer=batch * lines.outer)), pack(parameters)
        return [(softmax_fast_exp_lines, (g, p, inputs[0], output))]

    return OpPlan("int64-softmax", bind, lambda batch: 0)


PREPARE = {
    "softmax_lut": prepare_softmax,
    "softmax_fast_exp": prepare_softmax_fast_exp,
    "log_softmax": prepare_softmax,
}
