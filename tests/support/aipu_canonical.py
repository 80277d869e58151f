"""A program as the reader of aipu.bin names and scales it."""

from __future__ import annotations

import re
from dataclasses import replace

from r329fast.program.program import Program


def number_of(name: str) -> int:
    found = re.search(r"(\d+)$", name)
    assert found, name
    return int(found[1])


def canonical(program: Program) -> Program:
    """`program` with the reader's names and scales; an addition must stand on a convolution.

    Only one output per layer, and layers that the format has; Reshape layers become views.
    """
    names: dict[str, str] = {}
    kinds = {"Convolution": "conv", "DepthwiseConv": "dw", "FullyConnected": "fc"}
    kinds |= {"Concat": "concat", "Slice": "slice", "Reduce": "mean", "Transpose": "transpose"}
    number = inputs = 0
    for layer in program.layers:
        (top,) = layer.outputs
        if layer.type == "Input":
            names[top], inputs = f"input{inputs}", inputs + 1
        elif layer.type == "Eltwise":
            names[top] = f"add{number}"
        else:
            number += 1
            names[top] = f"{kinds[layer.type]}{number}"
    tensors = {
        new: replace(program.tensors[old], name=new, scale=1.0) for old, new in names.items()
    }
    ops = [
        replace(
            op,
            layer=names[op.layer],
            inputs=tuple(names[name] for name in op.inputs),
            outputs=tuple(names[name] for name in op.outputs),
        )
        for op in program.ops
    ]
    layers = [
        replace(
            layer,
            name=names[layer.outputs[0]],
            inputs=tuple(names[name] for name in layer.inputs),
            outputs=tuple(names[name] for name in layer.outputs),
        )
        for layer in program.layers
    ]
    return replace(
        program,
        tensors=tensors,
        ops=ops,
        layers=layers,
        inputs=tuple(names[name] for name in program.inputs),
        outputs=tuple(names[name] for name in program.outputs),
    )
