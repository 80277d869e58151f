"""Small ONNX nets for the tests of the front end, and the comparison with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from r329fast.graph import FloatSession, load_model
from r329fast.graph.ir import Graph

# (operator, inputs, outputs, attributes); inputs and outputs as words in one string
Step = tuple[str, str, str, dict[str, Any]]
F = np.float32


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    values = np.random.default_rng([seed, *shape]).standard_normal(shape) * scale
    return values.astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CONV_W = random(6, 4, 3, 3, scale=0.3)
BN = {
    "g": random(4, seed=1) + F(1.5),
    "b": random(4, seed=2),
    "m": random(4, seed=3),
    "v": np.abs(random(4, seed=4)) + F(0.5),
}


def names(graph: Graph) -> list[str]:
    return [layer.name for layer in graph]


def types(graph: Graph) -> list[str]:
    return [layer.type for layer in graph if layer.type != "Input"]


def net(
    steps: Sequence[Step],
    shape: Sequence[int | str] = ("N", 4, 6, 7),
    consts: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    output: str = "y",
    more_inputs: Mapping[str, Sequence[int | str]] | None = None,
) -> onnx.ModelProto:
    """A model from x to `output`; node number i is named n<i>. "-" is an input left out."""
    nodes = []
    for index, (op, sources, results, attrs) in enumerate(steps):
        names = ["" if name == "-" else name for name in sources.split()]
        nodes.append(helper.make_node(op, names, results.split(), name=f"n{index}", **attrs))
    inputs = {"x": shape, **(more_inputs or {})}
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
            for name, size in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in output.split()],
        [numpy_helper.from_array(value, name) for name, value in (consts or {}).items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 10
    )


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save(model, str(path))
    return path


def feeds(graph: Graph, batch: int, scale: float = 2.0) -> dict[str, np.ndarray]:
    return {name: random(batch, *graph.shapes[name], scale=scale) for name in graph.inputs}


def agree(
    model: onnx.ModelProto, folder: Path, batch: int = 2, scale: float = 2.0, **cut: Any
) -> Graph:
    """Load the model, run the graph and the original, and compare every tensor both have.

    `cut` goes to load_model; only whole graphs and cut outputs can be compared. Returns the graph.
    """
    path = save(model, folder)
    graph = load_model(path, **cut)
    compare(graph, model, batch, scale)
    return graph


def compare(
    graph: Graph,
    model: onnx.ModelProto,
    batch: int = 2,
    scale: float = 2.0,
    tolerance: float = 1e-4,
) -> None:
    """Every tensor of the graph that has a twin in the ONNX file, relative to its largest value."""
    ours = feeds(graph, batch, scale)
    got = FloatSession(graph, "all").run(ours)
    twins = {name: graph.onnx_names[name] for name in got if name in graph.onnx_names}
    assert set(graph.outputs) <= set(twins) | set(graph.inputs)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    have = {value.name for value in shown.graph.output}
    shown.graph.output.extend(
        helper.make_empty_tensor_value_info(name)
        for name in dict.fromkeys(twins.values())
        if name not in have
    )
    runner = session(shown)
    names = [value.name for value in runner.get_outputs()]
    theirs = {}
    for name, value in ours.items():
        back = np.argsort(graph.onnx_axes[name])
        theirs[name] = np.ascontiguousarray(value.transpose(0, *(back + 1)))
    expected = dict(zip(names, runner.run(None, theirs), strict=True))
    for name, twin in twins.items():
        axes = graph.onnx_axes[name]
        wanted = expected[twin].transpose(0, *(axis + 1 for axis in axes))
        assert got[name].shape == (batch, *graph.shapes[name]), name
        assert wanted.shape == got[name].shape, name
        limit = tolerance * max(float(np.abs(wanted).max(initial=0.0)), 1e-6)
        assert float(np.abs(wanted - got[name]).max(initial=0.0)) <= limit, name
