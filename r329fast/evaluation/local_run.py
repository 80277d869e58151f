"""Chunks on this machine: decode ahead, simulate, score."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from r329fast.evaluation.chunk_log import ChunkLog, pack, unpack
from r329fast.evaluation.decode_ahead import decoded_chunks
from r329fast.evaluation.evaluator import Evaluator, Running
from r329fast.evaluation.job import ChunkPlan
from r329fast.evaluation.pixel_cache import PixelCache, key_hash, pixel_key
from r329fast.evaluation.record import float_identity, labels_hash
from r329fast.evaluation.result import Timing
from r329fast.evaluation.variants import Model


class FloatCache:
    """Float records by chunk, kept from run to run; keyed by model, pixels, labels and runtime."""

    def __init__(self, folder: Path, model: Model, plan: ChunkPlan) -> None:
        source = plan.source
        recipe = source.recipe.as_json() if source.recipe is not None else None
        key = {
            "pixels": pixel_key(source, plan.size),
            "recipe": recipe,
            "reverse": model.reverse,
            "float": float_identity(model),
            "labels": labels_hash(source, plan.classes),
        }
        self.log = ChunkLog(folder / f"float-{key_hash(key)}.log", {"float": key})

    def get(self, number: int) -> np.ndarray | None:
        if number not in self.log.done:
            return None
        return unpack(self.log.read(number))["float"]

    def put(self, number: int, payload: bytes) -> None:
        """Keep the float records of a chunk's payload."""
        self.log.append(number, pack({"float": unpack(payload)["float"]}))

    def close(self) -> None:
        self.log.close()


def local_chunks(
    evaluator: Evaluator,
    plan: ChunkPlan,
    todo: Sequence[int],
    cache: PixelCache | None,
    floats: FloatCache | None,
    skip_bad: bool,
    timing: Timing,
) -> Iterator[tuple[int, bytes]]:
    """(number, payload) of every chunk, in order; a chunk is begun before the last one is done.

    timing: what the chunks took, and seconds of waiting for pixels, are added.
    """
    decoder = evaluator.decoder
    chunks = decoded_chunks(decoder, plan.source.keys, todo, cache)
    running: deque[Running] = deque()

    def finish() -> tuple[int, bytes]:
        item = running.popleft()
        number, payload = item.chunk.number, evaluator.finish(item)
        timing.add(item.seconds)
        if isinstance(item.floats, list) and floats is not None and not item.chunk.bad:
            floats.put(number, payload)
        decoder.give_back(item.chunk)
        return number, payload

    while True:
        start = time.perf_counter()
        chunk = next(chunks, None)
        timing.wait += evaluator.idle(start)
        if chunk is None or (chunk.bad and not skip_bad):
            break
        known = floats.get(chunk.number) if floats is not None else None
        classes, targets = plan.classes[plan.rows(chunk.number)], plan.targets_of(chunk.number)
        running.append(evaluator.start(chunk, classes, known, targets))
        if len(running) > 1:
            yield finish()
    while running:
        yield finish()
    if chunk is not None:
        row = min(chunk.bad)
        raise plan.unusable(plan.rows(chunk.number).start + row, chunk.bad[row])
