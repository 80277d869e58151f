"""A plain simulation of the bundled network, for the tests that time it and look what it loads."""

from __future__ import annotations

import sys
import time

import numpy as np

from r329fast.calibration import calibrate
from r329fast.deploy import bundled
from r329fast.graph import load_model
from r329fast.program.program import Program
from r329fast.quantization import quantize
from r329fast.simulator.simulator import Simulator


def program() -> Program:
    graph = load_model(bundled.path("net.onnx"))
    x = np.random.default_rng(0).standard_normal((4, 64, 64, 3)).astype(np.float32)
    return quantize(graph, calibrate(graph, x))


def simulate() -> None:
    found = program()
    q = np.zeros((4, *found.tensors[found.inputs[0]].shape), np.int8)
    Simulator(found).run(q)


def serve(profiled: bool) -> None:
    """For each line on stdin, run 16 images once and print the processor time in seconds."""
    found = program()
    q = np.zeros((16, *found.tensors[found.inputs[0]].shape), np.int8)
    if profiled:
        from r329fast.profile.data_counters import count_data

        count_data(found, [q])
    simulator = Simulator(found)
    simulator.run(q)
    for _ in sys.stdin:
        start = time.process_time()
        simulator.run(q)
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1] == "profiled")
