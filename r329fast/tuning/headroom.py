"""How far ranges should reach beyond, or stay below, what calibration images show.

Every image is judged by ranges that were taken from other images: what a set of images shows of
the extremes depends on how many there are, and a clipped value that none of them had is no error
on any of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from r329fast.calibration import Ranges
from r329fast.graph.ir import Graph
from r329fast.profile.errors import ratio_db
from r329fast.program.program import Program
from r329fast.tuning.float_side import FloatSide
from r329fast.tuning.state import State, answer_tensors, output_score, scaled

HEADROOMS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5)
OUTPUT_HEADROOMS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4)
_FOLDS = 4
_RELU6 = 6.0


def with_headroom(state: State, headroom: float) -> State:
    """All ranges but the inputs' times `headroom`; those of RELU6 up to 6, answers no narrower."""
    kept = answer_tensors(state.graph) if headroom < 1 else ()
    values = {
        name: pair if name in kept else _scaled(state.graph, name, pair, headroom)
        for name, pair in state.ranges.values.items()
    }
    return dataclasses.replace(state, ranges=Ranges(values))


def best_headroom(
    state: State,
    quantized: Callable[[State], Program],
    x: np.ndarray,
    expected: np.ndarray,
    side: FloatSide,
    threads: int,
) -> tuple[float, float, float]:
    """(the headroom, the output's SNR in dB with it, and without): over images x, each judged by
    ranges that the other folds show. Tried from 1 up, then down, as long as that helps."""
    folds = np.arange(len(x)) % min(_FOLDS, len(x))
    parts = []
    for fold in range(int(folds.max()) + 1):
        inside, outside = folds != fold, folds == fold
        narrowed = _of_images(state, side, inside if inside.any() else outside)
        parts.append((narrowed, np.flatnonzero(outside)))

    def noise(headroom: float) -> float:
        total = 0.0
        for narrowed, rows in parts:
            program = quantized(with_headroom(narrowed, headroom))
            total += output_score(program, x, expected, threads, rows).noise
        return total

    plain = best = noise(1.0)
    chosen = 1.0
    for direction in (1, -1):
        if direction < 0 and (len(x) < 2 * _FOLDS or chosen > 1):
            continue  # a few images do not show how far others reach
        for headroom in sorted(HEADROOMS, reverse=direction < 0):
            if (headroom - 1) * direction <= 0:
                continue
            found = noise(headroom)
            if found >= best:
                break
            chosen, best = headroom, found
    signal = float((expected.astype(np.float64) ** 2).sum())
    return chosen, ratio_db(signal, best), ratio_db(signal, plain)


def best_output_headroom(program: Program, expected: np.ndarray) -> tuple[float, float]:
    """(how much wider the first output's range should be, its gain in dB): over the float outputs
    of all images, each rounded in the range that the other folds show.

    The largest answers of a few hundred images do not show how large others are, and the range of
    an output costs nothing but its own steps.
    """
    spec = program.tensors[program.outputs[0]]
    rows = expected.reshape(len(expected), -1).astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    folds = np.arange(len(rows)) % min(_FOLDS, len(rows))
    if len(rows) < 2 * _FOLDS or not largest.any() or spec.zero_point:
        return 1.0, 0.0

    def noise(headroom: float) -> float:
        total = 0.0
        for fold in range(int(folds.max()) + 1):
            inside, outside = largest[folds != fold].max(), rows[folds == fold]
            scale = spec.scale * largest.max() / max(float(inside) * headroom, 1e-30)
            q = np.clip(np.rint(outside * scale), spec.qmin, spec.qmax)
            total += float(((q / scale - outside) ** 2).sum())
        return total

    losses = [noise(headroom) for headroom in OUTPUT_HEADROOMS]
    best = int(np.argmin(losses))
    return OUTPUT_HEADROOMS[best], ratio_db(losses[0], losses[best])


def _of_images(state: State, side: FloatSide, images: np.ndarray) -> State:
    """The ranges in the proportion in which the extremes of some images stand to those of all."""
    values = dict(state.ranges.values)
    for name, (low, high) in state.ranges.values.items():
        if name in side.extremes and name not in state.graph.inputs:
            whole = float(np.abs(side.extremes[name]).max())
            part = float(np.abs(side.extremes[name][images]).max())
            ratio = part / whole if whole > 0 and part > 0 else 1.0
            values[name] = low * ratio, high * ratio
    return dataclasses.replace(state, ranges=Ranges(values))


def _scaled(
    graph: Graph, name: str, pair: tuple[float, float], headroom: float
) -> tuple[float, float]:
    if name in graph.inputs or name not in graph.shapes:
        return pair
    low, high = scaled(pair, headroom)
    if graph.producer(name).act.kind == "RELU6":
        high = min(high, max(_RELU6, pair[1]))
    return low, high
