"""What a row of the op list's table is made of, and what rows share.


Notation: q integers of a tensor, zp its zero point (added to q to get to real zero), a the
accumulator, M = `mult`, N = `shift`, rnd the op's `rounding` (half_even, half_up or floor).

    requant(a) = clamp(rnd(a * M / 2**N) - zp_out, qmin, qmax)          (spec B.5; N may be < 0)

`act` names what happens between the accumulator and the requant (spec B.8):

    NONE   requant(a)
    RELU   requant(max(a, 0))
    CLIP   t = clamp(rnd(a * M / 2**(N-8)), clip_min, clip_max); clamp(rnd(t / 256) - zp_out)
    LEAKY  requant(rnd(min(a, 0) * slope / 2**slope_shift) + max(a, 0)), slope (1,) or (C,)

Everything is exact: accumulators are wide enough that nothing wraps or saturates on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from r329fast.program.op import Op, TensorSpec

ROUNDINGS = ("half_even", "half_up", "floor")
ACTS = ("NONE", "RELU", "CLIP", "LEAKY")

# name of an attribute -> what it may be (see OpSpec)
AttrRules = Mapping[str, tuple[str, ...] | str]
Check = Callable[[Op, list[TensorSpec], TensorSpec], str]
Macs = Callable[[Op, list[TensorSpec], TensorSpec], int]


@dataclass(frozen=True)
class OpSpec:
    """What an op is made of, and the facts that consumers ask for instead of naming ops.

    attrs: name -> allowed values: a tuple of words, "int", or "ints:<length>" (0 = any length);
    consts: name -> allowed dtypes; optional ones end in "?"; check: further rules, a function
    of (op, inputs, output) that returns a complaint or "".

    moves: each output integer is an input integer from elsewhere, or a filling; alias: even its
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
    alias: bool = False
    same_scale: bool = False
    linear: bool = False
    accumulates: bool = False
    result_table: str = ""
    macs: Macs | None = None
    reads: tuple[int, ...] = (1,)
    writes: tuple[int, ...] = (1,)


REQUANT_ATTRS: AttrRules = {"rounding": ROUNDINGS}
ACT_ATTRS: AttrRules = {
    **REQUANT_ATTRS,
    "act": ACTS,
    "clip_min": "int",
    "clip_max": "int",
    "slope_shift": "int",
}
REQUANT_CONSTS = {"mult": ("int32",), "shift": ("int32",)}
ACT_CONSTS = {**REQUANT_CONSTS, "slope?": ("int32",)}
WINDOW_ATTRS: AttrRules = {
    "kernel": "ints:2",
    "stride": "ints:2",
    "dilation": "ints:2",
    "pads": "ints:4",
}


def shape_is(expected: tuple[int, ...], output: TensorSpec) -> str:
    """A complaint where the output has another shape."""
    return "" if output.shape == expected else f"output shape {output.shape}, expected {expected}"


def requant_lengths(op: Op, channels: int) -> str:
    """A complaint about the constants of a requantisation of so many channels."""
    for name in ("mult", "shift", "slope"):
        if name in op.consts and op.consts[name].shape not in ((1,), (channels,)):
            return f"{name} has shape {op.consts[name].shape}, allowed (1,) or ({channels},)"
    if (op.consts["mult"] < 0).any() or (op.consts["mult"] > 32767).any():
        return "mult outside 0..32767"
    if (op.consts["shift"] < -31).any() or (op.consts["shift"] > 63).any():
        return "shift outside -31..63"
    if op.attrs.get("act") == "LEAKY" and "slope" not in op.consts:
        return "act LEAKY needs the constant slope"
    return ""


def axes_are(op: Op, shape: tuple[int, ...]) -> str:
    """A complaint where `axes` are not different axes of the shape."""
    axes = op.integers("axes")
    inside = all(0 <= axis < len(shape) for axis in axes)
    if not axes or not inside or len(set(axes)) < len(axes):
        return f"axes {axes} of {shape}"
    return ""


def shifts_are(op: Op, **ranges: tuple[int, int]) -> str:
    """A complaint where an attribute leaves its range (lowest, highest)."""
    for name, (low, high) in ranges.items():
        if not low <= op.integer(name) <= high:
            return f"{name} {op.integer(name)}, allowed {low} to {high}"
    return ""


def window_output(op: Op, x: TensorSpec) -> tuple[int, int]:
    """(rows, columns) of the windows that fit whole."""
    kernel, stride = op.integers("kernel"), op.integers("stride")
    dilation, pads = op.integers("dilation"), op.integers("pads")
    height = x.shape[0] + pads[0] + pads[2] - (kernel[0] - 1) * dilation[0] - 1
    width = x.shape[1] + pads[1] + pads[3] - (kernel[1] - 1) * dilation[1] - 1
    return height // stride[0] + 1, width // stride[1] + 1


def check_channelwise(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    channels = inputs[0].shape[-1]
    for name in ("weights", "bias"):
        if name in op.consts and op.consts[name].shape != (channels,):
            return f"{name} has shape {op.consts[name].shape}, expected ({channels},)"
    return shape_is(inputs[0].shape, output) or requant_lengths(op, channels)


def check_same_shape(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    return shape_is(inputs[0].shape, output)


def check_table(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if op.consts["table"].shape != (256,):
        return f"table has shape {op.consts['table'].shape}, expected (256,)"
    return shape_is(inputs[0].shape, output)
