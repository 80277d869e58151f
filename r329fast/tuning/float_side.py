"""What the float network computes on the calibration images: sampled once, held against always."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import NO_ACT, ActivationAttrs, Graph, Layer
from r329fast.profile.errors import float_block
from r329fast.tuning.mirrors import Images
from r329fast.tuning.patches import at_places, choose_places, is_fitted
from r329fast.tuning.store import Key, Store

_SUMS, _VALUES = "sums", "values"  # kinds in the store


_CUT = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0)}


class Values(Mapping[str, np.ndarray]):
    """float32 [N, P, C] by layer; behind a ReLU they are its sums, cut off when they are read."""

    def __init__(self, store: Store, cut: Mapping[str, tuple[float, float]]) -> None:
        self._store, self._cut = store, cut

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._cut:
            return self._store[_VALUES, name]
        low, high = self._cut[name]
        return np.clip(self._store[_SUMS, name], np.float32(low), np.float32(high))

    def __iter__(self) -> Iterator[str]:
        yield from self._cut
        yield from (name for kind, name in self._store if kind == _VALUES)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Sums(Mapping[str, np.ndarray]):
    """float32 [N, P, C] by layer, before its activation; all that a layer without one has."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, name: str) -> np.ndarray:
        key = (_SUMS, name)
        return self._store[key if key in self._store else (_VALUES, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for _, name in self._store))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass
class FloatSide:
    """Float values of the network `graph` on N images.

    places: layer -> int64 [N, P]; sums: linear layer -> float32 [N, P, C], before its activation;
    values: any layer's first output -> float32 [N, P, C] at its places; extremes: tensor -> float32
    [N, 2], (min, max) of each image;
    output: float32 [N, ...] of the network's first output; store: what holds sums and values.
    """

    graph: Graph
    places: dict[str, np.ndarray]
    sums: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]
    extremes: dict[str, np.ndarray]
    output: np.ndarray
    store: Store


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
    graph: Graph, x: Images, seed: int, threads: int = 1, store: Store | None = None
) -> FloatSide:
    """Run all images x, float32 [N, ...]; only what is sampled is kept, in `store`."""
    store = Store() if store is None else store
    layers = [layer for layer in graph if not layer.is_input]
    places = {layer.name: choose_places(graph, layer, len(x), seed) for layer in layers}
    kept = {key: name for layer in layers for key, name in _kept(layer).items()}
    for layer in layers:
        for key in _kept(layer):
            width = graph.shapes[layer.outputs[0]][-1]
            store.reserve(key, (*places[layer.name].shape, width))
    session = FloatSession(unfused(graph), keep="all", threads=threads)
    extremes: dict[str, list[np.ndarray]] = {}
    outputs = []
    block = max(float_block(graph) // 2, 1)
    for first in range(0, len(x), block):
        part = slice(first, first + block)
        tensors = {graph.inputs[0]: x[part], **session.run(np.ascontiguousarray(x[part]))}
        for name, array in tensors.items():
            axes = tuple(range(1, array.ndim))
            pair = np.stack([array.min(axis=axes), array.max(axis=axes)], axis=1)
            extremes.setdefault(name, []).append(pair)
        for key, name in kept.items():
            where = places[key[1]][part]
            store.write(key, first, at_places(tensors[name], where))
        outputs.append(tensors[graph.outputs[0]])
    cut = {
        layer.name: _CUT[layer.act.kind]
        for layer in layers
        if (_VALUES, layer.name) not in _kept(layer)
    }
    return FloatSide(
        graph,
        places,
        Sums(store),
        Values(store, cut),
        {name: np.concatenate(parts) for name, parts in extremes.items()},
        np.concatenate(outputs),
        store,
    )


def _kept(layer: Layer) -> dict[Key, str]:
    """Key in the store -> tensor of `unfused`: what of the layer is sampled."""
    values: dict[Key, str] = {(_VALUES, layer.name): layer.outputs[0]}
    if not is_fitted(layer) or layer.act == NO_ACT:
        return values
    sums: dict[Key, str] = {(_SUMS, layer.name): sums_key(layer)}
    return sums if layer.act.kind in _CUT else {**sums, **values}
