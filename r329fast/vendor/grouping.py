"""Which layers run as one node of the vendor's graph, and in which order (spec formats.md 5)."""

from __future__ import annotations

from dataclasses import dataclass

from r329fast.graph.layers.elementwise import EltwiseAttrs
from r329fast.graph.layers.facts import Weights
from r329fast.program.program import LayerRecord, Program


@dataclass(frozen=True)
class Group:
    """One node: indices into `Program.layers`, [conv, eltwise] for a fused pair."""

    layers: tuple[int, ...]
    perf: bool


def execution_groups(program: Program) -> list[Group]:
    """All nodes in execution order.

    The order is that of the IR; a fused pair stands where its Eltwise stands, so that both
    inputs of the addition are there (next to each other in every graph.json seen).
    """
    partner = _fused_convolutions(program)
    taken = set(partner.values())
    groups = []
    for index, layer in enumerate(program.layers):
        if index in partner:
            groups.append(Group((partner[index], index), perf=True))
        elif index not in taken:
            groups.append(Group((index,), perf=not layer.facts.bare))
    return groups


def _fused_convolutions(program: Program) -> dict[int, int]:
    """Eltwise index -> index of the convolution that it is fused onto."""
    maker = {name: i for i, layer in enumerate(program.layers) for name in layer.outputs}
    readers: dict[str, int] = {}
    for layer in program.layers:
        for name in layer.inputs:
            readers[name] = readers.get(name, 0) + 1
    partner = {}
    for index, layer in enumerate(program.layers):
        if not _is_addition(program, layer):
            continue
        candidates = [
            maker[name]
            for name in layer.inputs
            if readers[name] == 1
            and name not in program.outputs
            and name in maker
            and _can_carry(program.layers[maker[name]])
        ]
        if candidates:
            partner[index] = max(candidates)
    return partner


def _is_addition(program: Program, layer: LayerRecord) -> bool:
    """An Eltwise ADD of two equal shapes: the only form that was seen fused."""
    if layer.facts.attrs is not EltwiseAttrs or layer.detail.get("method") != "ADD":
        return False
    a, b = (program.tensors[name].shape for name in layer.inputs)
    return a == b


def _can_carry(layer: LayerRecord) -> bool:
    """A convolution without activation: the descriptor has one ReLU, behind the addition."""
    return layer.facts.weights is Weights.WINDOW and layer.act == "NONE"
