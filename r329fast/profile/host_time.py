"""How long each layer takes on this machine, medians over passes, and how long at least."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from r329fast.program.program import Program
from r329fast.simulator.binding import PreparedProgram
from r329fast.simulator.op_bounds import op_bound

if TYPE_CHECKING:
    from r329fast.kernels.rates import Rates

_BUDGET = 1 << 40  # one stretch: every layer is timed with all images
_MIN_PASSES = 5


@dataclass(frozen=True)
class HostTimes:
    """us: layer -> median microseconds per image on one thread (measured); bound_us: layer -> the
    least that it could take (an estimate, see kernels/rates.py); rates: measured in the same run.
    """

    us: dict[str, float] = field(default_factory=dict)
    bound_us: dict[str, float] = field(default_factory=dict)
    rates: Rates | None = None


def host_times(
    program: Program, x: np.ndarray, seconds: float = 1.0, max_passes: int = 101
) -> HostTimes:
    """Every layer's time with the run's own kernels, beside its bound.

    x: integers [N, *input shape] of a block that runs as one (the first input is fed; others stay
    zero). Passes go on for about `seconds`, at least five; the first one is not counted.
    """
    from r329fast.kernels.rates import measure_rates

    before = measure_rates()
    count = len(x)
    prepared = PreparedProgram(program)
    binding = prepared.bind(count, frozenset(program.inputs), _BUDGET)
    for view in binding.views.values():
        view[:] = 0
    ops = [op for op, _ in binding.calls.stages]
    calls = [binding.calls.single(stage) for stage in range(len(ops))]
    samples: list[list[float]] = []
    name = program.inputs[0]
    flat = x.reshape(-1).view(np.uint8) ^ prepared.flips[name]
    end = time.perf_counter() + seconds
    while len(samples) < _MIN_PASSES + 1 or (
        time.perf_counter() < end and len(samples) <= max_passes
    ):
        binding.views[name][:] = flat
        sample = []
        for call in calls:
            start = time.perf_counter()
            call()
            sample.append(time.perf_counter() - start)
        samples.append(sample)
    medians = np.median(np.array(samples[1:]), axis=0) if calls else []
    spent = {layer.name: 0.0 for layer in program.layers}
    for op, median in zip(ops, medians, strict=True):
        layer = program.ops[op].layer
        spent[layer] = spent.get(layer, 0.0) + float(median) * 1e6 / count
    rates = before.best(measure_rates())
    bounds = dict.fromkeys(spent, 0.0)
    computed = set(ops)
    for index, entry in enumerate(program.ops):
        if index in computed:  # the bytes of others are their input's
            bounds[entry.layer] += op_bound(program, entry, rates, count) * 1e6 / count
    return HostTimes(spent, bounds, rates)
