"""Counters that depend on the data: saturation, zeros, accumulators, histograms, per layer.

Exact over any number of images, in bounded memory: images run in blocks, a block's tensors are
counted and dropped. A normal run goes through none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from r329fast.base.blas import one_blas_thread
from r329fast.profile.accumulators import (
    Int64Array,
    accumulators,
    clamp_limits,
    clamped_counts,
)
from r329fast.program.ops import OPS
from r329fast.program.program import Op, Program, TensorSpec
from r329fast.simulator.simulator import Simulator

_BLOCK_BYTES = 48 << 20  # integers of a block, all tensors
_LEVELS = 256

Advance = Callable[[int], None]


@dataclass
class DataCounters:
    """One layer over `images` images; integers are exact counts.

    outputs: values of its outputs; saturated_low, saturated_high: how many the last clamp cut off
    at qmin and qmax (what an activation cuts is no saturation); zeros: outputs whose real value
    is 0; acc_min, acc_max: over all its sums before the activation, None for layers without;
    histogram: int64 [256], how often the integers of each level occur, from the dtype's lowest
    value (see `level_steps`).
    """

    name: str
    images: int = 0
    outputs: int = 0
    saturated_low: int = 0
    saturated_high: int = 0
    zeros: int = 0
    acc_min: int | None = None
    acc_max: int | None = None
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(_LEVELS, dtype=np.int64))

    @property
    def headroom_bits(self) -> int | None:
        """Bits that a signed 32-bit accumulator has left over the largest sum seen."""
        if self.acc_min is None or self.acc_max is None:
            return None
        return 31 - max(self.acc_max.bit_length(), (-self.acc_min - 1).bit_length())

    def share(self, count: int) -> float:
        """A count as a fraction of the outputs."""
        return count / self.outputs if self.outputs else 0.0


def level_steps(spec: TensorSpec) -> int:
    """Integers of one of the 256 levels that a histogram has: 1 of bytes, 256 of 16 bits."""
    return 1 << (spec.bits - 8)


def block_images(program: Program) -> int:
    """Images whose tensors may be in memory at once."""
    size = sum(spec.elements for spec in program.tensors.values())
    return max(_BLOCK_BYTES // max(size, 1), 1)


def blocks(batches: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Arrays [N, ...] of any N cut into such of at most `size` images."""
    for batch in batches:
        for first in range(0, len(batch), size):
            yield batch[first : first + size]


class DataCounter:
    """Collects `DataCounters` of all layers; feed it the tensors of a run with `add`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.layers = {layer.name: DataCounters(layer.name) for layer in program.layers}
        self._limits: dict[int, list[tuple[Int64Array, Int64Array] | None]] = {}
        self._made = {name for layer in program.layers for name in layer.outputs}
        self._capped = _capped_ops(program)

    def add(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Count one block: integers [N, *shape] of every tensor of the program by name."""
        with one_blas_thread():
            self._add(tensors)

    def _add(self, tensors: Mapping[str, np.ndarray]) -> None:
        for layer in self.program.layers:
            counters = self.layers[layer.name]
            for name in layer.outputs:
                self._count_values(counters, name, tensors[name])
            for index in range(*layer.ops):
                op = self.program.ops[index]
                if OPS[op.kind].accumulates:
                    arrays = [tensors[name] for name in op.inputs]
                    self._count_sums(counters, index, op, arrays)
            counters.images += len(tensors[layer.outputs[0]])

    def _count_values(self, counters: DataCounters, name: str, values: np.ndarray) -> None:
        spec = self.program.tensors[name]
        if spec.itemsize > 1:
            levels = (values.reshape(-1).astype(np.int64) - spec.lowest) // level_steps(spec)
            counters.histogram += np.bincount(levels, minlength=_LEVELS)
            counters.outputs += values.size
            counters.zeros += int((values == -spec.zero_point).sum())
            return
        found = np.bincount(values.reshape(-1).view(np.uint8), minlength=_LEVELS)
        # bytes 128..255 of an int8 are its negative values, which come first
        found = np.roll(found, 128) if spec.dtype == "int8" else found
        lowest = -128 if spec.dtype == "int8" else 0
        counters.histogram += found
        counters.outputs += values.size
        zero = -spec.zero_point - lowest
        counters.zeros += int(found[zero]) if 0 <= zero < _LEVELS else 0

    def _count_sums(
        self, counters: DataCounters, index: int, op: Op, arrays: list[np.ndarray]
    ) -> None:
        output = self.program.tensors[op.outputs[0]]
        last = op.outputs[0] in self._made
        for part, (single, values) in enumerate(accumulators(self.program, op, arrays)):
            low, high = int(values.min()), int(values.max())
            counters.acc_min = low if counters.acc_min is None else min(counters.acc_min, low)
            counters.acc_max = high if counters.acc_max is None else max(counters.acc_max, high)
            if not last:
                continue  # a step inside the layer: its clamp is no output
            # convolutions come image by image with the same constants, concat input by input
            slot = part if op.kind == "concat" else 0
            limits = self._limits.setdefault(index, [])
            if len(limits) <= slot:
                limits.append(clamp_limits(single, output))
            below, above = clamped_counts(single, values, output, limits[slot])
            counters.saturated_low += below
            counters.saturated_high += 0 if index in self._capped else above


def _capped_ops(program: Program) -> set[int]:
    """Ops whose high clamp is a ReLU6 itself: qmax stands for 6, so that nothing is lost there.

    Where the calibrated range ends below 6, the clamp does cut off what float would keep.
    """
    capped: set[int] = set()
    for layer in program.layers:
        spec = program.tensors[layer.outputs[0]]
        if layer.act == "RELU6" and np.rint(6.0 * spec.scale) - spec.zero_point <= spec.qmax:
            capped.update(range(*layer.ops))
    return capped


def count_data(
    program: Program,
    batches: Iterable[np.ndarray],
    *,
    backend: str = "numba",
    threads: int = 1,
    advance: Advance | None = None,
    on_tensors: Callable[[dict[str, np.ndarray]], None] | None = None,
) -> dict[str, DataCounters]:
    """Counters by layer name over the integers [N, *input shape] of all `batches`.

    For programs with one input. advance(n) is called after each block of n images, on_tensors
    with the block's integers by tensor name.
    """
    counter = DataCounter(program)
    names = tuple(program.tensors)
    with closing(Simulator(program, backend=backend, threads=threads)) as simulator:
        for block in blocks(batches, block_images(program)):
            tensors = simulator.run(block, keep=names)
            counter.add(tensors)
            if on_tensors is not None:
                on_tensors(tensors)
            if advance is not None:
                advance(len(block))
    return counter.layers
