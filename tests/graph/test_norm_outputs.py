"""Batch norms with the outputs of the training form, and Flatten with a negative axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from r329fast.errors import UnsupportedModelError
from r329fast.graph import load_model
from r329fast.graph.export.float_session import FloatSession


def _save(path: Path, nodes: list, consts: dict[str, np.ndarray], opset: int) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in consts.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


def _norm(source: str, target: str, count: int, **attrs: object) -> onnx.NodeProto:
    outputs = [target, *(f"{target}_{number}" for number in range(1, count))]
    inputs = [source, "gamma", "beta", "mean", "var"]
    return helper.make_node("BatchNormalization", inputs, outputs, name="bn", **attrs)


def _constants(channels: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(channels)
    draw = {name: rng.random(channels, np.float32) for name in ("gamma", "beta", "mean", "var")}
    draw["w"] = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    draw["flat"] = np.array([1, 4, -1], np.int64)
    draw["back"] = np.array([4, 3, 3, 3], np.int64)
    return draw


@pytest.mark.parametrize("opset", [7, 9, 13])
def test_training_outputs_are_refused(tmp_path: Path, opset: int) -> None:
    path = _save(tmp_path / "m.onnx", [_norm("x", "y", 5)], _constants(3), opset)
    with pytest.raises(UnsupportedModelError, match="5 outputs, the training form of opset"):
        load_model(path)
    path = _save(tmp_path / "one.onnx", [_norm("x", "y", 1)], _constants(3), opset)
    assert load_model(path).outputs


@pytest.mark.parametrize(("opset", "count", "attrs"), [(13, 5, {}), (15, 3, {"training_mode": 1})])
def test_norm_over_constants_folds(tmp_path: Path, opset: int, count: int, attrs: dict) -> None:
    """Weight standardisation: the statistics are those of the weights themselves."""
    consts = _constants(4)
    nodes = [
        helper.make_node("Reshape", ["w", "flat"], ["rows"]),
        _norm("rows", "even", count, **attrs),
        helper.make_node("Reshape", ["even", "back"], ["weights"]),
        helper.make_node("Conv", ["x", "weights"], ["y"], name="conv"),
    ]
    graph = load_model(_save(tmp_path / "m.onnx", nodes, consts, opset))
    assert [layer.type for layer in graph] == ["Input", "Convolution"]
    rows = consts["w"].reshape(4, -1).astype(np.float64)
    scale = consts["gamma"] / np.sqrt(rows.var(1) + 1e-5)
    even = (rows - rows.mean(1)[:, None]) * scale[:, None] + consts["beta"][:, None]
    found = graph.layers[1].consts["weights"].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, even.reshape(4, 3, 3, 3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [-3, 1])
def test_flatten_with_a_negative_axis(tmp_path: Path, axis: int) -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["y"], axis=axis)]
    path = _save(tmp_path / "m.onnx", nodes, {}, 13)
    x = np.random.default_rng(1).random((1, 3, 6, 5), np.float32)
    expected = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    graph = load_model(path)
    assert graph.shapes[graph.outputs[0]] == (90,)
    (found,) = FloatSession(graph).run(x.transpose(0, 2, 3, 1)).values()
    np.testing.assert_array_equal(found, expected)
