"""Threads that share ops: late, slow or absent ones, in every number, with the same integers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import pytest

from r329fast.bench.cases import make_case
from r329fast.kernels.runtime import call_table, team
from r329fast.kernels.runtime.call_table import CallTable
from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.runtime.team import MOST_PIECES, Piece, cut
from r329fast.simulator import binding, workers
from r329fast.simulator.simulator import Simulator

compiled = pytest.mark.skipif(not JIT, reason="un-jitted kernels have one thread")
_SLOW = 3_000_000  # turns of a loop: a few milliseconds


class Span(NamedTuple):
    first: int
    end: int


@kernel
def add_slowly(frame):  # type: ignore[no-untyped-def]
    """Adds one to x[first..end] after `scratch[0]` turns of a loop; scratch belongs to a thread."""
    p, x, scratch = arrays(frame, Span, "ii")
    turns, mix = scratch[0], 1
    for _ in range(turns):
        mix = (mix * 1103515245 + 12345) & 0x7FFFFFFF
    scratch[1] = mix
    for index in range(p.first, p.end):
        x[index] += 1


class Table:
    """`ops` calls that add one to all of x, in pieces, the odd ones not shared."""

    def __init__(self, threads: int, ops: int, wanted: int, turns: list[int], size: int = 97):
        self.x = np.zeros(size, dtype=np.int64)
        self.ops = ops
        self.scratches = [np.array([count, 0], dtype=np.int64) for count in turns]
        self.calls = CallTable(threads)
        plan = OpPlan("slow", self._bind, lambda batch: 16, True)
        for op in range(ops):
            pieces = wanted if op % 2 == 0 else 1
            self.calls.add(op, *plan.bind_parts(1, [], self.x, self.scratches, pieces))

    def _bind(self, batch, inputs, output, scratch):  # type: ignore[no-untyped-def]
        return [(add_slowly, (pack(Span(0, len(self.x))), self.x, scratch))]

    def check(self, runs: int) -> None:
        assert np.array_equal(self.x, np.full(len(self.x), self.ops * runs))


@compiled
@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("wanted", [2, 3, 8, 16, 200])
def test_every_piece_is_done_once(threads: int, wanted: int) -> None:
    table = Table(threads, ops=21, wanted=wanted, turns=[0] * threads)
    with ThreadPoolExecutor(threads) as pool:
        for run in range(1, 200):
            table.calls.run(pool)
            table.check(run)
    assert sum(table.calls.taken()) > 199 * table.calls.barriers


@compiled
@pytest.mark.parametrize("slow", [0, 1])
def test_a_slow_thread_gets_fewer_pieces(slow: int) -> None:
    table = Table(2, ops=1, wanted=16, turns=[_SLOW if part == slow else 1000 for part in (0, 1)])
    with ThreadPoolExecutor(2) as pool:
        for run in range(1, 11):
            table.calls.run(pool)
            table.check(run)
            time.sleep(0)
    taken = table.calls.taken()
    assert sum(taken) == 10 * 16
    if taken[1]:  # on a busy machine the helper may never have come
        assert taken[slow] < taken[1 - slow]


@compiled
def test_late_threads_join_and_absent_ones_are_not_waited_for() -> None:
    """A pool whose threads begin when the first run is over, in the middle of one, or never."""
    table = Table(4, ops=40, wanted=8, turns=[20_000] * 4)
    gate = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):  # nobody is free
            pool.submit(gate.wait, 30)
        table.calls.run(pool)
        table.check(1)
        assert table.calls.taken()[1:] == [0, 0, 0]
        threading.Timer(0.001, gate.set).start()
        for run in range(2, 30):
            table.calls.run(pool)
            table.check(run)


@compiled
def test_helpers_leave_and_are_called_again() -> None:
    table = Table(2, ops=4, wanted=4, turns=[0, 0])
    with ThreadPoolExecutor(1) as pool:
        table.calls.run(pool)
        started = time.perf_counter()
        assert pool.submit(lambda: 5).result(30) == 5  # the thread is free again
        waited = time.perf_counter() - started
        table.calls.run(pool)
        table.calls.dismiss()
        assert pool.submit(lambda: 6).result(30) == 6
        for run in range(3, 20):
            table.calls.run(pool)
            table.check(run)
            time.sleep(0.003 if run % 2 else 0)
    assert waited < 10


@compiled
def test_a_pool_that_takes_nothing_leaves_the_table_usable() -> None:
    table = Table(2, ops=4, wanted=4, turns=[0, 0])
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError):
        table.calls.run(pool)
    assert not table.x.any()
    with ThreadPoolExecutor(1) as other:
        table.calls.run(other)
    table.check(1)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("wanted", [1, 2, 4, 8, 300])
@pytest.mark.parametrize("grain", [1, 14, 64])
@pytest.mark.parametrize("length", [1, 7, 49, 196, 3136, 100_000])
def test_cuts_cover_everything_once(length: int, wanted: int, threads: int, grain: int) -> None:
    parts = cut(length, threads, wanted, grain)
    assert [a for a, _ in parts] == [0, *(b for _, b in parts[:-1])]
    assert parts[-1][1] == length
    assert all(a < b and a % grain == 0 for a, b in parts)
    assert len(parts) <= min(max(wanted, 1), MOST_PIECES)


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("wanted", [2, 3, 4, 5, 7])
def test_no_thread_takes_two_of_few_equal_pieces(threads: int, wanted: int) -> None:
    sizes = [b - a for a, b in cut(1000, threads, wanted)]
    assert len(sizes) == wanted if wanted < threads else len(sizes) % threads == 0
    if wanted < 2 * threads:
        assert len(sizes) <= threads


@pytest.mark.parametrize("model", ["mobilenet_v2", "shufflenet_v2", "resnet18_v2", "regnety_400mf"])
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_networks_have_the_same_integers(
    monkeypatch: pytest.MonkeyPatch, model: str, threads: int
) -> None:
    monkeypatch.setattr(workers, "_SHARED_SECONDS", 0)
    monkeypatch.setattr(binding, "_LEAST_PIECE", 1e-9)
    case = make_case(model, 64)
    x = case.program.quantize_input(case.images(3))
    alone, shared = Simulator(case.program), Simulator(case.program, threads=threads)
    for count in (1, 2, 3):
        expected = alone.run(x[:count], keep="all")
        for _ in range(3):
            found = shared.run(x[:count], keep="all")
            for name, array in expected.items():
                assert np.array_equal(found[name], array), name
    shared.close()


@pytest.mark.parametrize("kind", ["rows", "columns"])
def test_pieces_of_convolutions(kind: str) -> None:
    """Maps with few positions are cut by output channels, others by positions."""
    case = make_case("resnet18_v2", 224 if kind == "rows" else 64)
    prepared = binding.PreparedProgram(case.program)
    bound = prepared.bind(1, frozenset(case.program.outputs), 8 << 20, 2)
    cuts: list[Piece] = [piece for pieces in bound.calls.pieces for piece in pieces]
    found: Callable[[Piece], bool] = (
        (lambda piece: piece.column > 0) if kind == "columns" else (lambda piece: piece.first > 0)
    )
    assert any(map(found, cuts))


def _interrupted_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same; the first call does its work, and an interrupt takes the result."""
    calls = iter(range(1 << 60))

    def wrapped(*args: Any) -> Any:
        result = function(*args)
        if next(calls) == 0:
            raise KeyboardInterrupt
        return result

    return wrapped


@compiled
def test_a_helper_that_an_interrupt_hides_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next run calls another one, with the same scratch and parameters."""
    monkeypatch.setattr(workers, "_SHARED_SECONDS", 0)
    monkeypatch.setattr(call_table, "PATIENCE", 0.2)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", _interrupted_once(ThreadPoolExecutor.submit))
    at_work: list[tuple[int, int]] = []
    twice: list[tuple[int, int]] = []
    run_pieces = team.run_pieces

    def watched(control: int, *rest: Any) -> None:
        key = control, rest[3]
        twice.extend(other for other in at_work if other == key)
        at_work.append(key)
        run_pieces(control, *rest)
        at_work.remove(key)

    monkeypatch.setattr(call_table, "run_pieces", watched)
    case = make_case("resnet18_v2", 64)
    x = case.program.quantize_input(case.images(1))
    with closing(Simulator(case.program, threads=2)) as simulator:
        with pytest.raises(KeyboardInterrupt):
            simulator.run(x)
        for _ in range(3):
            simulator.run(x)
    assert not twice


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_that_an_interrupt_takes_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Else the next run waits for it for ever."""
    monkeypatch.setattr(workers, "_SHARED_SECONDS", 0)

    class Queue(SimpleQueue[Any]):
        get = _interrupted_once(SimpleQueue.get)

    monkeypatch.setattr(workers, "SimpleQueue", Queue)
    case = make_case("resnet18_v2", 64)
    x = case.program.quantize_input(case.images(1))
    simulator = Simulator(case.program, threads=threads)
    with pytest.raises(KeyboardInterrupt):
        simulator.run(x)
    found: list[dict[str, np.ndarray]] = []
    again = threading.Thread(target=lambda: found.append(simulator.run(x)), daemon=True)
    again.start()
    again.join(60)
    expected = Simulator(case.program).run(x)
    assert found, "the next run waits"
    assert all(np.array_equal(found[0][name], expected[name]) for name in expected)
