"""Norms, variance and product over axes, L2 normalisation: in int64, a value at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.epilogue_wide import ROUNDING_CODES, round_shift_wide
from r329fast.kernels.places import sum_places
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import log2_limits

L1, L2, VARIANCE, PRODUCT = range(4)
_METHODS = {"reduce_variance": VARIANCE, "reduce_product": PRODUCT}
_WORD = 16  # bits that a norm's sum is cut to
_INT32 = (1 << 31) - 1


class Moments(NamedTuple):
    batch: int  # images
    in_elements: int  # of one image
    out_elements: int  # of one image
    flip: int  # 128 for int8, 0 for uint8
    move: int  # added to (byte ^ flip): the integer with its zero point
    method: int  # L1, L2, VARIANCE or PRODUCT
    mult: int
    shift: int
    low: int  # a product leaves the word below this
    high: int  # and above this


class Target(NamedTuple):
    rounding: int  # a value of ROUNDING_CODES
    zero_point: int
    qmin: int
    qmax: int


class Lengths(NamedTuple):
    outer: int  # x [outer, length, inner]
    length: int
    inner: int
    flip: int  # 128 for int8, 0 for uint8
    move: int  # added to (byte ^ flip): the integer with its zero point
    mult: int
    before: int  # shift of the scaled value
    shift: int


@kernel_part
def nearest_mean(total: int, count: int) -> int:
    """total / count, ties to even."""
    quotient = total // count
    twice = 2 * (total - quotient * count)
    if twice > count or (twice == count and quotient & 1):
        return quotient + 1
    return quotient


@kernel_part
def excess_bits(value, limits, bits):  # type: ignore[no-untyped-def]
    """How far ceil(log2(value)) lies above `bits`; limits: `log2_limits`."""
    excess = 0
    while bits + excess < limits.size and value >= limits[bits + excess]:
        excess += 1
    return excess


@kernel_part
def inverse_root(value, table):  # type: ignore[no-untyped-def]
    """1 / sqrt(value) in units of 2**-31 (spec B.17, isqrt)."""
    shifts = 0
    while shifts < 30 and value < 1 << 30:
        value <<= 1
        shifts += 1
    exponent = 31 - shifts
    if exponent & 1:
        value >>= 1
    exponent = (exponent - 1) >> 1
    value >>= 7
    index = max((value >> 16) - 64, 0)
    fraction = (value >> 1) & 0x7FFF
    low, high = table[index], table[index + 1]
    return ((low << 16) - (((low - high) * fraction) << 1)) >> exponent


@kernel_part
def _sum_of(x, start, offsets, flip, move, method, sums, low, high):  # type: ignore[no-untyped-def]
    """(sum, bits that a product lost) of one output."""
    if method == PRODUCT:
        total, drops = 1, 0
        for t in range(offsets.size):
            a = (np.int64(x[start + offsets[t]]) ^ flip) + move
            total *= a if low < 0 else max(a, 0)
            while total < low or total > high:
                total >>= 1
                drops += 1
        return total, drops
    mean = 0
    if method == VARIANCE:
        for t in range(offsets.size):
            mean += np.int64(x[start + offsets[t]]) ^ flip
        # an even offset leaves ties what they are
        mean = nearest_mean(mean, offsets.size)
        move = 0
    total = 0
    for t in range(offsets.size):
        a = (np.int64(x[start + offsets[t]]) ^ flip) + move - mean
        total += abs(a) if method == L1 else a * a
    return total, 0


@kernel
def reduce_moments(frame):  # type: ignore[no-untyped-def]
    """Norms, variances or products of x[base[i] + offsets]; sums: int64 of all outputs."""
    p, s, x, base, offsets, limits, table, out, scratch = arrays(frame, Moments, Target, "uiiiiuu")
    sums = scratch[: 8 * p.out_elements].view(np.int64)
    flip, move, method, mult = p.flip, p.move, p.method, p.mult
    for image in range(p.batch):
        x0, out0 = image * p.in_elements, image * p.out_elements
        largest = 0
        for i in range(base.size):
            sums[i], drops = _sum_of(
                x, x0 + base[i], offsets, flip, move, method, sums, p.low, p.high
            )
            largest = max(largest, sums[i])
            if method >= VARIANCE:
                shift = min(max(p.shift - drops, -63), 63)
                q = round_shift_wide(sums[i] * mult, shift, s.rounding) - s.zero_point
                out[out0 + i] = np.uint8(min(max(q, s.qmin), s.qmax) & 255)
        if method >= VARIANCE:
            continue
        excess = excess_bits(largest, limits, _WORD)
        shift = p.shift - excess
        for i in range(base.size):
            total = sums[i] >> excess
            if method == L1:
                total = min(total, 65535)
                q = round_shift_wide(total * mult, shift, s.rounding) - s.zero_point
                q = min(max(q, s.qmin), s.qmax)
            else:
                u = min(max(round_shift_wide(total * mult, shift, s.rounding), 0), 65535)
                index, fraction = u >> 8, u & 255
                q = table[index]
                q += ((table[min(index + 1, 255)] - q) * fraction) >> 8
            out[out0 + i] = np.uint8(q & 255)


@kernel
def l2_lines(frame):  # type: ignore[no-untyped-def]
    """Every line of x divided by the root of its sum of squares."""
    g, s, x, limits, table, out = arrays(frame, Lengths, Target, "uiiu")
    n, inner, flip, move = g.length, g.inner, g.flip, g.move
    for line in range(g.outer * inner):
        start = line // inner * n * inner + line % inner
        total = 0
        for i in range(n):
            a = (np.int64(x[start + i * inner]) ^ flip) + move
            total += a * a
        over = 0
        while total >> (31 + over) != 0:
            over += 1
        over += over & 1
        root = inverse_root(total >> over, table)
        right = excess_bits(root, limits, 15)
        root = min(max(root >> right, 0), 32767)
        shift = g.shift + 31 - g.before - (right - over // 2)
        for i in range(n):
            a = (np.int64(x[start + i * inner]) ^ flip) + move
            value = min(max(a * g.mult, -_INT32 - 1), _INT32) >> g.before
            value = min(max(value, -32768), 32767) * root
            value = min(max(value, -_INT32 - 1), _INT32)
            q = round_shift_wide(value, shift, s.rounding) - s.zero_point
            out[start + i * inner] = np.uint8(min(max(q, s.qmin), s.qmax) & 255)


def _target(op: Op, output: TensorSpec) -> Target:
    return Target(
        rounding=ROUNDING_CODES[op.text("rounding")],
        zero_point=output.zero_point,
        qmin=output.qmin,
        qmax=output.qmax,
    )


def prepare_moments(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """reduce_norm, reduce_variance and reduce_product."""
    x, elements = inputs[0], output.elements
    base, offsets = sum_places(x.shape, op.integers("axes"))
    norms = {"L1": L1, "L2": L2}
    method = _METHODS[op.kind] if op.kind in _METHODS else norms[op.text("method")]
    wide = op.attrs.get("width") == "uint16"
    moments = Moments(
        batch=1,
        in_elements=x.elements,
        out_elements=elements,
        flip=flip_of(x),
        move=x.zero_point - flip_of(x),
        method=method,
        mult=int(op.consts["mult"][0]),
        shift=op.integer("power") if method == PRODUCT else int(op.consts["shift"][0]),
        low=0 if wide else -32768,
        high=65535 if wide else 32767,
    )
    target, limits = pack(_target(op, output)), log2_limits()
    table = op.consts.get("table", np.zeros(1)).astype(np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(moments._replace(batch=batch))
        step = (p, target, inputs[0], base, offsets, limits, table, output, scratch)
        return [(reduce_moments, step)]

    return OpPlan("int64-moments", bind, lambda batch: 8 * elements)


def prepare_l2(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    x, axes = inputs[0], op.integers("axes")
    lengths = Lengths(
        outer=int(np.prod(x.shape[: axes[0]], dtype=np.int64)),
        length=int(np.prod(x.shape[axes[0] : axes[-1] + 1], dtype=np.int64)),
        inner=int(np.prod(x.shape[axes[-1] + 1 :], dtype=np.int64)),
        flip=flip_of(x),
        move=x.zero_point - flip_of(x),
        mult=op.integer("mult"),
        before=op.integer("before"),
        shift=op.integer("shift"),
    )
    target, limits = pack(_target(op, output)), log2_limits()
    table = op.consts["table"].astype(np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        g = pack(lengths._replace(outer=batch * lengths.outer))
        return [(l2_lines, (g, target, inputs[0], limits, table, output))]

    return OpPlan("int64-l2", bind, lambda batch: 0)


PREPARE = {
    "reduce_norm": prepare_moments,
    "reduce_variance": prepare_moments,
    "reduce_product": prepare_moments,
    "l2_normalize": prepare_l2,
}
