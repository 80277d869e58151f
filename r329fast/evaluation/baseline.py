"""The float network on the same pixels, the same bits whatever the threads and machines."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from r329fast.errors import UsageError
from r329fast.evaluation.encode import Normaliser
from r329fast.evaluation.metrics.metric import Outputs
from r329fast.evaluation.several import cut
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph

# onnxruntime may add up in another order for another batch size or thread count: both are fixed
_BATCH = 8


class Baseline:
    """Float outputs; threads work on fixed batches of a chunk, each of them alone.

    scored: classes are counted, which takes one output.
    """

    def __init__(self, graph: Graph, normaliser: Normaliser, scored: bool = True) -> None:
        if scored and len(graph.outputs) != 1:
            raise UsageError(
                f"the float baseline needs one output, {graph.name} has {len(graph.outputs)}"
            )
        self.shapes = {name: graph.shapes[name] for name in graph.inputs}
        self.normaliser = normaliser
        self._session = FloatSession(graph, threads=1)

    def submit(self, pixels: np.ndarray, pool: ThreadPoolExecutor) -> list[Future[Outputs]]:
        """Parts of the outputs, float32 [n, ...], of pixels [n, height, width, channels]."""
        starts = range(0, len(pixels), _BATCH)
        return [pool.submit(self._batch, pixels[first : first + _BATCH]) for first in starts]

    def _batch(self, pixels: np.ndarray) -> Outputs:
        count = len(pixels)
        if count < _BATCH:
            pixels = np.concatenate([pixels, np.zeros_like(pixels[:1]).repeat(_BATCH - count, 0)])
        x = cut(pixels, self.shapes) if len(self.shapes) > 1 else self.normaliser(pixels)
        return {name: value[:count] for name, value in self._session.run(x).items()}


def together(parts: list[Outputs]) -> Outputs:
    """The outputs of a chunk from those of its batches."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
