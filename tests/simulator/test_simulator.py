"""The simulator: same integers for every backend, batch size, block and number of threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import ints, net, random, save

from r329fast.bench import random_programs
from r329fast.calibration import calibrate
from r329fast.errors import DataError, UsageError
from r329fast.graph import load_model
from r329fast.program.program import Program
from r329fast.quantization import quantize
from r329fast.reference import run_program
from r329fast.simulator import binding, pool, workers
from r329fast.simulator.simulator import Simulator


@pytest.fixture(scope="module")
def program() -> Program:
    return random_programs.tiny()


def images(program: Program, count: int) -> np.ndarray:
    shape = program.tensors[program.inputs[0]].shape
    return np.random.default_rng(3).integers(-128, 128, (count, *shape)).astype(np.int8)


@pytest.fixture(scope="module")
def expected(program: Program) -> dict[str, np.ndarray]:
    return Simulator(program, backend="reference").run(images(program, 17), keep="all")


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 17])
@pytest.mark.parametrize("block", [None, 1, 5])
@pytest.mark.parametrize("least", [0, 1 << 60])
def test_batch_and_threads_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
    program: Program,
    expected: dict[str, np.ndarray],
    threads: int,
    count: int,
    block: int | None,
    least: int,
) -> None:
    monkeypatch.setattr(workers, "_SHARED_SECONDS", least)  # threads share ops, or never
    monkeypatch.setattr(binding, "_LEAST_PIECE", 1e-12)  # and every op
    simulator = Simulator(program, threads=threads, block=block)
    x = images(program, 17)[:count]
    for keep in ("all", "outputs", "all"):
        found = simulator.run(x, keep=keep)
        names = expected if keep == "all" else program.outputs
        assert list(found) == list(names)
        for name, array in found.items():
            assert array.shape == (count, *program.tensors[name].shape)
            assert np.array_equal(array, expected[name][:count]), name
    simulator.close()


def test_one_simulator_from_many_threads(program: Program, expected: dict[str, np.ndarray]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    simulator = Simulator(program, threads=2, block=2)
    x = images(program, 17)
    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(lambda _: simulator.run(x), range(8)))
    for found in results:
        for name in program.outputs:
            assert np.array_equal(found[name], expected[name])


def test_shared_ops_from_many_threads(
    monkeypatch: pytest.MonkeyPatch, program: Program, expected: dict[str, np.ndarray]
) -> None:
    """Runs whose threads wait for each other, of two sizes, all on the same three threads."""
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setattr(workers, "_SHARED_SECONDS", 0)
    monkeypatch.setattr(binding, "_LEAST_PIECE", 1e-12)
    simulator = Simulator(program, threads=3)
    x = images(program, 17)
    counts = [1, 2, 17, 1, 2] * 6
    with ThreadPoolExecutor(5) as executor:
        results = list(executor.map(lambda count: simulator.run(x[:count]), counts))
    for count, found in zip(counts, results, strict=True):
        for name in program.outputs:
            assert np.array_equal(found[name], expected[name][:count])


def test_a_thread_that_does_not_start_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    """Neither the parts that wait at a barrier, nor blocks that others would go on with."""
    from concurrent.futures import ThreadPoolExecutor

    class Pool(ThreadPoolExecutor):
        left = 1

        def submit(self, *arguments: object, **named: object) -> object:  # type: ignore[override]
            if not self.left:
                raise RuntimeError("can't start new thread")
            self.left -= 1
            return super().submit(*arguments, **named)  # type: ignore[arg-type]

    for least, count in ((0, 1), (1 << 60, 17)):
        monkeypatch.setattr(workers, "_SHARED_SECONDS", least)
        monkeypatch.setattr(pool, "ThreadPoolExecutor", Pool)
        simulator = Simulator(program, threads=3, block=1)
        with pytest.raises(RuntimeError, match="new thread"):
            simulator.run(images(program, count))
        simulator.close()


def test_keep_by_name(program: Program, expected: dict[str, np.ndarray]) -> None:
    layer = program.layers[1].name
    found = Simulator(program).run(images(program, 3), keep=[layer, "input"])
    assert list(found) == [layer, "input"]
    assert np.array_equal(found[layer], expected[layer][:3])
    assert np.array_equal(found["input"], images(program, 3))
    with pytest.raises(UsageError, match="no layer or tensor 'conv_2d'"):
        Simulator(program).run(images(program, 1), keep=["conv_2d"])


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_that_overlap(
    program: Program, expected: dict[str, np.ndarray], backend: str, threads: int
) -> None:
    simulator = Simulator(program, backend, threads=threads)
    x = images(program, 17)
    rows = [slice(0, 8), slice(8, 16), slice(16, 17), slice(17, 17)]
    with ThreadPoolExecutor(threads) as executor:
        gate = threading.Event()
        blocked = [executor.submit(gate.wait) for _ in range(threads)]
        pending = [simulator.submit(x[part], keep="all", pool=executor) for part in rows]
        # nothing can run yet, and nobody waited for it
        assert not any(future.done() for item in pending for future in item.futures)
        gate.set()
        for part, item in zip(rows, pending, strict=True):
            for name, values in item.result().items():
                assert np.array_equal(values, expected[name][part]), name
        assert all(future.result() for future in blocked)
    own = simulator.submit(x[:5]).result()
    for name in program.outputs:
        assert np.array_equal(own[name], simulator.run(x[:5])[name])
    simulator.close()
    with pytest.raises(DataError, match="expected int8"):
        simulator.submit(x.view(np.uint8))


def test_no_images(program: Program) -> None:
    found = Simulator(program).run(images(program, 0))
    assert {array.shape[0] for array in found.values()} == {0}


def test_wrong_input_is_named(program: Program) -> None:
    simulator = Simulator(program)
    with pytest.raises(DataError, match=r"found uint8\[2, 16, 16, 3\], expected int8"):
        simulator.run(images(program, 2).view(np.uint8))
    with pytest.raises(DataError, match=r"expected int8\[N, 16, 16, 3\]"):
        simulator.run(images(program, 2)[:, :8])
    with pytest.raises(DataError, match="inputs other, expected input"):
        simulator.run({"other": images(program, 2)})
    with pytest.raises(DataError, match="inputs none, expected input"):
        simulator.run({})
    with pytest.raises(DataError, match="found list, allowed an array"):
        simulator.run([1, 2])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="input 'input': found list, allowed an array"):
        simulator.run({"input": [1, 2]})  # type: ignore[dict-item]


def test_wrong_settings_are_named(program: Program) -> None:
    with pytest.raises(UsageError, match="did you mean 'numba'"):
        Simulator(program, backend="nunba")
    with pytest.raises(UsageError, match="at least 1"):
        Simulator(program, threads=0)


def test_paths_name_every_layer(program: Program) -> None:
    assert set(Simulator(program).paths()) == {layer.name for layer in program.layers}
    assert set(Simulator(program, backend="reference").paths().values()) == {"reference"}


def test_reference_needs_no_numba() -> None:
    code = "import sys, r329fast.simulator.simulator; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_input_may_be_read_only_or_strided(program: Program) -> None:
    x = images(program, 6)
    x.flags.writeable = False
    simulator = Simulator(program)
    whole = simulator.run(x)
    halves = simulator.run(x[::2])
    for name in program.outputs:
        assert np.array_equal(whole[name][::2], halves[name])


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_layer_of_several_tensors_has_none_of_its_name(backend: str, tmp_path: Path) -> None:
    """A Split: each of its outputs by its own name, as the reference's list has it."""
    steps = [
        ("Conv", "x w", "c", {}),
        ("Split", "c sizes", "a b", {"axis": 1}),
        ("Add", "a b", "y", {}),
    ]
    consts = {"w": random(4, 3, 1, 1), "sizes": ints(2, 2)}
    graph = load_model(save(net(steps, (1, 3, 6, 7), consts), tmp_path))
    x = random(3, 6, 7, 3)
    program = quantize(graph, calibrate(graph, x, "aqt2021"), "aqt2021")
    (split,) = (layer for layer in program.layers if len(layer.outputs) == 2)
    q = program.quantize_input(x)
    expected = run_program(program, {program.inputs[0]: q})
    simulator = Simulator(program, backend=backend)
    for keep in ("all", [split.name]):
        found = simulator.run(q, keep=keep)
        assert split.name not in found
        assert set(split.outputs) <= set(found)
        for name, array in found.items():
            assert np.array_equal(array, expected[name]), name
    assert list(found) == list(split.outputs)
