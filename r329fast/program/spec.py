"""The written, executable spec of the flat op list.

Notation: q integers of a tensor, zp its zero point (added to q to get to real zero), a the
accumulator, M = `mult`, N = `shift`, rnd the op's `rounding` (half_even, half_up or floor).

    requant(a) = clamp(rnd(a * M / 2**N) - zp_out, qmin, qmax)          (spec B.5; N may be < 0)

`act` says what happens between the accumulator and the requant (spec B.8):

    NONE   requant(a)
    RELU   requant(max(a, 0))
    CLIP   t = clamp(rnd(a * M / 2**(N-8)), clip_min, clip_max); clamp(rnd(t / 256) - zp_out)
    LEAKY  requant(rnd(min(a, 0) * slope / 2**slope_shift) + max(a, 0)), slope (1,) or (C,)

Everything is exact: accumulators are wide enough that nothing wraps or saturates on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from r329fast.errors import ProgramError
from r329fast.program import checks
from r329fast.program.program import Op, Program, TensorSpec

ROUNDINGS = ("half_even", "half_up", "floor")
ACTS = ("NONE", "RELU", "CLIP", "LEAKY")


@dataclass(frozen=True)
class OpSpec:
    """What an op is made of.

    attrs: name -> allowed values: a tuple of words, "int", or "ints:<length>" (0 = any length);
    consts: name -> allowed dtypes; optional ones end in "?"; check: further rules, a function
    of (op, inputs, output) that returns a complaint or "".
    """

    meaning: str
    arity: int  # -1: one or more
    attrs: Mapping[str, tuple[str, ...] | str]
    consts: Mapping[str, tuple[str, ...]]
    check: Callable[[Op, list[TensorSpec], TensorSpec], str] | None = None


_REQUANT_ATTRS: dict[str, tuple[str, ...] | str] = {"rounding": ROUNDINGS}
_ACT_ATTRS: dict[str, tuple[str, ...] | str] = {
    **_REQUANT_ATTRS,
    "act": ACTS,
    "clip_min": "int",
    "clip_max": "int",
    "slope_shift": "int",
}
_REQUANT_CONSTS = {"mult": ("int32",), "shift": ("int32",)}
_ACT_CONSTS = {**_REQUANT_CONSTS, "slope?": ("int32",)}
_WINDOW_ATTRS: dict[str, tuple[str, ...] | str] = {
    "kernel": "ints:2",
    "stride": "ints:2",
    "dilation": "ints:2",
    "pads": "ints:4",
}


_CONV = OpSpec(
    "a[o] = sum(weights[o, ky, kx, i] * q) + bias[o], outside the image q = pad_value (or "
    "pad_values[i]); then act and requant per channel. weights (O, kh, kw, I/group).",
    1,
    {**_WINDOW_ATTRS, **_ACT_ATTRS, "group": "int", "pad_value": "int"},
    {
        **_ACT_CONSTS,
        "weights": ("int8", "int16"),
        "bias": ("int32",),
        "pad_values?": ("int32",),
    },
    checks.check_conv,
)

OPS: dict[str, OpSpec] = {
    "conv2d": _CONV,
    "depthwise_conv2d": _CONV,
    "fully_connected": OpSpec(
        "a[o] = sum(weights[o, i] * q[i]) + bias[o] over the last axis; act, requant.",
        1,
        _ACT_ATTRS,
        {**_ACT_CONSTS, "weights": ("int8", "int16"), "bias": ("int32",)},
        checks.check_fc,
    ),
    "matmul": OpSpec(
        "a = sum((qa + zp_a) * (qb + zp_b)) over the inner axis; requant.",
        2,
        {**_REQUANT_ATTRS, "trans_a": "int", "trans_b": "int"},
        _REQUANT_CONSTS,
        checks.check_matmul,
    ),
    "eltwise": OpSpec(
        "ADD, SUB, MAX, MIN: a = op((qa + zp_a) * scales[0], (qb + zp_b) * scales[1]); "
        "MUL: a = (qa + zp_a) * (qb + zp_b); act, requant.",
        2,
        {**_ACT_ATTRS, "method": ("ADD", "SUB", "MUL", "MAX", "MIN")},
        {**_ACT_CONSTS, "scales": ("int32",)},
        checks.check_eltwise,
    ),
    "batchnorm": OpSpec(
        "a = q * weights[c] + bias[c] (last axis; zp is inside bias); act, requant.",
        1,
        _ACT_ATTRS,
        {**_ACT_CONSTS, "weights": ("int32",), "bias": ("int32",)},
        checks.check_channelwise,
    ),
    "requantize": OpSpec(
        "a = q + zp_in; act, requant: an activation layer, or a change of scale.",
        1,
        _ACT_ATTRS,
        _ACT_CONSTS,
        checks.check_channelwise,
    ),
    "lut": OpSpec(
        "table[q - lowest value of the input's dtype].",
        1,
        {},
        {"table": ("int16",)},
        checks.check_table,
    ),
    "maxpool": OpSpec(
        "Largest q of the window's positions inside the image.",
        1,
        _WINDOW_ATTRS,
        {},
        checks.check_pool,
    ),
    "avgpool": OpSpec(
        "a = sum(q + zp_in) of the window's positions inside the image, clamped to "
        "[-2**31, 2**31 - 1]; requant with mult and shift (Ho, Wo) or (1, 1).",
        1,
        {**_WINDOW_ATTRS, **_REQUANT_ATTRS},
        _REQUANT_CONSTS,
        checks.check_pool,
    ),
    "reduce_sum": OpSpec(
        "a = sum(q + zp_in) over `axes`; requant (a mean when M / 2**N holds 1/n).",
        1,
        {**_REQUANT_ATTRS, "axes": "ints:0"},
        _REQUANT_CONSTS,
        checks.check_reduce,
    ),
    "concat": OpSpec(
        "Inputs along `axis`, each a = q + zp_i requantised with its own mult[i], shift[i].",
        -1,
        {**_REQUANT_ATTRS, "axis": "int"},
        _REQUANT_CONSTS,
        checks.check_concat,
    ),
    "reshape": OpSpec("The same bytes under another shape.", 1, {}, {}, checks.check_reshape),
    "transpose": OpSpec("Axes permuted.", 1, {"perm": "ints:0"}, {}, checks.check_transpose),
    "slice": OpSpec(
        "q[begin:end:strides].",
        1,
        {"begin": "ints:0", "end": "ints:0", "strides": "ints:0"},
        {},
        checks.check_slice,
    ),
    "pad": OpSpec(
        "`before` and `after` elements on each axis: `value`, or by mirror or edge.",
        1,
        {
            "before": "ints:0",
            "after": "ints:0",
            "mode": ("CONSTANT", "REFLECT", "EDGE"),
            "value": "int",
        },
        {},
        checks.check_pad,
    ),
    "channel_shuffle": OpSpec(
        "[.., C] -> [.., group, C/group] -> swap -> [.., C].", 1, {"group": "int"}, {}, None
    ),
    "resize_nearest": OpSpec(
        "q[rows[y], columns[x]].",
        1,
        {},
        {"rows": ("int32",), "columns": ("int32",)},
        checks.check_resize,
    ),
    "resize_bilinear": OpSpec(
        "clamp(rnd((q[y0,x0]*w0 + q[y0,x1]*w1 + q[y1,x0]*w2 + q[y1,x1]*w3) / 2**weight_shift)), "
        "w = weights[y, x]; the zero point is not removed (spec B.11).",
        1,
        {**_REQUANT_ATTRS, "weight_shift": "int"},
        {
            "y0": ("int32",),
            "y1": ("int32",),
            "x0": ("int32",),
            "x1": ("int32",),
            "weights": ("int32",),
        },
        checks.check_resize,
    ),
    "softmax_lut": OpSpec(
        "e = table[q - max(q) + 255], S = sum(e) over `axis`. form 0: z = ((e << bits) + (S >> 1))"
        " // max(S, 1), clamp(rnd(z * M / 2**(N + bits)) - zp); form 1: R = (M << bits) // "
        "max(S, 1), clamp(rnd(e * R / 2**(N + bits)) - zp). (spec B.12)",
        1,
        {**_REQUANT_ATTRS, "axis": "int", "form": "int", "bits": "int"},
        {**_REQUANT_CONSTS, "table": ("int32",)},
        checks.check_softmax,
    ),
    "softmax_fast_exp": OpSpec(
        "l = ((q - max(q)) * mult_in) >> shift_in, y = 2**(q_bits + l) or 0 where that is < 0, "
        "S = sum(y); the result is a power of two: see spec B.12, FAST_EXP with adjust_q 1.",
        1,
        {"axis": "int", "mult_in": "int", "shift_in": "int", "q_bits": "int"},
        {},
        checks.check_softmax,
    ),
    "log_softmax": OpSpec(
        "As softmax_lut with output range 0..255, then log_table[result].",
        1,
        {**_REQUANT_ATTRS, "axis": "int", "form": "int", "bits": "int"},
        {**_REQUANT_CONSTS, "table": ("int32",), "log_table": ("int16",)},
        checks.check_softmax,
    ),
    "lrn": OpSpec(
        "S = sum of (q + zp_in)**2 over `size` channels (size//2 before, (size-1)//2 after); "
        "u = clamp(rnd(S * sum_mult / 2**sum_shift), 0, 65535); L = table read at u with linear "
        "interpolation (256 entries, floor); requant((q + zp_in) * L). (spec B.11)",
        1,
        {**_REQUANT_ATTRS, "size": "int", "sum_mult": "int", "sum_shift": "int"},
        {**_REQUANT_CONSTS, "table": ("int32",)},
        checks.check_table,
    ),
}


def _attribute_complaint(value: object, rule: tuple[str, ...] | str) -> str:
    if isinstance(rule, tuple):
        return "" if value in rule else f"allowed {', '.join(rule)}"
    if rule == "int":
        return "" if isinstance(value, int) else "allowed an int"
    length = int(rule.split(":")[1])
    if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
        return "allowed a tuple of ints"
    return "" if length in (0, len(value)) else f"allowed {length} ints"


def _verify_op(program: Program, op: Op) -> str:
    """The first rule that `op` breaks, or an empty string."""
    spec = OPS.get(op.kind)
    if spec is None:
        return f"unknown kind, allowed {', '.join(OPS)}"
    if spec.arity not in (-1, len(op.inputs)) or not op.inputs or len(op.outputs) != 1:
        return f"{len(op.inputs)} inputs and {len(op.outputs)} outputs, allowed {spec.arity} and 1"
    if set(op.attrs) != set(spec.attrs):
        return f"attributes {sorted(op.attrs)}, expected {sorted(spec.attrs)}"
    for name, rule in spec.attrs.items():
        complaint = _attribute_complaint(op.attrs[name], rule)
        if complaint:
            return f"attribute {name} is {op.attrs[name]!r}, {complaint}"
    allowed = {name.rstrip("?"): dtypes for name, dtypes in spec.consts.items()}
    required = {name for name in spec.consts if not name.endswith("?")}
    if not required <= set(op.consts) <= set(allowed):
        return f"constants {sorted(op.consts)}, expected {sorted(spec.consts)}"
    for name, array in op.consts.items():
        if array.dtype.name not in allowed[name] or not array.flags.c_contiguous:
            return f"constant {name} is {array.dtype}, allowed C-ordered {'/'.join(allowed[name])}"
    if spec.check is None:
        return ""
    inputs = [program.tensors[name] for name in op.inputs]
    return spec.check(op, inputs, program.tensors[op.outputs[0]])


def verify(program: Program) -> None:
    """Check the whole program; raises ProgramError at the first rule that is broken."""
    for spec in program.tensors.values():
        low, high = (0, 255) if spec.dtype == "uint8" else (-128, 127)
        if spec.dtype not in ("int8", "uint8") or not low <= spec.qmin <= spec.qmax <= high:
            raise ProgramError(
                f"tensor {spec.name!r}: dtype {spec.dtype} with range [{spec.qmin}, {spec.qmax}]"
            )
        if not np.isfinite(spec.scale) or spec.scale <= 0 or not all(n > 0 for n in spec.shape):
            raise ProgramError(f"tensor {spec.name!r}: scale {spec.scale}, shape {spec.shape}")
    known = set(program.inputs)
    for index, op in enumerate(program.ops):
        where = f"op {index} ({op.kind} of layer {op.layer!r})"
        for name in op.inputs:
            if name not in known:
                raise ProgramError(f"{where}: reads {name!r} before it is made", layer=op.layer)
        for name in op.outputs:
            if name in known or name not in program.tensors:
                raise ProgramError(f"{where}: {name!r} is made twice or unknown", layer=op.layer)
        complaint = _verify_op(program, op)
        if complaint:
            raise ProgramError(f"{where}: {complaint}", layer=op.layer)
        known.update(op.outputs)
    for layer in program.layers:
        first, last = layer.ops
        if not 0 <= first <= last <= len(program.ops):
            raise ProgramError(f"layer {layer.name!r}: ops {layer.ops} of {len(program.ops)}")
        for name in (*layer.inputs, *layer.outputs):
            if name not in known:
                raise ProgramError(f"layer {layer.name!r}: names the unknown tensor {name!r}")
    for name in (*program.inputs, *program.outputs):
        if name not in known or name not in program.tensors:
            raise ProgramError(f"input or output {name!r} is made by no op")
