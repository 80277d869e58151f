"""Runs a program on a batch: blocks of images through the whole op list, threads over blocks."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from r329fast.errors import DataError, UsageError, nearest
from r329fast.program.blocks import largest_op, program_macs
from r329fast.program.program import Program

if TYPE_CHECKING:
    from r329fast.simulator.binding import BoundProgram, PreparedProgram

BACKENDS = ("numba", "reference")
Feeds = dict[str, np.ndarray]

_BUDGET = 8 << 20  # bytes of an op's activations, about: cache holds them
_LEAST_BLOCK, _MAX_BLOCK = 16, 64  # images that a thread takes at once: late layers want many
_SHARED_MACS = 100_000_000  # work below it is done before another thread has woken up
_BINDINGS = 3  # arenas that a worker holds: a batch has one or two sizes of blocks


def layer_tensors(program: Program) -> dict[str, str]:
    """Vendor layer name -> the tensor that it makes (its last one)."""
    if program.layers:
        return {layer.name: layer.outputs[0] for layer in program.layers if layer.outputs}
    return {op.layer: op.outputs[0] for op in program.ops}


class _Worker:
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


@dataclass
class Pending:
    """A batch on its way: the blocks that make it, and where their integers go."""

    futures: list[Future[None]]
    arrays: dict[str, np.ndarray]

    def result(self) -> dict[str, np.ndarray]:
        """What `Simulator.run` returns, when all blocks are done."""
        for future in self.futures:
            future.result()
        return self.arrays


class Simulator:
    """A program made ready to run; constants are packed once and shared by all threads.

    backend: "numba" (compiled kernels) or "reference" (plain NumPy, slow); threads: workers over
    blocks of images; block: images of a block, None lets the activations' size decide. The
    integers do not depend on any of them.
    """

    def __init__(
        self,
        program: Program,
        backend: str = "numba",
        threads: int = 1,
        block: int | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise UsageError(
                f"backend {backend!r}, allowed {', '.join(BACKENDS)}{nearest(backend, BACKENDS)}",
                option="backend",
            )
        if threads < 1 or (block is not None and block < 1):
            raise UsageError(f"threads {threads} and block {block} must be at least 1")
        self.program, self.backend, self.threads, self.block = program, backend, threads, block
        self._most = min(max(_BUDGET // largest_op(program), _LEAST_BLOCK), _MAX_BLOCK)
        self._macs = program_macs(program)
        self._prepared: PreparedProgram | None = None
        self._lock, self._sharing = threading.Lock(), threading.Lock()
        self._workers: dict[tuple[frozenset[str], int], SimpleQueue[_Worker]] = {}
        self._pool: ThreadPoolExecutor | None = None
        if backend == "numba":
            from r329fast.simulator.binding import PreparedProgram

            self._prepared = PreparedProgram(program)

    def paths(self) -> dict[str, str]:
        """Layer name -> kernel path of its ops, joined by " + " ("reference" for that backend)."""
        result: dict[str, str] = {}
        for index, op in enumerate(self.program.ops):
            path = self._prepared.plans[index].path if self._prepared else "reference"
            result[op.layer] = f"{result[op.layer]} + {path}" if op.layer in result else path
        return result

    def run(
        self, x: np.ndarray | Mapping[str, np.ndarray], keep: str | Iterable[str] = "outputs"
    ) -> dict[str, np.ndarray]:
        """Integers [N, *shape] by name, for int8/uint8 input [N, *shape] (or a dict by name).

        keep: "outputs" (by tensor name), "all" (every layer, by vendor layer name), or names of
        layers or tensors. Raises DataError on a wrong dtype or shape, UsageError on a wrong name.
        """
        feeds = self._feeds(x)
        wanted = self._wanted(keep)
        count = len(next(iter(feeds.values())))
        arrays = self._arrays(wanted, count)
        if self.backend == "reference":
            self._run_reference(feeds, arrays, count)
        elif count:
            self._run_kernels(feeds, arrays, count)
        return {name: arrays[tensor] for name, tensor in wanted.items()}

    def submit(
        self,
        x: np.ndarray | Mapping[str, np.ndarray],
        keep: str | Iterable[str] = "outputs",
        pool: ThreadPoolExecutor | None = None,
    ) -> Pending:
        """Begin what `run` does and return at once, so that no thread idles between two batches.

        x must stay as it is until the result is there. pool: of at most `threads` threads, takes
        blocks in the order in which they come; the simulator's own where absent.
        """
        feeds = self._feeds(x)
        wanted = self._wanted(keep)
        count = len(next(iter(feeds.values())))
        arrays = self._arrays(wanted, count)
        pool = pool or self._threads()
        futures = []
        if self.backend == "reference":
            futures = [pool.submit(self._run_reference, feeds, arrays, count)]
        elif count:
            futures = self._submit_blocks(pool, *self._flat(feeds, arrays, count), count)
        return Pending(futures, {name: arrays[tensor] for name, tensor in wanted.items()})

    def close(self) -> None:
        """Give threads and arenas back; the simulator can still run (and makes new ones)."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._workers.clear()
        if pool is not None:
            pool.shutdown()

    def _feeds(self, x: np.ndarray | Mapping[str, np.ndarray]) -> Feeds:
        inputs = self.program.inputs
        if isinstance(x, np.ndarray):
            if len(inputs) != 1:
                raise DataError(f"the program has inputs {', '.join(inputs)}: pass them by name")
            x = {inputs[0]: x}
        if set(x) != set(inputs):
            raise DataError(f"inputs {', '.join(x)}, expected {', '.join(inputs)}")
        for name, array in x.items():
            spec = self.program.tensors[name]
            if array.dtype != spec.dtype or array.shape[1:] != spec.shape or array.ndim == 0:
                raise DataError(
                    f"input {name!r}: found {array.dtype}{list(array.shape)}, expected "
                    f"{spec.dtype}[N, {', '.join(map(str, spec.shape))}]"
                )
        counts = {len(array) for array in x.values()}
        if len(counts) != 1:
            raise DataError(f"inputs have different numbers of images: {sorted(counts)}")
        return dict(x)

    def _wanted(self, keep: str | Iterable[str]) -> dict[str, str]:
        """Name in the result -> tensor."""
        layers = layer_tensors(self.program)
        if keep == "outputs":
            return {name: name for name in self.program.outputs}
        if keep == "all":
            return layers
        wanted = {}
        for name in [keep] if isinstance(keep, str) else keep:
            if name not in layers and name not in self.program.tensors:
                known = (*layers, *self.program.tensors)
                raise UsageError(f"no layer or tensor {name!r}{nearest(name, known)}")
            wanted[name] = layers.get(name, name)
        return wanted

    def _arrays(self, wanted: Mapping[str, str], count: int) -> Feeds:
        """Room for the tensors that are wanted, by tensor name."""
        tensors = self.program.tensors
        return {
            name: np.empty((count, *tensors[name].shape), dtype=tensors[name].dtype)
            for name in set(wanted.values())
        }

    @staticmethod
    def _flat(feeds: Feeds, arrays: Feeds, count: int) -> tuple[Feeds, Feeds]:
        """Both as uint8 [N, bytes]."""
        flat_feeds = {
            name: np.ascontiguousarray(array).reshape(count, -1).view(np.uint8)
            for name, array in feeds.items()
        }
        return flat_feeds, {
            name: array.reshape(count, -1).view(np.uint8) for name, array in arrays.items()
        }

    def _run_reference(self, feeds: Feeds, arrays: Feeds, count: int) -> None:
        from r329fast.reference import run_program

        block = self.block or 8
        for first in range(0, count, block):
            part = {name: array[first : first + block] for name, array in feeds.items()}
            tensors = run_program(self.program, part)
            for name, array in arrays.items():
                array[first : first + block] = tensors[name]

    def _run_kernels(self, feeds: Feeds, arrays: Feeds, count: int) -> None:
        flat_feeds, flat = self._flat(feeds, arrays, count)
        keep = frozenset(arrays)
        if count < self.threads and count * self._macs >= _SHARED_MACS:
            # too few images for all threads: they share each op
            workers = self._workers_for(keep, self.threads)
            with self._sharing:  # parts wait for each other: two such runs could wait for ever
                self._run_block(workers, flat_feeds, flat, 0, count, self._threads())
            return
        block = self._block_size(count)
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
                    self._run_block(workers, flat_feeds, flat, first, size)

        # the calling thread works too: it is awake already
        others = range(min(self.threads, -(-count // block)) - 1)
        futures: list[Future[None]] = []
        try:
            for _ in others:
                futures.append(self._threads().submit(take))
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

    def _submit_blocks(
        self, pool: ThreadPoolExecutor, feeds: Feeds, results: Feeds, count: int
    ) -> list[Future[None]]:
        block = self._block_size(count)
        workers = self._workers_for(frozenset(results), 1)
        return [
            pool.submit(self._run_block, workers, feeds, results, first, min(block, count - first))
            for first in range(0, count, block)
        ]

    @staticmethod
    def _run_block(
        workers: SimpleQueue[_Worker],
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

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="r329fast")
            return self._pool

    def _block_size(self, count: int) -> int:
        """Images that one thread takes at once; all threads get equal blocks."""
        share = -(-count // self.threads)
        if self.block is not None:
            return min(self.block, share)
        return -(-share // -(-share // self._most))

    def _workers_for(self, keep: frozenset[str], parts: int) -> SimpleQueue[_Worker]:
        """Idle workers of these settings: as many as threads, or one that all threads share."""
        assert self._prepared is not None
        with self._lock:
            key = (keep, parts)
            queue = self._workers.get(key)
            if queue is None:
                queue = SimpleQueue()
                for _ in range(self.threads // parts):
                    queue.put(_Worker(self._prepared, keep, _BUDGET, parts))
                self._workers = {key: queue}  # arenas of other settings are dropped
        return queue
