"""Slices that nobody computes: their readers read a range of channels where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r329fast.program.program import Op, Program

if TYPE_CHECKING:
    from r329fast.kernels import OpPlan


@dataclass(frozen=True)
class View:
    """A range of channels: of `source`, from byte `offset` on, positions `pitch` bytes apart."""

    source: str
    offset: int
    pitch: int


def channel_views(program: Program, plans: Sequence[OpPlan]) -> dict[str, View]:
    """Output of a slice -> what it is, where every reader's plan can read it so."""
    readers: dict[str, list[int]] = {}
    for index, op in enumerate(program.ops):
        for name in op.inputs:
            readers.setdefault(name, []).append(index)
    found = {}
    for op in program.ops:
        view = _channels(program, op)
        name = op.outputs[0]
        if view is None or name in program.outputs:
            continue
        if all(plans[index].pitched is not None for index in readers.get(name, ())):
            found[name] = view
    return found


def _channels(program: Program, op: Op) -> View | None:
    """What the op takes, if it is a range of the channels of bytes and nothing else."""
    if op.kind != "slice":
        return None
    x = program.tensors[op.inputs[0]]
    begin, end, strides = (op.integers(name) for name in ("begin", "end", "strides"))
    whole = all(
        (first, last, step) == (0, size, 1)
        for first, last, step, size in zip(begin, end, strides, x.shape[:-1], strict=False)
    )
    if not whole or strides[-1] != 1 or x.itemsize != 1 or len(x.shape) < 2:
        return None
    return View(op.inputs[0], begin[-1], x.shape[-1])
