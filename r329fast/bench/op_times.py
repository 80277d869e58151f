"""Every op of a network against its own bound: products at the tile's rate, or bytes at a cache's.

An op can be no faster than its multiply-accumulates at the rate of the bare register tile, and no
faster than the bytes that it reads and writes (activations and weights) at the rate of a plain copy
that stays in L2, or of one that does not. Both rates are measured in the same run. Winograd passes
100 %: its products are fewer than those that count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from r329fast.bench.bare import bare_rate
from r329fast.bench.cases import Case
from r329fast.kernels.leaves.vector import move_bytes
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import empty_aligned
from r329fast.program.blocks import op_bytes, op_macs
from r329fast.simulator.binding import PreparedProgram

_IN_CACHE, _IN_MEMORY = 128 * 1024, 32 << 20  # bytes that a copy reads
_BUDGET = 8 << 20  # bytes of an op's activations at once, as a simulator has it
_ROUNDS = 5
_LEAST = 200e-6  # seconds of a sample, at least: the clock of a thread is coarse


@dataclass(frozen=True)
class OpTime:
    """us: microseconds of an image; bound_us: its bound; share: of the whole network's time."""

    layer: str
    kind: str
    path: str
    us: float
    bound_us: float
    share: float
    macs: int
    bytes: int

    @property
    def fraction(self) -> float:
        """Of the bound's rate that was reached."""
        return self.bound_us / self.us if self.us else 0.0


@dataclass(frozen=True)
class Rates:
    """gmac: 10^9 products per second of the bare tile; cache, memory: 10^9 bytes per second that a
    copy reads and writes, in L2 and beyond it.
    """

    gmac: float
    cache: float
    memory: float

    def bound(self, macs: float, size: float, at_once: float) -> float:
        """Seconds at least of so many products and bytes; at_once: bytes that the op works on."""
        rate = self.cache if at_once <= 4 * _IN_CACHE else self.memory
        return max(macs / self.gmac, size / rate) / 1e9


def measure_rates() -> Rates:
    """All three, now, on one thread."""
    return Rates(bare_rate(), *(_copy_rate(size) for size in (_IN_CACHE, _IN_MEMORY)))


def _copy_rate(size: int) -> float:
    source, target = empty_aligned(size, np.uint8), empty_aligned(size, np.uint8)
    source[:] = 1
    count = np.array([size], dtype=np.int64)
    seconds = _shortest(lambda: copy_whole(count, source, target))
    return 2 * size / seconds / 1e9


@kernel
def copy_whole(frame):  # type: ignore[no-untyped-def]
    """One array into another of the same length."""
    count, x, out = arrays(frame, "iuu")
    move_bytes(out.ctypes.data, 0, x.ctypes.data, 0, 1, count[0])


def _shortest(run: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Processor seconds of a run: the least of a few samples, since other work only adds."""
    run()
    repeats, best = 1, float("inf")
    for _ in range(rounds):
        while True:
            start = time.thread_time()
            for _ in range(repeats):
                run()
            spent = time.thread_time() - start
            if spent >= _LEAST or repeats >= 1024:
                break
            repeats *= 2
        best = min(best, spent / repeats)
    return best


def op_times(case: Case, batch: int = 16, rounds: int = _ROUNDS) -> tuple[list[OpTime], Rates]:
    """Every op of the case in the form that a simulator runs on one thread, and the rates.

    batch: images that go through the op list together. Times are processor time, the least of
    `rounds` samples of each op.
    """
    program = case.program
    prepared = PreparedProgram(program)
    bound = prepared.bind(batch, frozenset(program.inputs), _BUDGET)
    for name in program.inputs:
        view = bound.views[name]
        values = program.quantize_input(case.images(batch)).reshape(-1).view(np.uint8)
        np.bitwise_xor(values, prepared.flips[name], out=view)
    bound.calls.run()
    before = measure_rates()
    seconds = [0.0] * len(program.ops)
    calls: dict[int, int] = {}
    for stage, (index, _) in enumerate(bound.calls.stages):
        seconds[index] += _shortest(bound.calls.single(stage), rounds)
        calls[index] = calls.get(index, 0) + 1
    after = measure_rates()
    rates = Rates(*(max(a, b) for a, b in zip(_all(before), _all(after), strict=True)))
    whole = sum(seconds)
    result = []
    for index, op in enumerate(program.ops):
        if index not in calls:
            continue  # its bytes are its input's
        macs, moved = op_macs(program, op), op_bytes(program, op)
        weights = op.consts["weights"].nbytes if "weights" in op.consts else 0
        least = rates.bound(macs * batch, moved * batch + weights, moved * batch / calls[index])
        result.append(
            OpTime(
                layer=op.layer,
                kind=op.kind,
                path=prepared.plans[index].path,
                us=seconds[index] / batch * 1e6,
                bound_us=least / batch * 1e6,
                share=seconds[index] / whole,
                macs=macs,
                bytes=moved,
            )
        )
    return result, rates


def _all(rates: Rates) -> tuple[float, float, float]:
    return rates.gmac, rates.cache, rates.memory


def record(times: list[OpTime], rates: Rates) -> dict[str, Any]:
    """As plain data: the rates, every op, and what each kind and path of kernel takes together."""
    kinds: dict[str, dict[str, Any]] = {}
    for item in times:
        entry = kinds.setdefault(
            f"{item.kind} {item.path}", {"ops": 0, "us": 0.0, "bound_us": 0.0, "share": 0.0}
        )
        entry["ops"] += 1
        for key in ("us", "bound_us", "share"):
            entry[key] += getattr(item, key)
    return {
        "rates": asdict(rates),
        "ops": [asdict(item) | {"of_bound": item.fraction} for item in times],
        "kinds": {
            name: entry | {"of_bound": entry["bound_us"] / entry["us"] if entry["us"] else 0.0}
            for name, entry in sorted(kinds.items(), key=lambda pair: -pair[1]["us"])
        },
    }
