"""What this machine reaches now: products of the bare tile, bytes of a copy; and the bound of work.

An op can be no faster than its multiply-accumulates, and what its results take of the same units
(`op_products`), at the rate of the bare register tile, and no faster than the bytes that it reads
and writes (activations and weights) at the rate of a plain copy that stays in L2, or of one that
does not. The bound is an estimate: all three rates are measured, but which of them limits an op is
a model. Winograd may pass it: its products are fewer than those that count.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from r329fast.base.timing import shortest_seconds
from r329fast.kernels.bare import bare_rate
from r329fast.kernels.leaves.vector import move_bytes
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.measured import measured
from r329fast.kernels.runtime.op_plan import empty_aligned

_IN_CACHE, _IN_MEMORY = 128 * 1024, 32 << 20  # bytes that a copy reads
_AT_LEAST = 8 << 20  # bytes of a call: a call from Python costs as much as 100 KB in cache


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

    def best(self, other: Rates) -> Rates:
        """The higher of both, one by one: other work of the machine only takes away."""
        return Rates(*(max(pair) for pair in zip(self._all(), other._all(), strict=True)))

    def as_json(self) -> dict[str, float]:
        """Plain data for a record, by the names above."""
        return asdict(self)

    def _all(self) -> tuple[float, float, float]:
        return self.gmac, self.cache, self.memory


def measure_rates() -> Rates:
    """All three, now, on one thread; about 0.1 s, and the compilation the first time."""
    return Rates(bare_rate(), *(copy_rate(size) for size in (_IN_CACHE, _IN_MEMORY)))


def known_rates() -> Rates:
    """What this machine was measured to reach, else about what a CPU with this kernel path does."""
    known = measured()
    if known is not None:
        return Rates(known.gmac, known.cache, known.memory)
    per_cycle = ISA.lanes * ISA.kgroup * (2 if ISA.lanes <= 8 else 1)
    return Rates(gmac=3.5 * per_cycle, cache=60.0, memory=20.0)


def copy_rate(size: int) -> float:
    """10^9 bytes per second that a copy of `size` bytes reads and writes together."""
    source, target = empty_aligned(size, np.uint8), empty_aligned(size, np.uint8)
    source[:] = 1
    times = max(_AT_LEAST // size, 1)
    count = np.array([size, times], dtype=np.int64)
    seconds = shortest_seconds(lambda: copy_whole(count, source, target))
    return 2 * size * times / seconds / 1e9


@kernel
def copy_whole(frame):  # type: ignore[no-untyped-def]
    """count[0] bytes of one array into another, count[1] times."""
    count, x, out = arrays(frame, "iuu")
    move_bytes(out.ctypes.data, 0, x.ctypes.data, 0, count[1], count[0])
