"""Channel factors: the float network stays as it is, and the noise model's slope is its slope."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from r329fast.calibration import calibrate
from r329fast.graph import load_model
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph
from r329fast.quantization import quantize
from r329fast.tuning.arrivals import arrivals
from r329fast.tuning.channels import find_channels
from r329fast.tuning.equalise import NoiseModel, equalised, scaled_graph
from r329fast.tuning.float_side import run_float

WIDTH = 6


def _network(folder: Path, act: str) -> Graph:
    """conv, depthwise, residual, concatenation, pooling and a matrix; channels of uneven size."""
    rng = np.random.default_rng(0)
    constants, nodes = [], []

    def const(name: str, *shape: int, uneven: bool = True) -> str:
        values = rng.normal(size=shape).astype(np.float32) * 0.3
        if uneven:
            values *= (4.0 ** rng.uniform(-1, 1, shape[0])).reshape(-1, *[1] * (len(shape) - 1))
        constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(name: str, source: str, cin: int, cout: int, group: int = 1, relu: bool = True) -> str:
        inputs = [source, const(f"{name}_w", cout, cin // group, 3, 3), const(f"{name}_b", cout)]
        out = f"{name}_out" if relu else name
        nodes.append(helper.make_node("Conv", inputs, [out], name=name, group=group, pads=[1] * 4))
        if not relu:
            return out
        if act == "Relu":
            nodes.append(helper.make_node("Relu", [out], [f"{name}_act"], name=f"{name}_relu"))
        else:
            ends = [out, "zero", "six"]
            nodes.append(helper.make_node("Clip", ends, [f"{name}_act"], name=f"{name}_relu"))
        return f"{name}_act"

    for name, value in (("zero", 0.0), ("six", 6.0)):
        constants.append(numpy_helper.from_array(np.array(value, np.float32), name))
    first = conv("first", "input", 3, WIDTH)
    inner = conv("deep", conv("depth", first, WIDTH, WIDTH, group=WIDTH), WIDTH, WIDTH, relu=False)
    nodes.append(helper.make_node("Add", [first, inner], ["sum"], name="sum"))
    left, right = conv("left", "sum", WIDTH, 4), conv("right", "sum", WIDTH, 5)
    nodes.append(helper.make_node("Concat", [left, right], ["both"], name="both", axis=1))
    nodes.append(helper.make_node("GlobalAveragePool", ["both"], ["pool"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"], name="flat"))
    ends = ["flat", const("fc_w", 9, 7), const("fc_b", 7)]
    nodes.append(helper.make_node("Gemm", ends, ["logits"], name="fc"))
    shape = ["N", 3, 8, 8]
    graph = helper.make_graph(
        nodes, "uneven", [helper.make_tensor_value_info("input", 1, shape)],
        [helper.make_tensor_value_info("logits", 1, ["N", 7])], constants,
    )  # fmt: skip
    path = folder / "uneven.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return load_model(str(path))


def _images(count: int = 12, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 3)).astype(np.float32)


def test_any_factors_leave_a_relu_network_as_it_is(tmp_path: Path) -> None:
    graph = _network(tmp_path, "Relu")
    channels = find_channels(graph)
    assert not channels.fixed.all()
    rng = np.random.default_rng(4)
    logs = np.where(channels.fixed, 0.0, rng.uniform(-2, 2, len(channels.fixed)))
    factors = {name: np.exp(logs[numbers]) for name, numbers in channels.of.items()}
    x = _images()
    before = FloatSession(graph).run(x)["fc"]
    after = FloatSession(scaled_graph(graph, factors)).run(x)["fc"]
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


def test_where_nothing_reaches_the_output_there_are_no_factors(tmp_path: Path) -> None:
    graph, x = _network(tmp_path, "Relu"), _images()
    last = graph.layers[-1]
    consts = {name: np.zeros_like(values) for name, values in last.consts.items()}
    silent = dataclasses.replace(last, consts=consts)
    graph = dataclasses.replace(graph, layers=[*graph.layers[:-1], silent])
    program = quantize(graph, calibrate(graph, x, "aqt2021", "EXTREME"))
    arriving = arrivals(graph, x, 0)
    found, factors = equalised(graph, program, run_float(graph, x, 0), arriving)
    assert found is graph
    assert factors == {}


def test_a_residual_stream_moves_as_one_and_ends_stay(tmp_path: Path) -> None:
    graph = _network(tmp_path, "Relu")
    of, fixed = find_channels(graph).of, find_channels(graph).fixed
    np.testing.assert_array_equal(of["first"], of["deep"])
    np.testing.assert_array_equal(of["both"], np.concatenate([of["left"], of["right"]]))
    assert fixed[of["input"]].all()
    assert fixed[of["fc"]].all()
    assert not fixed[of["depth"]].any()


@pytest.mark.parametrize("act", ["Relu", "Clip"])
def test_equalisation_is_exact_on_any_image(tmp_path: Path, act: str) -> None:
    graph, x = _network(tmp_path, act), _images()
    ranges = calibrate(graph, x, "aqt2021", "EXTREME")
    side = run_float(graph, x, 0)
    found, factors = equalised(graph, quantize(graph, ranges), side)
    assert any(np.ptp(values) > 0 for values in factors.values())
    # also where calibration images never went: channels that were silent, values far beyond 6
    for others in (x, 8 * _images(seed=9), -30 * _images(seed=10)):
        before, after = (FloatSession(item).run(others)["fc"] for item in (graph, found))
        np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


def test_the_slope_of_the_noise_is_its_slope(tmp_path: Path) -> None:
    graph, x = _network(tmp_path, "Relu"), _images()
    program = quantize(graph, calibrate(graph, x, "aqt2021", "EXTREME"))
    model = NoiseModel(graph, program, run_float(graph, x, 0), find_channels(graph))
    logs = np.random.default_rng(5).uniform(-0.5, 0.5, model.count)
    _, slope = model(logs)
    assert np.abs(slope).max() > 0
    for index in range(model.count):
        step = np.zeros(model.count)
        step[index] = 1e-5
        measured = (model(logs + step)[0] - model(logs - step)[0]) / 2e-5
        np.testing.assert_allclose(slope[index], measured, rtol=1e-4, atol=1e-8)
