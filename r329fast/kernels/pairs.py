"""Quotients: two bytes give one, so a table of 65536 bytes, filled by the living definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.table import all_bytes
from r329fast.program.program import Op, TensorSpec
from r329fast.reference.interpreter import FUNCTIONS


class PairRange(NamedTuple):
    first: int  # byte (over all images) to begin with
    end: int


@kernel
def pair_table(frame):  # type: ignore[no-untyped-def]
    """Bytes first..end: table[256 * a + b]."""
    p, a, b, table, out = arrays(frame, PairRange, "uuuu")
    for i in range(p.first, p.end):
        out[i] = table[256 * np.int64(a[i]) + np.int64(b[i])]


def prepare_divide(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    left, right = (all_bytes(spec) for spec in inputs)
    pairs = [np.repeat(left, 256), np.tile(right, 256)]
    result = FUNCTIONS[op.kind](op, pairs, inputs, output)
    table = aligned((result & 255).astype(np.uint8))
    elements = output.elements

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(PairRange(first=0, end=batch * elements))
        return [(pair_table, (p, inputs[0], inputs[1], table, output))]

    return OpPlan("pair-table", bind, lambda batch: 0, True)


PREPARE = {"divide": prepare_divide}
