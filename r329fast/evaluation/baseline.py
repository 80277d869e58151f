"""The float network on the same pixels, the same bits whatever the threads and machines."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from r329fast.errors import UsageError
from r329fast.evaluation.encode import Normaliser
from r329fast.evaluation.several import cut
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph

# onnxruntime may add up in another order for another batch size or thread count: both are fixed
_BATCH = 8


class Baseline:
    """Float logits; threads work on fixed batches of a chunk, each of them alone."""

    def __init__(self, graph: Graph, normaliser: Normaliser) -> None:
        if len(graph.outputs) != 1:
            raise UsageError(
                f"the float baseline needs one output, {graph.name} has {len(graph.outputs)}"
            )
        self.shapes = {name: graph.shapes[name] for name in graph.inputs}
        self.normaliser = normaliser
        self._session = FloatSession(graph, threads=1)

    def submit(self, pixels: np.ndarray, pool: ThreadPoolExecutor) -> list[Future[np.ndarray]]:
        """Parts of the float32 [n, classes] of pixels [n, height, width, channels], in order."""
        starts = range(0, len(pixels), _BATCH)
        return [pool.submit(self._batch, pixels[first : first + _BATCH]) for first in starts]

    def _batch(self, pixels: np.ndarray) -> np.ndarray:
        count = len(pixels)
        if count < _BATCH:
            pixels = np.concatenate([pixels, np.zeros_like(pixels[:1]).repeat(_BATCH - count, 0)])
        x = cut(pixels, self.shapes) if len(self.shapes) > 1 else self.normaliser(pixels)
        (result,) = self._session.run(x).values()
        return result.reshape(_BATCH, -1)[:count]
