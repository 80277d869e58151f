"""The batch at other places, and joined with other axes, followed by name: against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graph_nets import F, Step, feeds, ints, net, random, save, session

from r329fast.calibration import calibrate
from r329fast.graph import FloatSession, check_model, load_model
from r329fast.graph.ir import Graph
from r329fast.program.counters import layer_counters
from r329fast.program.storage import load_program
from r329fast.quantization import quantize
from r329fast.reference import run_program
from r329fast.simulator import Simulator
from r329fast.vendor.nodes import graph_nodes

Consts = dict[str, np.ndarray]
Block = tuple[list[Step], Consts, tuple[int, ...]]


def attention(heads: str, scale: str, back: str) -> list[Step]:
    """Softmax(q k) v of q, k, v, whose last two axes are tokens and features."""
    return [
        ("Transpose", "k", "kt", {"perm": [0, 2, 1] if heads == "joined" else [0, 1, 3, 2]}),
        ("MatMul", "q kt", "a0", {}),
        ("Mul", f"a0 {scale}", "a1", {}),
        ("Softmax", "a1", "a2", {"axis": -1}),
        ("MatMul", "a2 v", back, {}),
    ]


def sequence_first() -> Block:
    """(L, N, C) with N * heads, as torch.nn.MultiheadAttention is exported; L * N for the rows."""
    steps: list[Step] = [
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        ("MatMul", "t w", "m", {}),
        ("Add", "m b", "p", {}),
        ("Reshape", "p five3", "r", {}),
        ("Unsqueeze", "r zero", "u", {}),
        ("Transpose", "u", "o", {"perm": [3, 1, 2, 0, 4]}),
        ("Squeeze", "o three", "s", {}),
    ]
    for index, name in enumerate("qkv"):
        steps += [
            ("Gather", f"s i{index}", f"{name}0", {"axis": 0}),
            ("Reshape", f"{name}0 rows", f"{name}1", {}),
            ("Transpose", f"{name}1", name, {"perm": [1, 0, 2]}),
        ]
    steps += attention("joined", "c", "z")
    steps += [
        ("Transpose", "z", "z1", {"perm": [1, 0, 2]}),
        ("Reshape", "z1 flat", "z2", {}),
        ("Gemm", "z2 w2 b2", "z3", {"transB": 1}),
        ("Reshape", "z3 five", "z4", {}),
        ("Transpose", "z4", "z5", {"perm": [1, 0, 2]}),
        ("Add", "z5 x", "y", {}),
    ]
    consts = {
        "w": random(8, 24), "b": random(24), "five3": ints(5, -1, 3, 8), "zero": ints(0),
        "three": ints(3), "rows": ints(5, -1, 4), "c": np.array(0.5, F), "flat": ints(-1, 8),
        "w2": random(8, 8), "b2": random(8, seed=1), "five": ints(5, -1, 8),
        **{f"i{index}": np.array(index, np.int64) for index in range(3)},
    }  # fmt: skip
    return steps, consts, (5, 8)


def windows() -> Block:
    """Windows joined with the batch, [3, N * windows, heads, ..], a mask per window (Swin)."""
    steps: list[Step] = [
        ("Reshape", "x cut", "w0", {}),
        ("Transpose", "w0", "w1", {"perm": [0, 1, 3, 2, 4, 5]}),
        ("Reshape", "w1 tokens", "w2", {}),
        ("LayerNormalization", "w2 g b", "w3", {"axis": -1}),
        ("MatMul", "w3 w", "p", {}),
        ("Reshape", "p heads", "r", {}),
        ("Transpose", "r", "o", {"perm": [2, 0, 3, 1, 4]}),
        ("Split", "o", "q0 k0 v0", {"axis": 0}),
        *[("Squeeze", f"{name}0 zero", name, {}) for name in "qkv"],
        ("Transpose", "k", "kt", {"perm": [0, 1, 3, 2]}),
        ("MatMul", "q kt", "a0", {}),
        ("Add", "a0 bias", "a1", {}),
        ("Reshape", "a1 apart", "a2", {}),
        ("Add", "a2 mask", "a3", {}),
        ("Reshape", "a3 again", "a4", {}),
        ("Softmax", "a4", "a5", {"axis": -1}),
        ("MatMul", "a5 v", "z", {}),
        ("Transpose", "z", "z1", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "z1 cut2", "z2", {}),
        ("Transpose", "z2", "z3", {"perm": [0, 1, 3, 2, 4, 5]}),
        ("Reshape", "z3 whole", "z4", {}),
        ("Add", "z4 x", "y", {}),
    ]
    consts = {
        "cut": ints(-1, 2, 2, 3, 2, 6), "tokens": ints(-1, 4, 6), "g": random(6), "b": random(6),
        "w": random(6, 18), "heads": ints(-1, 4, 3, 2, 3), "zero": ints(0),
        "bias": random(1, 2, 4, 4), "apart": ints(-1, 6, 2, 4, 4), "mask": random(1, 6, 1, 4, 4),
        "again": ints(-1, 2, 4, 4), "cut2": ints(-1, 2, 3, 2, 2, 6), "whole": ints(-1, 4, 6, 6),
    }  # fmt: skip
    return steps, consts, (4, 6, 6)


def flattened_rows() -> Block:
    """Rows of all images in one matrix, with a batch norm over them (LeViT)."""
    steps: list[Step] = [
        ("MatMul", "x w", "m", {}),
        ("Reshape", "m flat", "r", {}),
        ("BatchNormalization", "r g h m0 v0", "n", {}),
        ("Relu", "n", "e", {}),
        ("Reshape", "e back", "o", {}),
        ("Softmax", "o", "y", {"axis": 2}),
    ]
    consts = {
        "w": random(6, 4), "flat": ints(-1, 4), "g": random(4), "h": random(4, seed=1),
        "m0": random(4, seed=2), "v0": np.abs(random(4, seed=3)) + F(0.5), "back": ints(-1, 5, 4),
    }  # fmt: skip
    return steps, consts, (5, 6)


def unfolded() -> Block:
    """The batch joined with channels and rows, then with pixels of a patch (MobileViT)."""
    steps: list[Step] = [
        ("Reshape", "x a", "t0", {}),
        ("Transpose", "t0", "t1", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "t1 b", "t2", {}),
        ("Transpose", "t2", "t3", {"perm": [0, 3, 2, 1]}),
        ("Reshape", "t3 c", "t4", {}),
        ("MatMul", "t4 w", "t5", {}),
        ("Reshape", "t5 d", "t6", {}),
        ("Transpose", "t6", "t7", {"perm": [0, 3, 2, 1]}),
        ("Reshape", "t7 e", "t8", {}),
        ("Transpose", "t8", "t9", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "t9 f", "y", {}),
    ]
    consts = {
        "a": ints(-1, 2, 3, 2), "b": ints(-1, 4, 6, 4), "c": ints(-1, 6, 4), "w": random(4, 4),
        "d": ints(-1, 4, 6, 4), "e": ints(-1, 3, 2, 2), "f": ints(-1, 4, 4, 6),
    }  # fmt: skip
    return steps, consts, (4, 4, 6)


def halves_first() -> Block:
    """Halves of the channels in front of the batch, picked by Gather (ShuffleNet)."""
    steps: list[Step] = [
        ("Reshape", "x pairs", "r", {}),
        ("Transpose", "r", "t", {"perm": [1, 0, 2]}),
        ("Reshape", "t halves", "h", {}),
        ("Gather", "h i0", "a", {"axis": 0}),
        ("Gather", "h i1", "b", {"axis": 0}),
        ("Conv", "b w", "c", {}),
        ("Concat", "a c", "y", {"axis": 1}),
    ]
    consts = {
        "pairs": ints(-1, 2, 42), "halves": ints(2, -1, 2, 6, 7), "w": random(3, 2, 1, 1),
        "i0": np.array(0, np.int64), "i1": np.array(1, np.int64),
    }  # fmt: skip
    return steps, consts, (4, 6, 7)


def class_token() -> Block:
    """A constant token in front of the others, an embedding added, the token taken out again."""
    steps: list[Step] = [
        ("Shape", "x", "n", {"start": 0, "end": 1}),
        ("Concat", "n size", "ns", {"axis": 0}),
        ("Expand", "token ns", "tokens", {}),
        ("Concat", "tokens x", "t", {"axis": 1}),
        ("Add", "t place", "p", {}),
        ("MatMul", "p w", "m", {}),
        ("Gather", "m i", "g", {"axis": 1}),
        ("Gemm", "g w", "y", {"transB": 1}),
    ]
    consts = {
        "token": random(1, 1, 6), "place": random(1, 6, 6), "w": random(6, 6),
        "i": np.array(0, np.int64), "size": ints(1, 6),
    }  # fmt: skip
    return steps, consts, (5, 6)


def other_operators() -> Block:
    """(L, N, C) through operators along single axes; the output has the batch second."""
    steps: list[Step] = [
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        ("Slice", "t from to along", "s", {}),
        ("Pad", "s pads", "p", {}),
        ("Tanh", "p", "h", {}),
        ("Concat", "p h", "c", {"axis": 0}),
        ("ReduceMax", "c", "m", {"axes": [2]}),
        ("Expand", "m more", "e", {}),
        ("Div", "c k", "d", {}),
        ("Sub", "d e", "u", {}),
        ("LeakyRelu", "u", "f", {}),
        ("Softmax", "f", "g", {"axis": 0}),
        ("Transpose", "g", "g2", {"perm": [1, 0, 2]}),
        ("MatMul", "left g2", "l", {}),
        ("Clip", "l", "y", {}),
    ]
    consts = {
        "from": ints(1), "to": ints(4), "along": ints(0), "pads": ints(0, 0, 1, 1, 0, 0),
        "more": ints(1, 1, 7), "k": np.abs(random(7)) + F(1), "left": random(3, 8),
    }  # fmt: skip
    return steps, consts, (5, 6)


def cosine_attention() -> Block:
    """Unit vectors of tokens compared, a learnt factor and a bias per head (Swin V2)."""
    steps: list[Step] = [
        ("MatMul", "x w", "p", {}),
        ("Reshape", "p heads", "r", {}),
        ("Transpose", "r", "o", {"perm": [2, 0, 3, 1, 4]}),
        *[("Gather", f"o i{index}", name, {"axis": 0}) for index, name in enumerate("qkv")],
    ]
    for name in "qk":
        steps += [
            ("ReduceL2", name, f"{name}n", {"axes": [-1]}),
            ("Clip", f"{name}n small", f"{name}c", {}),
            ("Div", f"{name} {name}c", f"{name}u", {}),
        ]
    steps += [
        ("Transpose", "ku", "kt", {"perm": [0, 1, 3, 2]}),
        ("MatMul", "qu kt", "a0", {}),
        ("Mul", "a0 factor", "a1", {}),
        ("Add", "a1 bias", "a2", {}),
        ("Softmax", "a2", "a3", {"axis": -1}),
        ("MatMul", "a3 v", "z", {}),
        ("Transpose", "z", "z1", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "z1 back", "y", {}),
    ]
    consts = {
        "w": random(6, 18), "heads": ints(-1, 5, 3, 2, 3), "small": np.array(1e-6, F),
        "factor": np.abs(random(2, 1, 1)) + F(1), "bias": random(2, 5, 5), "back": ints(-1, 5, 6),
        **{f"i{index}": np.array(index, np.int64) for index in range(3)},
    }  # fmt: skip
    return steps, consts, (5, 6)


def attention_of_channels() -> Block:
    """Channels compared over all positions of a map (EdgeNeXt), by Einsum (MaxViT)."""
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Reshape", "c apart", "r", {}),
        ("Transpose", "r", "o", {"perm": [1, 0, 2, 3, 4]}),
        ("Split", "o", "q0 k0 v0", {"axis": 0}),
        *[("Squeeze", f"{name}0 zero", name, {}) for name in "qkv"],
        ("Einsum", "q k", "a0", {"equation": "B H D P, B H E P -> B H D E"}),
        ("Softmax", "a0", "a1", {"axis": -1}),
        ("Einsum", "a1 v", "z", {"equation": "bhde,bhep->bhdp"}),
        ("Reshape", "z map", "z1", {}),
        ("Add", "z1 x", "y", {}),
    ]
    consts = {
        "w": random(12, 4, 1, 1, scale=0.3), "apart": ints(-1, 3, 2, 2, 42), "zero": ints(0),
        "map": ints(-1, 4, 6, 7),
    }  # fmt: skip
    return steps, consts, (4, 6, 7)


def linear_attention() -> Block:
    """ReLU instead of a softmax; the sum of weights is a row of ones (EfficientViT)."""
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Reshape", "c apart", "r", {}),
        ("Split", "r", "q0 k0 v0", {"axis": 2}),
        ("Relu", "q0", "q", {}),
        ("Relu", "k0", "k", {}),
        ("Pad", "v0 ones one", "v", {}),
        ("Transpose", "k", "kt", {"perm": [0, 1, 3, 2]}),
        ("MatMul", "v kt", "m", {}),
        ("MatMul", "m q", "s", {}),
        ("Slice", "s b0 e0 two", "top", {}),
        ("Slice", "s b1 e1 two", "low", {}),
        ("Add", "low small", "sum", {}),
        ("Div", "top sum", "d", {}),
        ("Reshape", "d map", "y", {}),
    ]
    consts = {
        "w": random(12, 4, 1, 1, scale=0.3), "apart": ints(-1, 2, 6, 42), "one": np.array(1, F),
        "ones": ints(0, 0, 0, 0, 0, 0, 1, 0), "b0": ints(0), "e0": ints(2), "b1": ints(2),
        "e1": ints(3), "two": ints(2), "small": np.array(0.5, F), "map": ints(-1, 4, 6, 7),
    }  # fmt: skip
    return steps, consts, (4, 6, 7)


BLOCKS = {
    block.__name__: block
    for block in (
        sequence_first, windows, flattened_rows, unfolded, halves_first, class_token,
        cosine_attention, attention_of_channels, linear_attention, other_operators,
    )
}  # fmt: skip


def built(name: str, batch: int | str) -> Any:
    steps, consts, shape = BLOCKS[name]()
    return net(steps, (batch, *shape), consts, opset=17)


def same(graph: Graph, model: Any, batch: int) -> None:
    ours = feeds(graph, batch, 1.0)
    (name,) = graph.outputs
    found = FloatSession(graph).run(ours)[name]
    theirs = {}
    for key, value in ours.items():
        back = np.argsort(graph.onnx_axes[key])
        theirs[key] = np.ascontiguousarray(value.transpose(0, *(back + 1)))
    (wanted,) = session(model).run(None, theirs)
    if name in graph.onnx_axes:
        back = np.argsort(graph.onnx_axes[name])
        found = found.transpose(0, *(back + 1))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("name", BLOCKS)
def test_block(name: str, batch: int | str, tmp_path: Path) -> None:
    model = built(name, batch)
    graph = load_model(save(model, tmp_path))
    for images in (1, 3) if batch == "N" else (1,):
        same(graph, model, images)


@pytest.mark.parametrize("name", BLOCKS)
def test_targets_made_for_one_image(name: str, tmp_path: Path) -> None:
    """Constants instead of -1, as exporters write them for a fixed batch of one."""
    steps, consts, shape = BLOCKS[name]()
    model = built(name, 1)
    shapes = load_shapes(model, shape)
    for op, _inputs, outputs, _ in steps:
        if op == "Reshape":
            consts[f"{outputs}_target"] = ints(*shapes[outputs])
    steps = [
        (op, f"{inputs.split()[0]} {outputs}_target" if op == "Reshape" else inputs, outputs, attrs)
        for op, inputs, outputs, attrs in steps
    ]
    fixed = net(steps, (1, *shape), consts, opset=17)
    same(load_model(save(fixed, tmp_path)), fixed, 1)


def load_shapes(model: Any, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors as onnxruntime computes them for one image."""
    import onnx
    from onnx import helper

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output]
    have = {value.name for value in model.graph.output}
    shown.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in have
    )
    runner = session(shown)
    values = runner.run(None, {"x": random(1, *shape)})
    values = [np.asarray(value) for value in values]
    return {v.name: a.shape for v, a in zip(runner.get_outputs(), values, strict=True)}


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
@pytest.mark.parametrize("name", BLOCKS)
def test_integers(name: str, scheme: str, tmp_path: Path) -> None:
    graph = load_model(save(built(name, "N"), tmp_path))
    floats = feeds(graph, 6, 1.0)
    program = quantize(graph, calibrate(graph, floats, scheme), scheme)
    program.save(tmp_path / "net.r329")
    program = load_program(tmp_path / "net.r329")
    assert len(layer_counters(program)) == len(program.layers)
    assert graph_nodes(program)
    feed = {key: program.quantize_input(value) for key, value in floats.items()}
    wanted = run_program(program, feed)
    for key, values in Simulator(program).run(feed, keep=tuple(program.tensors)).items():
        np.testing.assert_array_equal(values, wanted[key])


def test_images_that_mix_are_refused(tmp_path: Path) -> None:
    """One line for the cause, none for what follows; a file of one image has nothing to mix."""
    steps: list[Step] = [
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        ("ReduceMean", "t", "m", {"axes": [1]}),
        ("Relu", "m", "r", {}),
        ("Softmax", "r", "y", {}),
    ]
    (issue,) = check_model(save(net(steps, ("N", 5, 8)), tmp_path))
    assert issue.op == "ReduceMean"
    assert "Images must not mix" in issue.reason
    assert check_model(save(net(steps, (1, 5, 8)), tmp_path)) == []
    (issue,) = check_model(save(net(steps, (2, 5, 8)), tmp_path))
    assert issue.op == "ReduceMean"


def test_a_view_that_mixes_only_with_more_images(tmp_path: Path) -> None:
    """view(4, -1) of (N, 4): right for one image, wrong for more; sizes tell only with a batch."""
    steps: list[Step] = [("Reshape", "x s", "r", {}), ("ReduceMax", "r", "y", {"axes": [1]})]
    consts = {"s": ints(4, -1)}
    (issue,) = check_model(save(net(steps, ("N", 4), consts), tmp_path))
    assert issue.layer == "n0"
    assert check_model(save(net(steps, (1, 4), consts), tmp_path)) == []
