"""What is not supported: all of it is listed, with reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.graph_nets import (
    F,
    Step,
    ints,
    net,
    random,
    save,
)

from r329fast.errors import UnsupportedModelError
from r329fast.graph import check_model, load_model
from r329fast.graph.check.constraints import supported_ops_markdown
from r329fast.graph.lower.families import OPERATORS


def test_all_issues_are_listed(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Round", "c", "i", {}),
        ("MaxPool", "i", "p", {"kernel_shape": [2, 2]}),
        ("Softmax", "p", "t", {"axis": 0}),
        ("Hardmax", "c", "e", {}),
        ("Resize", "e - k", "z", {"mode": "cubic"}),
        ("Identity", "z", "y", {}),
    ]
    consts = {"w": random(4, 4, 1, 1), "g": random(4), "k": np.array([1, 1, 2, 2], F)}
    path = save(net(steps, consts=consts, output="t y"), tmp_path)
    issues = check_model(path)
    assert [(issue.op, issue.layer) for issue in issues] == [
        ("Round", "n1"),
        ("Softmax", "n3"),
        ("Hardmax", "n4"),
        ("Resize", "n5"),
    ]
    assert all(issue.reason and issue.advice for issue in issues)
    with pytest.raises(UnsupportedModelError) as caught:
        load_model(path)
    assert caught.value.issues == tuple(issues)
    assert "\n" not in caught.value.message
    assert check_model(path, outputs=["c"]) == []


def test_unknown_domains(tmp_path: Path) -> None:
    model = net([("Relu", "x", "t", {}), ("FusedThing", "t", "u", {}), ("Relu", "u", "y", {})])
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    issues = check_model(save(model, tmp_path))
    assert [issue.op for issue in issues] == ["com.example.FusedThing"]


@pytest.mark.parametrize("opset", [1, 6, 99])
def test_opset_range(opset: int, tmp_path: Path) -> None:
    model = net([("Relu", "x", "y", {})])
    model.opset_import[0].version = opset
    issues = check_model(save(model, tmp_path))
    assert [issue.op for issue in issues] == ["model"]
    assert str(opset) in issues[0].reason


UNSUPPORTED: dict[str, tuple[int, list[Step], dict[str, np.ndarray], tuple[Any, ...]]] = {
    "conv3d": (13, [("Conv", "x w", "y", {})], {"w": random(4, 4, 3, 1, 1)}, ("N", 4, 5, 5, 5)),
    "conv_computed": (
        13,
        [("Relu", "x", "r", {}), ("Conv", "x r", "y", {})],
        {},
        (4, 4, 3, 3),
    ),
    "conv_group": (13, [("Conv", "x w", "y", {"group": 2})], {"w": random(4, 4, 1, 1)}, ()),
    "pool_indices": (
        13,
        [("MaxPool", "x", "t i", {"kernel_shape": [2, 2]}), ("Cast", "i", "y", {"to": 1})],
        {},
        (),
    ),
    "norm_training": (
        15,
        [("BatchNormalization", "x s s s s", "y a b", {"training_mode": 1})],
        {"s": np.ones(4, F)},
        (),
    ),
    "clip_computed": (
        13,
        [("GlobalMaxPool", "x", "m", {}), ("Clip", "x m", "y", {})],
        {},
        (),
    ),
    "celu_zero": (13, [("Celu", "x", "y", {"alpha": 0.0})], {}, ()),
    "depth_fraction": (13, [("DepthToSpace", "x", "y", {"blocksize": 3})], {}, ()),
    "space_fraction": (13, [("SpaceToDepth", "x", "y", {"blocksize": 2})], {}, ()),
    "slope": (13, [("PRelu", "x s", "y", {})], {"s": random(4, 6, 7)}, ()),
    "two_constants": (13, [("Sum", "x c c", "y", {})], {"c": np.array(1, F)}, ()),
    "gemm_trans": (13, [("Gemm", "x w", "y", {"transA": 1})], {"w": random(3, 2)}, (3, 5)),
    "gemm_bias": (13, [("Gemm", "x w b", "y", {})], {"w": random(5, 2), "b": random(3, 1)}, (3, 5)),
    "matmul_images": (13, [("MatMul", "w x", "y", {})], {"w": random(2, 2, 3)}, (2, 3, 5)),
    "gemm_three": (13, [("Gemm", "x x x", "y", {})], {}, (1, 1)),
    "gemm_batch": (13, [("Gemm", "x x", "y", {"transB": 1})], {}, ("N", 7)),
    "reshape_batch": (13, [("Reshape", "x s", "y", {})], {"s": ints(24, -1)}, ()),
    "transpose_batch": (
        13,
        [("Transpose", "x", "t", {"perm": [1, 0, 2, 3]}), ("Softmax", "t", "y", {"axis": 1})],
        {},
        (),
    ),
    "matmul_batch": (
        13,
        [("Transpose", "x", "t", {"perm": [1, 2, 0]}), ("MatMul", "t t", "y", {})],
        {},
        (3, 4, 3),
    ),
    "squeezed_batch": (13, [("Squeeze", "x", "y", {})], {}, ("N", 4, 1, 1)),
    "gathered_image": (13, [("Gather", "x i", "y", {})], {"i": ints(0)}, ()),
    "conv_of_joined": (
        13,
        [("Reshape", "x s", "t", {}), ("Conv", "t w", "y", {})],
        {"s": ints(-1, 2, 6, 7), "w": random(3, 2, 1, 1)},
        (),
    ),
    "concat_batch": (13, [("Concat", "x x", "y", {"axis": 0})], {}, ()),
    "concat_constant": (
        13,
        [("Concat", "x c", "y", {"axis": 1})],
        {"c": random(2, 2, 6, 7)},
        (2, 4, 6, 7),
    ),
    "split_batch": (13, [("Split", "x", "y z", {"axis": 0})], {}, (2, 4)),
    "slice_back": (
        13,
        [("Slice", "x b e a s", "y", {})],
        {"b": ints(-1), "e": ints(-9), "a": ints(2), "s": ints(-1)},
        (),
    ),
    "pad_negative": (13, [("Pad", "x p", "y", {})], {"p": ints(0, 0, -1, 0, 0, 0, 0, 0)}, ()),
    "pad_batch": (13, [("Pad", "x p", "y", {})], {"p": ints(1, 0, 0, 0, 0, 0, 0, 0)}, ()),
    "softmax_batch": (13, [("Softmax", "x", "y", {"axis": 0})], {}, ()),
    "softmax_part": (11, [("Softmax", "x", "y", {"axis": 2})], {}, ()),
    "lrn_vector": (13, [("LRN", "x", "y", {"size": 3})], {}, ("N", 4, 6)),
    "resize_fraction": (
        13,
        [("Resize", "x - s", "y", {})],
        {"s": np.array([1, 1, 1.3, 1.3], F)},
        (),
    ),
    "resize_channels": (13, [("Resize", "x - - s", "y", {})], {"s": ints(1, 8, 6, 7)}, ()),
    "cast_to_int": (13, [("Cast", "x", "t", {"to": 6}), ("Cast", "t", "y", {"to": 1})], {}, ()),
    "output_is_input": (13, [("Identity", "x", "y", {})], {}, ()),
    "constant_output": (13, [("Constant", "", "y", {"value_float": 1.0})], {}, ()),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_unsupported_form(case: str, tmp_path: Path) -> None:
    opset, steps, consts, shape = UNSUPPORTED[case]
    path = save(net(steps, shape or ("N", 4, 6, 7), consts, opset), tmp_path)
    issues = check_model(path)
    assert len({issue.layer for issue in issues}) == 1, issues
    assert issues[0].reason
    assert issues[0].advice


def test_integer_input(tmp_path: Path) -> None:
    model = net([("Cast", "x", "t", {"to": 1}), ("Relu", "t", "y", {})])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    (issue,) = check_model(save(model, tmp_path))
    assert "int32" in issue.reason


def test_every_constraint_has_its_words() -> None:
    for row in OPERATORS.values():
        for constraint in row.needs:
            assert constraint.__doc__


def test_documented_operators_are_up_to_date() -> None:
    """`python -m r329fast.graph.check.constraints` rewrites the file."""
    page = Path(__file__).resolve().parents[2] / "docs" / "supported_ops.md"
    assert page.read_text(encoding="utf-8") == supported_ops_markdown()


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    steps: list[Step] = [("GlobalMaxPool", "x", "p", {}), ("Concat", "x p", "y", {"axis": 1})]
    (issue,) = check_model(save(net(steps), tmp_path))
    assert "fit together" in issue.reason
