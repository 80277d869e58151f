"""A model made ready for all engines: float ONNX, fused graph, ranges, integer program."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.bench.models import bench_model
from r329fast.calibration import Ranges, calibrate
from r329fast.graph import load_model
from r329fast.graph.ir import Graph
from r329fast.program.blocks import program_macs
from r329fast.program.program import Program
from r329fast.quantization import quantize

CALIBRATION_IMAGES = 4


@dataclass(frozen=True, eq=False)
class Case:
    """One network in every form. macs: multiply-accumulates of an image (exact).

    trials: (family, form) -> how a process ended that tried it, see `engine_trial`.
    """

    name: str
    size: int
    onnx: Any
    graph: Graph
    ranges: Ranges
    program: Program
    macs: int
    trials: dict[tuple[str, str], str] = field(default_factory=dict)

    def images(self, count: int) -> np.ndarray:
        """float32 NHWC images of normal deviates, as the calibration saw them."""
        shape = self.graph.shapes[self.graph.inputs[0]]
        return np.random.default_rng(count).standard_normal((count, *shape), dtype=np.float32)


def make_case(name: str, size: int | None = None) -> Case:
    """Build, calibrate (four random images, extrema) and quantise (aqt2021) a model.

    size: side of the image, by default the model's own.
    """
    model = bench_model(name)
    size = size or model.size
    onnx_model = model.build(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        path.write_bytes(onnx_model.SerializeToString())
        graph = load_model(path)
    shape = graph.shapes[graph.inputs[0]]
    rng = np.random.default_rng(1)
    data = rng.standard_normal((CALIBRATION_IMAGES, *shape), dtype=np.float32)
    ranges = calibrate(graph, data, method="EXTREME")
    program = quantize(graph, ranges)
    return Case(name, size, onnx_model, graph, ranges, program, program_macs(program))
