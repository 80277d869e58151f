"""What the float network computes on the calibration images: sampled once, held against always."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import NO_ACT, ActivationAttrs, Graph, Layer
from r329fast.profile.errors import float_block
from r329fast.tuning.patches import at_places, choose_places, is_fitted


@dataclass
class FloatSide:
    """Float values of the network on N images.

    places: layer -> int64 [N, P]; sums: linear layer -> float32 [N, P, C], before its activation;
    values: any layer's first output -> float32 [N, P, C] at its places; extremes: tensor -> float32
    [N, 2], (min, max) of each image;
    output: float32 [N, ...] of the network's first output.
    """

    places: dict[str, np.ndarray] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    extremes: dict[str, np.ndarray] = field(default_factory=dict)
    output: np.ndarray = field(default_factory=lambda: np.zeros((0,), np.float32))


def sums_key(layer: Layer) -> str:
    """The tensor that holds the layer's sums, in `unfused`."""
    return layer.outputs[0] if layer.act == NO_ACT else f"{layer.outputs[0]}:sums"


def unfused(graph: Graph) -> Graph:
    """The same network with the activations of linear layers as layers of their own."""
    layers: list[Layer] = []
    shapes = dict(graph.shapes)
    for layer in graph:
        if not is_fitted(layer) or layer.act == NO_ACT:
            layers.append(layer)
            continue
        name = sums_key(layer)
        shapes[name] = graph.shapes[layer.outputs[0]]
        attrs = dataclasses.replace(layer.attrs, act=NO_ACT)  # type: ignore[call-arg]
        consts = {key: value for key, value in layer.consts.items() if key != "slope"}
        slope = {key: value for key, value in layer.consts.items() if key == "slope"}
        layers.append(Layer(name, layer.type, attrs, layer.inputs, (name,), consts))
        act = ActivationAttrs(layer.act)
        layers.append(Layer(layer.name, "Activation", act, (name,), layer.outputs, slope))
    return dataclasses.replace(graph, layers=layers, shapes=shapes)


def run_float(
    graph: Graph,
    x: np.ndarray,
    seed: int,
    threads: int = 1,
    advance: Callable[[int], None] | None = None,
) -> FloatSide:
    """Run all images x, float32 [N, ...]; only what is sampled stays in memory."""
    side = FloatSide()
    layers = [layer for layer in graph if not layer.is_input]
    for layer in layers:
        side.places[layer.name] = choose_places(graph, layer, len(x), seed)
    session = FloatSession(unfused(graph), keep="all", threads=threads)
    sums: dict[str, list[np.ndarray]] = {}
    values: dict[str, list[np.ndarray]] = {}
    extremes: dict[str, list[np.ndarray]] = {}
    outputs = []
    block = max(float_block(graph) // 2, 1)
    for first in range(0, len(x), block):
        part = slice(first, first + block)
        tensors = {graph.inputs[0]: x[part], **session.run(np.ascontiguousarray(x[part]))}
        for name, array in tensors.items():
            flat = array.reshape(len(array), -1)
            pair = np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1)
            extremes.setdefault(name, []).append(pair)
        for layer in layers:
            places = side.places[layer.name][part]
            values.setdefault(layer.name, []).append(at_places(tensors[layer.outputs[0]], places))
            if is_fitted(layer) and layer.act != NO_ACT:
                sums.setdefault(layer.name, []).append(at_places(tensors[sums_key(layer)], places))
        outputs.append(tensors[graph.outputs[0]])
        if advance is not None:
            advance(len(outputs[-1]))
    side.extremes = {name: np.concatenate(parts) for name, parts in extremes.items()}
    side.values = {name: np.concatenate(parts) for name, parts in values.items()}
    side.sums = {
        layer.name: np.concatenate(sums[layer.name])
        if layer.name in sums
        else side.values[layer.name]
        for layer in layers
        if is_fitted(layer)
    }
    side.output = np.concatenate(outputs)
    return side
