"""Extremes over axes, where they lie, and the largest k of an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.places import sum_places
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec


class Extremes(NamedTuple):
    batch: int  # images
    in_elements: int  # of one image
    out_elements: int  # of one image
    width: int  # bytes of an element
    signed: int  # 1: int8 or int16
    smallest: int  # 1: the smallest, 0: the largest


class Picks(NamedTuple):
    outer: int  # x [outer, length, inner]
    length: int
    inner: int
    width: int  # bytes of an element
    signed: int  # 1: int8 or int16
    smallest: int  # 1: the smallest, 0: the largest
    last: int  # 1: of equal ones the larger index first
    taken: int  # elements that are picked of each line
    out_width: int  # bytes of an element of the output
    values: int  # 1: the elements themselves, 0: their indices


@kernel_part
def load(x, i, width, signed):  # type: ignore[no-untyped-def]
    """Element i of flat bytes x, whose elements have 1 or 2 bytes; int64."""
    if width == 1:
        value = np.int64(x[i])
        return value - 256 if signed and value > 127 else value
    value = np.int64(x[2 * i]) | (np.int64(x[2 * i + 1]) << 8)
    return value - 65536 if signed and value > 32767 else value


@kernel_part
def store(out, i, width, value):  # type: ignore[no-untyped-def]
    """Write int64 `value` as element i of `width` bytes."""
    for byte in range(width):
        out[width * i + byte] = np.uint8((value >> (8 * byte)) & 255)


@kernel
def reduce_extremes(frame):  # type: ignore[no-untyped-def]
    """out[i] = extreme of x[base[i] + offsets], any axes."""
    p, x, base, offsets, out = arrays(frame, Extremes, "uiiu")
    width, signed, sign = p.width, p.signed, 1 - 2 * p.smallest
    for image in range(p.batch):
        x0, out0 = image * p.in_elements, image * p.out_elements
        for i in range(base.size):
            found = sign * load(x, x0 + base[i], width, signed)
            for t in range(1, offsets.size):
                found = max(found, sign * load(x, x0 + base[i] + offsets[t], width, signed))
            store(out, out0 + i, width, sign * found)


@kernel
def pick_lines(frame):  # type: ignore[no-untyped-def]
    """The first `count` elements of every line in the order of their size."""
    p, x, out = arrays(frame, Picks, "uu")
    n, inner, width, signed, sign = p.length, p.inner, p.width, p.signed, 1 - 2 * p.smallest
    side = 2 * p.last - 1  # of two equal ones the one with the larger side * index comes first
    for line in range(p.outer * inner):
        start = line // inner * n * inner + line % inner
        target = line // inner * p.taken * inner + line % inner
        before, place = 1 << 40, 0  # what was picked last
        for k in range(p.taken):
            best, where = -(1 << 40), -1
            for i in range(n):
                value = sign * load(x, start + i * inner, width, signed)
                if value > before or (value == before and side * i >= side * place):
                    continue  # picked already
                if value > best or (value == best and side * i > side * where):
                    best, where = value, i
            before, place = best, where
            store(out, target + k * inner, p.out_width, sign * best if p.values else where)


def prepare_extreme(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    x = inputs[0]
    base, offsets = sum_places(x.shape, op.integers("axes"))
    extremes = Extremes(
        batch=1,
        in_elements=x.elements,
        out_elements=output.elements,
        width=x.itemsize,
        signed=int(x.signed),
        smallest=int(op.text("method") == "MIN"),
    )

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(extremes._replace(batch=batch))
        return [(reduce_extremes, (p, inputs[0], base, offsets, output))]

    return OpPlan("extremes", bind, lambda batch: 0)


def prepare_pick(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """arg_extreme and top_k."""
    x, axis = inputs[0], op.integer("axis")
    single = "k" not in op.attrs
    picks = Picks(
        outer=int(np.prod(x.shape[:axis], dtype=np.int64)),
        length=x.shape[axis],
        inner=int(np.prod(x.shape[axis + 1 :], dtype=np.int64)),
        width=x.itemsize,
        signed=int(x.signed),
        smallest=int(op.text("method") == "MIN"),
        last=op.integer("last") if single else 1,
        taken=1 if single else op.integer("k"),
        out_width=output.itemsize,
        values=int(not single and op.text("result") == "VALUES"),
    )

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(picks._replace(outer=batch * picks.outer))
        return [(pick_lines, (p, inputs[0], output))]

    return OpPlan("picks", bind, lambda batch: 0)


PREPARE = {
    "reduce_extreme": prepare_extreme,
    "arg_extreme": prepare_pick,
    "top_k": prepare_pick,
}
