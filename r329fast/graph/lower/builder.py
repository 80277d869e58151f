"""The builder that importers write layers with, and the layouts it keeps track of.

An ONNX tensor of a feature map is (C, H, W) a image, ours is (H, W, C). Every ONNX tensor is
therefore kept as a `Value`: the graph tensor that holds it and where each of its axes lies there.
An ONNX Transpose then only changes that record; a Transpose layer appears where an operator
needs the axes to lie otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from r329fast.graph.ir import Attrs, InputAttrs, Layer, ReshapeAttrs, TransposeAttrs
from r329fast.graph.issues import VALUES, Unknown, Unsupported
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.reader import Names

# Where the axes of an ONNX feature map (C, H, W) lie in ours.
NHWC = (2, 0, 1)
# Where those of a row (C, L) lie in a map (1, L, C).
ROW = (2, 1)


@dataclass(frozen=True)
class Value:
    """One ONNX tensor: logical per-image axis i lies at axis perm[i] of graph tensor `tensor`.

    A row (C, L), as one-dimensional convolutions and pools have it, lies in a map (1, L, C): its
    perm is then (2, 1), and the place that no axis names has size 1.

    `scrambled` marks a flattened feature map whose elements are still in storage order: it holds
    the shape and perm of the map before; only fully connected layers can read it.
    """

    tensor: str
    perm: tuple[int, ...]
    scrambled: tuple[tuple[int, ...], tuple[int, ...]] | None = None


def canonical(rank: int) -> tuple[int, ...]:
    """The perm that operators expect: NHWC for feature maps, else the order as it is."""
    return NHWC if rank == 3 else tuple(range(rank))


class Builder:
    """Layers so far, their shapes, and the `Value` of every ONNX tensor seen."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.layers: list[Layer] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.values: dict[str, Value] = {}
        self.input_layouts: dict[str, str] = {}
        self.transposes: dict[str, str] = {}  # tensor -> the ONNX Transpose that reads it
        self._names = Names()
        self._moved: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._cache: dict[tuple[str, tuple[int, ...]], str] = {}
        self._forms: dict[tuple[str, tuple[int, ...]], str] = {}
        shape = model.shape(model.inputs[0]) if model.inputs else None
        self.batch = shape[0] if shape else 1

    # --- tensors ---------------------------------------------------------------------------

    def value(self, name: str) -> Value:
        """The value of an ONNX tensor, its axes alone; raises Unknown if its maker was not
        supported."""
        return self.plain(self.held(name))

    def held(self, name: str) -> Value:
        """As `value`, but a row may lie in a map: for importers that ask `stored` for the rank."""
        if name in self.values:
            return self.values[name]
        if name in self.model.consts:
            raise Unsupported(
                f"input {name!r} is a constant, an activation is expected",
                "fold what reads it into the file: onnxslim MODEL.onnx OUT.onnx (or onnxsim)",
                VALUES,
            )
        raise Unknown(name)

    def shape(self, value: Value) -> tuple[int, ...]:
        """Per-image shape of the ONNX tensor (logical order)."""
        if value.scrambled:
            return (prod(value.scrambled[0]),)
        stored = self.shapes[value.tensor]
        return tuple(stored[axis] for axis in value.perm)

    def stored(self, value: Value) -> tuple[int, ...]:
        """Per-image shape as the graph holds it."""
        return self.shapes[value.tensor]

    def bind(
        self,
        name: str,
        tensor: str,
        perm: Sequence[int],
        scrambled: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    ) -> None:
        """Say that ONNX tensor `name` lies in graph tensor `tensor`."""
        self.values[name] = Value(tensor, tuple(perm), scrambled)

    # --- layers ----------------------------------------------------------------------------

    def add(
        self,
        name: str,
        kind: str,
        attrs: Attrs,
        inputs: Sequence[str],
        shape: Sequence[int],
        consts: dict[str, np.ndarray] | None = None,
    ) -> str:
        """Append a layer with one output; returns its tensor, which has the layer's name."""
        name = self._names.unique(name)
        self.layers.append(Layer(name, kind, attrs, tuple(inputs), (name,), consts or {}))
        self.shapes[name] = tuple(int(size) for size in shape)
        return name

    def add_many(
        self,
        name: str,
        kind: str,
        attrs: Attrs,
        inputs: Sequence[str],
        shapes: Sequence[Sequence[int]],
    ) -> list[str]:
        """Append a layer with several outputs, named name_0, name_1, ..."""
        name = self._names.unique(name)
        outputs = [self._names.unique(f"{name}_{index}") for index in range(len(shapes))]
        self.layers.append(Layer(name, kind, attrs, tuple(inputs), tuple(outputs)))
        for output, shape in zip(outputs, shapes, strict=True):
            self.shapes[output] = tuple(int(size) for size in shape)
        return outputs

    def add_input(self, name: str, shape: Sequence[int], layout: str) -> None:
        """Append an Input layer for an ONNX input of per-image `shape` (logical order)."""
        perm = canonical(len(shape)) if layout == "NCHW" else tuple(range(len(shape)))
        stored = [0] * len(shape)
        for axis, place in enumerate(perm):
            stored[place] = shape[axis]
        tensor = self.add(name, "Input", InputAttrs(), (), stored)
        self.bind(name, tensor, perm)
        self.input_layouts[tensor] = layout

    def like(
        self,
        node: Node,
        kind: str,
        attrs: Attrs,
        source: Value,
        consts: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Append a layer of one input whose output has the input's shape and layout."""
        tensor = self.add(node.name, kind, attrs, (source.tensor,), self.stored(source), consts)
        self.values[node.outputs[0]] = replace(source, tensor=tensor)

    # --- layouts ---------------------------------------------------------------------------

    def arrange(self, value: Value, perm: Sequence[int]) -> Value:
        """The same value with its axes lying at `perm`, through a Transpose layer if need be."""
        perm = tuple(perm)
        if value.scrambled:
            raise Unsupported(
                "a flattened feature map is read in an order that only fully connected layers "
                "can follow",
                "cut the graph in front of it (--output)",
            )
        if value.perm == perm:
            return value
        if len(set(perm)) <= max(perm, default=-1):  # into a map
            row = self.arrange(value, [sorted(perm).index(place) for place in perm])
            sizes = dict(zip(perm, self.shape(row), strict=True))
            shape = tuple(sizes.get(place, 1) for place in range(max(perm) + 1))
            return Value(self._reshaped(row.tensor, shape), perm)
        value = self.plain(value)
        source = value.tensor
        order = [0] * len(perm)  # new axis -> old axis
        for old, new in zip(value.perm, perm, strict=True):
            order[new] = old
        if source in self._moved:  # two moves in a row are one
            source, before = self._moved[source]
            order = [before[axis] for axis in order]
        key = (source, tuple(order))
        if order == list(range(len(order))):
            return Value(source, perm)
        if key not in self._cache:
            self._cache[key] = self._move(source, tuple(order))
        return Value(self._cache[key], perm)

    def _move(self, source: str, order: tuple[int, ...]) -> str:
        stored = self.shapes[source]
        shape = tuple(stored[axis] for axis in order)
        real = [axis for axis in order if stored[axis] > 1]
        if real == sorted(real):  # only axes of size 1 move: no data does
            if shape == stored:
                return source
            tensor = self.add(f"{source}_reshape", "Reshape", ReshapeAttrs(shape), (source,), shape)
        else:
            tensor = self.add(
                f"{source}_transpose", "Transpose", TransposeAttrs(order), (source,), shape
            )
            if source in self.transposes:
                self.layers[-1].parts = (self.transposes[source],)
        self._moved[tensor] = (source, order)
        return tensor

    def canonical(self, value: Value) -> Value:
        """The value in the layout operators expect: NHWC for feature maps."""
        return self.arrange(value, canonical(len(value.perm)))

    def plain(self, value: Value) -> Value:
        """The value without places of size 1 that none of its axes names."""
        stored = self.stored(value)
        if value.scrambled or len(stored) == len(value.perm):
            return value
        places = sorted(value.perm)
        tensor = self._reshaped(value.tensor, tuple(stored[place] for place in places))
        return Value(tensor, tuple(places.index(place) for place in value.perm))

    def feature_map(self, value: Value) -> Value:
        """A map (C, H, W) as (H, W, C), a row (C, L) as (1, L, C)."""
        return self.arrange(value, NHWC if len(value.perm) == 3 else ROW)

    def _reshaped(self, source: str, shape: tuple[int, ...]) -> str:
        if (source, shape) not in self._forms:
            attrs = ReshapeAttrs(shape)
            tensor = self.add(f"{source}_reshape", "Reshape", attrs, (source,), shape)
            self._forms[source, shape] = tensor
            self._forms[tensor, self.shapes[source]] = source
        return self._forms[source, shape]

    def channels_last(self, value: Value, axis: int = 0) -> Value:
        """The value with logical `axis` at the last place, moved only if it is not there."""
        if value.perm[axis] == len(self.stored(value)) - 1:
            return value
        value = self.plain(value)
        rank = len(value.perm)
        others = [place for place in range(rank) if place != axis]
        perm = [0] * rank
        perm[axis] = rank - 1
        for new, old in enumerate(others):
            perm[old] = new
        return self.arrange(value, perm)


def batch_axis(axis: int, rank: int) -> int:
    """ONNX axis (batch included, may be negative) -> per-image axis; -1 for the batch axis."""
    return (axis + rank if axis < 0 else axis) - 1
