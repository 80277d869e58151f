"""Runs a program on a batch: its inputs checked, its tensors by the names that people use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from r329fast.base.limits import MEMORY, check_memory
from r329fast.base.tabular import html_table
from r329fast.errors import DataError, UsageError, nearest
from r329fast.program.blocks import largest_op
from r329fast.program.program import Program
from r329fast.simulator.pool import LazyPool

if TYPE_CHECKING:
    from r329fast.simulator.workers import Workers

BACKENDS = ("numba", "reference")
Tensors = dict[str, np.ndarray]


def layer_tensors(program: Program) -> dict[str, str]:
    """Name in the result of `keep="all"` -> tensor: the layer's name, where it makes one tensor.

    A layer that makes several (a Split) has no tensor of its name: each is there by its own.
    """
    if not program.layers:
        return {op.layer: op.outputs[0] for op in program.ops}
    return {
        layer.name if len(layer.outputs) == 1 else tensor: tensor
        for layer in program.layers
        for tensor in layer.outputs
    }


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
    integers do not depend on any of them. A process that is forked after a run can run too, with
    threads of its own; a pickled simulator is its program and settings.

    Raises ProgramError for a program that breaks its spec, and UsageError for another backend or
    numbers below 1.
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
        program.verify()  # kernels take its numbers as places in memory
        self.program, self.backend, self.threads, self.block = program, backend, threads, block
        self._pool = LazyPool(threads)
        self._workers: Workers | None = None  # of the compiled kernels
        if backend == "numba":
            from r329fast.simulator.workers import Workers

            self._workers = Workers(program, block, self._pool)
        else:
            self._reference_images()

    def __reduce__(self) -> tuple[type[Simulator], tuple[object, ...]]:
        """A simulator is sent elsewhere as its program and settings, and made ready there."""
        return Simulator, (self.program, self.backend, self.threads, self.block)

    def __repr__(self) -> str:
        return (
            f"<Simulator of {self.program.name!r}: backend {self.backend}, threads {self.threads}>"
        )

    def _repr_html_(self) -> str:
        rows = list(self.paths().items())
        return html_table(repr(self)[1:-1], ["layer", "kernel"], rows)

    def paths(self) -> dict[str, str]:
        """Layer name -> kernel path of its ops, joined by " + " ("reference" for that backend)."""
        result: dict[str, str] = {}
        for index, op in enumerate(self.program.ops):
            path = self._workers.path(index) if self._workers else "reference"
            result[op.layer] = f"{result[op.layer]} + {path}" if op.layer in result else path
        return result

    def run(
        self, x: np.ndarray | Mapping[str, np.ndarray], keep: str | Iterable[str] = "outputs"
    ) -> dict[str, np.ndarray]:
        """Integers [N, *shape] by name, for integers [N, *input shape] (or a dict by name).

        x: of the input's dtype, int8 or uint8 (int16 in networks of 16 bits), as
        `Program.quantize_input` makes them; feature maps are [N, H, W, C].

        keep: "outputs" (by tensor name), "all" (every layer, by vendor layer name; of a layer with
        several outputs each by its tensor's name), or names of layers or tensors. Raises DataError
        on a wrong dtype or shape, UsageError on a wrong name.
        """
        feeds = self._feeds(x)
        wanted = self._wanted(keep)
        count = len(next(iter(feeds.values())))
        arrays = self._arrays(wanted, count)
        if self._workers is None:
            self._run_reference(feeds, arrays, count)
        elif count:
            self._workers.run(feeds, arrays, count)
        return {name: arrays[tensor] for name, tensor in wanted.items()}

    def submit(
        self,
        x: np.ndarray | Mapping[str, np.ndarray],
        keep: str | Iterable[str] = "outputs",
        pool: ThreadPoolExecutor | None = None,
    ) -> Pending:
        """Begin what `run` does and return at once, so that no thread idles between two batches.

        x must stay as it is until the result is there. pool: of at most `threads` threads, takes
        blocks in the order in which they come; the simulator's own where absent. Returns what
        gives the arrays: `submit(x).result()`. Raises what `run` raises.
        """
        feeds = self._feeds(x)
        wanted = self._wanted(keep)
        count = len(next(iter(feeds.values())))
        arrays = self._arrays(wanted, count)
        futures: list[Future[None]] = []
        with nullcontext(pool) if pool is not None else self._pool.use() as chosen:
            if self._workers is None:
                futures = [chosen.submit(self._run_reference, feeds, arrays, count)]
            elif count:
                futures = self._workers.submit(chosen, feeds, arrays, count)
        return Pending(futures, {name: arrays[tensor] for name, tensor in wanted.items()})

    def close(self) -> None:
        """Give threads and arenas back; the simulator can still run (and makes new ones).

        Batches that run meanwhile, in other threads, come to their end.
        """
        if self._workers is not None:
            self._workers.close()
        self._pool.close()

    def _feeds(self, x: np.ndarray | Mapping[str, np.ndarray]) -> Tensors:
        inputs = self.program.inputs
        if isinstance(x, np.ndarray):
            if len(inputs) != 1:
                raise DataError(f"the program has inputs {', '.join(inputs)}: pass them by name")
            x = {inputs[0]: x}
        if not isinstance(x, Mapping):
            raise DataError(f"input: found {type(x).__name__}, allowed an array, or arrays by name")
        if set(x) != set(inputs):
            found = ", ".join(map(str, x)) or "none"
            raise DataError(f"inputs {found}, expected {', '.join(inputs)}")
        for name, array in x.items():
            spec = self.program.tensors[name]
            if not isinstance(array, np.ndarray):
                raise DataError(f"input {name!r}: found {type(array).__name__}, allowed an array")
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
        several = {layer.name: layer.outputs for layer in self.program.layers}
        wanted = {}
        for name in [keep] if isinstance(keep, str) else keep:
            if name in layers or name in self.program.tensors:
                wanted[name] = layers.get(name, name)
            elif name in several:
                wanted |= {tensor: tensor for tensor in several[name]}
            else:
                known = (*layers, *self.program.tensors)
                raise UsageError(f"no layer or tensor {name!r}{nearest(name, known)}")
        return wanted

    def _arrays(self, wanted: Mapping[str, str], count: int) -> Tensors:
        """Room for the tensors that are wanted, by tensor name."""
        tensors = self.program.tensors
        return {
            name: np.empty((count, *tensors[name].shape), dtype=tensors[name].dtype)
            for name in set(wanted.values())
        }

    def _reference_images(self) -> int:
        """Images at once that there is memory for: all tensors stay, an op works in int64."""
        whole = sum(spec.bytes for spec in self.program.tensors.values())
        image = whole + 16 * largest_op(self.program)
        check_memory(f"an image of program {self.program.name!r}, by the reference,", image)
        return max(MEMORY.bytes() // max(image, 1), 1)

    def _run_reference(self, feeds: Tensors, arrays: Tensors, count: int) -> None:
        from r329fast.reference import run_program

        block = min(self.block or 8, self._reference_images())
        for first in range(0, count, block):
            part = {name: array[first : first + block] for name, array in feeds.items()}
            tensors = run_program(self.program, part)
            for name, array in arrays.items():
                array[first : first + block] = tensors[name]
