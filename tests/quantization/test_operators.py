"""Every ONNX operator through both schemes: kernels equal the reference, and float is near."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import defs
from support.graph_nets import F, Step, ints, net, random, save

from r329fast.calibration import calibrate
from r329fast.errors import DataError
from r329fast.graph import FloatSession, load_model
from r329fast.graph.activations import ACTIVATIONS, BY_OPERATOR
from r329fast.graph.lower.families import OPERATORS
from r329fast.quantization import SCHEMES, quantize
from r329fast.reference import run_program
from r329fast.simulator import Simulator

# ONNX operator -> (inputs, attributes, constants) of one node that reads "x", of 4 channels;
# none: the inputs are "x" alone.
Form = tuple[str, dict[str, Any], dict[str, np.ndarray]]
_W, _C = random(6, 4, 3, 3, scale=0.3), random(4, 1, 1)
_NORM = {name: np.abs(random(4, seed=seed)) + F(0.5) for seed, name in enumerate("gbmv")}
FORMS: dict[str, Form] = {
    "Conv": ("x w", {}, {"w": _W}),
    "Gemm": ("x w", {}, {"w": random(7, 5)}),
    "MatMul": ("x w", {}, {"w": random(7, 5)}),
    "BatchNormalization": ("x g b m v", {}, _NORM),
    "PRelu": ("x s", {}, {"s": _C}),
    "MaxPool": ("x", {"kernel_shape": [2, 2]}, {}),
    "AveragePool": ("x", {"kernel_shape": [2, 2]}, {}),
    "ReduceMean": ("x", {"axes": [2, 3]}, {}),
    **{op: ("x c", {}, {"c": _C}) for op in ("Add", "Sub", "Mul", "Div", "Sum")},
    **{op: ("x c", {}, {"c": np.array(0.5, F)}) for op in ("Max", "Min")},
    "Pow": ("x c", {}, {"c": np.array(2, F)}),
    "Reshape": ("x s", {}, {"s": ints(0, -1, 2)}),
    "Squeeze": ("x s", {}, {"s": ints(1)}),
    "Unsqueeze": ("x s", {}, {"s": ints(1)}),
    "Transpose": ("x", {"perm": [0, 2, 3, 1]}, {}),
    "Concat": ("x x", {"axis": 1}, {}),
    "Slice": ("x b e", {}, {"b": ints(0, 1), "e": ints(9, 3)}),
    "Pad": ("x p", {}, {"p": ints(0, 0, 1, 0, 0, 0, 0, 2)}),
    "Split": ("x s", {"axis": 1}, {"s": ints(1, 3)}),
    "LRN": ("x", {"size": 3}, {}),
    "Resize": ("x - - s", {"mode": "linear"}, {"s": ints(1, 4, 12, 14)}),
    "Upsample": ("x s", {}, {"s": np.array([1, 1, 2, 2], F)}),
    "DepthToSpace": ("x", {"blocksize": 2}, {}),
    "SpaceToDepth": ("x", {"blocksize": 2}, {}),
    "Cast": ("x", {"to": 1}, {}),
    "ConvTranspose": ("x w", {"strides": [2, 2], "output_padding": [1, 0]}, {"w": _W[:4, :3]}),
    "LayerNormalization": ("x g b", {}, {"g": random(7), "b": random(7, seed=1)}),
    "InstanceNormalization": ("x g b", {}, {"g": _NORM["g"], "b": _NORM["b"]}),
    "GroupNormalization": ("x g b", {"num_groups": 2}, {"g": _NORM["g"], "b": _NORM["b"]}),
    **{op: ("x a", {}, {"a": ints(1)}) for op in ("ReduceSum",)},
    **{op: ("x", {"axes": [1]}, {}) for op in ("ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")},
    "ReduceProd": ("x", {"axes": [3], "keepdims": 0}, {}),
    "ArgMax": ("x", {"axis": 1}, {}),
    "ArgMin": ("x", {"axis": 3, "keepdims": 0}, {}),
    "TopK": ("x k", {"axis": 1}, {"k": ints(2)}),
    "Expand": ("x s", {}, {"s": ints(1, 4, 6, 7)}),
    "Tile": ("x s", {}, {"s": ints(1, 2, 1, 3)}),
    "Gather": ("x i", {"axis": 1}, {"i": ints(2, 0, 0, -1)}),
    "Where": ("m x c", {}, {"m": random(6, 7) > 0, "c": np.array(0.5, F)}),
}
SHAPES: dict[str, tuple[int | str, ...]] = {
    **dict.fromkeys(("Gemm", "MatMul"), ("N", 7)),
    "Squeeze": ("N", 1, 7),
    "Expand": ("N", 1, 6, 7),
    "Unsqueeze": ("N", 7),
    "SpaceToDepth": ("N", 4, 6, 8),
}
# Operators of positive numbers stand behind a Sigmoid, all others behind a Tanh.
POSITIVE = ("Log", "Sqrt", "Reciprocal")
OPSETS = {"Upsample": 9, "GroupNormalization": 21, "Mish": 18, "Gelu": 20, "Swish": 24}
# Steps of the output that the integers may be off, where a table is not the last word. The vendor
# takes the largest calibrated share for 1, so that a LogSoftmax is off by its logarithm.
STEPS = {
    "LRN": 4.0,
    "Softmax": 2.0,
    "LogSoftmax": np.inf,
    # sums of many inputs, a steep function, a product of seven, indices of nearly equal values
    "ReduceL1": 4.0,
    "ReduceSum": 4.0,
    "Log": 4.0,
    "Reciprocal": 8.0,
    "Shrink": 20.0,  # which jumps
    "LayerNormalization": 4.0,
    "InstanceNormalization": 4.0,
    "GroupNormalization": 4.0,
    "ArgMax": np.inf,
    "ArgMin": np.inf,
    "TopK": np.inf,
}


def quantised(op: str, scheme: str, folder: Path, **options: object) -> tuple[Any, Any, Any]:
    """(float graph, program, float input) of a net of one operator behind a Tanh."""
    inputs, attrs, consts = FORMS.get(op, ("x", {}, {}))
    outputs = "y z" if op in ("Split", "TopK") else "y"
    # the Tanh is there so that operators that vanish leave a network
    first = "Sigmoid" if op in POSITIVE else "Tanh"
    steps: list[Step] = [(first, "t", "x", {}), (op, inputs, outputs, attrs)]
    shape = SHAPES.get(op, ("N", 4, 6, 7))
    model = net(steps, shape=shape, consts=consts, opset=OPSETS.get(op, 17), output=outputs)
    model.graph.input[0].name = "t"
    graph = load_model(save(model, folder))
    x = np.random.default_rng(3).uniform(-2, 2, (5, *graph.shapes["t"])).astype(F)
    method = "EXTREME" if scheme == "aqt2021" else "extrema"
    ranges = calibrate(graph, x, scheme, method)
    return graph, quantize(graph, ranges, scheme, **options), x


def test_all_operators_have_a_form() -> None:
    assert set(FORMS) <= set(OPERATORS)
    for op in set(OPERATORS) - set(FORMS) - {"Swish"}:  # with defaults, one input is enough
        assert defs.has(op)
        assert defs.get_schema(op).min_input == 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("op", OPERATORS)
def test_operator(op: str, scheme: str, tmp_path: Path) -> None:
    if not defs.has(op):
        pytest.skip(f"the onnx package has no {op}")
    graph, program, x = quantised(op, scheme, tmp_path)
    q = program.quantize_input(x)
    exact = run_program(program, {program.inputs[0]: q})
    fast = Simulator(program).run(q, keep=tuple(program.tensors))
    for name, values in fast.items():
        np.testing.assert_array_equal(values, exact[name])
    floats = FloatSession(graph, "all").run(x)
    last = graph.layers[-1]
    for name in last.outputs:
        spec = program.tensors[name]
        found, wanted = spec.dequantize(exact[name]), np.asarray(floats[name], np.float64)
        source = program.tensors[last.inputs[0]]
        # a step of the output, and what an input step can do to it
        step = 1 / spec.scale + 4 / source.scale * max(np.abs(wanted).max(), 1.0)
        assert np.abs(found - wanted).max() <= STEPS.get(op, 1.0) * step, name


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("op", [op for op, (_, row) in BY_OPERATOR.items() if row.real])
def test_table_is_the_rounded_function(op: str, scheme: str, tmp_path: Path) -> None:
    """Within half a step of the real function of the integer that goes in."""
    if not defs.has(op):
        pytest.skip(f"the onnx package has no {op}")
    graph, program, x = quantised(op, scheme, tmp_path)
    layer = graph.layers[-1]
    tensors = run_program(program, {program.inputs[0]: program.quantize_input(x)})
    source, spec = program.tensors[layer.inputs[0]], program.tensors[layer.outputs[0]]
    real = source.dequantize(tensors[source.name]).astype(np.float64)
    function = ACTIVATIONS[layer.act.kind].real
    assert function is not None
    low = (spec.qmin + spec.zero_point) / spec.scale
    high = (spec.qmax + spec.zero_point) / spec.scale
    wanted = np.clip(function(real, layer.act), low, high)
    found = spec.dequantize(tensors[spec.name])
    assert np.abs(found - wanted).max() <= 0.501 / spec.scale


@pytest.mark.parametrize(
    ("op", "signed"), [("Sigmoid", True), ("ThresholdedRelu", False), ("Celu", True)]
)
def test_force_dtype_int(op: str, signed: bool, tmp_path: Path) -> None:
    _, program, _ = quantised(op, "compass42", tmp_path, force_dtype_int=True)
    assert (program.tensors[program.outputs[0]].dtype == "int8") == signed


@pytest.mark.parametrize("scheme", SCHEMES)
def test_constant_that_does_not_fit(scheme: str, tmp_path: Path) -> None:
    """A slope of 1e9 is no int32 in units of 2**-8."""
    steps: list[Step] = [("LeakyRelu", "x", "y", {"alpha": 1e9})]
    graph = load_model(save(net(steps), tmp_path))
    ranges = calibrate(graph, np.ones((1, 6, 7, 4), F), scheme)
    with pytest.raises(DataError, match=r"'n0'.*slope.*int32"):
        quantize(graph, ranges, scheme)
