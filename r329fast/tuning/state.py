"""What tuning changes: the float network's constants, the ranges, and how they are judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r329fast.calibration import Ranges, calibrate
from r329fast.calibration.of_extremes import ranges_of_extremes
from r329fast.graph.ir import Graph, ReshapeAttrs, SoftmaxAttrs, TransposeAttrs
from r329fast.profile.proposals import least_loss_factor
from r329fast.program.program import Program
from r329fast.quantization import Options, quantize
from r329fast.simulator.simulator import Simulator
from r329fast.tuning.float_side import FloatSide
from r329fast.tuning.score import ImageScore

_BATCH = 32
_VALUES = 200_000
MSE = "MSE"
_SAME_ORDER = (ReshapeAttrs, TransposeAttrs, SoftmaxAttrs)


@dataclass(frozen=True)
class State:
    """method: of calibration, or MSE: the extremes scaled down where that errs less; "file" for
    ranges that came from outside. options: of quantisation. arriving: as `arrivals` gives it, where
    it was known when the network was changed."""

    graph: Graph
    ranges: Ranges
    method: str
    options: Options = field(default_factory=Options)
    arriving: Mapping[str, np.ndarray] = field(default_factory=dict)

    def program(self, scheme: str) -> Program:
        return quantize(self.graph, self.ranges, scheme, self.options)


def scaled(pair: tuple[float, float], factor: float) -> tuple[float, float]:
    """A range times `factor`, in float32 as range files hold it."""
    low, high = pair
    return float(np.float32(low * factor)), float(np.float32(high * factor))


def range_change(
    name: str, before: tuple[float, float], after: tuple[float, float], gain: float
) -> dict[str, Any]:
    """What tune.json says of a tensor's new range."""
    return {"tensor": name, "from": list(before), "to": list(after), "gain_db": gain}


@dataclass(frozen=True)
class Parts:
    """Which images do what: bool [N] each. None is in two parts."""

    fitted: np.ndarray
    judging: np.ndarray
    confirming: np.ndarray


def split(count: int) -> Parts:
    """Three quarters are fitted to, an eighth judges layer by layer, an eighth confirms steps.

    Evenly over the order of the images; a fifth each where there are few, with fewer than three
    all do everything.
    """
    every = 8 if count >= 64 else 5 if count >= 5 else 3
    place = np.arange(count) % every
    if count < 3:
        everything = np.ones(count, dtype=bool)
        return Parts(everything, everything, everything)
    judging, confirming = place == every // 2, place == every - 1
    return Parts(~judging & ~confirming, judging, confirming)


def output_score(
    program: Program,
    x: np.ndarray,
    expected: np.ndarray,
    threads: int,
    rows: np.ndarray | None = None,
) -> ImageScore:
    """The first output on images x (those in `rows`, int64; all) against the float one."""
    score, name = ImageScore(), program.outputs[0]
    spec = program.tensors[name]
    rows = np.arange(len(x)) if rows is None else rows
    with closing(Simulator(program, threads=threads)) as simulator:
        for first in range(0, len(rows), _BATCH):
            part = rows[first : first + _BATCH]
            q = simulator.run(program.quantize_input(x[part]), keep=[name])[name]
            score.add(spec.dequantize(q), expected[part], None)
    return score


def stored_ranges(ranges: Ranges) -> Ranges:
    """As they come back from files: float32, and nothing of what calibration saw."""
    values = {
        name: (float(np.float32(low)), float(np.float32(high)))
        for name, (low, high) in ranges.values.items()
    }
    return Ranges(values)


def ranges_of(
    graph: Graph,
    method: str,
    x: np.ndarray,
    scheme: str,
    options: Options,
    side: FloatSide,
    threads: int,
) -> Ranges:
    """The ranges that a method gives for all images x, which `side` has run."""
    widest = "EXTREME" if scheme == "aqt2021" else "extrema"
    plain = widest if method == MSE else method
    ranges = None
    if side.graph is graph:
        ranges = ranges_of_extremes(graph, side.extremes, scheme, plain)
    if ranges is None:
        ranges = calibrate(graph, x, scheme, plain, threads=threads)
    if method != MSE:
        return stored_ranges(ranges)
    program = quantize(graph, ranges, scheme, options)
    values, answers = dict(ranges.values), answer_tensors(graph)
    for layer in graph:
        name = layer.outputs[0]
        if layer.is_input or not layer.facts.free_range or name in answers:
            continue
        low, high = ranges[name]
        signed = program.tensors[name].dtype == "int8"
        factor = least_error_factor(side.values[layer.name], max(abs(low), abs(high)), signed)
        values[name] = (low * factor, high * factor)
    return stored_ranges(dataclasses.replace(ranges, values=values))


def answer_tensors(graph: Graph) -> set[str]:
    """The outputs, and tensors that become one in the same order: moved, or through a Softmax.

    Their ranges are never made narrower: classes that are cut off alike cannot be told apart,
    whatever the error says.
    """
    found = set(graph.outputs)
    for layer in reversed(graph.layers):
        if isinstance(layer.attrs, _SAME_ORDER) and layer.outputs[0] in found:
            found.update(layer.inputs)
    return found


def least_error_factor(values: np.ndarray, largest: float, signed: bool) -> float:
    """What to scale a symmetric range by so that rounding and cutting off err least together."""
    flat = values.reshape(-1)
    flat = flat[:: max(flat.size // _VALUES, 1)].astype(np.float64)
    if largest <= 0:
        return 1.0
    low, high = (-128, 127) if signed else (0, 255)

    def loss(factor: float) -> float:
        scale = high / (largest * factor)
        q = np.clip(np.rint(flat * scale), low, high) / scale
        return float(((q - flat) ** 2).sum())

    return least_loss_factor(loss)
