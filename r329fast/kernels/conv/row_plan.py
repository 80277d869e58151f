"""The plan of a convolution whose kernel makes output rows first..end, one geometry for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.conv.layout import ConvLayout
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.kernel import Kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.kernels.runtime.parameters import pack


def row_plan(
    path: str,
    run: Kernel,
    parameters: NamedTuple,
    layout: ConvLayout,
    flip: int,
    constants: tuple[np.ndarray, np.ndarray],
    scratch_bytes: int,
) -> OpPlan:
    """path: behind the name of the instructions; parameters: with `first` and `end`; flip: of
    inputs, as `ConvLayout.geometry` takes it; constants: packed weights, those of the epilogue."""
    geometry = pack(layout.geometry(flip))
    weights, epilogue = constants

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(parameters._replace(end=batch * layout.out_height))
        return [(run, (p, geometry, inputs[0], weights, layout.pads, epilogue, output, scratch))]

    return OpPlan(f"{ISA.name}-{path}", bind, lambda batch: scratch_bytes, True)
