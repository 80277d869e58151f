"""Programs and graphs cut out of a whole one: single layers, and what lies behind a layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from r329fast.graph.ir import Graph, InputAttrs, Layer
from r329fast.program.program import LayerRecord, Op, Program

SINGLE = "single:"


def isolated(program: Program) -> Program:
    """Every layer alone: all tensors that layers read are inputs, `single:NAME` the outputs."""
    tensors = dict(program.tensors)
    ops: list[Op] = []
    read: dict[str, None] = {}
    outputs: list[str] = []
    for layer in program.layers:
        if layer.is_input:
            continue
        rename = {name: SINGLE + name for name in layer.outputs}
        for old, new in rename.items():
            tensors[new] = dataclasses.replace(program.tensors[old], name=new)
        outputs += rename.values()
        read.update(dict.fromkeys(layer.inputs))
        for op in program.ops[slice(*layer.ops)]:
            ops.append(
                dataclasses.replace(
                    op,
                    inputs=tuple(rename.get(name, name) for name in op.inputs),
                    outputs=tuple(rename.get(name, name) for name in op.outputs),
                )
            )
    used = {name for op in ops for name in (*op.inputs, *op.outputs)}
    tensors = {name: spec for name, spec in tensors.items() if name in used}
    inputs = tuple(name for name in read if name in used)
    return Program(program.name, program.scheme, tensors, ops, [], inputs, tuple(outputs))


def _behind(
    layers: Iterable[tuple[tuple[str, ...], tuple[str, ...]]], start: Iterable[str]
) -> tuple[list[int], list[str]]:
    """(positions of the layers that depend on `start`, tensors that they need from outside)."""
    reached = set(start)
    needed: dict[str, None] = {}
    made: set[str] = set()
    positions = []
    for position, (inputs, outputs) in enumerate(layers):
        if not reached.intersection(inputs):
            continue
        positions.append(position)
        reached.update(outputs)
        needed.update(dict.fromkeys(name for name in inputs if name not in made))
        made.update(outputs)
    return positions, list(needed)


def program_behind(program: Program, start: Iterable[str]) -> Program:
    """What computes the outputs from the tensors `start` on; other tensors it reads are inputs.

    Only the outputs that depend on `start` are left (none where nothing does).
    """
    positions, needed = _behind(((op.inputs, op.outputs) for op in program.ops), start)
    ops = [program.ops[position] for position in positions]
    used = {name for op in ops for name in (*op.inputs, *op.outputs)}
    tensors = {name: spec for name, spec in program.tensors.items() if name in used}
    made = {name for op in ops for name in op.outputs}
    outputs = tuple(name for name in program.outputs if name in made)
    layers: list[LayerRecord] = []
    return Program(program.name, program.scheme, tensors, ops, layers, tuple(needed), outputs)


def graph_behind(graph: Graph, start: Iterable[str]) -> Graph:
    """As `program_behind`, for the float graph."""
    positions, needed = _behind(((layer.inputs, layer.outputs) for layer in graph), start)
    layers = [graph.layers[position] for position in positions]
    made = {name for layer in layers for name in layer.outputs}
    outputs = tuple(name for name in graph.outputs if name in made)
    return _graph(graph, layers, needed, outputs)


def single_layer(graph: Graph, layer: Layer) -> Graph:
    """One float layer on its own."""
    return _graph(graph, [layer], list(dict.fromkeys(layer.inputs)), layer.outputs)


def _graph(graph: Graph, layers: list[Layer], inputs: list[str], outputs: tuple[str, ...]) -> Graph:
    ends = [Layer(name, "Input", InputAttrs(), (), (name,)) for name in inputs]
    names = {*inputs, *(name for layer in layers for name in layer.outputs)}
    shapes = {name: shape for name, shape in graph.shapes.items() if name in names}
    return Graph(graph.name, [*ends, *layers], shapes, outputs)
