"""What preparing an op gives: constants packed once, and kernel calls bound to buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r329fast.kernels.runtime.kernel import Kernel
from r329fast.kernels.runtime.team import Piece, cut
from r329fast.program.program import TensorSpec

Step = tuple[Kernel, tuple[np.ndarray, ...]]  # a kernel and its flat arrays
BindCalls = Callable[[int, Sequence[np.ndarray], np.ndarray, np.ndarray], list[Step]]
CutCalls = Callable[[int, int, int], list[Piece]]
# (index of an input, bytes from one of its positions to the next) -> the plan that reads it so
Pitched = Callable[[int, int], "OpPlan"]

_ALIGN = 64
_FINE = 16  # a piece of so many cache lines is cut between two of them
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
    has the parameters `first` and `end`, so that threads can share the work; cutter: (batch,
    threads, pieces wanted) -> the pieces, where they are not just parts of first..end; pitched:
    None where inputs must be contiguous, else how to read one as a range of channels.
    """

    path: str
    binder: BindCalls
    scratch: Callable[[int], int]
    ranged: bool = False
    cutter: CutCalls | None = None
    pitched: Pitched | None = None

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
        wanted: int = 1,
    ) -> tuple[list[list[Step]], list[list[Piece]]]:
        """The same in stages: each is one call, or (in pieces) the same call in every scratch.

        wanted: about how many pieces a call is worth. The second result holds the pieces of each
        stage, none where it is one call.
        """
        whole = self.bind(batch, inputs, output, scratches[0])
        threads = len(scratches)
        if not self.ranged or threads == 1 or wanted < 2:
            return [[step] for step in whole], [[] for _ in whole]
        others = [self.bind(batch, inputs, output, scratch) for scratch in scratches[1:]]
        stages, cuts = [], []
        for steps in zip(whole, *others, strict=True):
            pieces = self._cut(batch, int(steps[0][1][0]["end"][0]), threads, wanted)
            stages.append(list(steps) if len(pieces) > 1 else [steps[0]])
            cuts.append(pieces if len(pieces) > 1 else [])
        return stages, cuts

    def _cut(self, batch: int, length: int, threads: int, wanted: int) -> list[Piece]:
        if self.cutter is not None:
            return self.cutter(batch, threads, wanted)
        grain = 64 if length >= 64 * _FINE * wanted else 1  # bytes, mostly: whole cache lines
        return [Piece(*ends) for ends in cut(length, threads, wanted, grain)]

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
