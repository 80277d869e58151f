"""Layouts, names, folded constants, operator sets, and the way back to ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from support.graph_nets import (
    BN,
    CONV_W,
    F,
    Step,
    agree,
    compare,
    ints,
    net,
    random,
    save,
    session,
    types,
)

from r329fast.graph import load_model
from r329fast.graph.activations import BY_OPERATOR
from r329fast.graph.export.to_onnx import to_onnx


def test_nhwc_input(tmp_path: Path) -> None:
    """TensorFlow exports: NHWC ends, arithmetic in front of the transpose."""
    steps: list[Step] = [
        ("Sub", "x mean", "t", {}),
        ("Transpose", "t", "u", {"perm": [0, 3, 1, 2]}),
        ("Conv", "u w", "c", {"pads": [1, 1, 1, 1]}),
        ("Transpose", "c", "y", {"perm": [0, 2, 3, 1]}),
    ]
    consts = {"mean": random(4), "w": CONV_W}
    graph = agree(net(steps, ("N", 6, 7, 4), consts), tmp_path)
    assert types(graph) == ["Convolution"]
    assert graph.input_layouts == {"x": "NHWC"}
    assert graph.shapes["x"] == (6, 7, 4)
    assert graph.onnx_axes["n2"] == (0, 1, 2)


def test_nchw_and_plain_inputs(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("GlobalAveragePool", "x", "p", {}),
        ("Flatten", "p", "f", {}),
        ("Add", "f z", "y", {}),
    ]
    graph = agree(net(steps, more_inputs={"z": ("N", 4)}), tmp_path)
    assert graph.input_layouts == {"x": "NCHW", "z": "plain"}
    assert graph.inputs == ("x", "z")


def test_reshape_target_from_the_batch(tmp_path: Path) -> None:
    """view(x.size(0), -1) as torch exports it."""
    steps: list[Step] = [
        ("GlobalAveragePool", "x", "p", {}),
        ("Shape", "p", "s", {}),
        ("Gather", "s zero", "n", {"axis": 0}),
        ("Unsqueeze", "n axes", "u", {}),
        ("Concat", "u rest", "t", {"axis": 0}),
        ("Reshape", "p t", "y", {}),
    ]
    consts = {"zero": np.array(0, np.int64), "axes": ints(0), "rest": ints(-1)}
    assert types(agree(net(steps, consts=consts), tmp_path)) == ["Pooling", "Reshape"]


def test_constants_fold(tmp_path: Path) -> None:
    """Weights computed from constants, a Constant node, a cast, a ConstantOfShape."""
    value = numpy_helper.from_array(np.array([2.0], F))
    steps: list[Step] = [
        ("Constant", "", "two", {"value": numpy_helper.from_array(np.array(2.0, F))}),
        ("Constant", "", "three", {"value_float": 3.0}),
        ("Mul", "w two", "w2", {}),
        ("Add", "w2 three", "w3", {}),
        ("ConstantOfShape", "s", "b", {"value": value}),
        ("Conv", "x w3 b", "y", {}),
    ]
    graph = agree(net(steps, consts={"w": CONV_W, "s": ints(6)}), tmp_path)
    assert types(graph) == ["Convolution"]


def test_unsorted_nodes_are_sorted(tmp_path: Path) -> None:
    model = net([("Relu", "x", "t", {}), ("Tanh", "t", "y", {})])
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert [layer.name for layer in load_model(save(model, tmp_path))] == ["x", "n0", "n1"]


def test_names_of_unnamed_and_twice_named_nodes(tmp_path: Path) -> None:
    model = net([("Relu", "x", "t", {}), ("Tanh", "t", "u", {}), ("Sigmoid", "u", "y", {})])
    model.graph.node[0].name = ""
    model.graph.node[2].name = "n1"
    names = [layer.name for layer in load_model(save(model, tmp_path))]
    assert names == ["x", "t", "n1", "n1_1"]


def test_external_ends(tmp_path: Path) -> None:
    """`to_onnx` by itself: NHWC at the ends, a valid model, equal to what the session gives."""
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Relu", "c", "r", {}),
        ("Flatten", "r", "f", {}),
        ("Gemm", "f k", "y", {"transB": 1}),
    ]
    consts = {"w": CONV_W, "k": random(3, 120)}
    graph = load_model(save(net(steps, consts=consts), tmp_path))
    x = random(3, 6, 7, 4)
    for keep in ("outputs", "all", ["n0"]):
        model = to_onnx(graph, keep)
        onnx.checker.check_model(model, full_check=True)
        names = [value.name for value in model.graph.output]
        results = dict(zip(names, session(model).run(None, {"x": x}), strict=True))
        for name, value in results.items():
            assert value.shape == (3, *graph.shapes[name])
    again = load_model(save(to_onnx(graph), tmp_path))
    assert again.shapes[again.outputs[0]] == (3,)
    compare(again, to_onnx(graph))


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22])
def test_opsets(opset: int, tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("BatchNormalization", "c g b m v", "n", {}),
        ("Relu", "n", "r", {}),
        ("MaxPool", "r", "p", {"kernel_shape": [2, 2]}),
        ("Flatten", "p", "f", {}),
        ("Gemm", "f k z", "y", {"transB": 1}),
    ]
    consts = {"w": random(4, 4, 3, 3), "k": random(3, 4 * 3 * 4), "z": random(3), **BN}
    graph = agree(net(steps, consts=consts, opset=opset), tmp_path)
    assert types(graph) == ["Convolution", "Pooling", "Reshape", "FullyConnected"]


def test_half_precision_constants(tmp_path: Path) -> None:
    """Weights stored as float16 and cast to float in the graph."""
    steps: list[Step] = [("Cast", "h", "w", {"to": TensorProto.FLOAT}), ("Conv", "x w", "y", {})]
    model = net(steps, consts={"h": CONV_W.astype(np.float16)})
    graph = agree(model, tmp_path)
    assert graph.layers[1].consts["weights"].dtype == np.float32


def test_graph_name(tmp_path: Path) -> None:
    path = save(net([("Relu", "x", "y", {})]), tmp_path)
    assert load_model(path).name == "net"
    assert load_model(path, name="other").name == "other"


def test_newest_opset(tmp_path: Path) -> None:
    """Whatever the onnx package knows is read; the runtime may be behind, so nothing is run."""
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("BatchNormalization", "c g b m v", "n", {}),
        ("Relu", "n", "r", {}),
        ("AveragePool", "r", "p", {"kernel_shape": [2, 2]}),
        ("Reshape", "p s", "y", {}),
    ]
    consts = {"w": random(4, 4, 3, 3), "s": ints(0, -1), **BN}
    model = net(steps, consts=consts, opset=onnx.defs.onnx_opset_version())
    graph = load_model(save(model, tmp_path))
    assert types(graph) == ["Convolution", "Pooling", "Transpose", "Reshape"]


@pytest.mark.parametrize("op", [op for op, (_, row) in BY_OPERATOR.items() if row.keeps_order])
def test_activations_behind_a_flatten_move_nothing(op: str, tmp_path: Path) -> None:
    """The weights behind take the order in which the map lies."""
    if not onnx.defs.has(op) or op == "Swish":  # newer than the runtime may be
        pytest.skip(f"no {op}")
    steps: list[Step] = [
        ("Flatten", "x", "f", {}),
        (op, "f", "a", {}),
        ("Gemm", "a w", "y", {}),
    ]
    model = net(steps, consts={"w": random(4 * 6 * 7, 3)}, opset=20)
    assert "Transpose" not in types(agree(model, tmp_path))
