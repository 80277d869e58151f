"""A good cfg, and what tests need to bend it."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

GOOD = """\
[Common]
mode=run

[Parser]
model_type = onnx
model_name =  small
detection_postprocess =
model_domain = image_classification
input_model = ./small.onnx
input= data
input_shape = [1, 3, 8, 6]
output =out

[AutoQuantizationTool]
quantize_method = SYMMETRIC
ops_per_channel = DepthwiseConv
calibration_data = dataset.npy
calibration_label = label.npy
label_id_offset =
quant_precision = int8

[GBuilder]  \t
inputs=input.bin
simulator=aipu_simulator_z1
outputs=output.bin
profile= True
target=Z1_0701
"""
OPTIMIZER = GOOD[: GOOD.index("[Auto")] + (
    "[Optimizer]\ncalibration_data = dataset.npy\nmin_compatible_zhouyi_target = Z1_0701\n{}\n"
    + GOOD[GOOD.index("[GBuilder]") :].replace("{", "{{")
)


def write(tmp_path: Path, text: str, name: str = "run.cfg") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def swap(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def make_model(path: Path, shape: tuple[object, ...] = ("N", 3, 8, 6)) -> Path:
    """One Relu, with an initializer listed among the inputs as old exporters do."""
    data = helper.make_tensor_value_info("data", TensorProto.FLOAT, list(shape))
    weight = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["data", "w"], ["mid"], name="mul0"),
            helper.make_node("Relu", ["mid"], ["out"], name="relu0"),
        ],
        "g",
        [data, weight],
        [out],
        [helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])],
    )
    onnx.save(helper.make_model(graph), str(path))
    return path


def make_sum(path: Path) -> Path:
    """Two inputs, a and b, and their sum through a Relu."""
    sizes = ["N", 3, 8, 6]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("a", "b")]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, sizes)
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["a", "b"], ["sum"], name="sum0"),
            helper.make_node("Relu", ["sum"], ["out"], name="relu0"),
        ],
        "g",
        ends,
        [out],
    )
    onnx.save(helper.make_model(graph), str(path))
    return path
