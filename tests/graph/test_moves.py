"""Arithmetic between tensors and data movement, against onnxruntime on the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graph_nets import (
    CONV_W,
    F,
    Step,
    agree,
    ints,
    net,
    types,
)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Max", "Min", "Sum"])
@pytest.mark.parametrize("relu", [False, True])
def test_eltwise(op: str, relu: bool, tmp_path: Path) -> None:
    steps: list[Step] = [("Tanh", "x", "t", {}), (op, "x t", "u", {})]
    steps.append(("Relu", "u", "y", {}) if relu else ("Identity", "u", "y", {}))
    graph = agree(net(steps), tmp_path)
    assert types(graph) == ["Activation", "Eltwise"]
    assert graph.layers[-1].act.kind == ("RELU" if relu else "NONE")
    assert graph.outputs == ("n1",)


@pytest.mark.parametrize("op", ["Add", "Mul", "Max"])
@pytest.mark.parametrize("order", ["x t", "t x"])
def test_eltwise_broadcast(op: str, order: str, tmp_path: Path) -> None:
    steps: list[Step] = [("GlobalAveragePool", "x", "t", {}), (op, order, "y", {})]
    graph = agree(net(steps), tmp_path)
    assert graph.layers[-1].inputs == ("x", "n0")  # the one that broadcasts comes second


def test_sum_of_three(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Sigmoid", "x", "a", {}),
        ("Tanh", "x", "b", {}),
        ("Sum", "x a b", "s", {}),
        ("Relu", "s", "y", {}),
    ]
    graph = agree(net(steps), tmp_path)
    assert types(graph) == ["Activation", "Activation", "Eltwise", "Eltwise"]
    assert [layer.act.kind for layer in graph][-2:] == ["NONE", "RELU"]
    assert graph.outputs == ("n2",)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_depth_to_space(mode: str, block: int, tmp_path: Path) -> None:
    steps: list[Step] = [("DepthToSpace", "x", "y", {"blocksize": block, "mode": mode})]
    graph = agree(net(steps, shape=("N", 5 * block**2, 3, 4)), tmp_path)
    assert types(graph) == ["DepthToSpace"]
    assert graph.shapes[graph.outputs[0]] == (3 * block, 4 * block, 5)


@pytest.mark.parametrize("block", [1, 2, 3])
def test_space_to_depth_and_back(block: int, tmp_path: Path) -> None:
    steps: list[Step] = [
        ("SpaceToDepth", "x", "d", {"blocksize": block}),
        ("DepthToSpace", "d", "y", {"blocksize": block}),
    ]
    graph = agree(net(steps, shape=("N", 5, 3 * block, 2 * block)), tmp_path)
    assert types(graph) == ["SpaceToDepth", "DepthToSpace"]
    assert graph.shapes[graph.layers[1].outputs[0]] == (3, 2, 5 * block**2)


def test_square(tmp_path: Path) -> None:
    model = net([("Pow", "x e", "y", {})], consts={"e": np.array(2, F)})
    assert types(agree(model, tmp_path)) == ["Eltwise"]


# --- data movement ----------------------------------------------------------------------------

MOVES: dict[str, tuple[int, list[Step], dict[str, np.ndarray], list[str]]] = {
    "transpose": (13, [("Transpose", "r", "y", {"perm": [0, 3, 1, 2]})], {}, ["Transpose"]),
    "to_nhwc": (13, [("Transpose", "r", "y", {"perm": [0, 2, 3, 1]})], {}, []),
    "flatten_1x1": (
        13,
        [("GlobalMaxPool", "r", "p", {}), ("Flatten", "p", "y", {})],
        {},
        ["Pooling", "Reshape"],
    ),
    "squeeze_11": (
        11,
        [("GlobalMaxPool", "r", "p", {}), ("Squeeze", "p", "y", {"axes": [2, 3]})],
        {},
        ["Pooling", "Reshape"],
    ),
    "squeeze_13": (
        13,
        [("GlobalMaxPool", "r", "p", {}), ("Squeeze", "p a", "y", {})],
        {"a": ints(-1, -2)},
        ["Pooling", "Reshape"],
    ),
    "unsqueeze": (
        13,
        [
            ("GlobalMaxPool", "r", "p", {}),
            ("Flatten", "p", "f", {}),
            ("Unsqueeze", "f a", "u", {}),
            ("Mul", "r u", "y", {}),
        ],
        {"a": ints(2, 3)},
        ["Pooling", "Reshape", "Reshape", "Eltwise"],
    ),
    "concat_channels": (
        13,
        [("Sigmoid", "r", "s", {}), ("Concat", "r s", "y", {"axis": 1})],
        {},
        ["Activation", "Concat"],
    ),
    "concat_width": (
        13,
        [("Sigmoid", "r", "s", {}), ("Concat", "r s r", "y", {"axis": -1})],
        {},
        ["Activation", "Concat"],
    ),
    "split_attr": (
        11,
        [("Split", "r", "a b", {"axis": 1, "split": [1, 3]}), ("Concat", "b a", "y", {"axis": 1})],
        {},
        ["Split", "Concat"],
    ),
    "split_input": (
        13,
        [("Split", "r s", "a b", {"axis": 2}), ("Concat", "b a", "y", {"axis": 2})],
        {"s": ints(2, 4)},
        ["Split", "Concat"],
    ),
    "split_equal": (
        13,
        [("Split", "r", "a b", {"axis": 1}), ("Add", "b a", "y", {})],
        {},
        ["Split", "Eltwise"],
    ),
    "split_num_outputs": (
        18,
        [
            ("Split", "r", "a b", {"axis": 3, "num_outputs": 2}),
            ("Concat", "b a", "y", {"axis": 3}),
        ],
        {},
        ["Split", "Concat"],
    ),
    "slice_attr": (
        9,
        [("Slice", "r", "y", {"starts": [1, 0], "ends": [3, -1], "axes": [1, 3]})],
        {},
        ["Slice"],
    ),
    "slice_input": (
        13,
        [("Slice", "r b e a s", "y", {})],
        {"b": ints(1, 0), "e": ints(2**62, -1), "a": ints(2, -1), "s": ints(2, 3)},
        ["Slice"],
    ),
    "slice_whole": (13, [("Slice", "r b e", "y", {})], {"b": ints(0), "e": ints(9)}, []),
    "pad_attr": (
        9,
        [("Pad", "r", "y", {"pads": [0, 1, 2, 0, 0, 0, 1, 3], "value": 1.5})],
        {},
        ["Pad"],
    ),
    "pad_input": (
        13,
        [("Pad", "r p v", "y", {})],
        {"p": ints(0, 0, 1, 2, 0, 0, 3, 4), "v": np.array(-1, F)},
        ["Pad"],
    ),
    "pad_axes": (
        18,
        [("Pad", "r p - a", "y", {"mode": "edge"})],
        {"p": ints(1, 2, 3, 4), "a": ints(2, -1)},
        ["Pad"],
    ),
    "pad_reflect": (
        13,
        [("Pad", "r p", "y", {"mode": "reflect"})],
        {"p": ints(0, 0, 1, 2, 0, 0, 3, 4)},
        ["Pad"],
    ),
    "pad_folds": (
        13,
        [("Pad", "r p", "t", {}), ("Conv", "t w", "y", {"pads": [1, 0, 0, 0]})],
        {"p": ints(0, 0, 1, 2, 0, 0, 0, 1), "w": CONV_W},
        ["Convolution"],
    ),
    "pad_channels_stays": (
        13,
        [("Pad", "r p", "t", {}), ("Conv", "t w", "y", {})],
        {"p": ints(0, 1, 0, 0, 0, 1, 0, 0), "w": CONV_W[:, [0, 1, 2, 3, 0, 1]]},
        ["Pad", "Convolution"],
    ),
    "dropout": (13, [("Dropout", "r", "y", {})], {}, []),
    "dropout_7": (7, [("Dropout", "r", "y", {"ratio": 0.3})], {}, []),
    "cast": (13, [("Cast", "r", "y", {"to": 1})], {}, []),
    "shuffle": (
        13,
        [
            ("Reshape", "r s", "a", {}),
            ("Transpose", "a", "b", {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", "b t", "y", {}),
        ],
        {"s": ints(0, 2, 2, 6, 7), "t": ints(0, 4, 6, 7)},
        ["ChannelShuffle"],
    ),
    "half_a_shuffle": (
        13,
        [
            ("Reshape", "r s", "a", {}),
            ("Transpose", "a", "b", {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", "b t", "y", {}),
        ],
        {"s": ints(-1, 2, 2, 6, 7), "t": ints(-1, 2, 84)},
        [],
    ),
    "detection_head": (
        13,
        [("Transpose", "r", "t", {"perm": [0, 2, 3, 1]}), ("Reshape", "t s", "y", {})],
        {"s": ints(-1, 84, 2)},
        ["Reshape"],
    ),
    "merge_positions": (
        13,
        [
            ("Reshape", "r s", "t", {}),
            ("Transpose", "t", "u", {"perm": [0, 2, 1]}),
            ("Softmax", "u", "y", {"axis": -1}),
        ],
        {"s": ints(0, 4, -1)},
        ["Reshape", "Softmax"],
    ),
    "space_to_depth": (
        13,
        [
            ("Reshape", "r s", "a", {}),
            ("Transpose", "a", "b", {"perm": [0, 1, 3, 5, 2, 4]}),
            ("Reshape", "b t", "y", {}),
        ],
        {"s": ints(0, 4, 3, 2, 7, 1), "t": ints(0, 8, 3, 7)},
        [],
    ),
}


@pytest.mark.parametrize("case", MOVES)
def test_move(case: str, tmp_path: Path) -> None:
    opset, steps, consts, expected = MOVES[case]
    first: list[Step] = [] if steps[0][1].split()[0] == "x" else [("Relu", "x", "r", {})]
    graph = agree(net([*first, *steps], consts=consts, opset=opset), tmp_path)
    if not expected and "Transpose" in str(steps[1:]):  # right numbers are all that matters
        return
    assert types(graph) == ["Activation"] * len(first) + expected


@pytest.mark.parametrize("opset", [7, 11, 13])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape", [("N", 9), ("N", 9, 1, 1), ("N", 3, 4, 5), ("N", 3, 4)])
def test_softmax(op: str, opset: int, shape: tuple[Any, ...], tmp_path: Path) -> None:
    agree(net([(op, "x", "y", {"axis": 1})], shape, opset=opset), tmp_path)


@pytest.mark.parametrize("axis", [2, 3, -1, -2])
def test_softmax_axes(axis: int, tmp_path: Path) -> None:
    agree(net([("Softmax", "x", "y", {"axis": axis})]), tmp_path)


def test_lrn(tmp_path: Path) -> None:
    attrs = {"size": 3, "alpha": 0.02, "beta": 0.6, "bias": 2.0}
    assert types(agree(net([("LRN", "x", "y", attrs)]), tmp_path)) == ["LRN"]
