"""The same program with all its 8-bit tensors in one dtype: q + 128 where they were int8.

A byte tile multiplies unsigned (or signed) activations by signed weights. If every tensor is kept
in that form, no kernel has to change the form of what it reads. Nothing else changes: with
u = q + d and zero point z - d, u + (z - d) = q + z wherever an op means the real value; biases,
paddings and tables take what depends on q itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r329fast.program.ops import OPS
from r329fast.program.program import Op, Program, TensorSpec


def offset(spec: TensorSpec, dtype: str) -> int:
    """What is added to the integers of `spec` to bring them to `dtype`."""
    if spec.dtype == dtype or spec.itemsize > 1:
        return 0
    return 128 if dtype == "uint8" else -128


def uniform_program(program: Program, dtype: str) -> Program | None:
    """`program` with all tensors as `dtype` (uint8 or int8); None where an op forbids it.

    The integers of every tensor are those of `program` plus its `offset`. The result is for
    kernels: biases may need more than int32.
    """
    moved = {name: offset(spec, dtype) for name, spec in program.tensors.items()}
    if not all(_possible(op, moved) for op in program.ops):
        return None
    tensors = {
        name: replace(
            spec,
            dtype=dtype if spec.itemsize == 1 else spec.dtype,
            zero_point=spec.zero_point - moved[name],
            qmin=spec.qmin + moved[name],
            qmax=spec.qmax + moved[name],
        )
        for name, spec in program.tensors.items()
    }
    return replace(
        program, tensors=tensors, ops=[_stored_op(op, moved, dtype) for op in program.ops]
    )


def _possible(op: Op, moved: dict[str, int]) -> bool:
    before, after = moved[op.inputs[0]] if op.inputs else 0, moved[op.outputs[0]]
    if op.kind == "softmax_fast_exp":  # its results are bytes, whatever the output's type
        return after == 0
    if op.kind == "resize_bilinear" and before:
        whole = 1 << op.integer("weight_shift")
        return before == after and bool((op.consts["weights"].sum(axis=-1) == whole).all())
    if op.attrs.get("result") == "VALUES":
        return before == after
    if op.attrs.get("result") == "INDICES":  # bytes are indices, whatever the output's type
        return after == 0
    return not OPS[op.kind].same_scale or before == after


def _stored_op(op: Op, moved: dict[str, int], dtype: str) -> Op:
    before, after = moved[op.inputs[0]] if op.inputs else 0, moved[op.outputs[0]]
    attrs, consts = dict(op.attrs), dict(op.consts)
    spec = OPS[op.kind]
    if spec.linear and before:
        weights = consts["weights"].astype(np.int64)
        sums = weights.reshape(len(weights), -1).sum(axis=1)
        bias = consts["bias"].astype(np.int64)
        sums = np.tile(sums, len(bias) // len(sums))  # of a transposed convolution: for each group
        consts["bias"] = bias - before * sums
        if "pad_value" in attrs:
            attrs["pad_value"] = op.integer("pad_value") + before
        if "pad_values" in consts:
            consts["pad_values"] = consts["pad_values"] + before
    if spec.filling:
        attrs[spec.filling] = op.integer(spec.filling) + before
    if spec.result_table in consts:
        table = consts[spec.result_table]
        if op.inputs:
            consts[spec.result_table] = table + after
        elif after:  # the values have the dtype of the tensor
            consts["value"] = (table.astype(np.int64) + after).astype(dtype)
    return replace(op, attrs=attrs, consts=consts)
