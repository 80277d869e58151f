"""Ranges one after the other against the network's output, in exact integers.

From the end of the network to its beginning: what lies before a tensor does not change with its
range, so one run of the whole network gives the integers that all trials begin with, and a trial
runs only what lies behind. That finds what no single tensor shows: an average that inherits the
scale of the map it is taken over is the finer, the more of the map's largest values are cut off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from r329fast.calibration import Ranges
from r329fast.errors import DataError, ProgramError
from r329fast.profile.subprograms import program_behind
from r329fast.program.program import Program
from r329fast.quantization.lower.lowering import lower
from r329fast.quantization.scheme import Scheme
from r329fast.simulator.simulator import Simulator
from r329fast.tuning.relower import with_other_ranges
from r329fast.tuning.score import judged_db
from r329fast.tuning.state import State, answer_tensors, range_change, scaled

RATIOS = (0.85, 0.6, 1 / 0.85)  # a range is tried so much narrower, or wider
FINE_RATIOS = (0.93, 1 / 0.93)
_MOVES = 12
_LEAST = 0.02  # dB
_BYTES = 400 << 20  # integers of all tensors that are held at once


def search_ranges(
    state: State,
    scheme: Scheme,
    x: np.ndarray,
    expected: np.ndarray,
    threads: int,
    goes_on: Callable[[], bool] = lambda: True,
    ratios: Sequence[float] = RATIOS,
) -> tuple[State, list[dict[str, Any]]]:
    """(the state with other ranges, what was changed): judged on images x, float32 [N, ...].

    expected: float32 [N, ...], the float network's first output; ratios: what a range is tried
    times, the first that helps as often as it does.
    """
    program = lower(state.graph, state.ranges, scheme)
    each = sum(spec.elements for spec in program.tensors.values())
    count = max(min(len(x), _BYTES // each), 1)
    x, expected = x[:count], expected[:count].astype(np.float64)
    with closing(Simulator(program, threads=threads)) as simulator:
        values = simulator.run(program.quantize_input(x), keep=tuple(program.tensors))
    tail = _Tail(values, expected, threads)
    best = tail.snr(program, ())
    records = []
    for layer in reversed(state.graph.layers):
        name = layer.outputs[0]
        if layer.is_input or not layer.facts.free_range or len(layer.outputs) != 1:
            continue
        if not goes_on():
            break
        found, gained, program = _line_search(
            state, program, name, scheme, tail, layer.inputs, best, ratios
        )
        if found is not None:
            records.append(
                range_change(name, state.ranges[name], found.ranges[name], gained - best)
            )
            state, best = found, gained
    return state, records


class _Tail:
    """Runs what lies behind some tensors, on the integers of one run of the whole network."""

    def __init__(self, values: dict[str, np.ndarray], expected: np.ndarray, threads: int) -> None:
        self.values, self.expected, self.threads = values, expected, threads

    def snr(self, program: Program, start: tuple[str, ...]) -> float:
        """`judged_db` of the first output, with everything behind `start` computed anew."""
        name = program.outputs[0]
        q = self.values[name]
        if start:
            tail = program_behind(program, start)
            with closing(Simulator(tail, threads=self.threads)) as simulator:
                q = simulator.run({key: self.values[key] for key in tail.inputs}, keep=[name])[name]
        return judged_db(program.tensors[name].dequantize(q), self.expected)


def _line_search(
    state: State,
    program: Program,
    name: str,
    scheme: Scheme,
    tail: _Tail,
    inputs: tuple[str, ...],
    best: float,
    ratios: Sequence[float],
) -> tuple[State | None, float, Program]:
    """Narrower, or else wider, as long as that helps: (the state or None, its SNR, its program)."""
    found, base = None, program
    for ratio in ratios:
        if ratio < 1 and name in answer_tensors(state.graph):
            continue
        trial = state
        for _ in range(_MOVES):
            trial = _scaled(trial, name, ratio)
            try:
                other = with_other_ranges(base, state.graph, trial.ranges, scheme, (name,))
                snr = tail.snr(other, inputs)
            except (DataError, ProgramError):
                break  # its multiplier goes beyond what an op may hold
            if snr < best + _LEAST:
                break
            found, best, program = trial, snr, other
        if found is not None:
            break
    return found, best, program


def _scaled(state: State, name: str, ratio: float) -> State:
    pair = scaled(state.ranges[name], ratio)
    ranges = Ranges({**state.ranges.values, name: pair}, state.ranges.seen)
    return dataclasses.replace(state, ranges=ranges)
