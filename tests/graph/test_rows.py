"""Tensors of three and two axes: convolutions and pools of rows, norms, perceptrons, ECA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graph_nets import BN, F, Step, agree, ints, net, random, save, types

from r329fast.calibration import calibrate
from r329fast.graph import check_model, load_model
from r329fast.quantization import SCHEMES, quantize
from r329fast.reference import run_program
from r329fast.simulator import Simulator

ROW = ("N", 4, 11)
W = random(6, 4, 3, scale=0.3)
CONVS: dict[str, tuple[dict[str, Any], np.ndarray]] = {
    "plain": ({}, W),
    "strides": ({"strides": [2], "pads": [2, 1]}, W),
    "dilations": ({"dilations": [2], "pads": [2, 2]}, W),
    "same": ({"auto_pad": "SAME_UPPER", "strides": [2]}, W),
    "groups": ({"group": 2}, random(6, 2, 3)),
    "depthwise": ({"group": 4, "pads": [1, 1]}, random(4, 1, 3)),
}


@pytest.mark.parametrize("name", CONVS)
def test_conv(name: str, tmp_path: Path) -> None:
    attrs, weights = CONVS[name]
    consts = {"w": weights, "b": random(len(weights))}
    graph = agree(net([("Conv", "x w b", "y", attrs)], ROW, consts), tmp_path)
    kind = "DepthwiseConv" if name == "depthwise" else "Convolution"
    assert types(graph) == ["Transpose", "Reshape", kind, "Reshape", "Transpose"]


@pytest.mark.parametrize(
    "attrs",
    [{}, {"strides": [2]}, {"strides": [3], "pads": [1, 2], "output_padding": [1]},
     {"strides": [2], "output_shape": [22]}, {"strides": [2], "auto_pad": "SAME_LOWER"},
     {"dilations": [2], "group": 2}],
)  # fmt: skip
def test_conv_transpose(attrs: dict[str, Any], tmp_path: Path) -> None:
    consts = {"w": random(4, 3, 3), "b": random(3 * attrs.get("group", 1))}
    agree(net([("ConvTranspose", "x w b", "y", attrs)], ROW, consts), tmp_path)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("MaxPool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
        ("AveragePool", {"kernel_shape": [2], "ceil_mode": 1, "strides": [2]}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
)
def test_pool(op: str, attrs: dict[str, Any], tmp_path: Path) -> None:
    graph = agree(net([(op, "x", "y", attrs)], ROW), tmp_path)
    assert types(graph).count("Pooling") == 1


def test_a_row_stays_in_its_map(tmp_path: Path) -> None:
    """Norms and activations are folded, sums and joins need no Reshape between the layers."""
    steps: list[Step] = [
        ("Conv", "x w", "c", {"pads": [1, 1]}),
        ("BatchNormalization", "c g b m v", "n", {}),
        ("Relu", "n", "r", {}),
        ("Conv", "r w", "d", {"pads": [1, 1]}),
        ("Add", "d r", "s", {}),
        ("Mul", "s k", "t", {}),
        ("Concat", "t r", "j", {"axis": 1}),
        ("MaxPool", "j", "p", {"kernel_shape": [2], "strides": [2]}),
        ("Slice", "p from to", "q", {}),
        ("GlobalAveragePool", "q", "a", {}),
        ("Flatten", "a", "f", {}),
        ("Gemm", "f fc", "y", {}),
    ]
    consts = {"w": random(4, 4, 3, scale=0.3), **BN, "k": random(4, 1), "fc": random(8, 3)}
    consts |= {"from": ints(0, 0, 1), "to": ints(9, 9, 4)}
    graph = agree(net(steps, ROW, consts, opset=14), tmp_path)
    assert types(graph) == [
        "Transpose", "Reshape", "Convolution", "Convolution", "Eltwise", "BatchNorm", "Concat",
        "Pooling", "Slice", "Pooling", "Reshape", "FullyConnected",
    ]  # fmt: skip


def test_other_readers_of_a_row(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "c", {"pads": [1, 1]}),
        ("Transpose", "c", "t", {"perm": [0, 2, 1]}),
        ("LayerNormalization", "t g b", "n", {}),
        ("MatMul", "n k", "p", {}),
        ("Softmax", "p", "s", {"axis": 1}),
        ("ReduceMean", "s", "y", {"axes": [1], "keepdims": 0}),
    ]
    consts = {"w": random(4, 4, 3), "g": random(4), "b": random(4, seed=1), "k": random(4, 5)}
    agree(net(steps, ROW, consts), tmp_path)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("keep", [0, 1])
def test_reduced_row(op: str, axis: int, keep: int, tmp_path: Path) -> None:
    attrs: dict[str, Any] = {"keepdims": keep}
    consts = {"w": W}
    if op == "ReduceSum":
        consts["a"] = ints(axis)
    else:
        attrs["axes"] = [axis]
    reads = "c a" if op == "ReduceSum" else "c"
    steps: list[Step] = [("Conv", "x w", "c", {}), (op, reads, "r", attrs), ("Relu", "r", "y", {})]
    agree(net(steps, ROW, consts, opset=13), tmp_path)


def test_efficient_channel_attention(tmp_path: Path) -> None:
    """A convolution over the channels of a pooled vector, which then scales them."""
    steps: list[Step] = [
        ("ReduceMean", "x", "m", {"axes": [2, 3], "keepdims": 0}),
        ("Unsqueeze", "m one", "u", {}),
        ("Conv", "u w", "c", {"pads": [1, 1]}),
        ("Sigmoid", "c", "s", {}),
        ("Reshape", "s to", "k", {}),
        ("Expand", "k full", "e", {}),
        ("Mul", "x e", "y", {}),
    ]
    consts = {
        "w": random(1, 1, 3),
        "one": ints(1),
        "to": ints(0, 4, 1, 1),
        "full": ints(1, 4, 6, 7),
    }
    agree(net(steps, consts=consts, opset=13), tmp_path)


def test_perceptron(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Gemm", "x w", "c", {}),
        ("BatchNormalization", "c g b m v", "n", {}),
        ("Relu", "n", "r", {}),
        ("MatMul", "r k", "p", {}),
        ("Add", "p b", "q", {}),
        ("BatchNormalization", "q g b m v", "o", {}),
        ("Tanh", "o", "t", {}),
        ("BatchNormalization", "t g b m v", "y", {}),
    ]
    consts = {"w": random(9, 4), "k": random(4, 4), **BN}
    graph = agree(net(steps, ("N", 9), consts), tmp_path)
    assert types(graph) == ["FullyConnected", "FullyConnected", "Activation", "BatchNorm"]


@pytest.mark.parametrize("shape", [("N", 4), ("N", 4, 3, 5, 6)])
def test_one_line_per_cause(shape: tuple[int | str, ...], tmp_path: Path) -> None:
    weights = random(6, 4, *(1,) * (len(shape) - 2))
    for step in (("Conv", "x w", "y", {}), ("MaxPool", "x", "y", {"kernel_shape": [1, 1, 1]})):
        issues = check_model(save(net([step], shape, {"w": weights}), tmp_path))
        assert len(issues) == 1, issues
        assert "(N, C, H, W) or a row (N, C, L)" in issues[0].reason or len(shape) == 2


def test_sum_with_a_row_from_elsewhere(tmp_path: Path) -> None:
    steps: list[Step] = [("Conv", "x w", "c", {"pads": [1, 1]}), ("Add", "x c", "y", {})]
    agree(net(steps, ROW, {"w": random(4, 4, 3)}), tmp_path)
    steps = [("Conv", "x w", "c", {"pads": [1, 1]}), ("Mul", "c k", "y", {})]
    agree(net(steps, ROW, {"w": random(4, 4, 3), "k": random(4, 11) + F(1)}), tmp_path)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_integers(scheme: str, tmp_path: Path) -> None:
    """A keyword-spotting network in small: its kernels equal the reference, its shapes hold."""
    steps: list[Step] = [
        ("Conv", "x w", "c", {"pads": [1, 1], "strides": [2]}),
        ("BatchNormalization", "c g b m v", "n", {}),
        ("Relu", "n", "r", {}),
        ("Conv", "r d", "e", {"group": 4, "pads": [1, 1]}),
        ("ConvTranspose", "e u", "t", {"strides": [2]}),
        ("MaxPool", "t", "p", {"kernel_shape": [2]}),
        ("GlobalAveragePool", "p", "a", {}),
        ("Flatten", "a", "f", {}),
        ("Gemm", "f fc", "y", {}),
    ]
    consts = {"w": random(4, 4, 3), "d": random(4, 1, 3), "u": random(4, 4, 2), "fc": random(4, 3)}
    graph = load_model(save(net(steps, ROW, {**consts, **BN}), tmp_path))
    x = random(5, *graph.shapes["x"])
    program = quantize(graph, calibrate(graph, x, scheme), scheme)
    feed = {"x": program.quantize_input(x)}
    wanted = run_program(program, feed)
    for key, values in Simulator(program).run(feed, keep=tuple(program.tensors)).items():
        np.testing.assert_array_equal(values, wanted[key])
