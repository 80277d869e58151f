"""`verify`: whether a program keeps the rules of the op list's table.

A program may come from a file that lies. What verify lets pass can be prepared and run: kernels
take its numbers as sizes and places in memory, and the reference computes without wrapping.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.base.limits import AXIS
from r329fast.base.limits import OPS as MOST_OPS
from r329fast.errors import ProgramError
from r329fast.program.op import ITEMSIZES, LayerRecord, Op, OpList, TensorSpec
from r329fast.program.ops import OPS
from r329fast.program.ops.bounds import dtype_range, same_dtype, size_is
from r329fast.program.ops.spec import AttrRule, Int

MAX_RANK = 8
MAX_ZERO_POINT = 1 << 16  # |zero point|: 16-bit activations have no larger one


def _is_int(value: object) -> bool:
    return type(value) is int  # a bool is none


def _words(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _attribute_complaint(value: Any, rule: AttrRule) -> str:
    if isinstance(rule, tuple):
        return "" if value in rule else f"allowed {', '.join(rule)}"
    if isinstance(rule, Int):
        fits = _is_int(value) and rule.low <= value <= rule.high
        return "" if fits else f"allowed an integer in {rule.low}..{rule.high}"
    if not isinstance(value, tuple) or not all(
        _is_int(item) and rule.low <= item <= rule.high for item in value
    ):
        return f"allowed integers in {rule.low}..{rule.high}"
    return "" if rule.length in (0, len(value)) else f"allowed {rule.length} integers"


def _tensor_complaint(name: str, spec: TensorSpec) -> str:
    if not isinstance(spec, TensorSpec) or spec.name != name or not isinstance(name, str):
        return "is not the tensor of that name"
    if not isinstance(spec.dtype, str) or spec.dtype not in ITEMSIZES:
        return f"dtype {spec.dtype}, allowed {', '.join(ITEMSIZES)}"
    shape = spec.shape
    if not isinstance(shape, tuple) or not all(_is_int(size) and size > 0 for size in shape):
        return f"shape {shape}, allowed positive integers"
    if len(shape) > MAX_RANK:
        return f"{len(shape)} axes, allowed {MAX_RANK}"
    if max(shape, default=0) > AXIS.get():
        return f"an axis of {max(shape):,}, {AXIS.advice()}"
    low, high = dtype_range(spec)
    if not (_is_int(spec.qmin) and _is_int(spec.qmax) and low <= spec.qmin <= spec.qmax <= high):
        return f"dtype {spec.dtype} with range [{spec.qmin}, {spec.qmax}]"
    if not _is_int(spec.zero_point) or abs(spec.zero_point) > MAX_ZERO_POINT:
        return f"zero point {spec.zero_point}, allowed -{MAX_ZERO_POINT} to {MAX_ZERO_POINT}"
    limits = np.finfo(np.float32)
    number = isinstance(spec.scale, (int, float)) and not isinstance(spec.scale, bool)
    if not number or not float(limits.smallest_subnormal) <= spec.scale <= float(limits.max):
        return f"scale {spec.scale}, allowed positive numbers of float32"
    return size_is(shape, "shape", spec.itemsize)


def _form_complaint(op: Op) -> str:
    """What an op is made of, before its kind's own rules."""
    if not isinstance(op.kind, str) or op.kind not in OPS:
        return f"unknown kind, allowed {', '.join(OPS)}"
    spec = OPS[op.kind]
    if not isinstance(op.layer, str) or not _words(op.inputs) or not _words(op.outputs):
        return "layer, inputs and outputs must be names"
    fits = len(op.inputs) == spec.arity or (spec.arity < 0 and op.inputs)
    if not fits or len(op.outputs) != 1:
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
        if not isinstance(array, np.ndarray):
            return f"constant {name} is {type(array).__name__}, allowed an array"
        native = array.dtype.isnative and array.flags.c_contiguous
        if array.dtype.name not in allowed[name] or not native:
            return f"constant {name} is {array.dtype}, allowed C-ordered {'/'.join(allowed[name])}"
    return ""


def _verify_op(program: OpList, op: Op) -> str:
    """The first rule that `op` breaks, or an empty string."""
    spec = OPS[op.kind]
    inputs, output = [program.tensors[name] for name in op.inputs], program.tensors[op.outputs[0]]
    for tensor, widths in [*((x, spec.reads) for x in inputs), (output, spec.writes)]:
        if tensor.itemsize not in widths:
            return f"tensor {tensor.name!r} is {tensor.dtype}, allowed {widths} bytes per element"
    complaint = same_dtype(inputs, output) if spec.same_scale else ""
    return complaint or spec.check(op, inputs, output)


def _layer_complaint(program: OpList, layer: LayerRecord, known: set[str]) -> str:
    first, last = layer.ops
    if not (_is_int(first) and _is_int(last) and 0 <= first <= last <= len(program.ops)):
        return f"ops {layer.ops} of {len(program.ops)}"
    if not _words(layer.inputs) or not _words(layer.outputs):
        return "inputs and outputs must be names"
    for name in (*layer.inputs, *layer.outputs):
        if name not in known:
            return f"names the unknown tensor {name!r}"
    return ""


def _verify_ends(program: OpList) -> None:
    """Inputs and outputs: there are some, each once, of tensors."""
    for what, names in (("input", program.inputs), ("output", program.outputs)):
        if not _words(names) or not names or len(set(names)) < len(names):
            raise ProgramError(f"{what}s {names}, allowed at least one name, each once")
        for name in names:
            if name not in program.tensors:
                raise ProgramError(f"{what} {name!r} is no tensor of the program")


def _verify_length(program: OpList) -> None:
    """Ops are prepared and placed one by one: there are only so many."""
    count = sum(max(len(op.inputs) - 1, 1) for op in program.ops)
    if count > MOST_OPS.get():
        raise ProgramError(f"the program has {count:,} ops, {MOST_OPS.advice()}")


def verify(program: OpList) -> None:
    """Check the whole program; raises ProgramError at the first rule that is broken."""
    _verify_length(program)
    for name, spec in program.tensors.items():
        complaint = _tensor_complaint(name, spec)
        if complaint:
            raise ProgramError(f"tensor {name!r}: {complaint}")
    _verify_ends(program)
    known = set(program.inputs)
    for index, op in enumerate(program.ops):
        where = f"op {index} ({op.kind} of layer {op.layer!r})"
        complaint = _form_complaint(op)
        if complaint:
            raise ProgramError(f"{where}: {complaint}", layer=op.layer)
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
    for name in program.outputs:
        if name not in known:
            raise ProgramError(f"output {name!r} is made by no op")
    for layer in program.layers:
        complaint = _layer_complaint(program, layer, known)
        if complaint:
            raise ProgramError(f"layer {layer.name!r}: {complaint}")
