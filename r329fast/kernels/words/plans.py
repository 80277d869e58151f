"""The plan of an op whose kernel takes parameters, inputs, constants, output and scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.runtime.kernel import Kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.kernels.runtime.parameters import pack


def word_plan(
    path: str,
    run: Kernel,
    parameters: NamedTuple,
    constants: Sequence[np.ndarray],
    scratch_bytes: int,
    pieces: int | None,
) -> OpPlan:
    """pieces: of an image, which `first` and `end` of the parameters count and threads share.

    None: the parameters have `batch`, and one call does it all.
    """

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        count = {"batch": batch} if pieces is None else {"end": batch * pieces}
        p = pack(parameters._replace(**count))
        return [(run, (p, *inputs, *constants, output, scratch))]

    return OpPlan(path, bind, lambda batch: scratch_bytes, pieces is not None)
