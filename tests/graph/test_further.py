"""Broadcasting, reductions, transposed convolutions, gathers: against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from support.graph_nets import F, Step, agree, ints, net, random, types

MAP = ("N", 4, 6, 7)
# name -> (steps, constants, opset, input shape)
CASES: dict[str, tuple[list[Step], dict[str, np.ndarray], int, tuple[int | str, ...]]] = {}


def case(name: str, *steps: Step, opset: int = 13, shape: tuple[int | str, ...] = MAP, **consts):
    CASES[name] = (list(steps), consts, opset, shape)


for _axes in ([1], [2], [3], [1, 2], [2, 3], [1, 3], [-1]):
    for _keep in (0, 1):
        for _op in ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceL2"):
            case(f"{_op}_{_axes}_{_keep}", (_op, "x", "y", {"axes": _axes, "keepdims": _keep}))
case("mean_mean", ("ReduceMean", "x", "m", {"axes": [3], "keepdims": 0}),
     ("ReduceMean", "m", "y", {"axes": [2], "keepdims": 0}))  # fmt: skip
case("sum_axes_input", ("ReduceSum", "x a", "y", {}), a=ints(1))
case("tokens", ("ReduceMean", "x", "y", {"axes": [1], "keepdims": 0}), shape=("N", 5, 7))
for _op in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
    case(f"{_op}_map", (_op, "x c", "y", {}), c=np.abs(random(1, 4, 6, 7)) + F(1))
    case(f"{_op}_row", (_op, "x c", "y", {}), c=np.abs(random(6, 7)) + F(1))
    case(f"{_op}_left", (_op, "c x", "y", {}) if _op != "Div" else (_op, "c p", "y", {}),
         c=random(4, 6, 1)) if _op != "Div" else None  # fmt: skip
    case(f"{_op}_pixel", ("Sigmoid", "x", "p", {}),
         ("ReduceMax", "p", "m", {"axes": [1]}), (_op, "x m", "y", {}))  # fmt: skip
    case(f"{_op}_pixel_left", ("Sigmoid", "x", "p", {}),
         ("ReduceMax", "p", "m", {"axes": [1]}), (_op, "m p", "y", {}))  # fmt: skip
    case(f"{_op}_both", ("Sigmoid", "x", "p", {}), ("ReduceMax", "p", "m", {"axes": [2]}),
         ("ReduceMax", "p", "k", {"axes": [3]}), (_op, "m k", "y", {}))  # fmt: skip
case("grows", ("ReduceMax", "x", "m", {"axes": [1]}), ("Add", "m c", "y", {}), c=random(4, 1, 1))
case("reciprocal", ("Sigmoid", "x", "p", {}), ("Div", "c p", "y", {}), c=np.array(2, F))
case("inverse_map", ("Sigmoid", "x", "p", {}), ("Div", "c p", "y", {}), c=random(6, 7))
case("cube", ("Pow", "x c", "y", {}), c=np.array(3, F))
case("one", ("Pow", "x c", "p", {}), ("Relu", "p", "y", {}), c=np.array(1, F))
case("where", ("Where", "m x c", "y", {}), m=random(6, 7) > 0, c=np.array(-1.5, F))
case("where_two", ("Relu", "x", "r", {}), ("Where", "m x r", "y", {}), m=random(4, 1, 1) > 0)
case("where_all", ("Relu", "x", "r", {}), ("Where", "m r c", "y", {}),
     m=np.ones((1, 1), bool), c=np.array(1, F))  # fmt: skip
case(
    "expand", ("ReduceMax", "x", "m", {"axes": [1]}), ("Expand", "m s", "y", {}), s=ints(1, 5, 1, 1)
)
case("tile", ("Tile", "x r", "y", {}), r=ints(1, 2, 1, 3))
case("gather", ("Gather", "x i", "y", {"axis": 1}), i=ints(3, 0, -1))
case("gather_one", ("Gather", "x i", "y", {"axis": 2}), i=np.array(2, np.int64))
case("gather_table", ("Gather", "x i", "y", {"axis": 3}), i=ints(0, 3, 5, 6).reshape(2, 2))
case("arg", ("ArgMax", "x", "y", {"axis": 1}))
case("arg_last", ("ArgMin", "x", "y", {"axis": -1, "keepdims": 0, "select_last_index": 1}))
case("topk", ("TopK", "x k", "y z", {"axis": 1}), k=ints(3))
for _op in ("Abs", "Exp", "Sin", "Cos", "Erf", "Softsign", "Selu"):
    case(_op, (_op, "x", "y", {}))
case("layer", ("LayerNormalization", "x g b", "y", {"axis": 2}), opset=17,
     g=random(6, 7), b=random(6, 7, seed=1))  # fmt: skip
case("instance", ("InstanceNormalization", "x g b", "y", {}), g=random(4), b=random(4, seed=1))
case("group", ("GroupNormalization", "x g b", "y", {"num_groups": 2}), opset=21,
     g=random(4), b=random(4, seed=1))  # fmt: skip
case("lp", ("LpNormalization", "x", "y", {"axis": 1}))
_DECONVS = {
    "plain": {},
    "stride": {"strides": [2, 3]},
    "pads": {"strides": [2, 2], "pads": [1, 0, 1, 2]},
    "extra": {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    "extra_row": {"strides": [3, 2], "output_padding": [2, 0]},
    "dilation": {"dilations": [2, 1], "strides": [2, 1]},
    "upper": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "lower": {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "shape": {"strides": [2, 2], "output_shape": [12, 14]},
}
for _name, _attrs in _DECONVS.items():
    case(f"deconv_{_name}", ("ConvTranspose", "x w b", "y", _attrs), opset=11,
         w=random(4, 5, 3, 3), b=random(5))  # fmt: skip
case("deconv_groups", ("ConvTranspose", "x w", "d", {"group": 2, "strides": [2, 2]}),
     ("BatchNormalization", "d g h m v", "n", {}), ("Relu", "n", "y", {}),
     w=random(4, 3, 2, 2), g=random(6), h=random(6, seed=1), m=random(6, seed=2),
     v=np.abs(random(6, seed=3)) + F(0.5))  # fmt: skip
case("deconv_depthwise", ("ConvTranspose", "x w", "y", {"group": 4, "strides": [2, 2]}),
     w=random(4, 1, 4, 4))  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_form(name: str, tmp_path: Path) -> None:
    steps, consts, opset, shape = CASES[name]
    output = "y z" if name == "topk" else "y"
    model = net(steps, shape=shape, consts=consts, opset=opset, output=output)
    if name in ("arg", "arg_last", "topk"):
        model.graph.output[-1].type.tensor_type.elem_type = TensorProto.INT64
    agree(model, tmp_path)


def test_deconv_carries_its_norm_and_activation(tmp_path: Path) -> None:
    steps, consts, opset, shape = CASES["deconv_groups"]
    graph = agree(net(steps, shape=shape, consts=consts, opset=opset), tmp_path)
    assert types(graph) == ["ConvTranspose"]
    assert graph.layers[-1].act.kind == "RELU"
