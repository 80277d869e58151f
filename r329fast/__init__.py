"""The numbers that a Zhouyi Z1 NPU (Allwinner R329) computes for an int8 network.

    graph = r329fast.load_model("model.onnx")
    ranges = r329fast.calibrate(graph, dataset, scheme="aqt2021", method="MEAN")
    program = r329fast.quantize(graph, ranges, scheme="aqt2021")
    y = r329fast.Simulator(program).run(program.quantize_input(x))

Names are loaded on first use, so that `import r329fast` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from r329fast.base.lazy import loader, names
from r329fast.version import __version__

if TYPE_CHECKING:
    from r329fast.calibration import Ranges, calibrate
    from r329fast.deploy.pipeline import prepare
    from r329fast.deploy.run_cfg import run_cfg
    from r329fast.evaluation import evaluate, measure
    from r329fast.graph.ir import Graph
    from r329fast.graph.load import check_model, load_model
    from r329fast.program import Program
    from r329fast.program.storage import load_program
    from r329fast.quantization import Options, quantize
    from r329fast.report.record import Record
    from r329fast.simulator.simulator import Simulator
    from r329fast.trial import try_model
    from r329fast.tuning import tune
    from r329fast.vendor.aipu.load import load_aipu

_HOMES = {
    "Graph": "graph.ir",
    "Options": "quantization",
    "Program": "program",
    "Ranges": "calibration",
    "Record": "report.record",
    "Simulator": "simulator",
    "calibrate": "calibration",
    "check_model": "graph.load",
    "evaluate": "evaluation",
    "measure": "evaluation",
    "load_aipu": "vendor.aipu.load",
    "load_model": "graph.load",
    "load_program": "program.storage",
    "prepare": "deploy.pipeline",
    "quantize": "quantization",
    "run_cfg": "deploy.run_cfg",
    "tune": "tuning",
    "try_model": "trial",
}

__all__ = [
    "Graph",
    "Options",
    "Program",
    "Ranges",
    "Record",
    "Simulator",
    "__version__",
    "calibrate",
    "check_model",
    "evaluate",
    "load_aipu",
    "load_model",
    "load_program",
    "measure",
    "prepare",
    "quantize",
    "run_cfg",
    "try_model",
    "tune",
]

__getattr__ = loader(__name__, _HOMES)
__dir__ = names(__all__)
