"""Chunks on this machine: decode ahead, simulate, score."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from r329fast.errors import DataError
from r329fast.evaluation.chunk_log import ChunkLog, pack, unpack
from r329fast.evaluation.decode_ahead import feed
from r329fast.evaluation.engine import Engine, Running, Seconds
from r329fast.evaluation.pixel_cache import PixelCache, key_hash, pixel_key
from r329fast.evaluation.record import float_identity, labels_hash
from r329fast.evaluation.sources import Source
from r329fast.evaluation.variants import Model


class FloatCache:
    """Float records by chunk, kept from run to run; keyed by model, pixels, labels and runtime."""

    def __init__(
        self, folder: Path, model: Model, source: Source, classes: np.ndarray, chunk: int
    ) -> None:
        recipe = source.recipe.as_json() if source.recipe is not None else None
        key = {
            "pixels": pixel_key(source, chunk),
            "recipe": recipe,
            "reverse": model.reverse,
            "float": float_identity(model),
            "labels": labels_hash(source, classes),
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


def bad_image(source: Source, image: int, why: str) -> DataError:
    """The error that ends a run without --skip-bad."""
    return DataError(
        f"cannot use image {source.names[image]} in {source.path}: {why} (--skip-bad goes on "
        "without such images)",
        image=source.names[image],
    )


def local_chunks(
    engine: Engine,
    source: Source,
    classes: np.ndarray,
    todo: Sequence[int],
    cache: PixelCache | None,
    floats: FloatCache | None,
    skip_bad: bool,
    seconds: Seconds,
    waits: list[float],
) -> Iterator[tuple[int, bytes]]:
    """(number, payload) of every chunk, in order; a chunk is begun before the last one is done.

    seconds: filled in on the way. waits: seconds of waiting for pixels are added.
    """
    size = engine.decoder.size
    chunks = feed(engine.decoder, source.keys, todo, cache)
    running: deque[Running] = deque()

    def finish() -> tuple[int, bytes]:
        item = running.popleft()
        number, payload = item.chunk.number, engine.finish(item)
        seconds.add(item.seconds)
        if isinstance(item.floats, list) and floats is not None and not item.chunk.bad:
            floats.put(number, payload)
        engine.decoder.give_back(item.chunk)
        return number, payload

    while True:
        start = time.perf_counter()
        chunk = next(chunks, None)
        waits.append(engine.idle(start))
        if chunk is None or (chunk.bad and not skip_bad):
            break
        first = chunk.number * size
        known = floats.get(chunk.number) if floats is not None else None
        running.append(engine.start(chunk, classes[first : first + len(chunk.pixels)], known))
        if len(running) > 1:
            yield finish()
    while running:
        yield finish()
    if chunk is not None:
        row = min(chunk.bad)
        raise bad_image(source, chunk.number * size + row, chunk.bad[row])
