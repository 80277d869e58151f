"""Networks whose outputs have the forms that metrics take, on small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from r329fast.calibration import calibrate
from r329fast.graph import load_model
from r329fast.program.program import Program
from r329fast.quantization import quantize
from support.evaluation_sets import calibration_set

MAP_CLASSES, BOX_CLASSES, BOXES = 5, 3, 48


def _saved(path: Path, nodes: list, constants: list, shape: list[int | str]) -> Path:
    info = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 6, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, path.stem, [info], [out], constants)
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def segmenter(path: Path) -> Path:
    """A 1x1 convolution: scores [N, 5, 6, 8]."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(MAP_CLASSES, 3, 1, 1)).astype(np.float32)
    node = helper.make_node("Conv", ["input", "w"], ["out"])
    return _saved(path, [node], [numpy_helper.from_array(weights, "w")], ["N", MAP_CLASSES, 6, 8])


def detector(path: Path) -> Path:
    """A 1x1 convolution and a reshape: [N, 4 + 3, 48], as a head without objectness."""
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(4 + BOX_CLASSES, 3, 1, 1)).astype(np.float32) * 0.3
    bias = np.array([4, 3, 3, 2.5, 0.3, 0.3, 0.3], np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["maps"]),
        helper.make_node("Reshape", ["maps", "shape"], ["out"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(bias, "b"),
        numpy_helper.from_array(np.array([0, 4 + BOX_CLASSES, BOXES], np.int64), "shape"),
    ]
    return _saved(path, nodes, constants, ["N", 4 + BOX_CLASSES, BOXES])


def program_of(path: Path) -> Program:
    graph = load_model(path)
    return quantize(graph, calibrate(graph, calibration_set(), "aqt2021"), "aqt2021")
