"""Threads that go through one table of calls together: who is there claims the next piece.

The table is cut into sections; a section is one call in several pieces, or several calls that one
thread makes in one piece. One 64-bit word says where all stand: the number of the section, whether
a run is on, and a bit for every piece that is claimed. A thread claims a piece by setting its bit
in the word that it has read; where another thread was faster, or the section is over, nothing
happens. The last to finish a piece begins the next section.

Pieces lie in the order of the map, and every thread has its own part of them, which it takes first:
the same rows of every map, so that what it reads is what it wrote, in its own core's cache. A
thread that is done takes the last pieces of others.

So no thread ever waits for one that has not come: the calling thread does alone what nobody else
claims, and a thread that comes late begins where the others are. A thread only waits for pieces
that are being computed. A helper looks for work for a bounded time and then leaves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from r329fast.kernels.runtime.kernel import call, give_way_address, pause

MOST_PIECES = 43  # what the word has room for
_CLOSED, _SECTION = 1 << MOST_PIECES, MOST_PIECES + 1  # the word: section, no run is on, claims
MOST_SECTIONS = 1 << (63 - _SECTION)
STATE, DONE, STOP, TAKEN = 0, 8, 16, 24  # int64 words of `control`; each has a cache line
LINE = 8  # words of a cache line
FIELDS = ("first", "end", "column", "column_end")  # parameters of a kernel that a piece sets
_SPINS = 2_000  # turns of waiting before the core is offered to others
_OFFERED = 64  # and how many turns lie between two offers


@dataclass(frozen=True)
class Piece:
    """A part of a call: units first..end, output channels column..column_end where it has them."""

    first: int
    end: int
    column: int = 0
    column_end: int = 0


def _word(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, ir.IntType(64).as_pointer())


@intrinsic
def _load(typingctx: Any, address: Any) -> Any:
    """The int64 at `address`, as all threads see it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(builder, args[0]), "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def _store(typingctx: Any, address: Any, value: Any) -> Any:
    """Make `value` the int64 at `address`, for all threads to see."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _word(builder, args[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _add(typingctx: Any, address: Any) -> Any:
    """Add one to the int64 at `address`; what it was before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(builder, args[0]), ir.IntType(64)(1), "seq_cst")

    return types.int64(types.int64), codegen


@intrinsic
def _swap(typingctx: Any, address: Any, old: Any, new: Any) -> Any:
    """Make the int64 at `address` `new` if it is `old`; whether it was."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _word(builder, args[0])
        pair = builder.cmpxchg(word, args[1], args[2], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(pair, 1), ir.IntType(64))

    return types.int64(types.int64, types.int64, types.int64), codegen


load: Any = _load
store: Any = _store
add: Any = _add
swap: Any = _swap


@njit(nogil=True, cache=True)
def run_pieces(control, sections, pieces, steps, thread, patience, give_way):  # type: ignore[no-untyped-def]
    """Claim and compute pieces. Thread 0 begins a run and returns when it is done (one at a time,
    by its caller's care); the others, helpers, return when nothing comes any more.

    control: address of the common words. sections int64 [n, 4]: first and end stage, number of
    pieces (1: the stages are called whole), first row in `pieces`. pieces int64 [m, 4]: values of
    FIELDS. steps int64 [threads, stages, 6]: kernel, frame, addresses of FIELDS in the thread's own
    parameters (0: not there). patience: turns of waiting without work after which a helper leaves.
    give_way: address of a function that offers the core to other threads, or 0.
    """
    spins = waited = 0
    if thread == 0:
        store(control, 0)
    while True:
        state = load(control)
        section, closed = state >> _SECTION, state & _CLOSED
        limit, piece = sections[section, 2], -1
        if not closed:
            piece = limit * thread // len(steps)  # the first of its own that is free
            own = limit * (thread + 1) // len(steps)
            while piece < own and state >> piece & 1:
                piece += 1
            if piece == own:  # else the last that is free of all
                piece = limit - 1
                while piece >= 0 and state >> piece & 1:
                    piece -= 1
        if piece >= 0:
            spins = waited = 0
            if not swap(control, state, state | 1 << piece):
                continue
            if limit == 1:
                for stage in range(sections[section, 0], sections[section, 1]):
                    call(steps[thread, stage, 0], steps[thread, stage, 1])
            else:
                stage, row = sections[section, 0], sections[section, 3] + piece
                for field in range(4):
                    if steps[thread, stage, 2 + field]:
                        store(steps[thread, stage, 2 + field], pieces[row, field])
                call(steps[thread, stage, 0], steps[thread, stage, 1])
            add(control + 8 * (TAKEN + LINE * thread))
            if add(control + 8 * DONE) + 1 == limit:
                store(control + 8 * DONE, 0)
                over = section + 1 == len(sections)
                store(control, _CLOSED if over else (section + 1) << _SECTION)
            continue
        if closed:
            if thread == 0:
                return
            waited += 1
            if waited > patience or load(control + 8 * STOP):
                return
        pause()
        spins += 1
        if spins > _SPINS and give_way and spins % _OFFERED == 0:
            call(give_way, 0)


def compile_loop() -> None:
    """Compile the loop, or load it from the cache, by a run of one section without calls."""
    nothing, section = np.zeros((0, 4), np.int64), np.array([[0, 0, 1, 0]])
    steps = np.zeros((1, 0, 2 + len(FIELDS)), np.int64)
    run_pieces(new_control(1).ctypes.data, section, nothing, steps, 0, 0, give_way_address())


@njit(nogil=True, cache=True)
def _pauses(count):  # type: ignore[no-untyped-def]
    for _ in range(count):
        pause()


@cache
def turns(seconds: float) -> int:
    """How many turns of waiting take so long; measured once, in less than a millisecond."""
    _pauses(1)
    count, spent = 4_000, float("inf")
    for _ in range(3):
        start = time.perf_counter()
        _pauses(count)
        spent = min(spent, time.perf_counter() - start)
    return max(int(seconds * count / max(spent, 1e-9)), 1)


def new_control(threads: int) -> np.ndarray:
    """The common words of so many threads, on cache lines of their own."""
    size = TAKEN + LINE * threads
    raw = np.zeros(size + LINE, dtype=np.int64)
    start = -raw.ctypes.data % (8 * LINE) // 8
    control = raw[start : start + size]
    control[STATE] = _CLOSED
    return control


def cut(length: int, threads: int, wanted: int, grain: int = 1) -> list[tuple[int, int]]:
    """0..length in about `wanted` parts, multiples of `grain` but the last, in order.

    Every thread has as many. With two parts per thread and more, the first of them is more than
    half of its share: the small ones make up for threads that are late or slow.
    """
    units = -(-length // grain)
    wanted = max(min(wanted, units, MOST_PIECES), 1)
    if wanted > threads:  # else one thread would take two pieces, another one
        wanted -= wanted % threads
    if wanted < 2 * threads or units < 2 * wanted:
        sizes = [1.0] * wanted
    else:
        small = wanted // threads - 1
        sizes = [0.6, *[0.4 / small] * small] * threads
    ends = np.round(np.cumsum(sizes) / sum(sizes) * units).astype(int)
    places = [0, *(min(int(end) * grain, length) for end in ends)]
    return [(a, b) for a, b in pairwise(places) if a < b]
