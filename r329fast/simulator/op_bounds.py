"""The least time that an op could take here: an estimate, from rates measured in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r329fast.program.blocks import op_bytes, op_macs
from r329fast.program.program import Op, Program

if TYPE_CHECKING:
    from r329fast.kernels.rates import Rates


def op_bound(program: Program, op: Op, rates: Rates, images: int = 1, calls: int = 1) -> float:
    """Seconds at least of one op for `images` images that pass it in so many calls (one thread)."""
    macs, moved = op_macs(program, op) * images, op_bytes(program, op) * images
    weights = op.consts["weights"].nbytes if "weights" in op.consts else 0
    return rates.bound(macs, moved + weights, moved / calls)
