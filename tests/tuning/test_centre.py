"""Absorbed biases: channels move to the middle, the float network stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from r329fast.graph import load_model
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph
from r329fast.tuning.centre import centred
from r329fast.tuning.float_side import run_float


def _network(folder: Path, pads: int, act: str = "") -> Graph:
    """Two linear convolutions with uneven biases, their sum, and what reads it."""
    rng = np.random.default_rng(0)
    constants, nodes = [], []

    def conv(name: str, source: str, cin: int, cout: int, kernel: int, group: int = 1) -> str:
        weights = rng.normal(size=(cout, cin // group, kernel, kernel)) * 0.3
        for key, values in (("w", weights), ("b", rng.uniform(-9, 9, cout))):
            array = values.astype(np.float32)
            constants.append(numpy_helper.from_array(array, f"{name}_{key}"))
        inputs = [source, f"{name}_w", f"{name}_b"]
        attrs = {"group": group, "pads": [pads if kernel > 1 else 0] * 4}
        nodes.append(helper.make_node("Conv", inputs, [name], name=name, **attrs))
        return name

    first, second = conv("first", "input", 3, 6, 1), conv("second", "input", 3, 6, 1)
    nodes.append(helper.make_node("Add", [first, second], ["sum"], name="sum"))
    source = "sum"
    if act:
        nodes.append(helper.make_node(act, ["sum"], ["active"], name="active"))
        source = "active"
    depth = conv("depth", source, 6, 12, 3, group=6)
    nodes.append(helper.make_node("Relu", [depth], ["depth_act"], name="depth_relu"))
    last = conv("last", "depth_act", 12, 8, 1)
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pool"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"], name="flat"))
    constants.append(numpy_helper.from_array(rng.normal(size=(8, 5)).astype(np.float32), "fc_w"))
    nodes.append(helper.make_node("MatMul", ["flat", "fc_w"], ["fc"], name="fc"))
    graph = helper.make_graph(
        nodes, "beside", [helper.make_tensor_value_info("input", 1, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("fc", 1, ["N", 5])], constants,
    )  # fmt: skip
    path = folder / "beside.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return load_model(str(path))


def _images(seed: int, size: float = 1.0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(12, 8, 8, 3)) * size
    return found.astype(np.float32)


@pytest.mark.parametrize(
    ("pads", "act", "moved"),
    [
        (0, "", {"first", "second", "sum", "last", "pool", "flat"}),
        (1, "", {"first", "second", "last", "pool", "flat"}),  # zeros beside the map do not move
        (0, "Relu", {"first", "second", "last", "pool", "flat"}),
        (0, "Sigmoid", {"first", "second", "last", "pool", "flat"}),
    ],
)
def test_any_image_gives_the_same_and_channels_are_centred(
    tmp_path: Path, pads: int, act: str, moved: set[str]
) -> None:
    graph, x = _network(tmp_path, pads, act), _images(3)
    side = run_float(graph, x, 0)
    found, moves = centred(graph, side)
    assert {name for name, values in moves.items() if np.abs(values).max() > 1e-6} == moved
    for others in (x, _images(4, 20.0)):
        before = FloatSession(graph, keep="all").run(others)
        after = FloatSession(found, keep="all").run(others)
        limit = 1e-5 * np.abs(before[graph.outputs[0]]).max()
        np.testing.assert_allclose(
            after[graph.outputs[0]], before[graph.outputs[0]], atol=limit, rtol=0
        )
        for name, values in moves.items():
            limit = 1e-5 * np.abs(before[name]).max()
            np.testing.assert_allclose(after[name], before[name] + values, atol=limit, rtol=0)
    after = FloatSession(found, keep="all").run(x)
    before = FloatSession(graph, keep="all").run(x)
    if not act and not pads:
        for name in ("first", "second", "sum"):
            assert np.abs(after[name]).max() < 0.7 * np.abs(before[name]).max()
