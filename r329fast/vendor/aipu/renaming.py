"""A program under other names and scales: everything else, integers first of all, stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from r329fast.program.program import Program


def renamed(
    program: Program, names: Mapping[str, str], scales: Mapping[str, float] | None = None
) -> Program:
    """`program` with tensors and layers by their new names; scales: by the old tensor name.

    A view of a tensor (`conv3:view`) follows its layer's name and its source's scale.
    """
    scales = dict(scales or {})
    table = {name: _new_name(name, names) for name in program.tensors}
    for op in program.ops:
        if op.kind == "reshape" and op.inputs[0] in scales:
            scales.setdefault(op.outputs[0], scales[op.inputs[0]])
    tensors = {}
    for name, spec in program.tensors.items():
        scale = scales.get(name, spec.scale)
        tensors[table[name]] = replace(spec, name=table[name], scale=scale)
    ops = [
        replace(
            op,
            layer=table[op.layer],
            inputs=tuple(table[name] for name in op.inputs),
            outputs=tuple(table[name] for name in op.outputs),
        )
        for op in program.ops
    ]
    layers = [
        replace(
            layer,
            name=table[layer.name],
            inputs=tuple(table[name] for name in layer.inputs),
            outputs=tuple(table[name] for name in layer.outputs),
        )
        for layer in program.layers
    ]
    return replace(
        program,
        tensors=tensors,
        ops=ops,
        layers=layers,
        inputs=tuple(table[name] for name in program.inputs),
        outputs=tuple(table[name] for name in program.outputs),
    )


def _new_name(name: str, names: Mapping[str, str]) -> str:
    base, colon, rest = name.partition(":")
    return names.get(base, base) + colon + rest
