"""How a batch goes through the op list: stretches of ops, each for so many images at once.

Early layers have large feature maps, of which cache holds few images; late ones have many weights,
which one pass over many images reads once. So a batch passes the first stretch a few images at a
time, the next one with twice or more as many, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

from r329fast.program.ops import OPS
from r329fast.program.program import Op, Program


@dataclass(frozen=True)
class Stretch:
    """Ops first..last (half-open), `images` at once."""

    first: int
    last: int
    images: int


def op_bytes(program: Program, op: Op) -> int:
    """Activations that an op reads and writes, an image."""
    return sum(program.tensors[name].bytes for name in (*op.inputs, *op.outputs))


def largest_op(program: Program) -> int:
    """Bytes of activations of the op with most of them, an image; 1 without ops."""
    return max((op_bytes(program, op) for op in program.ops), default=1)


def op_macs(program: Program, op: Op) -> int:
    """Multiply-accumulates of one op, an image."""
    macs = OPS[op.kind].macs
    if macs is None:
        return 0
    inputs = [program.tensors[name] for name in op.inputs]
    return macs(op, inputs, program.tensors[op.outputs[0]])


def program_macs(program: Program) -> int:
    """Multiply-accumulates of one image."""
    return sum(op_macs(program, op) for op in program.ops)


def stretches(program: Program, images: int, budget: int) -> list[Stretch]:
    """Cut the op list for a batch: `budget` is what an op's activations may take, in bytes.

    A stretch never takes fewer images than the one before it, and ceil(images / 2**k) for some k.
    """
    halvings = []
    needed = 0
    for op in reversed(program.ops):  # what a later op needs, an earlier one must have too
        size = op_bytes(program, op)
        while -(-images >> needed) > 1 and -(-images >> needed) * size > budget:
            needed += 1
        halvings.append(needed)
    halvings.reverse()
    result: list[Stretch] = []
    for index, halving in enumerate(halvings):
        at_once = -(-images >> halving)
        if result and result[-1].images == at_once:
            result[-1] = Stretch(result[-1].first, index + 1, at_once)
        else:
            result.append(Stretch(index, index + 1, at_once))
    return result
