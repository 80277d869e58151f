"""Derivatives from the outputs back: what they say is what the float network does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from r329fast.graph import load_model
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph
from r329fast.tuning.arrivals import arrivals, can_follow, output_slopes
from r329fast.tuning.score import FIRST

_CUTS = ("input", "first", "down", "depth", "both", "small", "pool", "flat", "fc")


def _network(folder: Path, act: str = "Relu", classes: int = 5) -> Graph:
    """Every kind of layer that errors are followed through, without biases."""
    rng = np.random.default_rng(0)
    constants, nodes = [], []

    def conv(name: str, source: str, shape: tuple[int, ...], **attrs: object) -> str:
        weights = (rng.normal(size=shape) * 0.4).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"{name}_w"))
        nodes.append(helper.make_node("Conv", [source, f"{name}_w"], [name], name=name, **attrs))
        return name

    def activated(name: str) -> str:
        nodes.append(helper.make_node(act, [name], [f"{name}_act"], name=f"{name}_relu"))
        return f"{name}_act"

    first = activated(conv("first", "input", (6, 3, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0]))
    pooling = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes.append(helper.make_node("MaxPool", [first], ["down"], name="down", **pooling))
    depth = activated(conv("depth", "down", (12, 1, 3, 3), group=6, pads=[2] * 4, dilations=[2, 2]))
    left, right = conv("left", depth, (6, 12, 1, 1)), conv("right", depth, (6, 12, 1, 1))
    nodes.append(helper.make_node("Sub", [left, right], ["sum"], name="sum"))
    nodes.append(helper.make_node("Concat", ["sum", left], ["both"], name="both", axis=1))
    pooling = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 0, 0]}
    nodes.append(helper.make_node("AveragePool", ["both"], ["small"], name="small", **pooling))
    nodes.append(helper.make_node("GlobalAveragePool", ["small"], ["pool"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"], name="flat"))
    constants.append(
        numpy_helper.from_array(rng.normal(size=(12, classes)).astype(np.float32), "fc_w")
    )
    nodes.append(helper.make_node("MatMul", ["flat", "fc_w"], ["fc"], name="fc"))
    graph = helper.make_graph(
        nodes, "cuts", [helper.make_tensor_value_info("input", 1, ["N", 3, 20, 20])],
        [helper.make_tensor_value_info("fc", 1, ["N", classes])], constants,
    )  # fmt: skip
    path = folder / "cuts.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return load_model(str(path))


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 20, 20, 3)).astype(np.float32)


def test_slopes_times_values_are_the_output_at_every_cut(tmp_path: Path) -> None:
    # without biases the network is homogeneous: y = J x at any tensor that all paths cross
    graph, x = _network(tmp_path), _images(3)
    assert can_follow(graph)
    values = {"input": x, **FloatSession(graph, keep="all").run(x)}
    signs = np.random.default_rng(1).choice(np.array([-1, 1], np.float32), (3, 5))
    slopes = output_slopes(graph, values, signs)
    expected = (signs * values[graph.outputs[0]]).sum(axis=1)
    cuts = [name for name in _CUTS if name in values]
    assert len(cuts) >= 7
    for name in cuts:
        found = (slopes[name] * values[name]).reshape(3, -1).sum(axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=name)


def test_arriving_energy_is_that_of_all_outputs(tmp_path: Path) -> None:
    graph, x = _network(tmp_path), _images(24)
    found = arrivals(graph, x, 0)
    np.testing.assert_allclose(found[graph.outputs[0]], 1.0)
    values = {"input": x, **FloatSession(graph, keep="all").run(x)}
    exact = np.zeros(12)
    for output in range(5):
        signs = np.zeros((24, 5), np.float32)
        signs[:, output] = 1
        exact += np.square(output_slopes(graph, values, signs)["depth"]).sum(axis=(0, 1, 2)) / 24
    assert exact.max() > 3 * exact.min()
    assert found["depth"] == pytest.approx(exact, rel=0.6)
    assert found["depth"].sum() == pytest.approx(exact.sum(), rel=0.2)


def test_the_order_of_the_first_classes_counts_as_much(tmp_path: Path) -> None:
    graph, x = _network(tmp_path, classes=40), _images(24)
    name = graph.outputs[0]
    output = FloatSession(graph).run(x)[name].astype(np.float64)
    best = np.sort(output, axis=1)[:, -FIRST:]
    share = np.square(output).sum() / np.square(best - best.mean(axis=1, keepdims=True)).sum()
    found = arrivals(graph, x, 0)[name]
    # signs less their mean: of each of the first classes a variance of 1 - 1 / FIRST
    chosen = np.bincount(np.argsort(output, axis=1)[:, -FIRST:].ravel(), minlength=40) / len(x)
    np.testing.assert_allclose(found[chosen == 0], 1.0)
    extra = (found - 1).sum() / share
    assert extra == pytest.approx(FIRST * (1 - 1 / FIRST), rel=0.15)


def test_a_network_that_cannot_be_followed_gives_nothing(tmp_path: Path) -> None:
    graph = _network(tmp_path, "Sigmoid")
    assert not can_follow(graph)
    assert arrivals(graph, _images(2), 0) == {}
