"""Kernel calls bound to their buffers, as one table that compiled code runs through."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.kernel import (
    give_way_address,
    make_frame,
    run_shared_steps,
    run_steps,
)
from r329fast.kernels.runtime.op_plan import Step


class CallTable:
    """Stages of calls, in order; the calls of a stage (one for each of `parts`) may run at once."""

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts
        self.stages: list[tuple[int, list[Step]]] = []
        self._frames: list[np.ndarray] = []
        self._tables: np.ndarray | None = None

    def add(self, op: int, stages: list[list[Step]]) -> None:
        """Calls of the op with this index, after all others."""
        self.stages += [(op, steps) for steps in stages]
        self._tables = None

    def run(self, pool: ThreadPoolExecutor | None = None) -> None:
        """All calls; pool: where the parts but the first run, needed if there are any."""
        if not JIT:
            for _, steps in self.stages:
                for function, arguments in steps:
                    function(*arguments)
            return
        tables = self._table()
        if self.parts == 1:
            run_steps(tables[0])
            return
        assert pool is not None, "the parts need threads"
        counter = np.zeros(8, dtype=np.int64)
        common = (self.parts, counter.ctypes.data, give_way_address())
        futures: list[Future[None]] = []
        try:
            for table in tables[1:]:
                futures.append(pool.submit(run_shared_steps, table, *common))
        except BaseException:  # nobody waits for parts that never begin
            counter[0] += self.parts * (tables.shape[1] + 1)
            raise
        else:
            run_shared_steps(tables[0], *common)
        finally:  # the others look at the counter until they are done
            wait(futures)
        for future in futures:
            future.result()

    def single(self, stage: int) -> Callable[[], object]:
        """A call of no arguments that runs one stage alone, one part after the other."""
        if JIT:
            rows = np.ascontiguousarray(self._table()[:, stage])
            return lambda: run_steps(rows)

        def plain() -> None:
            for function, arguments in self.stages[stage][1]:
                function(*arguments)

        return plain

    def _table(self) -> np.ndarray:
        """int64 [parts, stages, 2]: address of the kernel (0: none) and of its frame."""
        if self._tables is None:
            tables = np.zeros((self.parts, len(self.stages), 2), dtype=np.int64)
            self._frames = []
            for stage, (_, steps) in enumerate(self.stages):
                for part, (function, arguments) in enumerate(steps):
                    frame = make_frame(arguments)
                    self._frames.append(frame)
                    tables[part, stage] = function.compile(), frame.ctypes.data
            self._tables = tables
        return self._tables
