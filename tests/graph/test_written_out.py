"""What a file says in a roundabout way: If, Einsum, computed sizes, products with a factor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.graph_nets import F, Step, agree, ints, net, random, save, session, types

from r329fast.calibration import calibrate
from r329fast.errors import FileError
from r329fast.graph import FloatSession, check_model, load_model
from r329fast.graph.ir import MatMulAttrs
from r329fast.quantization import SCHEMES, quantize
from r329fast.reference import run_program
from r329fast.simulator import Simulator

EINSUMS = {
    "bij,bjk->bik": ((5, 7), (7, 3)),
    "bid,bjd->bij": ((5, 7), (4, 7)),
    "bhid,bhjd->bhij": ((2, 5, 7), (2, 4, 7)),
    "b g i h d, b g j h d -> b g h i j": ((2, 5, 3, 4), (2, 6, 3, 4)),
    "bchw,bkhw->bck": ((3, 4, 5), (6, 4, 5)),
    "bcij,bkij->bckj": ((3, 4, 5), (6, 4, 5)),
    "...ij,...jk->...ik": ((2, 5, 7), (2, 7, 3)),
    "bij,bij->bj": ((5, 7), (5, 7)),
    "bij,bkl->bil": ((5, 7), (2, 3)),
    "bi,bj->bij": ((5,), (7,)),
}


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum_of_two(equation: str, tmp_path: Path) -> None:
    a, b = EINSUMS[equation]
    steps: list[Step] = [("Einsum", "x z", "r", {"equation": equation}), ("Tanh", "r", "y", {})]
    agree(net(steps, ("N", *a), opset=13, more_inputs={"z": ("N", *b)}), tmp_path, scale=0.3)


@pytest.mark.parametrize(
    ("equation", "shape", "const", "kind"),
    [
        ("bnc,cd->bnd", (5, 7), (7, 3), "Convolution"),
        ("nc,dc->nd", (7,), (3, 7), "FullyConnected"),
        ("bchw,cd->bdhw", (4, 6, 7), (4, 3), "Convolution"),
        ("dc,bcn->bdn", (4, 9), (3, 4), "Convolution"),
        ("bhnc,hcd->bhnd", (2, 5, 7), (2, 7, 3), "MatMul"),
        ("bnc,c->bn", (5, 7), (7,), "Convolution"),
        ("bhnc,hc->bhn", (2, 5, 7), (2, 7), "MatMul"),
    ],
)
def test_einsum_with_a_constant(
    equation: str, shape: tuple[int, ...], const: tuple[int, ...], kind: str, tmp_path: Path
) -> None:
    left = equation.startswith("dc")
    inputs = "w x" if left else "x w"
    steps: list[Step] = [("Einsum", inputs, "r", {"equation": equation}), ("Tanh", "r", "y", {})]
    graph = agree(net(steps, ("N", *shape), {"w": random(*const)}, 13), tmp_path, scale=0.3)
    assert kind in types(graph)


@pytest.mark.parametrize("equation", ["bchw->bhwc", "bchw->bc", "bchw->bwh", "...hw->...wh"])
def test_einsum_of_one(equation: str, tmp_path: Path) -> None:
    steps: list[Step] = [("Einsum", "x", "r", {"equation": equation}), ("Tanh", "r", "y", {})]
    agree(net(steps, opset=13), tmp_path, scale=0.3)


# a stray dot sends onnx's own shape inference into an endless loop
@pytest.mark.parametrize(
    "equation", ["bii->bi", "bij,bjk,bkl->bil", "..bij->b", "bij.->b", "b....j"]
)
def test_other_einsums_are_refused(equation: str, tmp_path: Path) -> None:
    inputs = "x" if "," not in equation else "x x x"
    model = net([("Einsum", inputs, "y", {"equation": equation})], ("N", 5, 5), opset=13)
    (issue,) = check_model(save(model, tmp_path))
    assert issue.op == "Einsum"
    assert "one or two tensors" in issue.advice


def branches(condition: bool) -> onnx.ModelProto:
    """Squeeze if an axis is 1, as torch exports it; one branch reads and names outer tensors."""
    then = helper.make_graph(
        [helper.make_node("Mul", ["r", "two"], ["t"]), helper.make_node("Neg", ["t"], ["u"])],
        "then", [], [helper.make_empty_tensor_value_info("u")],
        [numpy_helper.from_array(np.array(2, F), "two")],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Identity", ["r"], ["e"])],
        "else", [], [helper.make_empty_tensor_value_info("e")],
    )  # fmt: skip
    steps: list[Step] = [
        ("Relu", "x", "r", {}),
        ("Shape", "x", "s", {}),
        ("Gather", "s one", "n", {}),
        ("Equal", "n size", "c", {}),
        ("If", "c", "i", {"then_branch": then, "else_branch": other}),
        ("Sigmoid", "i", "t2", {}),
        ("Add", "t2 x", "y", {}),
    ]
    size = 4 if condition else 1
    return net(steps, consts={"one": ints(1), "size": ints(size)}, opset=13)


@pytest.mark.parametrize("condition", [True, False])
def test_if_whose_condition_folds(condition: bool, tmp_path: Path) -> None:
    graph = agree(branches(condition), tmp_path)
    assert ("BatchNorm" in types(graph)) is condition


def test_if_in_an_if_and_a_name_used_twice(tmp_path: Path) -> None:
    """The outer graph has a tensor of the name that the branch uses, which onnx forbids in
    strictness and some exporters write."""
    true = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    inner = helper.make_graph(
        [helper.make_node("Tanh", ["r"], ["v"])], "a", [],
        [helper.make_empty_tensor_value_info("v")],
    )  # fmt: skip
    outer = helper.make_graph(
        [true, helper.make_node("If", ["yes"], ["w"], then_branch=inner, else_branch=inner)],
        "b", [], [helper.make_empty_tensor_value_info("w")],
    )  # fmt: skip
    steps: list[Step] = [
        ("Relu", "x", "r", {}),
        ("If", "c", "i", {"then_branch": outer, "else_branch": outer}),
        ("If", "c", "j", {"then_branch": outer, "else_branch": outer}),
        ("Add", "i j", "y", {}),
    ]
    model = net(steps, consts={"c": np.array(True)}, opset=13)
    graph = load_model(save(model, tmp_path))
    assert types(graph) == ["Activation", "Activation", "Activation", "Eltwise"]


def test_if_that_stays_is_refused(tmp_path: Path) -> None:
    model = branches(True)
    for node, op in zip(model.graph.node[1:4], ("ReduceMax", "Identity", "Greater"), strict=True):
        node.op_type = op
        del node.input[1 if op != "Greater" else 2 :]
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array(1, F), "size"))
    assert "If" in {issue.op for issue in check_model(save(model, tmp_path))}


def test_sizes_that_fold(tmp_path: Path) -> None:
    """Range from a Shape, ConstantOfShape, Expand of a constant, ScatterND: a position code."""
    steps: list[Step] = [
        ("Shape", "x", "s", {"start": 2, "end": 3}),
        ("Squeeze", "s", "n", {}),
        ("Range", "zero n one", "r", {}),
        ("Cast", "r", "f", {"to": TensorProto.FLOAT}),
        ("Concat", "four s", "size", {"axis": 0}),
        ("Expand", "f size", "e", {}),
        ("ConstantOfShape", "size", "o", {}),
        ("Add", "e o", "p", {}),
        ("Unsqueeze", "p three", "u", {}),
        ("Add", "x u", "y", {}),
    ]
    consts = {
        "zero": np.array(0, np.int64), "one": np.array(1, np.int64), "four": ints(4),
        "three": ints(2),
    }  # fmt: skip
    graph = agree(net(steps, consts=consts, opset=17), tmp_path)
    assert types(graph) == ["Constant", "Eltwise"]


def test_large_constants_that_fold(tmp_path: Path) -> None:
    """A position code behind a 1x1 convolution, too large for onnx's own reference (EdgeNeXt)."""
    steps: list[Step] = [("Conv", "code w b", "p", {}), ("Add", "x p", "y", {})]
    consts = {"code": random(1, 24, 60, 60), "w": random(4, 24, 1, 1), "b": random(4)}
    graph = agree(net(steps, ("N", 4, 60, 60), consts, 13), tmp_path)
    assert types(graph) == ["Constant", "Eltwise"]


@pytest.mark.parametrize("attrs", [{}, {"then_branch": 3, "else_branch": 4}])
def test_if_without_branches(attrs: dict[str, int], tmp_path: Path) -> None:
    steps: list[Step] = [("Relu", "x", "r", {}), ("If", "c", "y", attrs)]
    with pytest.raises(FileError, match="consistent ONNX model"):
        check_model(save(net(steps, consts={"c": np.array(True)}, opset=13), tmp_path))


@pytest.mark.parametrize("op", ["GatherND", "ScatterND"])
def test_tables_that_fold(op: str, tmp_path: Path) -> None:
    """A table of position biases picked by place, a mask written by place (Swin)."""
    picks = np.random.default_rng(0).permutation(80)[:60].reshape(60, 1)
    consts = {"t": random(80, 1200), "i": picks, "u": random(60, 1200, seed=1)}
    inputs = "t i" if op == "GatherND" else "t i u"
    rows = 60 if op == "GatherND" else 80
    steps: list[Step] = [(op, inputs, "p", {}), ("Add", "x p", "y", {})]
    graph = agree(net(steps, ("N", rows, 1200), consts, 13), tmp_path)
    assert types(graph) == ["Constant", "Eltwise"]


def scaled(op: str, factor: np.ndarray, between: bool = False) -> onnx.ModelProto:
    steps: list[Step] = [
        ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
        ("MatMul", "x t", "m", {}),
        ("Reshape", "m s", "r", {}) if between else ("Identity", "m", "r", {}),
        (op, "r f", "c", {}),
        ("Softmax", "c", "y", {}),
    ]
    return net(steps, ("N", 5, 7), {"f": factor, "s": ints(0, 1, 5, 5)}, 13)


@pytest.mark.parametrize("op", ["Mul", "Div"])
@pytest.mark.parametrize("between", [False, True])
def test_a_factor_goes_into_the_product(op: str, between: bool, tmp_path: Path) -> None:
    graph = agree(scaled(op, np.array(0.25, F), between), tmp_path)
    (product,) = (layer for layer in graph if layer.type == "MatMul")
    assert product.params(MatMulAttrs).multiplier == (0.25 if op == "Mul" else 4.0)
    assert types(graph).count("Crop") == 1
    assert types(graph).count("BatchNorm") == 0


@pytest.mark.parametrize("factor", [np.array(-0.25, F), np.array([1, 2, 3, 4, 5], F)])
def test_other_factors_stay(factor: np.ndarray, tmp_path: Path) -> None:
    graph = agree(scaled("Mul", factor), tmp_path)
    assert types(graph).count("BatchNorm") == 1


def test_product_of_two_activations_by_gemm(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Squeeze", "x zero", "a", {}),
        ("Gemm", "a a", "g", {"transB": 1}),
        ("Unsqueeze", "g zero", "y", {}),
    ]
    model = net(steps, (1, 5, 7), {"zero": ints(0)}, 13)
    graph = load_model(save(model, tmp_path))
    assert "Gemm" in types(graph)
    x = random(1, 5, 7)
    (wanted,) = session(model).run(None, {"x": x})
    (found,) = FloatSession(graph).run(x).values()
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["factor", "gemm", "einsum"])
def test_integers(kind: str, scheme: str, tmp_path: Path) -> None:
    models = {
        "factor": scaled("Mul", np.array(0.25, F), True),
        "gemm": net(
            [("Squeeze", "x zero", "a", {}), ("Gemm", "a a", "g", {"transB": 1}),
             ("Unsqueeze", "g zero", "y", {})],
            (1, 5, 7), {"zero": ints(0)}, 13,
        ),
        "einsum": net(
            [("Einsum", "x x", "y", {"equation": "bighd,bjghd->bhij"})], ("N", 3, 2, 2, 4), opset=13
        ),
    }  # fmt: skip
    graph = load_model(save(models[kind], tmp_path))
    (name,) = graph.inputs
    x = random(6, *graph.shapes[name])
    program = quantize(graph, calibrate(graph, x, scheme), scheme)
    feed = {name: program.quantize_input(x)}
    wanted = run_program(program, feed)
    for key, values in Simulator(program).run(feed, keep=tuple(program.tensors)).items():
        np.testing.assert_array_equal(values, wanted[key])
