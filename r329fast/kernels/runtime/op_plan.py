"""What preparing an op gives: constants packed once, and kernel calls bound to buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r329fast.kernels.runtime.kernel import Kernel
from r329fast.program.program import TensorSpec

Step = tuple[Kernel, tuple[np.ndarray, ...]]  # a kernel and its flat arrays
BindCalls = Callable[[int, Sequence[np.ndarray], np.ndarray, np.ndarray], list[Step]]

_ALIGN = 64
SLACK = 256  # bytes behind every buffer: kernels may read whole vectors past its last


def empty_aligned(count: int, kind: Any) -> np.ndarray:
    """`count` unset elements whose first byte lies on a 64-byte boundary."""
    size = count * np.dtype(kind).itemsize
    raw = np.empty(size + _ALIGN, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGN
    return raw[start : start + size].view(kind)


def aligned(array: np.ndarray) -> np.ndarray:
    """A C-contiguous copy of `array` whose first byte lies on a 64-byte boundary."""
    copy = empty_aligned(array.size, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def flip_of(spec: TensorSpec) -> int:
    """128 for int8, 0 for uint8: the value of a byte b is (b ^ flip) - flip."""
    return 128 if spec.dtype == "int8" else 0


@dataclass(frozen=True)
class OpPlan:
    """One op, ready to run; shared by threads (it holds no state).

    path: name of the chosen kernel path; binder: (batch, flat uint8 inputs, flat uint8 output,
    scratch) -> kernel calls; scratch: batch -> bytes; ranged: the first argument of every call
    has the parameters `first` and `end`, so that threads can share the work.
    """

    path: str
    binder: BindCalls
    scratch: Callable[[int], int]
    ranged: bool = False

    def scratch_bytes(self, batch: int) -> int:
        """Bytes of working memory that `run` needs for `batch` images."""
        return self.scratch(batch)

    def bind(
        self,
        batch: int,
        inputs: Sequence[np.ndarray],
        output: np.ndarray,
        scratch: np.ndarray,
    ) -> list[Step]:
        """Kernel calls for flat uint8 buffers of `batch` images; call f(*args) in order."""
        return self.binder(batch, inputs, output, scratch)

    def bind_parts(
        self,
        batch: int,
        inputs: Sequence[np.ndarray],
        output: np.ndarray,
        scratches: Sequence[np.ndarray],
    ) -> list[list[Step]]:
        """The same in stages, each a list of calls that may run at once, one for a scratch."""
        whole = self.bind(batch, inputs, output, scratches[0])
        if not self.ranged or len(scratches) == 1:
            return [[step] for step in whole]
        others = [self.bind(batch, inputs, output, scratch) for scratch in scratches[1:]]
        stages = []
        for steps in zip(whole, *others, strict=True):
            parts = []
            for index, (function, arguments) in enumerate(steps):
                first, end = arguments[0]["first"], arguments[0]["end"]
                length = int(end[0])
                first[0], end[0] = (length * i // len(scratches) for i in (index, index + 1))
                if first[0] < end[0]:
                    parts.append((function, arguments))
            stages.append(parts)
        return stages

    def run(self, inputs: list[np.ndarray], output: np.ndarray, scratch: np.ndarray) -> None:
        """Compute int8/uint8 [n, *shape] C-contiguous `output` from such `inputs`."""
        flat = [_with_slack(array) for array in inputs]
        out = output.reshape(-1).view(np.uint8)
        for function, arguments in self.bind(len(output), flat, out, scratch):
            function(*arguments)


def _with_slack(array: np.ndarray) -> np.ndarray:
    """Its bytes, flat, with room behind them: kernels may read whole vectors past the last."""
    flat = array.reshape(-1).view(np.uint8)
    padded = np.zeros(flat.size + SLACK, dtype=np.uint8)
    padded[: flat.size] = flat
    return padded[: flat.size]
