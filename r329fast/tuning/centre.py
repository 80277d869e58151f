"""Absorbed biases: channels moved to the middle of their range, and back where they are read.

A range of int8 is symmetric, so a tensor whose channels lie beside zero wastes levels. Where only
layers stand between that add, average or move, a constant that a layer's bias adds to a channel
can be taken out again by the biases of the linear layers that read it: the float network stays as
it is. (Nagel et al., Data-Free Quantization, absorb high biases through ReLU, which holds only
for values above zero; here only where it holds for every image.)
"""

from __future__ import annotations

import dataclasses

import numpy as np

from r329fast.graph.ir import (
    NO_ACT,
    ConvAttrs,
    EltwiseAttrs,
    Graph,
    Layer,
    PoolingAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    Weights,
)
from r329fast.tuning.float_side import FloatSide
from r329fast.tuning.patches import is_fitted

_LEAST = 1e-9  # what is left of a direction, as a share, for it to be free
_SIGNS = {"ADD": (1.0, 1.0), "SUB": (1.0, -1.0)}


class _Shifts:
    """Tensor -> how it moves with the shift of each linear layer: float64 (layers,), for all of
    its channels alike; fixed: those that must not move at all."""

    def __init__(self, graph: Graph) -> None:
        self.makers = [layer for layer in graph if is_fitted(layer) and layer.act == NO_ACT]
        self.number = {layer.outputs[0]: i for i, layer in enumerate(self.makers)}
        self.of: dict[str, np.ndarray] = {}
        self.fixed: list[np.ndarray] = []
        for layer in graph:
            self._pass(graph, layer)
        self.fixed += [self.of[name] for name in graph.outputs]

    def _pass(self, graph: Graph, layer: Layer) -> None:
        count = len(self.makers)
        for name in layer.outputs:
            self.of[name] = np.zeros(count)
        name = layer.outputs[0]
        inputs = [self.of[source] for source in layer.inputs]
        if name in self.number:
            self.of[name] = np.eye(count)[self.number[name]]
        if is_fitted(layer):
            if not _absorbs(layer):
                self.fixed += inputs
        elif isinstance(layer.attrs, EltwiseAttrs) and layer.attrs.method in _SIGNS:
            alike = len({graph.shapes[source][-1] for source in layer.inputs}) == 1
            signs = _SIGNS[layer.attrs.method]
            moved = signs[0] * inputs[0] + signs[1] * inputs[1]
            if not alike:
                self.fixed += inputs
            elif layer.act != NO_ACT:
                self.fixed.append(moved)
            else:
                self.of[name] = moved
        elif _keeps_shifts(layer, graph):
            self.of[name] = inputs[0]
        else:
            self.fixed += inputs


def _absorbs(layer: Layer) -> bool:
    """Whether a constant on its input is a constant on its sums: nothing is padded."""
    if "pad_values" in layer.consts:
        return False
    if layer.facts.weights is Weights.MATRIX:
        return True
    attrs = layer.params(ConvAttrs)
    dense = attrs.group == 1 or layer.facts.weights is Weights.DEPTHWISE
    return dense and not any(attrs.pads)


def _keeps_shifts(layer: Layer, graph: Graph) -> bool:
    if layer.act != NO_ACT:
        return False
    if isinstance(layer.attrs, PoolingAttrs):
        return layer.attrs.method == "MAX" or not any(layer.attrs.pads)
    if isinstance(layer.attrs, ReduceAttrs):
        rank = len(graph.shapes[layer.inputs[0]])
        return layer.attrs.method == "MEAN" and rank - 1 not in layer.attrs.axes
    if isinstance(layer.attrs, ReshapeAttrs):  # (1, 1, C) -> (C,)
        return graph.shapes[layer.inputs[0]][-1] == graph.shapes[layer.outputs[0]][-1]
    return False


def _free_directions(fixed: list[np.ndarray], count: int) -> np.ndarray:
    """float64 (count, F): combinations of shifts that move nothing of `fixed`."""
    rows = np.stack(fixed) if fixed else np.zeros((1, count))
    _, sizes, turned = np.linalg.svd(rows, full_matrices=True)
    rank = int((sizes > _LEAST * max(float(sizes.max(initial=0.0)), 1.0)).sum())
    return turned[rank:].T


def _alike(graph: Graph, shifts: _Shifts) -> list[list[int]]:
    """Makers in parts that move one another's tensors: all of a part have as many channels."""
    parent = list(range(len(shifts.makers)))

    def root(item: int) -> int:
        while parent[item] != item:
            item = parent[item]
        return item

    for moved in (*shifts.of.values(), *shifts.fixed):
        found = np.flatnonzero(moved).tolist()
        for other in found[1:]:
            parent[root(other)] = root(found[0])
    parts: dict[int, list[int]] = {}
    for item in range(len(parent)):
        parts.setdefault(root(item), []).append(item)
    return list(parts.values())


def centred(graph: Graph, side: FloatSide) -> tuple[Graph, dict[str, np.ndarray]]:
    """(the network with moved channels, tensor -> float64 (C,), by how much where it moves).

    The shifts are those that bring the middle of each channel's values nearest to zero, by least
    squares over all tensors that move together, each in relation to its range.
    """
    shifts = _Shifts(graph)
    moves: dict[str, np.ndarray] = {}
    for part in _alike(graph, shifts):
        named = {
            layer.outputs[0]: shifts.of[layer.outputs[0]][part]
            for layer in graph
            if not layer.is_input and shifts.of[layer.outputs[0]][part].any()
        }
        fixed = [row[part] for row in shifts.fixed if row[part].any()]
        free = _free_directions(fixed, len(part))
        if not free.size or not named:
            continue
        rows, aims = [], []
        for name, moved in named.items():
            values = side.values[graph.producer(name).name]
            values = values.reshape(-1, values.shape[-1]).astype(np.float64)
            middle = (values.min(axis=0) + values.max(axis=0)) / 2
            weight = 1 / max(float(np.abs(values).max()), 1e-30)
            rows.append(weight * (moved @ free))
            aims.append(-weight * middle)
        found = free @ np.linalg.lstsq(np.stack(rows), np.stack(aims), rcond=None)[0]
        moves |= {name: moved @ found for name, moved in named.items()}
    return (shifted_graph(graph, moves), moves) if moves else (graph, {})


def shifted_graph(graph: Graph, moves: dict[str, np.ndarray]) -> Graph:
    """Every linear layer's bias with the shift of its output, less what its input's shift adds.

    moves: tensor -> float64 (C,), as `centred` gives them.
    """
    layers = []
    for layer in graph:
        if is_fitted(layer):
            bias = layer.consts["bias"].astype(np.float64)
            if layer.act == NO_ACT:
                bias = bias + moves.get(layer.outputs[0], 0.0)
            source = moves.get(layer.inputs[0])
            if source is not None:
                weights = layer.consts["weights"].astype(np.float64)
                if layer.facts.weights is Weights.DEPTHWISE:
                    taps = weights.reshape(len(weights), -1).sum(axis=1)
                    bias = bias - taps * np.repeat(source, len(weights) // len(source))
                else:
                    columns = weights.reshape(len(weights), -1, weights.shape[-1]).sum(axis=1)
                    bias = bias - columns @ np.resize(source, columns.shape[-1])
            if not np.array_equal(bias, layer.consts["bias"]):
                consts = {**layer.consts, "bias": bias.astype(np.float32)}
                layer = dataclasses.replace(layer, consts=consts)
        layers.append(layer)
    return dataclasses.replace(graph, layers=layers)
