"""Every op of a network against its own bound: products at the tile's rate, or bytes at a cache's.

The rates are measured in the same run; kernels/rates.py says what the bound is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from r329fast.base.timing import ROUNDS, shortest_seconds
from r329fast.bench.cases import Case
from r329fast.kernels.rates import Rates, measure_rates
from r329fast.program.blocks import op_bytes, op_macs
from r329fast.simulator.binding import PreparedProgram
from r329fast.simulator.op_bounds import op_bound

_BUDGET = 8 << 20  # bytes of an op's activations at once, as a simulator has it


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


def op_times(case: Case, batch: int = 16, rounds: int = ROUNDS) -> tuple[list[OpTime], Rates]:
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
        seconds[index] += shortest_seconds(bound.calls.single(stage), rounds)
        calls[index] = calls.get(index, 0) + 1
    rates = before.best(measure_rates())
    whole = sum(seconds)
    result = []
    for index, op in enumerate(program.ops):
        if index not in calls:
            continue  # its bytes are its input's
        result.append(
            OpTime(
                layer=op.layer,
                kind=op.kind,
                path=prepared.plans[index].path,
                us=seconds[index] / batch * 1e6,
                bound_us=op_bound(program, op, rates, batch, calls[index]) / batch * 1e6,
                share=seconds[index] / whole,
                macs=op_macs(program, op),
                bytes=op_bytes(program, op),
            )
        )
    return result, rates


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
        "rates": rates.as_json(),
        "ops": [asdict(item) | {"of_bound": item.fraction} for item in times],
        "kinds": {
            name: entry | {"of_bound": entry["bound_us"] / entry["us"] if entry["us"] else 0.0}
            for name, entry in sorted(kinds.items(), key=lambda pair: -pair[1]["us"])
        },
    }
