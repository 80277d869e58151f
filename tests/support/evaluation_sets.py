"""A network and image sets small enough to evaluate in a moment."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from r329fast.calibration import calibrate
from r329fast.graph import load_model
from r329fast.images.preprocess import Preprocess
from r329fast.program.program import Program
from r329fast.quantization import quantize
from support.pictures import png

CLASSES = 10
RECIPE = Preprocess(size=(8, 6), sub=(128.0,) * 3, div=(64.0,) * 3, scale=1.0)


def small_net(path: Path, bias: float = 0.0) -> Path:
    """Mean of every channel, then a fully connected layer: [N, 3, 6, 8] to 10 classes.

    bias: the deviation of the layer's biases; without it there are none.
    """
    rng = np.random.default_rng(7)
    weights = numpy_helper.from_array(rng.normal(size=(3, CLASSES)).astype(np.float32), "w")
    biases = numpy_helper.from_array(rng.normal(size=CLASSES).astype(np.float32) * bias, "b")
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    if bias:
        nodes[-1] = helper.make_node("Gemm", ["flat", "w", "b"], ["logits"])
    info = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 6, 8])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])
    constants = [weights, biases] if bias else [weights]
    graph = helper.make_graph(nodes, "small", [info], [out], constants)
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def pictures_of(count: int, seed: int = 1) -> np.ndarray:
    """uint8 [count, 6, 8, 3] of distinct mean colours."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (count, 1, 1, 3))
    noise = rng.integers(-20, 21, (count, 6, 8, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def image_zip(path: Path, count: int, seed: int = 1) -> Path:
    """A zip of PNG files with random labels."""
    labels = np.random.default_rng(seed + 1).integers(0, CLASSES, count)
    with zipfile.ZipFile(path, "w") as archive:
        lines = []
        for index, image in enumerate(pictures_of(count, seed)):
            archive.writestr(f"img/i{index:05d}.png", png(image))
            lines.append(f"i{index:05d}.png {labels[index]}\n")
        archive.writestr("label.txt", "".join(lines))
    return path


def calibration_set() -> np.ndarray:
    """float32 [20, 6, 8, 3]."""
    return np.stack([RECIPE.apply(image) for image in pictures_of(20, 5)])


def small_program(folder: Path, scheme: str = "aqt2021") -> Program:
    graph = load_model(small_net(folder / "small.onnx"))
    return quantize(graph, calibrate(graph, calibration_set(), scheme), scheme)


def run_cfg(folder: Path, **keys: object) -> Path:
    """A run cfg for the small net with its calibration set; `keys` replace lines."""
    small_net(folder / "small.onnx")
    np.save(folder / "dataset.npy", calibration_set())
    np.save(folder / "label.npy", np.zeros(20, np.int64))
    values = {
        "label_id_offset": 0,
        "reverse_rgb": False,
        "calibration_method": "EXTREME",
        **keys,
    }
    extra = "\n".join(f"{key} = {value}" for key, value in values.items())
    (folder / "run.cfg").write_text(
        f"""[Common]
mode = run

[Parser]
model_type = onnx
model_name = small
model_domain = image_classification
input_model = {folder / "small.onnx"}
input = input
input_shape = [1, 3, 6, 8]
output = logits

[AutoQuantizationTool]
quantize_method = SYMMETRIC
calibration_data = {folder / "dataset.npy"}
calibration_label = {folder / "label.npy"}
{extra}

[GBuilder]
inputs = {folder / "input.bin"}
outputs = {folder / "output.bin"}
"""
    )
    return folder / "run.cfg"
