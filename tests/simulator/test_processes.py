"""A simulator as a part of other programs: forks, threads that close it, pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from r329fast.bench import random_programs
from r329fast.program.program import Program
from r329fast.simulator.simulator import Simulator


@pytest.fixture(scope="module")
def program() -> Program:
    return random_programs.tiny()


def images(program: Program, count: int) -> np.ndarray:
    spec = program.tensors[program.inputs[0]]
    generator = np.random.default_rng(4)
    return generator.integers(-128, 128, (count, *spec.shape)).astype(spec.dtype)


_FORK = """
import os, sys, threading, warnings
import numpy as np
warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside threads
from r329fast.bench import random_programs
from r329fast.simulator.simulator import Simulator
program = random_programs.tiny()
spec = program.tensors[program.inputs[0]]
x = np.random.default_rng(4).integers(-128, 128, (99, *spec.shape)).astype(spec.dtype)
simulator = Simulator(program, threads=2, block=2)
expected = simulator.run(x)
stop = threading.Event()
def busy():
    while not stop.is_set():
        simulator.run(x)
others = [threading.Thread(target=busy) for _ in range(2)]
for thread in others:
    thread.start()
failed = 0
for _ in range(10):
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(simulator.run(x)[name], expected[name]) for name in expected)
        os._exit(0 if same else 7)
    failed += os.waitpid(child, 0)[1] != 0
stop.set()
for thread in others:
    thread.join()
sys.exit(failed)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_a_forked_child_runs_while_the_parent_does() -> None:
    done = subprocess.run([sys.executable, "-c", _FORK], timeout=120, check=False)
    assert done.returncode == 0


def test_close_beside_run(program: Program) -> None:
    simulator = Simulator(program, threads=2, block=2)
    x = images(program, 40)
    expected = simulator.run(x)
    found: list[object] = []

    def run() -> None:
        try:
            for _ in range(30):
                result = simulator.run(x)
                if not all(np.array_equal(result[name], expected[name]) for name in expected):
                    found.append("other integers")
                simulator.submit(x).result()
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        simulator.close()
    assert found == []


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_simulator_is_pickled_as_program_and_settings(program: Program, backend: str) -> None:
    simulator = Simulator(program, backend, threads=2, block=3)
    x = images(program, 7)
    expected = simulator.run(x)
    other = pickle.loads(pickle.dumps(simulator))
    assert (other.backend, other.threads, other.block) == (backend, 2, 3)
    assert other.program.hash() == program.hash()
    found = other.run(x)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
