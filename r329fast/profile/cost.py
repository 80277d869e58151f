"""What a layer would cost on the chip: an estimate, kept apart from everything that is counted.

The model, for one image (docs/profiling.md describes it in words):

* compute cycles = padded MACs / MACs per cycle; padding rounds input and output channels up to the
  hardware's steps and the output map up to its tiles; a depthwise convolution works in dense blocks
  of channels of which only the diagonal counts; layers without MACs take elements / elements per
  cycle.
* DDR traffic: every node reads its weights once and each input once and writes its outputs once,
  one or two bytes per element; a convolution whose weights do not fit the weight buffer reads its
  input once for every part of them. The tensor between a convolution and the addition fused onto it
  never leaves the unit. SRAM holds a tensor that fits it, that a fixed-function job makes and that
  the next node alone reads, another such job without an addition on it.
* an operand of 16 bits is taken as two of 8: twice the MACs for 16-bit activations, and twice again
  for 16-bit weights (an assumption: no public file shows the array at 16 bits).
* cycles = max(compute, memory) + overhead of a node; a node is `bound` by the larger one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from r329fast.errors import ProgramError
from r329fast.graph.layers.elementwise import ActivationAttrs
from r329fast.graph.layers.facts import Weights
from r329fast.profile.hardware import Figure, Hardware
from r329fast.program.counters import LayerCounters, layer_constants, layer_counters
from r329fast.program.program import LayerRecord, Program
from r329fast.vendor.grouping import Group, execution_groups
from r329fast.vendor.memory import (
    align,
    depthwise_data_bytes,
    fully_connected_data_bytes,
)

_BANDWIDTH_FACTORS = (0.5, 2.0)


@dataclass(frozen=True)
class LayerCost:
    """Estimate of one layer; a fused layer's cycles stand in the row of its convolution.

    utilisation: useful MACs over what the array could do in the compute cycles (0 without MACs);
    bound: "compute", "memory", "overhead", "fused" or "" (costs nothing); passes: how often it
    reads its input.
    """

    name: str
    compute_cycles: int
    memory_cycles: int
    cycles: int
    utilisation: float
    ddr_read: int
    ddr_write: int
    time_us: float
    bound: str
    passes: int = 1


@dataclass(frozen=True)
class CostEstimate:
    """All layers in IR order and the sums; `sensitivity`: label -> (cycles, milliseconds)."""

    hardware: Hardware
    layers: list[LayerCost]
    cycles: int
    milliseconds: float
    frames_per_second: float
    ddr_read: int
    ddr_write: int
    bound_cycles: dict[str, int]
    sensitivity: dict[str, tuple[int, float]]

    def as_json(self) -> dict[str, Any]:
        """The totals, each an estimate."""
        return {
            "status": "estimate",
            "hardware": self.hardware.name,
            "cycles": self.cycles,
            "milliseconds": self.milliseconds,
            "frames_per_second": self.frames_per_second,
            "ddr_read": self.ddr_read,
            "ddr_write": self.ddr_write,
            "bound": max(self.bound_cycles, key=self.bound_cycles.__getitem__, default=""),
            "bound_cycles": self.bound_cycles,
            "sensitivity": {
                label: {"cycles": cycles, "milliseconds": time}
                for label, (cycles, time) in self.sensitivity.items()
            },
        }


def estimate(program: Program, hardware: Hardware) -> CostEstimate:
    """The cost of one image on `hardware`."""
    base = _layers(program, hardware)
    sensitivity = {}
    for factor in _BANDWIDTH_FACTORS:
        other = _with(hardware, "ddr_mb_per_second", hardware["ddr_mb_per_second"] * factor)
        label = "half the bandwidth" if factor < 1 else "double the bandwidth"
        sensitivity[label] = _total(_layers(program, other), other)
    clock = _with(hardware, "clock_mhz", hardware["builder_clock_mhz"])
    label = f"the builder's {hardware['builder_clock_mhz']:g} MHz"
    sensitivity[label] = _total(_layers(program, clock), clock)
    cycles, milliseconds = _total(base, hardware)
    bound: dict[str, int] = {}
    for layer in base:
        if layer.cycles:
            bound[layer.bound] = bound.get(layer.bound, 0) + layer.cycles
    return CostEstimate(
        hardware,
        base,
        cycles,
        milliseconds,
        1000 / milliseconds if milliseconds else 0.0,
        sum(layer.ddr_read for layer in base),
        sum(layer.ddr_write for layer in base),
        bound,
        sensitivity,
    )


def _with(hardware: Hardware, name: str, value: float) -> Hardware:
    old = hardware.figures[name]
    figures: Mapping[str, Figure] = {**hardware.figures, name: replace(old, value=value)}
    return replace(hardware, figures=figures)


def _total(layers: list[LayerCost], hardware: Hardware) -> tuple[int, float]:
    cycles = sum(layer.cycles for layer in layers)
    return cycles, cycles / hardware["clock_mhz"] / 1000


def padded_macs(program: Program, layer: LayerRecord, macs: int, hardware: Hardware) -> int:
    """MACs that the array performs, the padding of channels and columns included."""
    weights, _ = layer_constants(program, layer)
    if not macs or weights is None:
        return macs
    output = program.tensors[layer.outputs[0]].shape
    out_step = hardware.step("output_channel_step")
    form = layer.facts.weights
    if form is Weights.DEPTHWISE and weights.shape[3] == 1:
        block = hardware.step("depthwise_block")
        rows = _tiled_places(output, hardware)
        return rows * align(output[-1], block) * block * prod(weights.shape[1:3])
    if form is Weights.MATRIX:
        inputs = align(weights.shape[1], hardware.step("input_channel_step"))
        return prod(output[:-1]) * align(output[-1], hardware.step("fc_output_step")) * inputs
    if form in (Weights.WINDOW, Weights.DEPTHWISE):
        group = layer.detail.get("group", 1)
        if not isinstance(group, int):
            raise ProgramError(f"layer {layer.name!r}: found group {group!r}, allowed an integer")
        inputs = align(weights.shape[3], hardware.step("input_channel_step"))
        outputs = group * align(weights.shape[0] // group, out_step)
        rows = _tiled_places(output, hardware)
        return rows * outputs * inputs * prod(weights.shape[1:3])
    return macs


def _tiled_places(output: tuple[int, ...], hardware: Hardware) -> int:
    """Positions of an output map [.., H, W, C] in whole tiles."""
    rows = align(output[-3], hardware.step("tile_rows")) if len(output) > 2 else 1
    return prod(output[:-3]) * rows * align(output[-2], hardware.step("tile_columns"))


def input_passes(program: Program, layer: LayerRecord, hardware: Hardware) -> int:
    """How often a convolution walks over its input: as many weights at a time as the buffer holds.

    A block of 16 outputs that alone is larger than the buffer, and a grouped convolution, were in
    no binary: one block a pass, and one pass.
    """
    weights, _ = layer_constants(program, layer)
    grouped = layer.detail.get("group", 1) != 1
    if weights is None or layer.facts.weights is not Weights.WINDOW or grouped:
        return 1
    step = hardware.step("output_channel_step")
    blocks = -(-weights.shape[0] // step)
    taps = weights.size // weights.shape[0]
    at_once = max(hardware.step("weight_buffer_bytes") // (step * taps), 1)
    return -(-blocks // at_once)


def weight_traffic(program: Program, layer: LayerRecord, counters: LayerCounters) -> int:
    """Bytes of constants read: as the vendor stores them, which for depthwise are 16x16 blocks."""
    weights, _ = layer_constants(program, layer)
    if weights is None:
        return counters.weight_bytes
    form = layer.facts.weights
    if form is Weights.DEPTHWISE and weights.shape[3] == 1 and weights.itemsize == 1:
        return depthwise_data_bytes(weights.shape[0], prod(weights.shape[1:3]))
    if form is Weights.MATRIX and weights.itemsize == 1:
        return fully_connected_data_bytes(weights.shape[1], weights.shape[0])
    return counters.weight_bytes


def _kept(program: Program, groups: list[Group], sram: float) -> set[str]:
    """Tensors that never reach DDR: inside a fused pair, or in SRAM (see above)."""
    readers: dict[str, list[int]] = {}
    makers: dict[str, int] = {}
    for position, group in enumerate(groups):
        for index in group.layers:
            for name in program.layers[index].inputs:
                readers.setdefault(name, []).append(position)
            for name in program.layers[index].outputs:
                makers[name] = position
    kept = set()
    for name, maker in makers.items():
        users = readers.get(name, [])
        inside = users == [maker]
        in_sram = (
            users == [maker + 1]
            and program.tensors[name].bytes <= sram
            and _is_job(program, groups[maker])
            and _is_job(program, groups[maker + 1])
            and len(groups[maker + 1].layers) == 1
        )
        if name not in program.outputs and (inside or in_sram):
            kept.add(name)
    return kept


def _is_job(program: Program, group: Group) -> bool:
    """Whether the fixed-function unit carries it out on feature maps."""
    facts = program.layers[group.layers[0]].facts
    windows = (Weights.WINDOW, Weights.DEPTHWISE, Weights.CHANNEL)
    return facts.weights in windows or facts.attrs is ActivationAttrs


def _layers(program: Program, hardware: Hardware) -> list[LayerCost]:
    counters = layer_counters(program)
    groups = execution_groups(program)
    kept = _kept(program, groups, hardware["sram_bytes"])
    bytes_per_cycle = hardware.bytes_per_second / (hardware["clock_mhz"] * 1e6)
    costs: dict[int, LayerCost] = {}
    for group in groups:
        first = group.layers[0]
        layer = program.layers[first]
        passes = input_passes(program, layer, hardware)
        traffic = {
            i: _traffic(program, program.layers[i], counters[i], kept, passes if i == first else 1)
            for i in group.layers
        }
        moved = sum(read + write for read, write in traffic.values())
        compute, useful = _compute(program, layer, counters[first], hardware)
        memory = -(-moved // bytes_per_cycle)
        overhead = hardware["layer_overhead"]
        if layer.facts.bare:
            compute, memory, overhead = 0, 0, 0
            traffic = dict.fromkeys(traffic, (0, 0))
        larger = max(compute, memory)
        bound = "compute" if compute >= memory else "memory"
        bound = "overhead" if overhead > larger else bound
        cycles = int(larger + overhead)
        costs[first] = LayerCost(
            layer.name,
            int(compute),
            int(memory),
            cycles,
            useful / (compute * hardware["macs_per_cycle"]) if compute else 0.0,
            *traffic[first],
            cycles / hardware["clock_mhz"],
            bound if cycles else "",
            passes,
        )
        for index in group.layers[1:]:
            name = program.layers[index].name
            costs[index] = LayerCost(name, 0, 0, 0, 0.0, *traffic[index], 0.0, "fused")
    return [costs[index] for index in range(len(program.layers))]


def _compute(
    program: Program, layer: LayerRecord, counters: LayerCounters, hardware: Hardware
) -> tuple[int, int]:
    """(compute cycles, useful MACs). A batch norm counts as elements: it fills no array."""
    if counters.macs and layer.facts.weights is not Weights.CHANNEL:
        work = padded_macs(program, layer, counters.macs, hardware) * byte_products(program, layer)
        return -(-work // int(hardware["macs_per_cycle"])), counters.macs
    elements = max(counters.input_bytes, counters.output_bytes)
    return int(-(-elements // hardware["elements_per_cycle"])), 0


def byte_products(program: Program, layer: LayerRecord) -> int:
    """Products of bytes that one MAC of a layer is taken as: 1, 2 or 4."""
    weights, _ = layer_constants(program, layer)
    # an asymmetric 8-bit weight with its zero point is wider than a byte too
    wide = weights is not None and weights.itemsize > 1 and int(np.abs(weights).max()) > 255
    widest = max(program.tensors[name].itemsize for name in layer.inputs)
    return widest * (2 if wide else 1)


def _traffic(
    program: Program, layer: LayerRecord, counters: LayerCounters, kept: set[str], passes: int
) -> tuple[int, int]:
    """(bytes read, bytes written) of one layer that reads its inputs `passes` times."""
    tensors = program.tensors
    read = passes * sum(tensors[name].bytes for name in layer.inputs if name not in kept)
    write = sum(tensors[name].bytes for name in layer.outputs if name not in kept)
    return read + weight_traffic(program, layer, counters), write
