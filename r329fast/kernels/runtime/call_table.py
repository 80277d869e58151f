"""Kernel calls bound to their buffers, as one table that compiled code runs through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple

import numpy as np

from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.kernel import give_way_address, make_frame, run_steps
from r329fast.kernels.runtime.op_plan import Step
from r329fast.kernels.runtime.team import (
    FIELDS,
    LINE,
    MOST_SECTIONS,
    STOP,
    TAKEN,
    Piece,
    new_control,
    run_pieces,
    turns,
)

PATIENCE = 1e-3  # seconds that a helper waits for the next run before it sleeps


class CallTable:
    """Stages of calls, in order. Up to `parts` threads go through them (one run at a time).

    A stage is one step, or (cut into pieces) the same step in the scratch of every thread; its
    parameters are the table's own.
    """

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts
        self.stages: list[tuple[int, list[Step]]] = []
        self.pieces: list[Sequence[Piece]] = []
        self._frames: list[np.ndarray] = []
        self._tables: np.ndarray | None = None
        self._calls = np.zeros((0, 2), dtype=np.int64)  # of one thread alone
        self._sections = np.zeros((0, 4), dtype=np.int64)
        self._rows = np.zeros((0, 4), dtype=np.int64)
        self._control = new_control(parts)
        # Not asked of their futures: an interrupt in `done` leaves a lock that helpers wait for.
        self._called = [False] * (parts - 1)

    def add(
        self, op: int, stages: list[list[Step]], pieces: Sequence[Sequence[Piece]] = ()
    ) -> None:
        """Calls of the op with this index, after all others; pieces: of each of the stages."""
        self.stages += [(op, steps) for steps in stages]
        self.pieces += pieces or [()] * len(stages)
        self._tables = None

    def run(self, pool: ThreadPoolExecutor | None = None) -> None:
        """All calls; pool: where the parts but the first run, needed if there are any.

        Raises what `pool.submit` raises, before anything is computed.
        """
        if not JIT:
            self._run_plain()
            return
        self._table()
        if self.parts == 1 or not len(self._sections):
            run_steps(self._calls)
            return
        assert pool is not None, "the parts need threads"
        self._control[STOP] = 0
        self._call_helpers(pool)
        self._work(0)

    def dismiss(self) -> None:
        """Let helpers leave that wait for the next run."""
        self._control[STOP] = 1

    @property
    def barriers(self) -> int:
        """How often threads wait for each other in a run."""
        self._table()
        return len(self._sections)

    def taken(self) -> list[int]:
        """Pieces that each thread has computed in all runs, the calling one first."""
        return [int(count) for count in self._control[TAKEN::LINE]]

    def _call_helpers(self, pool: ThreadPoolExecutor) -> None:
        """A helper for every part that nobody is at: those of the last run may still be there."""
        turns(PATIENCE)  # not measured by a helper while others work
        for index, called in enumerate(self._called):
            if called:  # else two threads would share its scratch
                continue
            self._called[index] = True
            try:
                pool.submit(self._help, index)
            except Exception:
                self._called[index] = False
                raise

    def _help(self, index: int) -> None:
        try:
            self._work(index + 1)
        finally:
            self._called[index] = False

    def _work(self, thread: int) -> None:
        run_pieces(
            self._control.ctypes.data, self._sections, self._rows, self._table(), thread,
            turns(PATIENCE), give_way_address(),
        )  # fmt: skip

    def _run_plain(self) -> None:
        for (_, steps), pieces in zip(self.stages, self.pieces, strict=True):
            if not pieces:
                ((function, arguments), *_) = steps
                function(*arguments)
            for index, piece in enumerate(pieces):
                function, arguments = steps[index % len(steps)]
                parameters = arguments[0].copy()
                for name in set(FIELDS) & set(parameters.dtype.names or ()):
                    parameters[name] = getattr(piece, name)
                function(parameters, *arguments[1:])

    def single(self, stage: int) -> Callable[[], object]:
        """A call of no arguments that runs one stage of a table of one part alone."""
        assert self.parts == 1, "the parameters of a shared stage are those of its last piece"
        if JIT:
            self._table()
            rows = self._calls[stage : stage + 1]
            return lambda: run_steps(rows)

        def plain() -> None:
            ((function, arguments), *_) = self.stages[stage][1]
            function(*arguments)

        return plain

    def _table(self) -> np.ndarray:
        """int64 [parts, stages, 6]: addresses of kernel, frame and FIELDS (0: not there)."""
        if self._tables is None:
            tables = np.zeros((self.parts, len(self.stages), 2 + len(FIELDS)), dtype=np.int64)
            self._frames = []
            for stage, ((_, steps), pieces) in enumerate(
                zip(self.stages, self.pieces, strict=True)
            ):
                for part in range(self.parts):
                    if part and not pieces:
                        tables[part, stage] = tables[0, stage]  # whoever claims it is alone
                        continue
                    function, arguments = steps[part]
                    if pieces:
                        arguments = (arguments[0].copy(), *arguments[1:])
                    frame = make_frame(arguments)
                    self._frames += [frame, *arguments[:1]]
                    tables[part, stage, :2] = function.compile(), frame.ctypes.data
                    if pieces:
                        tables[part, stage, 2:] = _addresses(arguments[0])
            self._sections, self._rows = self._in_sections()
            self._calls = np.ascontiguousarray(tables[0, :, :2])
            self._tables = tables
        return self._tables

    def _in_sections(self) -> tuple[np.ndarray, np.ndarray]:
        """What `run_pieces` takes: neighbouring stages that are not shared are one section."""
        sections: list[list[int]] = []
        rows: list[Piece] = []
        for stage, pieces in enumerate(self.pieces):
            if pieces:
                sections.append([stage, stage + 1, len(pieces), len(rows)])
                rows += pieces
            elif sections and sections[-1][2] == 1:
                sections[-1][1] = stage + 1
            else:
                sections.append([stage, stage + 1, 1, 0])
        assert len(sections) <= MOST_SECTIONS, "more ops than the common word has room for"
        return (
            np.array(sections, dtype=np.int64).reshape(-1, 4),
            np.array([astuple(piece) for piece in rows], dtype=np.int64).reshape(-1, len(FIELDS)),
        )


def _addresses(parameters: np.ndarray) -> list[int]:
    """Where the FIELDS of a kernel's parameters lie, 0 where it has none of that name."""
    kind = parameters.dtype
    assert kind.fields is not None
    return [
        parameters.ctypes.data + kind.fields[name][1] if name in kind.fields else 0
        for name in FIELDS
    ]
