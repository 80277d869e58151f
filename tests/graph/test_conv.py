"""Convolutions, norms, constants and matrices, against onnxruntime on the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from support.graph_nets import (
    BN,
    CONV_W,
    F,
    Step,
    agree,
    ints,
    net,
    random,
    save,
    types,
)

from r329fast.graph import load_model


def conv(**attrs: Any) -> list[Step]:
    return [("Conv", "x w", "y", attrs)]


CONVS = {
    "plain": ({}, (6, 4, 3, 3)),
    "pads": ({"pads": [1, 0, 2, 1]}, (6, 4, 3, 3)),
    "stride": ({"strides": [2, 3], "pads": [1, 1, 1, 1]}, (6, 4, 3, 3)),
    "dilation": ({"dilations": [2, 2], "pads": [2, 2, 2, 2]}, (6, 4, 3, 3)),
    "group": ({"group": 2}, (6, 2, 3, 3)),
    "same_upper": ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (6, 4, 3, 2)),
    "same_lower": ({"auto_pad": "SAME_LOWER", "strides": [2, 2]}, (6, 4, 3, 2)),
    "valid": ({"auto_pad": "VALID"}, (6, 4, 3, 3)),
    "pointwise_padded": ({"pads": [1, 1, 1, 1]}, (6, 4, 1, 1)),
    "kernel_1x5": ({"kernel_shape": [1, 5], "pads": [0, 2, 0, 2]}, (6, 4, 1, 5)),
}


@pytest.mark.parametrize("case", CONVS)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(case: str, bias: bool, tmp_path: Path) -> None:
    attrs, shape = CONVS[case]
    consts = {"w": random(*shape, scale=0.3)}
    inputs = "x w"
    if bias:
        consts["bias"] = random(shape[0])
        inputs = "x w bias"
    graph = agree(net([("Conv", inputs, "y", attrs)], consts=consts), tmp_path)
    assert types(graph) == ["Convolution"]
    assert graph.layers[1].consts["weights"].shape == (shape[0], *shape[2:], shape[1])


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise(multiplier: int, tmp_path: Path) -> None:
    weights = {"w": random(4 * multiplier, 1, 3, 3)}
    graph = agree(net(conv(group=4, pads=[1, 1, 1, 1]), consts=weights), tmp_path)
    assert types(graph) == ["DepthwiseConv"]


def test_one_channel_stays_a_convolution(tmp_path: Path) -> None:
    graph = agree(net(conv(group=1), ("N", 1, 6, 6), {"w": random(3, 1, 3, 3)}), tmp_path)
    assert types(graph) == ["Convolution"]


# --- norms and constants ----------------------------------------------------------------------

BN_STEP: Step = ("BatchNormalization", "x g b m v", "y", {"epsilon": 1e-3})


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_norm_alone(opset: int, tmp_path: Path) -> None:
    graph = agree(net([BN_STEP], consts=BN, opset=opset), tmp_path)
    assert types(graph) == ["BatchNorm"]


def test_batch_norm_of_a_vector(tmp_path: Path) -> None:
    assert types(agree(net([BN_STEP], ("N", 4), BN), tmp_path)) == ["BatchNorm"]


def test_batch_norm_and_relu_stay_apart(tmp_path: Path) -> None:
    model = net([("BatchNormalization", "x g b m v", "t", {}), ("Relu", "t", "y", {})], consts=BN)
    assert types(agree(model, tmp_path)) == ["BatchNorm", "Activation"]


def test_batch_norm_folds_bit_exactly(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w cb", "t", {}),
        ("BatchNormalization", "t g b m v", "u", {"epsilon": 1e-3}),
        ("Relu", "u", "y", {}),
    ]
    weights, bias = random(4, 4, 3, 3), random(4)
    graph = agree(net(steps, consts={"w": weights, "cb": bias, **BN}), tmp_path)
    assert types(graph) == ["Convolution"]
    layer = graph.layers[1]
    assert (layer.name, layer.act.kind) == ("n0", "RELU")
    scale = BN["g"] / np.sqrt(BN["v"] + F(1e-3))
    folded = (weights * scale[:, None, None, None]).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(layer.consts["weights"], folded)
    np.testing.assert_array_equal(layer.consts["bias"], (bias - BN["m"]) * scale + BN["b"])


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 2, 0, 1]])
def test_data_norm_folds_with_its_border(group: int, pads: list[int], tmp_path: Path) -> None:
    steps: list[Step] = [
        ("BatchNormalization", "x g b m v", "t", {}),
        ("Conv", "t w", "y", {"pads": pads, "group": group}),
    ]
    graph = agree(net(steps, consts={"w": random(8, 4 // group, 3, 3), **BN}), tmp_path)
    assert types(graph) == ["DepthwiseConv" if group == 4 else "Convolution"]
    assert ("pad_values" in graph.layers[1].consts) == any(pads)
    if any(pads):
        scale = BN["g"] / np.sqrt(BN["v"] + F(1e-5))
        shift = BN["b"] - BN["m"] * scale
        np.testing.assert_allclose(graph.layers[1].consts["pad_values"], -shift / scale, rtol=1e-5)


def test_data_norm_with_a_zero_scale_stays(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("BatchNormalization", "x g b m v", "t", {}),
        ("Conv", "t w", "y", {"pads": [1, 1, 1, 1]}),
    ]
    zero = {**BN, "g": np.array([1, 0, 1, 1], F)}
    graph = agree(net(steps, consts={"w": random(5, 4, 3, 3), **zero}), tmp_path)
    assert types(graph) == ["BatchNorm", "Convolution"]


def test_a_norm_read_twice_stays(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("BatchNormalization", "x g b m v", "t", {}),
        ("Conv", "t w", "c", {}),
        ("Add", "c t", "y", {}),
    ]
    graph = agree(net(steps, consts={"w": random(4, 4, 1, 1), **BN}), tmp_path)
    assert types(graph) == ["BatchNorm", "Convolution", "Eltwise"]


CONSTANTS: dict[str, tuple[str, str, np.ndarray]] = {
    "add_scalar": ("Add", "x c", np.array(0.5, F)),
    "add_channel": ("Add", "c x", random(1, 4, 1, 1)),
    "add_short": ("Add", "x c", random(4, 1, 1)),
    "sum": ("Sum", "x c", random(4, 1, 1)),
    "sub": ("Sub", "x c", random(4, 1, 1)),
    "sub_from": ("Sub", "c x", random(4, 1, 1)),
    "mul": ("Mul", "x c", random(4, 1, 1)),
    "mul_one": ("Mul", "x c", random(1)),
    "div": ("Div", "x c", random(4, 1, 1) + F(3)),
}


@pytest.mark.parametrize("case", CONSTANTS)
@pytest.mark.parametrize("folded", [False, True])
def test_constant(case: str, folded: bool, tmp_path: Path) -> None:
    op, inputs, value = CONSTANTS[case]
    if folded:
        steps: list[Step] = [
            ("Conv", "x w", "t", {}),
            (op, inputs.replace("x", "t"), "u", {}),
            ("Relu", "u", "y", {}),
        ]
    else:
        steps = [("Relu", "x", "t", {}), (op, inputs.replace("x", "t"), "y", {})]
    graph = agree(net(steps, consts={"w": random(4, 4, 3, 3), "c": value}), tmp_path)
    assert types(graph) == (["Convolution"] if folded else ["Activation", "BatchNorm"])


def test_constants_in_a_row_become_one_norm(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Relu", "x", "r", {}),
        ("Mul", "r c", "t", {}),
        ("Add", "t d", "u", {}),
        ("Neg", "u", "y", {}),
    ]
    consts = {"c": random(4, 1, 1), "d": random(4, 1, 1, seed=5)}
    assert types(agree(net(steps, consts=consts), tmp_path)) == ["Activation", "BatchNorm"]


def test_constant_along_another_axis(tmp_path: Path) -> None:
    """A value per column: the axis is brought to the end."""
    graph = agree(
        net([("Relu", "x", "t", {}), ("Mul", "t c", "y", {})], consts={"c": random(7)}), tmp_path
    )
    assert types(graph).count("BatchNorm") == 1


def test_bias_behind_a_matmul_over_maps(tmp_path: Path) -> None:
    """Folded through the reshape that stands between."""
    steps: list[Step] = [
        ("Relu", "x", "t", {}),
        ("MatMul", "t w", "u", {}),
        ("Add", "u b", "y", {}),
    ]
    graph = agree(net(steps, ("N", 3, 8), {"w": random(8, 5), "b": random(5)}), tmp_path)
    assert types(graph) == ["Activation", "Reshape", "Convolution", "Reshape"]


def test_norm_behind_a_reshape(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("GlobalAveragePool", "c", "p", {}),
        ("Conv", "p w1", "d", {}),
        ("Flatten", "d", "f", {}),
        ("BatchNormalization", "f g b m v", "n", {}),
        ("Relu", "n", "y", {}),
    ]
    consts = {"w": random(4, 4, 3, 3), "w1": random(4, 4, 1, 1), **BN}
    graph = agree(net(steps, consts=consts), tmp_path)
    assert types(graph) == ["Convolution", "Pooling", "Convolution", "Reshape", "Activation"]


def test_two_clips_are_one(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Max", "c zero", "t", {}),
        ("Min", "t six", "y", {}),
    ]
    consts = {"w": CONV_W, "zero": np.array(0, F), "six": np.array(6, F)}
    graph = agree(net(steps, consts=consts), tmp_path)
    assert types(graph) == ["Convolution"]
    assert graph.layers[1].act.kind == "RELU6"


def test_dropout_with_a_training_input(tmp_path: Path) -> None:
    steps: list[Step] = [("Relu", "x", "t", {}), ("Dropout", "t ratio mode", "y", {})]
    consts = {"ratio": np.array(0.5, F), "mode": np.array(False)}
    assert types(agree(net(steps, consts=consts), tmp_path)) == ["Activation"]


def test_half_precision_model(tmp_path: Path) -> None:
    """A float16 model becomes a float32 graph."""
    steps: list[Step] = [("Conv", "x w", "c", {}), ("Relu", "c", "y", {})]
    model = net(steps, consts={"w": CONV_W.astype(np.float16)})
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    graph = load_model(save(model, tmp_path))
    assert types(graph) == ["Convolution"]
    assert graph.layers[1].consts["weights"].dtype == np.float32


# --- matrices ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", ["none", "vector", "row", "number"])
def test_gemm(trans: int, bias: str, tmp_path: Path) -> None:
    consts = {"w": random(5, 8) if trans else random(8, 5)}
    if bias != "none":
        shape = {"vector": (5,), "row": (1, 5), "number": ()}[bias]
        consts["c"] = random(*shape)
    attrs = {"transB": trans, "alpha": 0.5, "beta": 2.0}
    step: Step = ("Gemm", "x w" if bias == "none" else "x w c", "t", attrs)
    graph = agree(net([step, ("Relu", "t", "y", {})], ("N", 8), consts), tmp_path)
    assert types(graph) == ["FullyConnected"]
    assert graph.layers[1].act.kind == "RELU"


def test_matmul_and_bias(tmp_path: Path) -> None:
    steps: list[Step] = [("MatMul", "x w", "t", {}), ("Add", "t b", "y", {})]
    graph = agree(net(steps, ("N", 8), {"w": random(8, 5), "b": random(5)}), tmp_path)
    assert types(graph) == ["FullyConnected"]


@pytest.mark.parametrize("shape", [("N", 3, 8), ("N", 2, 3, 8)])
def test_matmul_over_maps(shape: tuple[Any, ...], tmp_path: Path) -> None:
    steps: list[Step] = [("Relu", "x", "t", {}), ("MatMul", "t w", "y", {})]
    graph = agree(net(steps, shape, {"w": random(8, 5)}), tmp_path)
    assert types(graph).count("Convolution") == 1


@pytest.mark.parametrize("swap", [False, True])
def test_matmul_of_activations(swap: bool, tmp_path: Path) -> None:
    """Attention-like: x times its transpose."""
    perm = [0, 2, 1]
    steps: list[Step] = [
        ("Transpose", "x", "t", {"perm": perm}),
        ("MatMul", "t x" if swap else "x t", "y", {}),
    ]
    graph = agree(net(steps, ("N", 3, 5)), tmp_path)
    assert types(graph) == ["MatMul"]


@pytest.mark.parametrize("form", ["flatten", "reshape", "reshape_zero", "relu_between", "dropout"])
def test_flatten_a_map_needs_no_transpose(form: str, tmp_path: Path) -> None:
    """The weights of the fully connected layer follow the storage order instead."""
    flat = {
        "flatten": ("Flatten", "c", "f", {}),
        "reshape": ("Reshape", "c s", "f", {}),
        "reshape_zero": ("Reshape", "c z", "f", {}),
    }.get(form, ("Flatten", "c", "f", {}))
    steps: list[Step] = [("Conv", "x k", "c", {}), flat]
    last = "f"
    if form == "relu_between":
        steps.append(("Relu", "f", "r", {}))
        last = "r"
    if form == "dropout":
        steps.append(("Dropout", "f", "r", {}))
        last = "r"
    steps.append(("Gemm", f"{last} w b", "y", {"transB": 1}))
    consts = {
        "k": random(6, 4, 3, 3),
        "w": random(5, 6 * 4 * 5),
        "b": random(5),
        "s": ints(-1, 120),
        "z": ints(0, -1),
    }
    graph = agree(net(steps, consts=consts), tmp_path)
    assert "Transpose" not in types(graph)
    assert types(graph)[-1] == "FullyConnected"


def test_flatten_as_output_keeps_onnx_order(tmp_path: Path) -> None:
    graph = agree(net([("Flatten", "x", "y", {})]), tmp_path)
    assert types(graph) == ["Transpose", "Reshape"]
