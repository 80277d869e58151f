"""What runs on a Dask worker. Imported there and by `cluster`; needs the extra `dask`."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from distributed import WorkerPlugin

from r329fast.base.machine import cores
from r329fast.evaluation.evaluator import Evaluator
from r329fast.evaluation.sources import Key
from r329fast.evaluation.wall_time import Seconds
from r329fast.images.opencv import cv2
from r329fast.version import __version__

# by job; tasks of one process share its threads: what they simulate stands in one queue
_evaluators: dict[str, Evaluator] = {}


class JobPlugin(WorkerPlugin):
    """Carries the job to a worker; the scheduler keeps it for those that join later."""

    def __init__(self, key: str, job: bytes, threads: int) -> None:
        self.name, self.key, self.job, self.threads = f"r329fast-{key}", key, job, threads

    async def setup(self, worker: Any) -> None:
        """Compile the kernels before the first chunk comes, without stopping the heartbeat."""
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        evaluator = Evaluator(pickle.loads(self.job), self.threads or cores())
        evaluator.warm_up()
        _evaluators[self.key] = evaluator

    def teardown(self, worker: Any) -> None:
        evaluator = _evaluators.pop(self.key, None)
        if evaluator is not None:
            evaluator.close()


def run_chunk(
    key: str, number: int, keys: Sequence[Key], classes: np.ndarray, targets: Sequence[Any]
) -> tuple[int, bytes, Seconds]:
    """One chunk: its payload, and the seconds that it took."""
    evaluator = _evaluators[key]
    chunk, work = evaluator.decoder.start(number, keys)
    evaluator.decoder.finish(chunk, work)
    running = evaluator.start(chunk, classes, targets=targets)
    payload = evaluator.finish(running)
    evaluator.decoder.give_back(chunk)
    return number, payload, running.seconds


def versions() -> dict[str, str]:
    """What has to be the same everywhere for equal results."""
    import onnxruntime

    return {
        "r329fast": __version__,
        "OpenCV": cv2.__version__,
        "onnxruntime": str(onnxruntime.__version__),
        "numpy": np.__version__,
    }


def sees(path: str) -> bool:
    """Whether this machine has the image set."""
    return os.path.exists(path)
