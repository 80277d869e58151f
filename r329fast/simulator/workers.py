"""Threads over blocks of images: which of them runs which block, in which arena."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import Empty, SimpleQueue

import numpy as np

from r329fast.base.fork import renew_after_fork
from r329fast.base.limits import MEMORY, check_memory
from r329fast.kernels.rates import known_rates
from r329fast.kernels.runtime.measured import measured
from r329fast.program.blocks import largest_op
from r329fast.program.program import Program
from r329fast.simulator.binding import BoundProgram, PreparedProgram
from r329fast.simulator.op_bounds import op_bound
from r329fast.simulator.pool import LazyPool

Feeds = dict[str, np.ndarray]

_BUDGET = 8 << 20  # bytes of an op's activations, about: cache holds them
_LEAST_BLOCK, _MAX_BLOCK = 16, 64  # images that a thread takes at once: late layers want many
_SHARED_SECONDS = 100e-6  # at its bound: work below it is done before a thread that slept comes
_BINDINGS = 3  # arenas that a worker holds: a batch has one or two sizes of blocks


class Worker:
    """One thread's arenas (or the one that all threads share), for each number of images."""

    def __init__(
        self, prepared: PreparedProgram, keep: frozenset[str], budget: int, parts: int = 1
    ) -> None:
        self.prepared, self.keep, self.budget, self.parts = prepared, keep, budget, parts
        self.bindings: dict[int, BoundProgram] = {}

    def bind(self, count: int) -> BoundProgram:
        """What runs `count` images; the last few are held."""
        if count not in self.bindings:
            while len(self.bindings) >= _BINDINGS:
                self.bindings.pop(next(iter(self.bindings)))
            self.bindings[count] = self.prepared.bind(count, self.keep, self.budget, self.parts)
        return self.bindings[count]

    def run(
        self,
        feeds: Feeds,
        results: Feeds,
        first: int,
        count: int,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        """Images first..first+count of flat `feeds` [N, bytes] into flat `results` [N, bytes].

        pool: where the further parts run; needed if there are any.
        """
        binding = self.bind(count)
        views, flips = binding.views, self.prepared.flips
        for name, array in feeds.items():
            source = array[first : first + count].reshape(-1)
            np.bitwise_xor(source, flips[name], out=views[name])
        binding.calls.run(pool)
        for name, array in results.items():
            stored = views[name].reshape(count, -1)
            np.bitwise_xor(stored, flips[name], out=array[first : first + count])


class Workers:
    """The compiled kernels of a program on a batch, over threads.

    block: images of a block, None lets the activations' size decide.
    """

    def __init__(self, program: Program, block: int | None, pool: LazyPool) -> None:
        self.threads, self.block, self._pool = pool.threads, block, pool
        self._prepared = PreparedProgram(program)
        known = measured()
        self._budget = min(known.budget, _BUDGET) if known else _BUDGET
        # what is done before a thread that slept has come is not worth sharing
        self._least = 2e-6 * known.wake_us if known else _SHARED_SECONDS
        self._most = min(max(self._budget // largest_op(program), _LEAST_BLOCK), _MAX_BLOCK)
        self._seconds = sum(op_bound(program, op, known_rates()) for op in program.ops)
        self._lock, self._sharing = threading.Lock(), threading.Lock()
        self._idle: dict[tuple[frozenset[str], int], SimpleQueue[Worker]] = {}
        self._fitting: dict[frozenset[str], int] = {}
        self._whole = sum(spec.bytes for spec in program.tensors.values())
        if self._whole > MEMORY.bytes():  # else it fits in any order
            check_memory(f"an image of program {program.name!r}", self._size(1, frozenset()))
        renew_after_fork(self)

    def path(self, index: int) -> str:
        """The kernel path of an op."""
        return self._prepared.path(index)

    def after_fork(self) -> None:
        """Arenas that threads of the parent were at work in are left to it."""
        self._lock, self._sharing = threading.Lock(), threading.Lock()
        self._idle = {}

    def close(self) -> None:
        """Give the arenas back."""
        with self._lock:
            self._idle.clear()

    def run(self, feeds: Feeds, results: Feeds, count: int) -> None:
        """All images of `feeds` [count, *shape] into `results`, by tensor name."""
        try:
            self._run(_flat(feeds, count), _flat(results, count), count)
        except BaseException:
            # An interrupt may come where a worker was just taken, or a helper just called: the
            # next run would wait for the one, or share parameters with the other.
            self.close()
            raise

    def _run(self, feeds: Feeds, results: Feeds, count: int) -> None:
        """The same of flat feeds and results."""
        keep = frozenset(results)
        most = self._most_images(keep)
        if count < self.threads and count <= most and count * self._seconds >= self._least:
            # too few images for all threads: they share each op
            # parts wait for each other: two such runs could wait for ever
            with self._sharing, self._pool.use() as pool:
                workers = self._workers_for(keep, self.threads)
                self._run_block(workers, feeds, results, 0, count, pool)
            return
        block = self._block_size(count, most)
        workers = self._workers_for(keep, 1)
        waiting = SimpleQueue[int]()
        for first in range(0, count, block):
            waiting.put(first)

        def take() -> None:
            """Blocks until there are no more; a thread that is held up leaves them to others."""
            with suppress(Empty):
                while True:
                    first = waiting.get_nowait()
                    size = min(block, count - first)
                    self._run_block(workers, feeds, results, first, size)

        # the calling thread works too: it is awake already
        others = range(min(self.threads, -(-count // block)) - 1)
        futures: list[Future[None]] = []
        try:
            if others:
                with self._pool.use() as pool:
                    for _ in others:
                        futures.append(pool.submit(take))
            take()
        except BaseException:
            with suppress(Empty):
                while True:
                    waiting.get_nowait()
            raise
        finally:  # nobody reads the caller's arrays any more
            wait(futures)
        for future in futures:
            future.result()

    def submit(
        self, pool: ThreadPoolExecutor, feeds: Feeds, results: Feeds, count: int
    ) -> list[Future[None]]:
        """The same, block by block in the queue of `pool`, without waiting."""
        feeds, results = _flat(feeds, count), _flat(results, count)
        keep = frozenset(results)
        block = self._block_size(count, self._most_images(keep))
        workers = self._workers_for(keep, 1)
        return [
            pool.submit(self._run_block, workers, feeds, results, first, min(block, count - first))
            for first in range(0, count, block)
        ]

    @staticmethod
    def _run_block(
        workers: SimpleQueue[Worker],
        feeds: Feeds,
        results: Feeds,
        first: int,
        count: int,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        worker = workers.get()
        try:
            worker.run(feeds, results, first, count, pool)
        finally:
            workers.put(worker)

    def _size(self, images: int, keep: frozenset[str]) -> int:
        """Bytes that a thread works in for so many images at once."""
        _, buffers, scratch = self._prepared.room(images, keep, self._budget)
        return buffers.size + scratch

    def _most_images(self, keep: frozenset[str]) -> int:
        """Images at once that all threads have memory for; one where there is too little."""
        if keep not in self._fitting:
            most, allowed = max(self.block or 1, self._most), MEMORY.bytes() // self.threads
            while most > 1 and most * self._whole > allowed and self._size(most, keep) > allowed:
                most = -(-most // 2)
            self._fitting = {**dict(list(self._fitting.items())[-7:]), keep: most}
        return self._fitting[keep]

    def _block_size(self, count: int, most: int) -> int:
        """Images that one thread takes at once; all threads get equal blocks."""
        share = -(-count // self.threads)
        if self.block is not None:
            return min(self.block, most, share)
        return -(-share // -(-share // most))

    def _workers_for(self, keep: frozenset[str], parts: int) -> SimpleQueue[Worker]:
        """Idle workers of these settings: as many as threads, or one that all threads share."""
        with self._lock:
            key = (keep, parts)
            queue = self._idle.get(key)
            if queue is None:
                queue = SimpleQueue()
                for _ in range(self.threads // parts):
                    queue.put(Worker(self._prepared, keep, self._budget, parts))
                self._idle = {key: queue}  # arenas of other settings are dropped
        return queue


def _flat(arrays: Feeds, count: int) -> Feeds:
    """As uint8 [count, bytes]: views where the arrays are contiguous, as results are."""
    return {
        name: np.ascontiguousarray(array).reshape(count, -1).view(np.uint8)
        for name, array in arrays.items()
    }
