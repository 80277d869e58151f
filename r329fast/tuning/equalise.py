"""Cross-layer equalisation: channel factors that leave the float network as it is.

The factors are those for which a model of the quantisation noise is least: noise of 8-bit steps,
one step a tensor, of every activation and of every per-tensor weight, each in relation to the
signal where it arrives. (Nagel et al., Data-Free Quantization Through Weight Equalization and
Bias Correction, equalise the ranges of pairs; here all layers are looked at together, ranges of
activations count as well, and channels of a residual stream move as one.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from r329fast.graph.ir import (
    ConcatAttrs,
    EltwiseAttrs,
    Graph,
    Layer,
    PoolingAttrs,
    ReduceAttrs,
    Weights,
)
from r329fast.program.program import Program
from r329fast.tuning.channels import Channels, find_channels
from r329fast.tuning.float_side import FloatSide
from r329fast.tuning.patches import is_fitted

_POWER = 12  # of the norm that stands for a maximum
_LARGEST = np.log(64.0)  # of a factor, either way


@dataclass(frozen=True)
class _Step:
    """noise = (max_j size_j * a_j) ** 2 * sum_c weight_c / a_c ** 2, in relation to the signal."""

    made: np.ndarray  # factors whose values set the step
    size: np.ndarray
    read: np.ndarray  # factors that the noise arrives in
    weight: np.ndarray


@dataclass(frozen=True)
class _WeightStep:
    """noise = (max |w_oi| a_o / a_i) ** 2 * (sum_o weight_o / a_o ** 2) * energy, where
    energy = sum_i energy_i a_i ** 2."""

    rows: np.ndarray
    columns: np.ndarray
    powers: np.ndarray  # |w_oi| ** _POWER, of the largest tap, over `largest`
    largest: float
    energy: np.ndarray
    weight: np.ndarray  # of noise in each output channel


Stats = tuple[np.ndarray, np.ndarray, np.ndarray]


def _channel_stats(side: FloatSide, layer: Layer) -> Stats:
    """(largest magnitude, mean square, variance) of each channel of a layer's output."""
    values = side.values[layer.name]
    flat = values.reshape(-1, values.shape[-1])
    largest = np.abs(flat).max(axis=0).astype(np.float64)
    square = (flat.astype(np.float64) ** 2).mean(axis=0)
    return largest, square, flat.var(axis=0, dtype=np.float64)


def rounded_alike(graph: Graph, program: Program) -> dict[str, list[str]]:
    """Tensor -> the averages that are rounded to its steps, its own or those of its maxima."""
    found: dict[str, list[str]] = {}
    origin: dict[str, str] = {}
    for layer in graph:
        if layer.is_input or len(layer.inputs) != 1:
            continue
        name, source = layer.outputs[0], layer.inputs[0]
        if not layer.facts.free_range or isinstance(layer.attrs, ReduceAttrs):
            if program.tensors[name].scale != program.tensors[source].scale:
                continue
            origin[name] = origin.get(source, source)
            average = isinstance(layer.attrs, PoolingAttrs) and layer.attrs.method == "AVG"
            if average or isinstance(layer.attrs, ReduceAttrs):
                found.setdefault(origin[name], []).append(name)
    return found


class NoiseModel:
    """What quantisation does to a network, as a function of the logarithms of its factors.

    means_count: whether the error of a weight counts with the mean of what it multiplies: that is
    a constant, which fitted biases take away.
    """

    def __init__(
        self,
        graph: Graph,
        program: Program,
        side: FloatSide,
        channels: Channels,
        arriving: Mapping[str, np.ndarray] | None = None,
        means_count: bool = True,
    ) -> None:
        self.count = len(channels.fixed)
        self.steps: list[_Step] = []
        self.weight_steps: list[_WeightStep] = []
        of = channels.of
        stats = {
            layer.outputs[0]: _channel_stats(side, layer) for layer in graph if not layer.is_input
        }
        followers = rounded_alike(graph, program)
        records = {op.layer: op for op in program.ops}
        gains = arriving or self._gains(graph, stats)
        for layer in graph:
            if layer.is_input:
                continue
            name = layer.outputs[0]
            if layer.facts.free_range and name in gains:
                levels = 255 if program.tensors[name].dtype == "uint8" else 127
                size = stats[name][0] / levels
                if size.any():
                    self.steps.append(_Step(of[name], size, of[name], gains[name] / 12))
                    for other in followers.get(name, ()):
                        self.steps.append(_Step(of[name], size, of[other], gains[other] / 12))
            per_tensor = is_fitted(layer) and records[layer.name].consts["mult"].size == 1
            source = layer.inputs[0]
            if per_tensor and source in stats and layer.facts.weights is not Weights.DEPTHWISE:
                signal = float(stats[name][2].sum()) + 1e-12
                weight = arriving.get(name) if arriving else None
                if weight is None:
                    weight = np.full(len(layer.consts["weights"]), 1 / signal)
                energy = stats[source][1 if means_count else 2].astype(np.float64)
                self._add_weights(layer, of, energy, weight)

    @staticmethod
    def _gains(graph: Graph, stats: dict[str, Stats]) -> dict[str, np.ndarray]:
        """Tensor -> (C,): noise energy in a channel -> noise over signal in the layers behind."""
        gains: dict[str, np.ndarray] = {}
        for layer in reversed(graph.layers):
            if layer.is_input or layer.outputs[0] not in stats:
                continue
            name = layer.outputs[0]
            signal = float(stats[name][2].sum()) + 1e-12
            start = 0
            for source in layer.inputs:
                if source not in stats:
                    continue
                width = graph.shapes[source][-1]
                if layer.facts.weights is Weights.DEPTHWISE:
                    weights = layer.consts["weights"]
                    each = (weights.astype(np.float64) ** 2).reshape(width, -1).sum(axis=1)
                    gain = each / signal
                elif is_fitted(layer):
                    weights = layer.consts["weights"].astype(np.float64)
                    squares = (weights**2).reshape(-1, weights.shape[-1]).sum(axis=0)
                    gain = np.zeros(width)
                    gain[: len(squares)] = squares[:width] / signal
                elif isinstance(layer.attrs, ConcatAttrs):
                    gain = gains.get(name, np.zeros(0))[start : start + width]
                    start += width
                elif isinstance(layer.attrs, EltwiseAttrs):
                    gain = np.full(width, 1 / signal)
                else:
                    gain = gains.get(name, np.zeros(width))
                if len(gain) == width:
                    gains[source] = gains.get(source, np.zeros(width)) + gain
        return gains

    def _add_weights(
        self, layer: Layer, of: dict[str, np.ndarray], energy: np.ndarray, weight: np.ndarray
    ) -> None:
        weights = np.abs(layer.consts["weights"].astype(np.float64))
        taps = int(np.prod(weights.shape[1:-1]))
        matrix = weights.reshape(len(weights), -1, weights.shape[-1]).max(axis=1)
        rows, columns = of[layer.outputs[0]], of[layer.inputs[0]]
        largest = float(matrix.max())
        if largest == 0 or matrix.shape != (len(rows), len(columns)):
            return
        energy = taps * energy / 12 / 127**2
        powers = (matrix / largest) ** _POWER
        self.weight_steps.append(_WeightStep(rows, columns, powers, largest, energy, weight))

    def __call__(self, logs: np.ndarray) -> tuple[float, np.ndarray]:
        """(noise over signal, summed over all places; its gradient)."""
        total, slope = 0.0, np.zeros(self.count)
        for step in self.steps:
            scaled = np.log(np.maximum(step.size, 1e-30)) + logs[step.made]
            top = scaled.max()
            parts = np.exp(_POWER * (scaled - top))
            norm = parts.sum()
            size = np.exp(2 * top) * norm ** (2 / _POWER)
            arrived = step.weight * np.exp(-2 * logs[step.read])
            noise = size * arrived.sum()
            total += noise
            np.add.at(slope, step.made, 2 * noise * parts / norm)
            np.add.at(slope, step.read, -2 * size * arrived)
        for item in self.weight_steps:
            rows, columns = logs[item.rows], logs[item.columns]
            high, low = rows.max(), columns.min()
            left, right = np.exp(_POWER * (rows - high)), np.exp(-_POWER * (columns - low))
            product = item.powers @ right
            norm = max(float(left @ product), 1e-300)
            size = item.largest**2 * np.exp(2 * (high - low)) * norm ** (2 / _POWER)
            out, into = item.weight * np.exp(-2 * rows), item.energy * np.exp(2 * columns)
            noise = size * out.sum() * into.sum()
            total += noise
            np.add.at(slope, item.rows, 2 * noise * left * product / norm)
            np.add.at(slope, item.columns, -2 * noise * right * (left @ item.powers) / norm)
            np.add.at(slope, item.rows, -2 * size * into.sum() * out)
            np.add.at(slope, item.columns, 2 * size * out.sum() * into)
        return total, slope


def predicted_noise(
    graph: Graph, program: Program, side: FloatSide, arriving: Mapping[str, np.ndarray]
) -> float:
    """Output energy of the noise that 8-bit steps make in a network, as the model has it, behind
    biases that take constant errors away."""
    channels = find_channels(graph)
    model = NoiseModel(graph, program, side, channels, arriving, means_count=False)
    return model(np.zeros(model.count))[0]


def _highest_sums(graph: Graph, layer: Layer) -> np.ndarray:
    """(C,): what the sums of a layer cannot exceed, whatever the image; infinity if unknown."""
    source = graph.producer(layer.inputs[0])
    weights = layer.consts["weights"].astype(np.float64) if is_fitted(layer) else np.zeros(0)
    if source.act.kind != "RELU6" or not is_fitted(layer):
        return np.full(graph.shapes[layer.outputs[0]][-1], np.inf)
    positive = np.maximum(weights, 0).reshape(len(weights), -1).sum(axis=1)
    return np.asarray(layer.consts["bias"] + 6 * positive)


def _bounds(graph: Graph, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest logarithm of each factor.

    RELU6: only channels that stay below 6 for any image may be scaled, and have to stay there.
    That some images stay below proves little: channels that are silent on a hundred images reach
    6 on others.
    """
    low, high = np.full(len(channels.fixed), -_LARGEST), np.full(len(channels.fixed), _LARGEST)
    fixed = channels.fixed.copy()
    for layer in graph:
        if layer.act.kind != "RELU6":
            continue
        numbers = channels.of[layer.outputs[0]]
        room = 6 / np.maximum(_highest_sums(graph, layer), 6 * np.exp(-_LARGEST))
        fixed[numbers[room < 1]] = True
        np.minimum.at(high, numbers, np.log(np.maximum(room, 1.0)))
    low[fixed] = high[fixed] = 0.0
    return low, high


def equalised(
    graph: Graph,
    program: Program,
    side: FloatSide,
    arriving: Mapping[str, np.ndarray] | None = None,
    means_count: bool = True,
) -> tuple[Graph, dict[str, np.ndarray]]:
    """(the network with factors in its weights, tensor -> float64 (C,), its factors).

    arriving: as `arrivals` gives it; without it, noise counts by what of it arrives in the layers
    that read it. means_count: as in `NoiseModel`.
    """
    channels = find_channels(graph)
    low, high = _bounds(graph, channels)
    model = NoiseModel(graph, program, side, channels, arriving, means_count)
    free = np.flatnonzero(high > low)
    if not len(free):
        return graph, {}

    def noise(part: np.ndarray) -> tuple[float, np.ndarray]:
        logs = np.zeros(len(low))
        logs[free] = part
        value, slope = model(logs)
        return np.log(value), slope[free] / value

    if not model(np.zeros(len(low)))[0]:  # nothing arrives at the output: there is nothing to gain
        return graph, {}
    found = minimize(
        noise, np.zeros(len(free)), jac=True, method="L-BFGS-B",
        bounds=list(zip(low[free], high[free], strict=True)), options={"maxiter": 200},
    )  # fmt: skip
    logs = np.zeros(len(low))
    logs[free] = found.x
    factors = {name: np.exp(logs[numbers]) for name, numbers in channels.of.items()}
    return scaled_graph(graph, factors), factors


def scaled_graph(graph: Graph, factors: dict[str, np.ndarray]) -> Graph:
    """Every linear layer's weights with the factors of its output over those of its input."""
    layers = []
    for layer in graph:
        if is_fitted(layer):
            weights = layer.consts["weights"].astype(np.float64)
            out, into = factors[layer.outputs[0]], factors[layer.inputs[0]]
            column = (-1, *[1] * (weights.ndim - 1))
            if layer.facts.weights is Weights.DEPTHWISE:
                weights = weights / np.repeat(into, len(weights) // len(into)).reshape(column)
            elif weights.shape[-1] == len(into):
                weights = weights / into
            consts = {
                **layer.consts,
                "weights": (weights * out.reshape(column)).astype(np.float32),
                "bias": (layer.consts["bias"] * out).astype(np.float32),
            }
            layer = dataclasses.replace(layer, consts=consts)
        layers.append(layer)
    return dataclasses.replace(graph, layers=layers)
