"""Activations in every spelling, against onnxruntime on the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.graph_nets import (
    F,
    Step,
    agree,
    net,
    random,
    save,
    types,
)

from r329fast.graph import load_model

HALF, ONE = np.array(0.5, F), np.array(1, F)


ACTIVATIONS: dict[str, tuple[int, list[Step], dict[str, np.ndarray], str]] = {
    "relu": (7, [("Relu", "x", "y", {})], {}, "RELU"),
    "clip_attr": (7, [("Clip", "x", "y", {"min": -1.0, "max": 2.0})], {}, "CLIP"),
    "clip_attr_relu6": (7, [("Clip", "x", "y", {"min": 0.0, "max": 6.0})], {}, "RELU6"),
    "clip_attr_default": (7, [("Clip", "x", "y", {})], {}, "CLIP"),
    "clip_min_only": (13, [("Clip", "x lo", "y", {})], {"lo": np.array(0, F)}, "RELU"),
    "clip_max_only": (13, [("Clip", "x - hi", "y", {})], {"hi": np.array(1, F)}, "CLIP"),
    "clip_inputs": (
        13,
        [("Clip", "x lo hi", "y", {})],
        {"lo": np.array(0, F), "hi": np.array(6, F)},
        "RELU6",
    ),
    "leaky": (13, [("LeakyRelu", "x", "y", {"alpha": 0.2})], {}, "LEAKYRELU"),
    "leaky_default": (13, [("LeakyRelu", "x", "y", {})], {}, "LEAKYRELU"),
    "prelu": (13, [("PRelu", "x s", "y", {})], {"s": random(4, 1, 1)}, "PRELU"),
    "prelu_shared": (13, [("PRelu", "x s", "y", {})], {"s": random(1)}, "PRELU"),
    "sigmoid": (13, [("Sigmoid", "x", "y", {})], {}, "SIGMOID"),
    "tanh": (13, [("Tanh", "x", "y", {})], {}, "TANH"),
    "hardswish": (14, [("HardSwish", "x", "y", {})], {}, "HARDSWISH"),
    "hardsigmoid": (13, [("HardSigmoid", "x", "y", {"alpha": 0.3})], {}, "HARDSIGMOID"),
    "elu": (13, [("Elu", "x", "y", {"alpha": 0.7})], {}, "ELU"),
    "celu": (13, [("Celu", "x", "y", {})], {}, "CELU"),
    "celu_alpha": (13, [("Celu", "x", "y", {"alpha": 0.7})], {}, "CELU"),
    "celu_negative": (13, [("Celu", "x", "y", {"alpha": -1.5})], {}, "CELU"),
    "thresholded": (13, [("ThresholdedRelu", "x", "y", {})], {}, "THRESHOLDEDRELU"),
    "thresholded_low": (
        13,
        [("ThresholdedRelu", "x", "y", {"alpha": -0.5})],
        {},
        "THRESHOLDEDRELU",
    ),
    "softplus": (13, [("Softplus", "x", "y", {})], {}, "SOFTPLUS"),
    "gelu": (20, [("Gelu", "x", "y", {})], {}, "GELU"),
    "gelu_tanh": (20, [("Gelu", "x", "y", {"approximate": "tanh"})], {}, "GELU"),
    "mish": (18, [("Mish", "x", "y", {})], {}, "MISH"),
    "max_number": (13, [("Max", "x c", "y", {})], {"c": np.array(0, F)}, "RELU"),
    "min_number": (13, [("Min", "c x", "y", {})], {"c": np.array(0.5, F)}, "CLIP"),
    "swish_spelled": (
        13,
        [("Sigmoid", "x", "s", {}), ("Mul", "x s", "y", {})],
        {},
        "SILU",
    ),
    "mish_spelled": (
        13,
        [("Softplus", "x", "p", {}), ("Tanh", "p", "t", {}), ("Mul", "t x", "y", {})],
        {},
        "MISH",
    ),
    "mish_log_exp": (
        13,
        [
            ("Exp", "x", "e", {}),
            ("Add", "e one", "a", {}),
            ("Log", "a", "p", {}),
            ("Tanh", "p", "t", {}),
            ("Mul", "x t", "y", {}),
        ],
        {"one": ONE},
        "MISH",
    ),
    "gelu_erf": (
        13,
        [
            ("Div", "x r", "d", {}),
            ("Erf", "d", "e", {}),
            ("Add", "e one", "a", {}),
            ("Mul", "x a", "m", {}),
            ("Mul", "m half", "y", {}),
        ],
        {"r": np.array(2**0.5, F), "one": ONE, "half": HALF},
        "GELU",
    ),
    "gelu_erf_other": (
        13,
        [
            ("Mul", "x half", "h", {}),
            ("Mul", "x r", "d", {}),
            ("Erf", "d", "e", {}),
            ("Add", "one e", "a", {}),
            ("Mul", "h a", "y", {}),
        ],
        {"r": np.array(0.5**0.5, F), "one": ONE, "half": HALF},
        "GELU",
    ),
    "gelu_tanh_spelled": (
        13,
        [
            ("Pow", "x three", "p", {}),
            ("Mul", "p c", "q", {}),
            ("Add", "x q", "s", {}),
            ("Mul", "s k", "u", {}),
            ("Tanh", "u", "t", {}),
            ("Add", "t one", "a", {}),
            ("Mul", "x a", "m", {}),
            ("Mul", "m half", "y", {}),
        ],
        {
            "three": np.array(3, F),
            "c": np.array(0.044715, F),
            "k": np.array((2 / np.pi) ** 0.5, F),
            "one": ONE,
            "half": HALF,
        },
        "GELU",
    ),
    "hardswish_spelled": (
        13,
        [
            ("Add", "x three", "a", {}),
            ("Clip", "a lo six", "c", {}),
            ("Mul", "x c", "m", {}),
            ("Div", "m six", "y", {}),
        ],
        {"three": np.array(3, F), "lo": np.array(0, F), "six": np.array(6, F)},
        "HARDSWISH",
    ),
    "hardswish_by_hardsigmoid": (
        13,
        [("HardSigmoid", "x", "h", {"alpha": 1 / 6}), ("Mul", "x h", "y", {})],
        {},
        "HARDSWISH",
    ),
    "hardsigmoid_spelled": (
        13,
        [("Add", "x three", "a", {}), ("Clip", "a lo six", "c", {}), ("Div", "c six", "y", {})],
        {"three": np.array(3, F), "lo": np.array(0, F), "six": np.array(6, F)},
        "HARDSIGMOID",
    ),
}


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_activation(case: str, tmp_path: Path) -> None:
    opset, steps, consts, kind = ACTIVATIONS[case]
    graph = agree(net(steps, consts=consts, opset=opset), tmp_path)
    assert types(graph) == ["Activation"]
    assert graph.layers[1].act.kind == kind
    assert graph.layers[1].name == f"n{len(steps) - 1}"


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_activation_behind_a_conv(case: str, tmp_path: Path) -> None:
    """Fused where the vendor can, a layer of its own where it takes a table."""
    opset, steps, consts, kind = ACTIVATIONS[case]
    first: Step = ("Conv", "x0 w", "x", {})
    model = net([first, *steps], consts={**consts, "w": random(4, 4, 1, 1)}, opset=opset)
    model.graph.input[0].name = "x0"
    graph = agree(model, tmp_path)
    fused = kind in ("RELU", "RELU6", "CLIP", "LEAKYRELU", "PRELU")
    assert types(graph) == (["Convolution"] if fused else ["Convolution", "Activation"])
    assert graph.layers[-1].act.kind == kind


def test_swish_op(tmp_path: Path) -> None:
    """Newer than the runtime may be: compared with x * sigmoid(x)."""
    if not onnx.defs.has("Swish"):
        pytest.skip("the onnx package has no Swish")
    graph = load_model(save(net([("Swish", "x", "y", {})], opset=24), tmp_path))
    assert graph.layers[1].act.kind == "SILU"


def test_a_shared_sigmoid_stays(tmp_path: Path) -> None:
    """x * sigmoid(x) whose sigmoid is read elsewhere too."""
    steps: list[Step] = [
        ("Sigmoid", "x", "s", {}),
        ("Mul", "x s", "m", {}),
        ("Add", "m s", "y", {}),
    ]
    graph = agree(net(steps), tmp_path)
    assert sorted(types(graph)) == ["Activation", "Activation", "Eltwise"]
