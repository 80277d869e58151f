"""Decodes ahead in threads: chunks of network inputs in order, a bounded number in memory."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from r329fast.evaluation.encode import Encoder
from r329fast.evaluation.pixel_cache import CachedChunk, PixelCache
from r329fast.evaluation.sources import BadImageError, Key, Reader

_CHUNK_BYTES = 16 << 20
_SIZES = (16, 32, 64, 128, 256, 512)
AHEAD = 2  # chunks being decoded while others are simulated


def chunk_size(item_bytes: int) -> int:
    """Images of a chunk, from the bytes of one alone: the same on every machine."""
    fitting = [size for size in _SIZES if size * item_bytes <= _CHUNK_BYTES]
    return fitting[-1] if fitting else _SIZES[0]


@dataclass
class Chunk:
    """Decoded images and what each program's input makes of them.

    pixels: [n, height, width, channels] as the reader gives, unset where nobody asked for them;
    inputs: one integer array for each encoder, of that shape where there is one input; saturated:
    int64 [n] for each encoder; bad: row -> why it could not be used (its pixels and inputs are
    zeros). seconds: of all decoding threads together.
    """

    number: int
    pixels: np.ndarray
    inputs: list[np.ndarray]
    saturated: list[np.ndarray]
    bad: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


class Decoder:
    """Fills chunks with a pool of threads; buffers that are given back are used again.

    keep_pixels: for the float network; else only a cache that has to be filled gets them.
    """

    def __init__(
        self,
        reader: Reader,
        encoders: Sequence[Encoder],
        size: int,
        threads: int,
        keep_pixels: bool = False,
    ) -> None:
        self.reader, self.encoders, self.size, self.threads = reader, encoders, size, threads
        self.keep_pixels = keep_pixels
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._free: list[Chunk] = []

    def start(
        self,
        number: int,
        keys: Sequence[Key],
        cached: CachedChunk | None = None,
        keep_pixels: bool = False,
    ) -> tuple[Chunk, list[Future[float]]]:
        """Begin a chunk; its buffers are whole when all futures are done."""
        keep = keep_pixels or self.keep_pixels
        chunk = self._chunk(number, len(keys))
        step = max(1, len(keys) // max(8, 2 * self.threads))
        ranges = [range(first, min(first + step, len(keys))) for first in range(0, len(keys), step)]
        work = [self._pool.submit(self._fill, chunk, rows, keys, cached, keep) for rows in ranges]
        return chunk, work

    def finish(self, chunk: Chunk, work: Iterable[Future[float]]) -> Chunk:
        """Wait until the chunk is whole."""
        chunk.seconds = sum(future.result() for future in work)
        return chunk

    def give_back(self, chunk: Chunk) -> None:
        """The chunk's arrays are no longer looked at."""
        if len(chunk.pixels) == self.size:
            self._free.append(chunk)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._free.clear()

    def _chunk(self, number: int, count: int) -> Chunk:
        if count == self.size:
            with contextlib.suppress(IndexError):  # another thread may take the last one
                old = self._free.pop()
                return Chunk(number, old.pixels, old.inputs, old.saturated)
        shape = (count, *self.reader.shape)
        return Chunk(
            number,
            np.empty(shape, dtype=self.reader.dtype),  # takes no memory until it is written
            [encoder.buffer(count, self.reader.shape) for encoder in self.encoders],
            [np.zeros(count, dtype=np.int64) for _ in self.encoders],
        )

    def _fill(
        self,
        chunk: Chunk,
        rows: range,
        keys: Sequence[Key],
        cached: CachedChunk | None,
        keep: bool,
    ) -> float:
        start = time.perf_counter()
        for row in rows:
            try:
                image = self._load(keys[row], row, cached)
                if keep:
                    chunk.pixels[row] = image
                for index, encoder in enumerate(self.encoders):
                    chunk.saturated[index][row] = encoder.into(image, chunk.inputs[index][row])
            except BadImageError as error:
                chunk.bad[row] = str(error)
                chunk.pixels[row] = 0
                for index in range(len(self.encoders)):
                    chunk.inputs[index][row] = 0
                    chunk.saturated[index][row] = 0
        return time.perf_counter() - start

    def _load(self, key: Key, row: int, cached: CachedChunk | None) -> np.ndarray:
        if cached is not None:
            try:
                return cached.load(row)
            except KeyError:  # damaged on disk
                pass
        return self.reader.load(key)


def decoded_chunks(
    decoder: Decoder,
    keys: Sequence[Key],
    numbers: Iterable[int],
    cache: PixelCache | None = None,
) -> Iterator[Chunk]:
    """The chunks with the given numbers, in order; AHEAD of them are decoded ahead.

    Whoever takes a chunk gives it back to the decoder when nobody looks at it any more.
    """
    waiting: deque[tuple[Chunk, list[Future[float]], bool]] = deque()
    todo = iter(numbers)

    def more() -> None:
        number = next(todo, None)
        if number is None:
            return
        part = keys[number * decoder.size : (number + 1) * decoder.size]
        cached = cache.open_chunk(number) if cache is not None else None
        store = cache is not None and cached is None
        waiting.append((*decoder.start(number, part, cached, keep_pixels=store), store))

    for _ in range(AHEAD):
        more()
    while waiting:
        chunk, work, store = waiting.popleft()
        more()
        decoder.finish(chunk, work)
        if cache is not None and store:
            cache.store(chunk.number, chunk.pixels, chunk.bad)
        yield chunk
