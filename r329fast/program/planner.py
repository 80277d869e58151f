"""Where each tensor lives: byte offsets an image in one arena, reused when a tensor is dead.

Offsets and sizes are multiples of 64 bytes, so that n images take n times the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from r329fast.errors import UsageError, nearest
from r329fast.program.program import Program

ALIGNMENT = 64


@dataclass(frozen=True)
class BufferPlan:
    """offsets: tensor name -> first byte, an image; size: bytes of the arena, an image.

    A tensor of e elements of n images occupies [n * offset, n * offset + n * e).
    """

    offsets: dict[str, int]
    size: int


@dataclass
class Lifetime:
    """A buffer: the op index that makes it (-1: an input), the last that reads it, its bytes."""

    first: int
    last: int
    size: int


def roots(program: Program) -> dict[str, str]:
    """Tensor -> the tensor whose bytes it shares: a reshape's output is its input."""
    root = {name: name for name in program.tensors}
    for op in program.ops:
        if op.kind == "reshape":
            root[op.outputs[0]] = root[op.inputs[0]]
    return root


def lifetimes(program: Program, keep: Collection[str]) -> dict[str, Lifetime]:
    """Root tensor -> lifetime; program outputs and `keep` live until the end."""
    root = roots(program)
    result: dict[str, Lifetime] = {}
    end = len(program.ops)

    def touch(name: str, index: int) -> None:
        elements = program.tensors[name].elements
        size = -(-elements // ALIGNMENT) * ALIGNMENT
        life = result.setdefault(root[name], Lifetime(index, index, size))
        life.last = max(life.last, index)

    for name in program.inputs:
        touch(name, -1)
    for index, op in enumerate(program.ops):
        for name in (*op.inputs, *op.outputs):
            touch(name, index)
    for name in (*program.outputs, *keep):
        if name not in program.tensors:
            raise UsageError(f"unknown tensor {name!r}{nearest(name, program.tensors)}")
        touch(name, end)
    return result


def _lowest_gap(size: int, taken: Iterable[tuple[int, int]]) -> int:
    """Lowest offset where `size` bytes fit between the (start, end) ranges `taken`."""
    offset = 0
    for start, end in sorted(taken):
        if start - offset >= size:
            break
        offset = max(offset, end)
    return offset


def plan(program: Program, keep: Collection[str] = ()) -> BufferPlan:
    """Place every tensor; large buffers first, each at the lowest offset that is free."""
    lives = lifetimes(program, keep)
    placed: dict[str, int] = {}
    for name in sorted(lives, key=lambda n: (-lives[n].size, lives[n].first, n)):
        life = lives[name]
        taken = [
            (start, start + lives[other].size)
            for other, start in placed.items()
            if lives[other].first <= life.last and life.first <= lives[other].last
        ]
        placed[name] = _lowest_gap(life.size, taken)
    root = roots(program)
    offsets = {name: placed[root[name]] for name in program.tensors if root[name] in placed}
    size = max((placed[name] + lives[name].size for name in lives), default=0)
    return BufferPlan(offsets, size)
