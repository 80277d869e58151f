"""The nodes of graph.json: the vendor's IR layers in execution order, padding nodes included.

All rules were fitted to public files (five networks; `docs/schemes.md` says which rule to which):

* The IR has a Reshape, a Transpose and a Reshape for a channel shuffle, and a Reshape in front of
  a Softmax behind a fully connected layer.
* A convolution's output channels, and those of an activation or addition, are padded to a
  multiple of 4, a depthwise layer's to 8 (11 to 16; 136 stay). What reads the padded tensor as
  it is needs nothing; for all others a Crop stands behind the layer, and a Pad in front of a
  layer that needs more.
* Execution is depth first from the inputs, each node as soon as all its inputs are there; of
  several readers the last one first (activations in their order). A Crop or Pad changes the order
  of the readers, as the compiler's insertion does. Activations of a convolution's output then
  move right behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from r329fast.calibration.ranges import Ranges
from r329fast.errors import DataError
from r329fast.graph.layers import LAYER_TYPES
from r329fast.graph.layers.elementwise import ActivationAttrs, EltwiseAttrs
from r329fast.graph.layers.facts import Weights
from r329fast.graph.layers.movement import ChannelShuffleAttrs
from r329fast.graph.layers.normalise import SoftmaxAttrs
from r329fast.graph.layers.windows import PoolingAttrs
from r329fast.program.counters import layer_counters
from r329fast.program.program import LayerRecord, Program
from r329fast.vendor.grouping import execution_groups

CHANNEL_STEP, DEPTHWISE_STEP = 4, 8
IMAGE_CHANNELS = 3  # what the first convolution takes as it is


@dataclass(eq=False)
class Node:
    """One node. group: of origin_idx; internal: (name, type) of the layers that run in it;
    layers: indices into `Program.layers` that it carries out (none for Pad, Crop, parts);
    rectifies, convolves: it is an activation layer, a convolution.
    """

    name: str
    type: str
    group: int
    perf: bool
    ops_count: int = 0
    internal: tuple[tuple[str, str], ...] = ()
    layers: tuple[int, ...] = ()
    rectifies: bool = False
    convolves: bool = False
    inputs: list[Node] = field(default_factory=list)
    readers: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class NodeGraph:
    """nodes: in execution order; origin: IR layer ids of each group in the order of its first
    node; runs: node numbers of the same groups.
    """

    nodes: tuple[Node, ...]
    origin: tuple[tuple[int, ...], ...]
    runs: tuple[tuple[int, ...], ...]


def ir_parts(program: Program, layer: LayerRecord) -> list[tuple[str, str]]:
    """(name, type) of the vendor's IR layers that one of ours stands for, in IR order."""
    if layer.facts.attrs is ChannelShuffleAttrs:
        first = str(layer.detail.get("part0") or f"{layer.name}_split")
        second = str(layer.detail.get("part1") or f"{layer.name}_swap")
        return [(first, "Reshape"), (second, "Transpose"), (layer.name, "Reshape")]
    if layer.facts.attrs is SoftmaxAttrs and layer.facts.table_bytes:
        maker = next((x for x in program.layers if layer.inputs[0] in x.outputs), None)
        if maker is not None and maker.facts.weights is Weights.MATRIX:
            return [(f"{layer.name}_pre_reshape", "Reshape"), (layer.name, layer.type)]
    return [(layer.name, _op_type(layer))]


def ir_ranges(program: Program, ranges: Ranges) -> Ranges:
    """`ranges` with an entry for every layer of the vendor's IR, in IR order, as its dicts have.

    Parts that only move data have their input's range.
    """
    values = {}
    for layer in program.layers:
        for name, _ in ir_parts(program, layer)[:-1]:
            values[name] = ranges[layer.inputs[0]]
        values.update({name: ranges[name] for name in layer.outputs if name in ranges})
    return Ranges({**values, **ranges.values}, dict(ranges.seen))


def _op_type(layer: LayerRecord) -> str:
    return "Convolution" if layer.facts.weights is Weights.DEPTHWISE else layer.type


def graph_nodes(program: Program) -> NodeGraph:
    """All nodes of a program."""
    build = _Build(program)
    build.padding()
    order = list(_hoisted(_depth_first(build.nodes)))
    groups: dict[int, list[int]] = {}
    for number, node in enumerate(order):
        groups.setdefault(node.group, []).append(number)
    return NodeGraph(
        tuple(order),
        tuple(build.origin[group] for group in groups),
        tuple(tuple(runs) for runs in groups.values()),
    )


def perf_node_count(program: Program) -> int:
    """Nodes that have a profile record."""
    return sum(node.perf for node in graph_nodes(program).nodes)


class _Build:
    """Nodes of all groups in IR order, linked; then Crop and Pad nodes between them."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.nodes: list[Node] = []
        self.origin: dict[int, tuple[int, ...]] = {}
        self.made: dict[str, Node] = {}  # tensor -> the node whose output it is
        self.padded: dict[Node, int] = {}  # channels that a node really writes
        self.pads: set[Node] = set()
        self.counters = layer_counters(program)
        ids, number = {}, 0
        for index, layer in enumerate(program.layers):
            parts = ir_parts(program, layer)
            ids[index] = tuple(range(number, number + len(parts)))
            number += len(parts)
        for group in execution_groups(program):
            self._group(group.layers, ids)

    def _group(self, layers: tuple[int, ...], ids: dict[int, tuple[int, ...]]) -> None:
        records = [self.program.layers[index] for index in layers]
        inside = {name for record in records for name in record.outputs}
        names = [name for record in records for name in record.inputs if name not in inside]
        for name in names:
            if name not in self.made:
                raise DataError(f"tensor {name!r} is made by no layer, not even an Input layer")
        sources = [self.made[name] for name in names]
        if len(records) > 1:
            parts = [(record.name, _op_type(record)) for record in records]
            node = self._node(layers, parts, tuple(ids[i][0] for i in layers), perf=True)
        else:
            (record,) = records
            chain = ir_parts(self.program, record)
            for (name, kind), ir in zip(chain[:-1], ids[layers[0]], strict=False):
                step = self._node((), [(name, kind)], (ir,), not LAYER_TYPES[kind].bare)
                self._link(sources, step)
                sources = [step]
            bare = LAYER_TYPES[chain[-1][1]].bare
            node = self._node(layers, [chain[-1]], (ids[layers[0]][-1],), perf=not bare)
        node.rectifies = records[0].facts.attrs is ActivationAttrs
        node.convolves = records[0].facts.weights in (Weights.WINDOW, Weights.DEPTHWISE)
        node.ops_count = sum(self.counters[index].ops_count for index in layers)
        self._link(sources, node)
        for name in inside:
            self.made[name] = node

    def _node(
        self,
        layers: tuple[int, ...],
        parts: list[tuple[str, str]],
        ir: tuple[int, ...],
        perf: bool,
    ) -> Node:
        group = len(self.origin)
        self.origin[group] = ir
        node = Node(*parts[0], group, perf, 0, tuple(parts) if perf else (), layers)
        self.nodes.append(node)
        return node

    def _link(self, sources: list[Node], node: Node) -> None:
        node.inputs = list(sources)
        for source in sources:
            source.readers.append(node)

    # -- padding ---------------------------------------------------------------------------------

    def padding(self) -> None:
        """Crop nodes, then Pad nodes, then the counts of what is padded."""
        own = list(self.nodes)
        for node in own:
            channels, padded = self._written(node)
            if padded != channels and not self._all_take(node, padded):
                self._crop(node)
            self.padded[node] = padded
        for node in own:
            self._pads(node)
        for node in own:
            self._count(node)

    def _layers(self, node: Node) -> list[LayerRecord]:
        return [self.program.layers[index] for index in node.layers]

    def _channels(self, name: str) -> int:
        return self.program.tensors[name].shape[-1]

    def _step(self, node: Node) -> int:
        """What a node's channels are padded to a multiple of; 1: nothing."""
        layers = self._layers(node)
        if not layers:
            return 1
        layer = layers[-1]
        if len(self.program.tensors[layer.outputs[0]].shape) != 3:
            return 1
        if layer.facts.weights is Weights.DEPTHWISE:
            return DEPTHWISE_STEP
        computes = layer.facts.attrs in (ActivationAttrs, EltwiseAttrs)
        window = layer.facts.weights in (Weights.WINDOW, Weights.CHANNEL)
        return CHANNEL_STEP if computes or window else 1

    def _written(self, node: Node) -> tuple[int, int]:
        """(channels of a node's output, channels that it writes)."""
        layers = self._layers(node)
        if not layers:
            return 0, 0
        channels = self._channels(layers[-1].outputs[0])
        return channels, _up(channels, self._step(node))

    def _needed(self, node: Node, channels: int) -> int:
        """Channels that a reader needs where the tensor has `channels`."""
        window = node.layers and self._layers(node)[0].facts.weights is Weights.WINDOW
        if window and channels == IMAGE_CHANNELS:
            return channels
        return _up(channels, self._step(node))

    def _all_take(self, node: Node, padded: int) -> bool:
        """Whether all readers take a padded tensor as it is; an output of the graph is not."""
        name = self._layers(node)[-1].outputs[0]
        if name in self.program.outputs or not node.readers:
            return False
        channels = self._channels(name)
        return all(self._takes(reader, node, channels, padded) for reader in node.readers)

    def _takes(self, reader: Node, node: Node, channels: int, padded: int) -> bool:
        if not reader.layers or self._step(reader) == 1:
            return False
        window = self._layers(reader)[0].facts.weights is Weights.WINDOW
        if window and reader.inputs[0] is node and reader.inputs.count(node) == 1:
            return True  # a convolution, whose weights for the channels added are zero
        return self._needed(reader, channels) == padded

    def _crop(self, node: Node) -> None:
        name = f"{self._layers(node)[-1].name}_out_crop"
        crop = Node(name, "Crop", node.group, True, 0, ((name, "Crop"),))
        crop.inputs, crop.readers = [node], node.readers[::-1]
        node.readers = [crop]
        for reader in crop.readers:
            reader.inputs = [crop if source is node else source for source in reader.inputs]
        self.nodes.append(crop)

    def _pads(self, node: Node) -> None:
        if not node.layers or self._step(node) == 1:
            return
        several = len(node.inputs) > 1
        fused = len(node.layers) > 1
        for place, source in enumerate(list(node.inputs)):
            channels = self._read(node, place)
            have = self.padded.get(source, channels)
            if self._needed(node, channels) <= have:
                continue
            # the convolution of a fused pair takes what it gets; the addition names its operands
            suffix = f"_{self._operand(node, place)}" if several or fused else ""
            name = f"{self._layers(node)[-1].name}_in_pad{suffix}"
            pad = Node(name, "Pad", node.group, True, 0, ((name, "Pad"),))
            pad.inputs, pad.readers = [source], [node]
            source.readers.remove(node)
            source.readers.append(pad)
            node.inputs[place] = pad
            self.nodes.append(pad)
            self.pads.add(pad)

    def _read(self, node: Node, place: int) -> int:
        """Channels of the tensor that input `place` is."""
        layers = self._layers(node)
        inside = {name for layer in layers for name in layer.outputs}
        names = [name for layer in layers for name in layer.inputs if name not in inside]
        return self._channels(names[place])

    def _operand(self, node: Node, place: int) -> int:
        """Which operand of its last layer input `place` is."""
        layers = self._layers(node)
        if len(layers) == 1:
            return place
        inside = set(layers[0].outputs)
        return next(i for i, name in enumerate(layers[1].inputs) if name not in inside)

    def _count(self, node: Node) -> None:
        """ops_count of padded channels, and of the rows that a pooling's last windows reach."""
        if not node.layers:
            return
        layers = self._layers(node)
        first, output = layers[0], self.program.tensors[layers[-1].outputs[0]].shape
        if first.facts.attrs is PoolingAttrs:
            source, stride = self.program.tensors[first.inputs[0]].shape, first.pair("stride")
            sides = [max(source[i], output[i] * stride[i]) for i in (0, 1)]
            node.ops_count = prod(sides) * source[-1]
            return
        channels, padded = self._written(node)
        if self._step(node) == 1:
            return
        arriving = self.padded.get(node.inputs[0], self._read(node, 0))
        if node.inputs[0] in self.pads:
            arriving = self._needed(node, self._read(node, 0))
        if (padded, arriving) == (channels, self._read(node, 0)):
            return
        places = prod(output[:-1])
        if first.facts.weights in (Weights.WINDOW, Weights.DEPTHWISE):
            kernel = first.pair("kernel")
            inner = 1 if first.facts.weights is Weights.DEPTHWISE else arriving
            node.ops_count = 2 * (inner * prod(kernel) + 1) * padded * places
            node.ops_count += padded * places * (len(layers) - 1)
        elif first.facts.attrs in (ActivationAttrs, EltwiseAttrs):
            node.ops_count = padded * places


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _depth_first(nodes: list[Node]) -> list[Node]:
    """Each node as soon as its inputs are there, deep before wide."""
    missing = {node: len({id(source) for source in node.inputs}) for node in nodes}
    order: list[Node] = []
    for source in [node for node in nodes if not node.inputs]:
        stack = [source]
        while stack:
            node = stack.pop()
            if missing[node]:
                continue
            missing[node] = -1
            order.append(node)
            readers = list(dict.fromkeys(node.readers))
            for reader in readers:
                missing[reader] -= 1
            if readers and all(reader.rectifies for reader in readers):
                readers.reverse()  # these keep their order
            stack.extend(readers)
    return order


def _hoisted(order: list[Node]) -> Iterator[Node]:
    """Activations of a convolution's output move right behind it, each before earlier ones."""
    result = list(order)
    for node in order:
        if node.rectifies and node.inputs[0].convolves:
            result.remove(node)
            result.insert(result.index(node.inputs[0]) + 1, node)
    return iter(result)
