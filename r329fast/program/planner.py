"""Where each tensor lives: byte offsets in one arena, reused when a tensor is dead.

Offsets and sizes are multiples of 64 bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from r329fast.errors import ProgramError, UsageError, nearest
from r329fast.program.blocks import Stretch
from r329fast.program.ops import OPS
from r329fast.program.program import Program

ALIGNMENT = 64


@dataclass(frozen=True)
class BufferPlan:
    """offsets: tensor name -> its first byte; images: how many images of it are held there; size:
    bytes of the arena.
    """

    offsets: dict[str, int]
    images: dict[str, int]
    size: int

    def span(self, name: str, first: int, count: int, image_bytes: int) -> slice:
        """Bytes of `count` images of a tensor from image `first` on, in the arena.

        Raises ProgramError where they lie outside the tensor's own bytes or outside the arena.
        """
        begin = self.offsets[name] + first * image_bytes
        end = begin + count * image_bytes
        if first < 0 or first + count > self.images[name] or not 0 <= begin <= end <= self.size:
            raise ProgramError(
                f"tensor {name!r}: images {first} to {first + count} lie at {begin}..{end} of an "
                f"arena of {self.size} bytes that holds {self.images[name]} images of it"
            )
        return slice(begin, end)


@dataclass
class Lifetime:
    """A buffer: the op index that makes it (-1: an input), the last that reads it, its images."""

    first: int
    last: int
    images: int


def roots(program: Program, views: Collection[str] = ()) -> dict[str, str]:
    """Tensor -> the tensor whose bytes it shares: a reshape's output is its input, a view as well.

    views: outputs of ops that are not computed, since their readers read a part of the input.
    """
    root = {name: name for name in program.tensors}
    for op in program.ops:
        if OPS[op.kind].alias or op.outputs[0] in views:
            root[op.outputs[0]] = root[op.inputs[0]]
    return root


def lifetimes(
    program: Program,
    keep: Collection[str],
    images: int,
    stretches: Sequence[Stretch],
    views: Collection[str] = (),
) -> dict[str, Lifetime]:
    """Root tensor -> lifetime; program outputs and `keep` live until the end.

    A tensor that passes from one stretch to another holds all images, and lives as long as either
    of them goes round.
    """
    root = roots(program, views)
    result: dict[str, Lifetime] = {}
    where: dict[str, set[int]] = {}
    end = len(program.ops)
    for name in (*program.outputs, *keep):
        if name not in program.tensors:
            raise UsageError(f"unknown tensor {name!r}{nearest(name, program.tensors)}")

    def touch(name: str, index: int, stretch: int) -> None:
        life = result.setdefault(root[name], Lifetime(index, index, images))
        life.last = max(life.last, index)
        where.setdefault(root[name], set()).add(stretch)

    for name in program.inputs:
        touch(name, -1, -1)
    for number, stretch in enumerate(stretches):
        for index in range(stretch.first, stretch.last):
            op = program.ops[index]
            for name in (*op.inputs, *op.outputs):
                touch(name, index, number)
    for name in (*program.outputs, *keep):
        touch(name, end, -1)
    for name, life in result.items():
        used = sorted(where[name])
        if used == [-1]:
            continue
        if len(used) == 1:
            life.images = stretches[used[0]].images
            continue
        if life.first >= 0:
            producer = next(s for s in stretches if s.first <= life.first < s.last)
            life.first = producer.first if producer.images < images else life.first
        consumer = stretches[used[-1]]
        if consumer.images < images:
            life.last = max(life.last, consumer.last - 1)
    return result


class _Placed:
    """What is placed already, in the order of its first byte; a search is a few array passes."""

    def __init__(self, count: int) -> None:
        self._rows = np.zeros((4, count), dtype=np.int64)  # begin, end, first op, last op
        self._count = 0

    def lowest_gap(self, size: int, life: Lifetime) -> int:
        """Lowest offset where `size` bytes fit between buffers that live at the same time."""
        begins, ends, firsts, lasts = self._rows[:, : self._count]
        meets = (firsts <= life.last) & (lasts >= life.first)
        taken = np.maximum.accumulate(np.append(0, ends[meets]))
        fits = np.flatnonzero(begins[meets] - taken[:-1] >= size)
        return int(taken[fits[0]] if len(fits) else taken[-1])

    def add(self, begin: int, size: int, life: Lifetime) -> None:
        at = int(np.searchsorted(self._rows[0, : self._count], begin))
        self._rows[:, at + 1 : self._count + 1] = self._rows[:, at : self._count]
        self._rows[:, at] = begin, begin + size, life.first, life.last
        self._count += 1


def plan(
    program: Program,
    keep: Collection[str] = (),
    images: int = 1,
    stretches: Sequence[Stretch] = (),
    views: Collection[str] = (),
) -> BufferPlan:
    """Place every tensor; large buffers first, each at the lowest offset that is free.

    images: of a batch; stretches: how it passes the op list, all at once where absent; views: see
    `roots`, they are at the places of the tensors that they are parts of.
    """
    stretches = stretches or [Stretch(0, len(program.ops), images)]
    lives = lifetimes(program, keep, images, stretches, views)
    sizes = {}
    for name, life in lives.items():
        size = life.images * program.tensors[name].bytes
        sizes[name] = -(-size // ALIGNMENT) * ALIGNMENT
    placed: dict[str, int] = {}
    occupied = _Placed(len(lives))
    for name in sorted(lives, key=lambda n: (-sizes[n], lives[n].first, n)):
        placed[name] = occupied.lowest_gap(sizes[name], lives[name])
        occupied.add(placed[name], sizes[name], lives[name])
    root = roots(program, views)
    known = [name for name in program.tensors if root[name] in placed]
    return BufferPlan(
        {name: placed[root[name]] for name in known},
        {name: lives[root[name]].images for name in known},
        max((placed[name] + sizes[name] for name in lives), default=0),
    )
