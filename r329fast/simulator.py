"""Runs a program on a batch: blocks of images through the whole op list, threads over blocks."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from r329fast.errors import DataError, UsageError, nearest
from r329fast.program.planner import BufferPlan, plan
from r329fast.program.program import Program

if TYPE_CHECKING:
    from r329fast.kernels.prepared import Prepared, Step

BACKENDS = ("numba", "reference")
Feeds = dict[str, np.ndarray]

_BLOCK_BYTES = 8 << 20  # activations of a block, about: cache holds them, weights are reused
_MAX_BLOCK = 64
_SLACK = 256  # kernels may read whole vectors past the last tensor


def layer_tensors(program: Program) -> dict[str, str]:
    """Vendor layer name -> the tensor that it makes (its last one)."""
    if program.layers:
        return {layer.name: layer.outputs[0] for layer in program.layers if layer.outputs}
    return {op.layer: op.outputs[0] for op in program.ops}


class _Worker:
    """One arena and the kernel calls bound to it, for each block size that was asked for.

    parts: how many threads share each op (each with its scratch); 1 unless the batch is small.
    """

    def __init__(
        self,
        program: Program,
        prepared: list[Prepared],
        buffers: BufferPlan,
        block: int,
        parts: int = 1,
    ) -> None:
        self.program, self.prepared, self.buffers = program, prepared, buffers
        scratch = max((p.scratch_bytes(block) for p in prepared), default=0)
        pieces = _pieces([buffers.size * block, *[scratch] * parts])
        self.arena, self.scratches = pieces[0], pieces[1:]
        self.bound: dict[int, tuple[list[list[Step]], Feeds]] = {}

    def bind(self, count: int) -> tuple[list[list[Step]], Feeds]:
        """Stages of kernel calls for `count` images, and flat views of all tensors by name."""
        if count in self.bound:
            return self.bound[count]
        views = {}
        for name, offset in self.buffers.offsets.items():
            begin = offset * count
            views[name] = self.arena[begin : begin + count * self.program.tensors[name].elements]
        stages: list[list[Step]] = []
        for op, prepared in zip(self.program.ops, self.prepared, strict=True):
            if op.kind == "reshape":
                continue  # the planner gave both the same bytes
            inputs = [views[name] for name in op.inputs]
            stages += prepared.bind_parts(count, inputs, views[op.outputs[0]], self.scratches)
        self.bound[count] = (stages, views)
        return self.bound[count]

    def run(
        self,
        feeds: Feeds,
        results: Feeds,
        first: int,
        count: int,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        """Images first..first+count of flat `feeds` [N, bytes] into flat `results` [N, bytes].

        pool: where the further parts of a stage run; needed if there are any.
        """
        stages, views = self.bind(count)
        for name, array in feeds.items():
            views[name][:] = array[first : first + count].reshape(-1)
        for (function, arguments), *others in stages:
            futures = [pool.submit(f, *a) for f, a in others] if pool else []
            function(*arguments)
            for future in futures:
                future.result()
        for name, array in results.items():
            array[first : first + count] = views[name].reshape(count, -1)


def _pieces(sizes: list[int]) -> list[np.ndarray]:
    """uint8 buffers of (at least) these sizes, each on a 64-byte boundary, with slack between."""
    rounded = [-(-size // 64) * 64 + _SLACK for size in sizes]
    raw = np.empty(sum(rounded) + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    pieces = []
    for size in rounded:
        pieces.append(raw[start : start + size])
        start += size
    return pieces


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
        self._prepared: list[Prepared] = []
        self._lock = threading.Lock()
        self._workers: dict[tuple[frozenset[str], int, int], SimpleQueue[_Worker]] = {}
        self._pool: ThreadPoolExecutor | None = None
        if backend == "numba":
            from r329fast.kernels import prepare

            tensors = program.tensors
            self._prepared = [
                prepare(op, [tensors[name] for name in op.inputs], tensors[op.outputs[0]])
                for op in program.ops
            ]

    def paths(self) -> dict[str, str]:
        """Layer name -> kernel path of its ops, joined by " + " ("reference" for that backend)."""
        result: dict[str, str] = {}
        for index, op in enumerate(self.program.ops):
            path = self._prepared[index].path if self._prepared else "reference"
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
        if self.threads > 1 and count < self.threads:  # too few images: threads share each op
            workers = self._workers_for(keep, count, self.threads)
            self._run_block(workers, flat_feeds, flat, 0, count, self._threads())
            return
        if self.threads == 1:
            block = self._block_size(count)
            workers = self._workers_for(keep, block, 1)
            for first in range(0, count, block):
                size = min(block, count - first)
                self._run_block(workers, flat_feeds, flat, first, size)
            return
        for future in self._submit_blocks(self._threads(), flat_feeds, flat, count):
            future.result()

    def _submit_blocks(
        self, pool: ThreadPoolExecutor, feeds: Feeds, results: Feeds, count: int
    ) -> list[Future[None]]:
        block = self._block_size(count)
        workers = self._workers_for(frozenset(results), block, 1)
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
        """Images of a block; where none was asked for, all threads get equal blocks."""
        share = -(-count // self.threads)
        if self.block is not None:
            return min(self.block, share)
        tensors = self.program.tensors
        largest = max(
            (
                sum(tensors[name].elements for name in (*op.inputs, *op.outputs))
                for op in self.program.ops
            ),
            default=1,
        )
        most = min(max(_BLOCK_BYTES // largest, 1), _MAX_BLOCK)
        if self.threads > 1:
            # The last blocks of a batch rarely end together: smaller ones waste less.
            most = max(most // 2, 1)
        return -(-share // -(-share // most))

    def _workers_for(self, keep: frozenset[str], block: int, parts: int) -> SimpleQueue[_Worker]:
        """Idle workers of these settings: as many as threads, or one that all threads share."""
        with self._lock:
            key = (keep, block, parts)
            queue = self._workers.get(key)
            if queue is None:
                queue = SimpleQueue()
                buffers = plan(self.program, keep)
                for _ in range(self.threads // parts):
                    queue.put(_Worker(self.program, self._prepared, buffers, block, parts))
                self._workers = {key: queue}  # arenas of other settings are dropped
        return queue
