"""What a row of the op list's table is made of, and what rows share.


Notation: q integers of a tensor, zp its zero point (added to q to get to real zero), a the
accumulator, M = `mult`, N = `shift`, rnd the op's `rounding` (half_even, half_up or floor).

    requant(a) = clamp(rnd(a * M / 2**N) - zp_out, qmin, qmax)          (spec B.5; N may be < 0)

`act` names what happens between the accumulator and the requant (spec B.8):

    NONE   requant(a)
    RELU   requant(max(a, 0))
    CLIP   t = clamp(rnd(a * M / 2**(N-8)), clip_min, clip_max); clamp(rnd(t / 256) - zp_out)
    LEAKY  requant(rnd(min(a, 0) * slope / 2**slope_shift) + max(a, 0)), slope (1,) or (C,)
    RELU_FLOAT32  requant(max(a rounded to float32, ties to even, 0)): what 16 bits show (spec B.23)

Everything else is exact: accumulators are wide enough that nothing wraps or saturates on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from r329fast.program.op import Op, TensorSpec

ROUNDINGS = ("half_even", "half_up", "floor")
ACTS = ("NONE", "RELU", "CLIP", "LEAKY", "RELU_FLOAT32")


@dataclass(frozen=True)
class Int:
    """An attribute that is an integer in low..high."""

    low: int
    high: int


@dataclass(frozen=True)
class Ints:
    """An attribute of integers in low..high; length: how many, 0 for any number."""

    low: int
    high: int
    length: int = 0


AttrRule = tuple[str, ...] | Int | Ints
# name of an attribute -> what it may be (see OpSpec)
AttrRules = Mapping[str, AttrRule]
Check = Callable[[Op, list[TensorSpec], TensorSpec], str]
Macs = Callable[[Op, list[TensorSpec], TensorSpec], int]


@dataclass(frozen=True)
class OpSpec:
    """What an op is made of, and the facts that consumers ask for instead of naming ops.

    attrs: name -> allowed values: a tuple of words, or the range of an integer or of several;
    consts: name -> allowed dtypes; optional ones end in "?"; check: further rules, a function
    of (op, inputs, output) that returns a complaint or "". Rules leave nothing open: whatever a
    kernel takes as index, size, count, shift or loop bound has a range, and no step of the
    arithmetic leaves int64 (`bounds.py`).

    moves: each output integer is an input integer from elsewhere, or a filling; filling: the
    attribute that holds it, an integer of the input's scale; alias: even its
    place in memory stays; same_scale: input and output integers mean the same real value;
    linear: a sum of q * weights + bias, the input's zero point inside the bias; accumulates: it
    ends in a requantisation of a sum; result_table: the constant that holds output integers;
    macs: multiply-accumulates of one image, None where there are none; reads, writes: bytes that an
    element of an input, of the output, may have (the same for all where it moves).
    """

    meaning: str
    arity: int  # -1: one or more
    attrs: AttrRules
    consts: Mapping[str, tuple[str, ...]]
    check: Check
    moves: bool = False
    filling: str = ""
    alias: bool = False
    same_scale: bool = False
    linear: bool = False
    accumulates: bool = False
    result_table: str = ""
    macs: Macs | None = None
    reads: tuple[int, ...] = (1,)
    writes: tuple[int, ...] = (1,)


FAR = (1 << 31) - 1
SIZE = Int(1, FAR)  # of anything that is counted
SIZES = Ints(1, FAR)
AXIS = Int(0, FAR)  # checks compare it with the rank
AXES = Ints(0, FAR)
FLAG = Int(0, 1)
WORDS = (1, 2)  # bytes of an element, of ops that have a rule for 16 bits (spec B.23)
SHIFT = Int(-31, 63)  # what `round_shift` is defined for

REQUANT_ATTRS: AttrRules = {"rounding": ROUNDINGS}
ACT_ATTRS: AttrRules = {
    **REQUANT_ATTRS,
    "act": ACTS,
    "clip_min": Int(-FAR - 1, FAR),
    "clip_max": Int(-FAR - 1, FAR),
    "slope_shift": SHIFT,
}
REQUANT_CONSTS = {"mult": ("int32",), "shift": ("int32",)}
ACT_CONSTS = {**REQUANT_CONSTS, "slope?": ("int32",)}
WINDOW_ATTRS: AttrRules = {
    "kernel": Ints(1, FAR, 2),
    "stride": Ints(1, FAR, 2),
    "dilation": Ints(1, FAR, 2),
    "pads": Ints(0, FAR, 4),
}
