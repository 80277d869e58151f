"""Measures this machine, about a second of CPU: `info --measure`, and the first `info --warmup`.

The cost model of conv/choice.py has three terms for each way of a 3x3 convolution, in cycles of a
CPU that it was once fitted to. Here real layers of several sizes are timed both ways, and the terms
are fitted to them: nanoseconds per cycle.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from r329fast.base.timing import shortest_seconds
from r329fast.errors import UsageError
from r329fast.kernels.conv.choice import LOAD, direct_terms, winograd_terms
from r329fast.kernels.conv.direct import prepare_rows
from r329fast.kernels.conv.layout import conv_layout
from r329fast.kernels.conv.winograd import prepare_winograd
from r329fast.kernels.rates import copy_rate, measure_rates
from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.kernel import make_frame, run_steps
from r329fast.kernels.runtime.measured import Measured, Terms, keep
from r329fast.kernels.runtime.op_plan import SLACK, OpPlan, empty_aligned
from r329fast.program.op import AttrValue
from r329fast.program.program import Op, TensorSpec

# (side of the map, channels in and out, images): layers of networks, short ones
_LAYERS = (
    *((56, 32, 1), (28, 64, 1), (28, 128, 1), (32, 16, 4), (8, 64, 16)),
    *((14, 128, 1), (14, 256, 1), (14, 256, 4), (7, 256, 4), (7, 512, 1), (7, 512, 8)),
)
_ROUNDS = 3
_BUDGETS = (2 << 20, 4 << 20, 8 << 20)  # larger ones cost memory
_HELD = 0.5  # of the rate of a copy in L2: as much says that a cache still holds it
_FAITH = 0.1  # how much the built-in terms count beside a measured layer


def measure() -> Measured:
    """Measure now, keep the result for this and later processes, and return it.

    Raises UsageError where nothing is compiled.
    """
    if not JIT:
        raise UsageError("NUMBA_DISABLE_JIT is set: found no compiled kernels to measure")
    rates = measure_rates().best(measure_rates())
    # a network's weights come from further away than those of one layer that runs again and again
    load = LOAD / rates.memory
    direct, winograd = ((*terms[:2], load) for terms in _convolutions())
    held = [size for size in _BUDGETS if copy_rate(size // 2) > _HELD * rates.cache]
    budget = max(held, default=_BUDGETS[0])
    values = Measured(
        rates.gmac, rates.cache, rates.memory, direct, winograd, budget, _wake_up() * 1e6
    )
    keep(values)
    return values


def _convolutions() -> tuple[Terms, Terms]:
    """ns for a cycle of each term, direct and Winograd."""
    rows: tuple[list[Terms], list[Terms]] = ([], [])
    times: tuple[list[float], list[float]] = ([], [])
    for side, channels, batch in _LAYERS:
        op, x, y = layer_of((side, side, channels), channels)
        layout = conv_layout(op, x, y)
        plans = (prepare_rows(layout), prepare_winograd(op, layout, y))
        for index, (plan, terms) in enumerate(
            zip(plans, (direct_terms, winograd_terms), strict=True)
        ):
            if plan is not None:
                rows[index].append(terms(layout, batch))
                times[index].append(seconds_of(plan, batch, x, y) * 1e9)
    return fit(rows[0], times[0]), fit(rows[1], times[1])


def fit(rows: list[Terms], nanoseconds: list[float]) -> Terms:
    """Factors of the terms that give the times best, by relative error; not far from equal ones."""
    terms, times = np.array(rows), np.array(nanoseconds)
    if not len(times):
        return (1.0, 1.0, 1.0)
    usual = float(np.median(times / terms.sum(axis=1)))
    scaled = terms * usual / times[:, None]
    faith = np.eye(terms.shape[1]) * _FAITH
    left = np.concatenate([scaled, faith])
    right = np.concatenate([np.ones(len(times)), np.full(len(faith), _FAITH)])
    factors = np.maximum(np.linalg.lstsq(left, right, rcond=None)[0], 0.1) * usual
    first, second, third = (float(value) for value in factors)
    return first, second, third


def layer_of(shape: tuple[int, int, int], outs: int) -> tuple[Op, TensorSpec, TensorSpec]:
    """A 3x3 convolution of stride 1 with random weights that keeps the map's size: (op, x, y)."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (outs, 3, 3, shape[2])).astype(np.int8)
    consts: dict[str, np.ndarray] = {
        "weights": weights,
        "bias": np.zeros(outs, np.int32),
        "mult": np.full(outs, 181, np.int32),
        "shift": np.full(outs, 18, np.int32),
    }
    attrs: dict[str, AttrValue] = {
        "kernel": (3, 3), "stride": (1, 1), "dilation": (1, 1), "pads": (1, 1, 1, 1), "group": 1,
        "pad_value": 0, "rounding": "half_even", "act": "RELU", "clip_min": 0, "clip_max": 25600,
        "slope_shift": 7,
    }  # fmt: skip
    op = Op("conv2d", "measured", ("x",), ("y",), attrs, consts)
    shapes = {"x": shape, "y": (*shape[:2], outs)}
    x, y = (TensorSpec(name, size, "uint8", 1.0, 0, 0, 255) for name, size in shapes.items())
    return op, x, y


def seconds_of(plan: OpPlan, batch: int, x: TensorSpec, y: TensorSpec) -> float:
    """Processor seconds of all calls of a plan."""
    sizes = (batch * x.elements, batch * y.elements, plan.scratch_bytes(batch))
    source, target, scratch = (empty_aligned(size + SLACK, np.uint8) for size in sizes)
    source[:] = np.arange(len(source)) % 251
    steps = plan.bind(batch, [source[: sizes[0]]], target[: sizes[1]], scratch)
    frames = [make_frame(arguments) for _, arguments in steps]
    table = np.array(
        [
            (kernel.compile(), frame.ctypes.data)
            for (kernel, _), frame in zip(steps, frames, strict=True)
        ],
        dtype=np.int64,
    )
    return shortest_seconds(lambda: run_steps(table), _ROUNDS)


def _wake_up(rounds: int = 15) -> float:
    """Seconds until a thread of a pool that sleeps has begun: what one in five waits is below."""
    waits = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(time.perf_counter).result()
        for _ in range(rounds):
            time.sleep(0.001)
            start = time.perf_counter()
            waits.append(pool.submit(time.perf_counter).result() - start)
    return max(float(np.percentile(waits, 20)), 1e-6)
