"""A program of ours beside a binary: the same constants, layer by layer?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from r329fast.program.program import Op, Program
from r329fast.vendor.aipu.matching import Matched, is_swapped, match

_CONSTANTS = ("weights", "bias", "scales", "mult", "shift")
_ATTRIBUTES = ("act", "kernel", "stride", "pads", "group", "axes", "method")
_ALIKE = 0.5  # share of equal weights below which two layers are not the same one


@dataclass(frozen=True)
class ConstantDiff:
    """One constant of a layer: how many of its numbers differ, by how much at most, where first."""

    name: str
    total: int
    differ: int
    largest: int
    first: int
    ours: int
    theirs: int


@dataclass(frozen=True)
class LayerDiff:
    """A pair of layers; equal where there are neither diffs nor remarks."""

    kind: str
    ours: str
    theirs: str
    constants: tuple[ConstantDiff, ...]
    remarks: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        return not self.constants and not self.remarks

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "ours": self.ours,
            "theirs": self.theirs,
            "equal": self.equal,
            "constants": [vars(item) for item in self.constants],
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True)
class ProgramDiff:
    """All pairs, and computing layers that only one side has."""

    layers: tuple[LayerDiff, ...]
    only_ours: tuple[str, ...]
    only_theirs: tuple[str, ...]

    @property
    def equal(self) -> bool:
        alone = self.only_ours or self.only_theirs
        return bool(self.layers) and not alone and all(layer.equal for layer in self.layers)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Op kind -> (layers with equal constants, layers)."""
        total = Counter(layer.kind for layer in self.layers)
        equal = Counter(layer.kind for layer in self.layers if layer.equal)
        return {kind: (equal[kind], count) for kind, count in total.items()}


def diff_programs(ours: Program, theirs: Program) -> ProgramDiff:
    """Compare constants of all computing layers; names may differ."""
    matching = match(ours, theirs)
    return ProgramDiff(
        tuple(_layer(ours, theirs, pair) for pair in matching.pairs),
        tuple(f"{op.kind} {op.layer}" for op in matching.only_ours),
        tuple(f"{op.kind} {op.layer}" for op in matching.only_theirs),
    )


def _layer(ours: Program, theirs: Program, pair: Matched) -> LayerDiff:
    a, b = pair.ours, pair.theirs
    found: list[ConstantDiff] = []
    remarks = []
    if pair.likeness < _ALIKE:
        remarks.append(f"only {pair.likeness:.0%} of the weights are equal: another network?")
    views = [p.tensors[op.inputs[0]].shape for p, op in ((ours, a), (theirs, b))]
    for name in _ATTRIBUTES:
        if name == "axes" and views[0] != views[1]:
            continue  # the same mean over another view of the same bytes
        if a.attrs.get(name) != b.attrs.get(name):
            remarks.append(f"{name} is {a.attrs.get(name)}, theirs {b.attrs.get(name)}")
    remarks += [f"ours has no {name}" for name in _CONSTANTS if name in _extra(b, a)]
    remarks += [f"theirs has no {name}" for name in _CONSTANTS if name in _extra(a, b)]
    dtypes = [p.tensors[op.outputs[0]].dtype for p, op in ((ours, a), (theirs, b))]
    if dtypes[0] != dtypes[1]:
        remarks.append(f"output is {dtypes[0]}, theirs {dtypes[1]}")
    swapped = a.kind == "eltwise" and is_swapped(ours, theirs, pair)
    for name in _CONSTANTS:
        if name in a.consts and name in b.consts:
            theirs_array = b.consts[name]
            if swapped and name == "scales":
                theirs_array = theirs_array[::-1]
            item = _constant(name, a.consts[name], theirs_array)
            if item is not None:
                found.append(item)
    return LayerDiff(a.kind, a.layer, b.layer, tuple(found), tuple(remarks))


def _extra(op: Op, other: Op) -> set[str]:
    return set(op.consts) - set(other.consts)


def _constant(name: str, ours: np.ndarray, theirs: np.ndarray) -> ConstantDiff | None:
    a, b = ours.astype(np.int64), theirs.astype(np.int64)
    if a.shape != b.shape and 1 in (a.size, b.size):  # one number for all channels
        a, b = (np.broadcast_to(item, np.broadcast_shapes(a.shape, b.shape)) for item in (a, b))
    if a.shape != b.shape:
        return ConstantDiff(name, a.size, a.size, 0, 0, int(a.flat[0]), int(b.flat[0]))
    gaps = np.abs(a - b).reshape(-1)
    if not gaps.any():
        return None
    first = int(np.flatnonzero(gaps)[0])
    return ConstantDiff(
        name,
        gaps.size,
        int(np.count_nonzero(gaps)),
        int(gaps.max()),
        first,
        int(a.reshape(-1)[first]),
        int(b.reshape(-1)[first]),
    )
