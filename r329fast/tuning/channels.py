"""Which channels of a network may be scaled together without changing what it computes.

A channel that a linear layer makes may be multiplied by a > 0 if every linear layer that reads it
divides its weights by a. Between them only layers may stand that pass factors on: ReLU, pooling,
sums whose inputs are scaled alike, concatenations, depthwise layers, which are linear layers of
their own. ReLU6 passes a factor on only where a channel stays below 6 before and after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r329fast.graph.ir import (
    ActivationAttrs,
    ConcatAttrs,
    ConvAttrs,
    EltwiseAttrs,
    Graph,
    Layer,
    PoolingAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    Weights,
)
from r329fast.tuning.patches import is_fitted

_PASSING = ("NONE", "RELU", "RELU6")


@dataclass(frozen=True)
class Channels:
    """of: tensor -> int64 (C,), the number of each channel's factor; fixed: bool (factors,),
    those that have to stay 1."""

    of: dict[str, np.ndarray]
    fixed: np.ndarray


class _Sets:
    """Disjoint sets of factors."""

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.fixed: set[int] = set()

    def new(self, count: int) -> np.ndarray:
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def root(self, item: int) -> int:
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            self.parent[self.root(b)] = self.root(a)

    def fix(self, items: np.ndarray) -> None:
        self.fixed.update(items.tolist())


def _passes(layer: Layer, graph: Graph) -> bool:
    """Whether each channel of the output is its input's, scaled as that is."""
    if layer.act.kind not in _PASSING:
        return False
    if isinstance(layer.attrs, ActivationAttrs | PoolingAttrs):
        return True
    if isinstance(layer.attrs, ReduceAttrs):
        rank = len(graph.shapes[layer.inputs[0]])
        return layer.attrs.method == "MEAN" and rank - 1 not in layer.attrs.axes
    if isinstance(layer.attrs, ReshapeAttrs):  # (1, 1, C) -> (C,)
        return graph.shapes[layer.inputs[0]][-1] == graph.shapes[layer.outputs[0]][-1]
    return False


def _output(sets: _Sets, layer: Layer, graph: Graph, of: dict[str, np.ndarray]) -> np.ndarray:
    """The factors of the layer's first output."""
    shape = graph.shapes[layer.outputs[0]]
    inputs = [of[name] for name in layer.inputs]
    if is_fitted(layer):
        group = layer.params(ConvAttrs).group if isinstance(layer.attrs, ConvAttrs) else 1
        dense = layer.facts.weights is not Weights.DEPTHWISE
        if (dense and group > 1) or "pad_values" in layer.consts:
            sets.fix(inputs[0])
        found = sets.new(shape[-1])
        if layer.act.kind not in _PASSING:
            sets.fix(found)
        return found
    if _passes(layer, graph):
        return inputs[0]
    if isinstance(layer.attrs, EltwiseAttrs) and layer.act.kind in _PASSING:
        alike = len({len(part) for part in inputs}) == 1
        if layer.attrs.method in ("ADD", "SUB", "MAX", "MIN") and alike:
            sets.join(inputs[0], inputs[1])
            return inputs[0]
    if isinstance(layer.attrs, ConcatAttrs) and layer.attrs.axis in (-1, len(shape) - 1):
        return np.concatenate(inputs)
    for part in inputs:
        sets.fix(part)
    found = sets.new(shape[-1])
    sets.fix(found)
    return found


def find_channels(graph: Graph) -> Channels:
    """The factors of every tensor's channels."""
    sets = _Sets()
    of: dict[str, np.ndarray] = {}
    for layer in graph:
        if layer.is_input:
            of[layer.outputs[0]] = sets.new(graph.shapes[layer.outputs[0]][-1])
            sets.fix(of[layer.outputs[0]])
            continue
        of[layer.outputs[0]] = _output(sets, layer, graph, of)
        for name in layer.outputs[1:]:
            of[name] = sets.new(graph.shapes[name][-1])
            sets.fix(of[name])
    for name in graph.outputs:
        sets.fix(of[name])
    roots = np.array([sets.root(item) for item in range(len(sets.parent))], dtype=np.int64)
    kept, numbers = np.unique(roots, return_inverse=True)
    fixed = np.zeros(len(kept), dtype=bool)
    fixed[numbers[sorted(sets.fixed)]] = True
    return Channels({name: numbers[items] for name, items in of.items()}, fixed)
