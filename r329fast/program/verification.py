"""`verify`: whether a program keeps the rules of the op list's table."""

from __future__ import annotations

import numpy as np

from r329fast.errors import ProgramError
from r329fast.program.op import ITEMSIZES, Op, OpList
from r329fast.program.ops import OPS


def _attribute_complaint(value: object, rule: tuple[str, ...] | str) -> str:
    if isinstance(rule, tuple):
        return "" if value in rule else f"allowed {', '.join(rule)}"
    if rule == "int":
        return "" if isinstance(value, int) else "allowed an int"
    length = int(rule.split(":")[1])
    if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
        return "allowed a tuple of ints"
    return "" if length in (0, len(value)) else f"allowed {length} ints"


def _verify_op(program: OpList, op: Op) -> str:
    """The first rule that `op` breaks, or an empty string."""
    spec = OPS.get(op.kind)
    if spec is None:
        return f"unknown kind, allowed {', '.join(OPS)}"
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
        if array.dtype.name not in allowed[name] or not array.flags.c_contiguous:
            return f"constant {name} is {array.dtype}, allowed C-ordered {'/'.join(allowed[name])}"
    inputs = [program.tensors[name] for name in op.inputs]
    output = program.tensors[op.outputs[0]]
    pairs = [*((tensor, spec.reads) for tensor in inputs), (output, spec.writes)]
    for tensor, widths in pairs:
        if tensor.itemsize not in widths:
            return f"tensor {tensor.name!r} is {tensor.dtype}, allowed {widths} bytes per element"
    if spec.moves and output.dtype != inputs[0].dtype:
        return f"the output is {output.dtype}, the input {inputs[0].dtype}"
    return spec.check(op, inputs, output)


def verify(program: OpList) -> None:
    """Check the whole program; raises ProgramError at the first rule that is broken."""
    for spec in program.tensors.values():
        known = spec.dtype in ITEMSIZES
        span = 1 << 8 * ITEMSIZES.get(spec.dtype, 1)
        if not known or not spec.lowest <= spec.qmin <= spec.qmax < spec.lowest + span:
            raise ProgramError(
                f"tensor {spec.name!r}: dtype {spec.dtype} with range [{spec.qmin}, {spec.qmax}]"
            )
        if not np.isfinite(spec.scale) or spec.scale <= 0 or not all(n > 0 for n in spec.shape):
            raise ProgramError(f"tensor {spec.name!r}: scale {spec.scale}, shape {spec.shape}")
    made = set(program.inputs)
    for index, op in enumerate(program.ops):
        where = f"op {index} ({op.kind} of layer {op.layer!r})"
        for name in op.inputs:
            if name not in made:
                raise ProgramError(f"{where}: reads {name!r} before it is made", layer=op.layer)
        for name in op.outputs:
            if name in made or name not in program.tensors:
                raise ProgramError(f"{where}: {name!r} is made twice or unknown", layer=op.layer)
        complaint = _verify_op(program, op)
        if complaint:
            raise ProgramError(f"{where}: {complaint}", layer=op.layer)
        made.update(op.outputs)
    for layer in program.layers:
        first, last = layer.ops
        if not 0 <= first <= last <= len(program.ops):
            raise ProgramError(f"layer {layer.name!r}: ops {layer.ops} of {len(program.ops)}")
        for name in (*layer.inputs, *layer.outputs):
            if name not in made:
                raise ProgramError(f"layer {layer.name!r}: names the unknown tensor {name!r}")
    for name in (*program.inputs, *program.outputs):
        if name not in made or name not in program.tensors:
            raise ProgramError(f"input or output {name!r} is made by no op")
