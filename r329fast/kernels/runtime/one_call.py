"""The plan of an op that is one call of a kernel, whatever the number of images.

The kernel takes its parameters, then arrays: `before` (a geometry), the inputs, constants, the
output, and scratch where it needs any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from r329fast.kernels.runtime.kernel import Kernel
from r329fast.kernels.runtime.op_plan import CutCalls, OpPlan, Step
from r329fast.kernels.runtime.parameters import pack


def ranged_plan(
    path: str,
    run: Kernel,
    parameters: NamedTuple,
    constants: Sequence[np.ndarray] = (),
    scratch_bytes: int | None = None,
    before: Sequence[np.ndarray] = (),
    cutter: CutCalls | None = None,
) -> OpPlan:
    """Work that threads share: the parameters `first` and `end` count it, `end` as for one image.

    scratch_bytes: None for a kernel without scratch; cutter: as in OpPlan.
    """
    return _plan(path, run, parameters, constants, scratch_bytes, before, "end", cutter)


def pitched_plan(make: Callable[[int], OpPlan], channels: int) -> OpPlan:
    """make(bytes from one input position to the next), which has `channels` of its own."""
    return replace(make(channels), pitched=lambda index, pitch: make(pitch))


def batch_plan(
    path: str,
    run: Kernel,
    parameters: NamedTuple,
    constants: Sequence[np.ndarray],
    scratch_bytes: int,
) -> OpPlan:
    """Work of one thread: the parameter `batch` counts images."""
    return _plan(path, run, parameters, constants, scratch_bytes, (), "batch", None)


def _plan(
    path: str,
    run: Kernel,
    parameters: NamedTuple,
    constants: Sequence[np.ndarray],
    scratch_bytes: int | None,
    before: Sequence[np.ndarray],
    counter: str,
    cutter: CutCalls | None,
) -> OpPlan:
    of_one = parameters._asdict()[counter]

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(parameters._replace(**{counter: batch * of_one}))
        last = () if scratch_bytes is None else (scratch,)
        return [(run, (p, *before, *inputs, *constants, output, *last))]

    return OpPlan(path, bind, lambda batch: scratch_bytes or 0, counter == "end", cutter)
