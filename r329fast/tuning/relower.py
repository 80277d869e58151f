"""The program of a network with a few other ranges: only what they reach is lowered again."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from r329fast.calibration import Ranges
from r329fast.graph.ir import Graph
from r329fast.program.program import Program
from r329fast.quantization.lower.context import Lowering
from r329fast.quantization.lower.lowering import lower_layer
from r329fast.quantization.scheme import Scheme


def with_other_ranges(
    program: Program, graph: Graph, ranges: Ranges, scheme: Scheme, changed: Collection[str]
) -> Program:
    """`program`, which was made of `graph`, as the ranges of the tensors `changed` have it now.

    Equal to quantising the whole graph anew, without the work: a layer is lowered again if its
    output's range is another, or what it reads has another scale, zero point or dtype.
    """
    low = Lowering(graph, ranges, scheme)
    for index, (layer, record) in enumerate(zip(graph, program.layers, strict=True)):
        low.index = index
        own = not set(layer.outputs).isdisjoint(changed)
        if own or any(low.tensors[name] != program.tensors[name] for name in layer.inputs):
            lower_layer(low, layer)
            continue
        first = len(low.ops)
        low.ops += program.ops[slice(*record.ops)]
        made = (name for op in low.ops[first:] for name in op.outputs)
        low.tensors.update({name: program.tensors[name] for name in (*layer.outputs, *made)})
        low.records.append(dataclasses.replace(record, ops=(first, len(low.ops))))
    return dataclasses.replace(program, tensors=low.tensors, ops=low.ops, layers=low.records)
