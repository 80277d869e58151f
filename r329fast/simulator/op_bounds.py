"""The least time that an op could take here: an estimate, from rates measured in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r329fast.kernels.runtime.isa import ISA
from r329fast.program.blocks import op_bytes, op_macs
from r329fast.program.program import Op, Program

if TYPE_CHECKING:
    from r329fast.kernels.rates import Rates


def op_products(program: Program, op: Op) -> int:
    """What an image takes of the vector units, counted in multiply-accumulates of their products.

    A dot product takes `kgroup` of them per lane, so that a result of K takes whole steps of it.
    A result is requantised by a multiply-add, which takes the place of one more step: on x86 both
    run on the same two ports. A clip rounds twice, by two of them, which no single one replaces.
    Copying, interleaving and narrowing are not counted.
    """
    macs, step = op_macs(program, op), ISA.kgroup
    if not macs:
        return 0
    results = program.tensors[op.outputs[0]].elements
    each = macs // results if macs % results == 0 else 0
    roundings = 2 if op.attrs.get("act") == "CLIP" else 1
    products = results * -(-each // step) * step if each else macs
    return products + results * roundings * step


def op_bound(program: Program, op: Op, rates: Rates, images: int = 1, calls: int = 1) -> float:
    """Seconds at least of one op for `images` images that pass it in so many calls (one thread)."""
    macs, moved = op_products(program, op) * images, op_bytes(program, op) * images
    weights = op.consts["weights"].nbytes if "weights" in op.consts else 0
    return rates.bound(macs, moved + weights, moved / calls)
