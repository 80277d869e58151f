"""Where the elements of an output lie in the input, per axis: sums of small tables.

An op that moves elements takes each from a place that is a sum: one term for every axis of the
output. So a table per axis says it all, where an index would have eight bytes per element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from r329fast.base.limits import check_memory
from r329fast.program.ops import OPS
from r329fast.program.program import AttrValue, Op, TensorSpec
from r329fast.reference.interpreter import FUNCTIONS

Places = list[np.ndarray]  # per axis of the output: int64 places to add up; -1 is no place at all
_PLACE = 24  # bytes of a place while a table is made
_WHOLE = 1 << 18  # places that are written out; more stay a sum of two tables


def strides_of(shape: Sequence[int]) -> list[int]:
    """Elements from one index of an axis to the next."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def summed(tables: Sequence[np.ndarray]) -> np.ndarray:
    """All places that the tables add up to, the last axis running fastest; int64, flat."""
    result = np.zeros(1, dtype=np.int64)
    for table in tables:
        both = result[:, None] + table
        both[result < 0] = -1
        both[:, table < 0] = -1
        result = both.reshape(-1)
    return result


def sum_places(shape: Sequence[int], axes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(place of the first element of every sum over `axes`, places of all behind the first)."""
    lines = [
        np.arange(size, dtype=np.int64) * step
        for size, step in zip(shape, strides_of(shape), strict=True)
    ]
    kept = [line for axis, line in enumerate(lines) if axis not in axes]
    check_memory("an index of sums", _PLACE * prod(len(line) for line in kept))
    return summed(kept), summed([lines[axis] for axis in axes])


def _along(op: Op, axis: int, size: int) -> np.ndarray:
    """What an op that treats its axes one by one makes of 0, 1, .. along one of them."""
    line = np.arange(size, dtype=np.int64)
    attrs: dict[str, AttrValue] = {
        name: (value[axis],) if isinstance(value, tuple) else value
        for name, value in op.attrs.items()
    }
    if OPS[op.kind].filling:
        attrs[OPS[op.kind].filling] = -1
    one = Op(op.kind, op.layer, op.inputs, op.outputs, attrs)
    moved = FUNCTIONS[op.kind](one, [line[None]], [], TensorSpec("", (size,), "int8", 1.0))
    return np.asarray(moved[0])


def moved_places(op: Op, x: TensorSpec, output: TensorSpec) -> Places:
    """The tables of an op that moves elements, by its living definition on single axes."""
    if op.kind in _TOGETHER:
        return _TOGETHER[op.kind](op, x, output)
    lines = _LINES.get(op.kind, _each_axis)(op, x, output)
    strides = strides_of(x.shape)
    return [np.where(line < 0, -1, line * step) for line, step in zip(lines, strides, strict=True)]


def _plain(op: Op, x: TensorSpec, output: TensorSpec) -> list[np.ndarray]:
    """For each axis the element that each place takes: its own."""
    return [np.arange(size, dtype=np.int64) for size in x.shape]


def _each_axis(op: Op, x: TensorSpec, output: TensorSpec) -> list[np.ndarray]:
    """slice, pad, tile"""
    return [_along(op, axis, size) for axis, size in enumerate(x.shape)]


def _gathered(op: Op, x: TensorSpec, output: TensorSpec) -> list[np.ndarray]:
    lines = _plain(op, x, output)
    lines[op.integer("axis")] = op.consts["indices"].astype(np.int64)
    return lines


def _nearest(op: Op, x: TensorSpec, output: TensorSpec) -> list[np.ndarray]:
    lines = _plain(op, x, output)
    lines[:2] = [op.consts[name].astype(np.int64) for name in ("rows", "columns")]
    return lines


def _shuffled(op: Op, x: TensorSpec, output: TensorSpec) -> list[np.ndarray]:
    lines = _plain(op, x, output)
    lines[-1] = FUNCTIONS[op.kind](op, [lines[-1][None]], [x], output)[0]
    return lines


def _turned(op: Op, x: TensorSpec, output: TensorSpec) -> Places:
    lines, strides = _plain(op, x, output), strides_of(x.shape)
    return [lines[axis] * strides[axis] for axis in op.integers("perm")]


def _block_places(op: Op, x: TensorSpec, output: TensorSpec) -> Places:
    """depth_to_space: the deep tensor is (row, column, channel) in mode DCR."""
    block, (row, column, _) = op.integer("block"), strides_of(x.shape)
    last = op.text("mode") == "DCR"
    y, at, c = (np.arange(size, dtype=np.int64) for size in output.shape)
    if op.integer("inverse"):
        pixel, inside = c // x.shape[2], c % x.shape[2]
        if not last:
            inside, pixel = c // block**2, c % block**2
        deep = pixel // block * row + pixel % block * column + inside
        return [y * block * row, at * block * column, deep]
    step, apart = (output.shape[2], 1) if last else (1, block**2)
    tall = y // block * row + y % block * block * step
    return [tall, at // block * column + at % block * step, c * apart]


_Rule = Callable[[Op, TensorSpec, TensorSpec], list[np.ndarray]]
# places of all axes together, and the element of each axis alone (others: `_each_axis`)
_TOGETHER: dict[str, _Rule] = {"transpose": _turned, "depth_to_space": _block_places}
_LINES: dict[str, _Rule] = {
    "gather": _gathered,
    "resize_nearest": _nearest,
    "channel_shuffle": _shuffled,
    "reshape": _plain,
}


def run_places(places: Places) -> tuple[np.ndarray, np.ndarray, int]:
    """(outer, inner, run): the output is runs of so many elements from outer[i] + inner[j] on.

    A negative place in either is a run without a source. outer is [0] where few runs are left.
    """
    tables, run = list(places), 1
    while tables:
        line = tables.pop()
        if np.array_equal(line, np.arange(len(line)) * run):
            run *= len(line)
            continue
        joined = (np.diff(line) == run) & (line[:-1] >= 0)
        joined |= (line[1:] < 0) & (line[:-1] < 0)
        length = int(np.gcd.reduce(np.append(np.flatnonzero(~joined) + 1, len(line))))
        tables.append(np.ascontiguousarray(line[::length]))
        run *= length
        break
    sizes = [len(table) for table in tables]
    cut = 0
    if prod(sizes) > _WHOLE:
        cut = min(range(len(sizes)), key=lambda n: prod(sizes[:n]) + prod(sizes[n:]))
    check_memory("an index of places", _PLACE * (prod(sizes[:cut]) + prod(sizes[cut:])))
    return summed(tables[:cut]), summed(tables[cut:]), run
