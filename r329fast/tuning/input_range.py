"""The input's range: where its steps meet those of the images, rounding costs nothing.

An image has 256 levels per channel, however it is normalised. A range whose steps are these
levels' (127/128 instead of 1 for (x - 128) / 128) represents every one of them exactly; others
round them all. Only what varies counts: a constant error of a channel goes into the biases.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from r329fast.calibration import Ranges
from r329fast.profile.errors import ratio_db
from r329fast.program.program import Program
from r329fast.quantization.scheme import Scheme
from r329fast.tuning.state import State, scaled
from r329fast.tuning.walk import Walk

_LEVELS = 4096  # distinct values of a channel up to which it is taken for an image's
_VALUES = 200_000  # of a channel that are looked at
_SHARES = np.linspace(0.8, 1.0, 81)  # of the range as it is
_SLACK = 1.3  # how much wider a range of exact steps may be

Levels = list[tuple[np.ndarray, np.ndarray]]  # of each channel: values, how often


def levels_of(x: np.ndarray) -> Levels:
    """Of images x, [N, ..., C]."""
    flat = x.reshape(-1, x.shape[-1])
    every = max(len(flat) // _VALUES, 1)
    if every > 1 and every % 2 == 0:
        every += 1  # no column of a map is passed over
    return [np.unique(column, return_counts=True) for column in flat[::every].T]


def best_input_range(
    state: State, scheme: Scheme, x: np.ndarray, others: np.ndarray, arriving: np.ndarray | None
) -> tuple[State, float] | None:
    """(the state with the input range that errs least on images x, its gain in dB on `others`).

    arriving: (C,), what of an error in each channel counts. None where no range errs less, or the
    input has a zero point.
    """
    name = state.graph.inputs[0]
    index = next(i for i, layer in enumerate(state.graph) if layer.outputs[0] == name)
    walk = Walk(state.graph, state.ranges, scheme, x[:1])
    layer = state.graph.layers[index]
    found, low_high = levels_of(x), state.ranges[name]
    weight = np.ones(len(found)) if arriving is None else arriving

    def noise(levels: Levels, factor: float) -> float:
        ranges = Ranges({**state.ranges.values, name: scaled(low_high, factor)})
        spec = walk.lower(index, layer, ranges).tensors[name]
        total = 0.0
        for (values, counts), counted in zip(levels, weight, strict=True):
            flat = dataclasses.replace(spec, shape=values.shape)
            program = Program("", "", {name: flat}, [], [], (name,), ())
            error = flat.dequantize(program.quantize_input(values[None]))[0] - values
            mean = np.average(error, weights=counts)
            total += counted * float(np.average((error - mean) ** 2, weights=counts))
        return total

    base = walk.lower(index, layer).tensors[name]
    if base.zero_point:
        return None
    factors = [float(share) for share in _SHARES]
    for values, _ in found:
        if 1 < len(values) <= _LEVELS:  # steps of the range that are the levels' own
            factor = float(np.diff(values.astype(np.float64)).min()) * base.scale
            if _SHARES[0] / 2 < factor < _SLACK:
                factors.append(factor)
    losses = [noise(found, factor) for factor in factors]
    best = factors[int(np.argmin(losses))]
    seen = levels_of(others)
    before, after = noise(seen, 1.0), noise(seen, best)
    if best == 1.0 or after >= before:
        return None
    ranges = Ranges({**state.ranges.values, name: scaled(low_high, best)})
    return dataclasses.replace(state, ranges=ranges), ratio_db(before, max(after, before * 1e-12))
