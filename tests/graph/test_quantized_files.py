"""Files that are quantised already: what they say is taken as it stands, the rest is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.graph_nets import F, Step, ints, net, random, save, session

from r329fast.calibration import calibrate
from r329fast.graph import FloatSession, check_model, load_model
from r329fast.graph.ir import Given
from r329fast.quantization import SCHEMES, quantize
from r329fast.quantization.given import given_report
from r329fast.simulator import Simulator

STEPS: list[Step] = [
    ("Conv", "x w b", "c", {"pads": [1, 1, 1, 1]}),
    ("Relu", "c", "r", {}),
    ("MaxPool", "r", "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("Conv", "p v", "d", {"group": 8}),
    ("Add", "p d", "a", {}),
    ("Concat", "a p", "j", {"axis": 1}),
    ("GlobalAveragePool", "j", "g", {}),
    ("Flatten", "g", "f", {}),
    ("Gemm", "f m", "y", {"transB": 1}),
]
CONSTS = {
    "w": random(8, 4, 3, 3, scale=0.3),
    "b": random(8),
    "v": random(8, 1, 1, 1),
    "m": random(5, 16),
}
SHAPE = (1, 4, 8, 8)
DATA = random(16, 8, 8, 4)


def float_model() -> onnx.ModelProto:
    return net(STEPS, SHAPE, CONSTS, 13)


def by_onnxruntime(folder: Path, **options: Any) -> Path:
    """The model quantised by onnxruntime's own tool, statically."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"x": image[None].transpose(0, 3, 1, 2).copy()} for image in DATA]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    source, target = save(float_model(), folder), folder / "quantised.onnx"
    quantize_static(source, target, Reader(), **options)
    return target


def forms() -> list[dict[str, Any]]:
    from onnxruntime.quantization import QuantFormat, QuantType

    symmetric = {"ActivationSymmetric": True}
    whole: list[dict[str, Any]] = []
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        for kind, extra in (
            (QuantType.QUInt8, {}),
            (QuantType.QInt8, {}),
            (QuantType.QInt8, symmetric),
        ):
            for per_channel in (False, True):
                whole.append(
                    {
                        "quant_format": form,
                        "activation_type": kind,
                        "weight_type": QuantType.QInt8,
                        "per_channel": per_channel,
                        "extra_options": extra,
                    }
                )
    return whole


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(12))
def test_onnxruntime_forms(number: int, tmp_path: Path) -> None:
    """Both formats, both types, per channel or not, in both schemes."""
    path = by_onnxruntime(tmp_path, **forms()[number])
    graph = load_model(path)
    assert graph.given
    stored = onnx.load(path)
    x = DATA[:4].transpose(0, 3, 1, 2).copy()
    theirs = np.concatenate([session(stored).run(None, {"x": one[None]})[0] for one in x])
    exact = np.concatenate([session(float_model()).run(None, {"x": one[None]})[0] for one in x])
    ours = next(iter(FloatSession(graph).run(DATA[:4]).values()))
    # integer weights are part of the float network, rounded activations are not
    assert np.abs(ours - exact).max() <= 0.05 * np.abs(exact).max()
    weights = [layer for layer in graph if layer.facts.linear]
    assert all(layer.weight_steps for layer in weights)
    for scheme in SCHEMES:
        widest = {"aqt2021": "EXTREME", "compass42": "extrema"}[scheme]
        program = quantize(graph, calibrate(graph, DATA, scheme, widest), scheme)
        report = " ".join(given_report(graph, program))
        symmetric = bool(forms()[number]["extra_options"])
        if scheme == "compass42" or symmetric:
            assert "zero point" not in report
        held = {name for name, item in graph.given.items() if _same_step(program, name, item)}
        if symmetric or scheme == "compass42":
            assert {graph.inputs[0], weights[0].outputs[0]} <= held
        _same_weights(stored, program, weights[0].name)
        simulator = Simulator(program)
        q = simulator.run(program.quantize_input(DATA[:4]))
        simulator.close()
        (name,) = program.outputs
        found = program.tensors[name].dequantize(q[name])
        assert np.abs(found - theirs).max() <= 0.08 * np.abs(theirs).max()


def _same_step(program: Any, name: str, given: Given) -> bool:
    return bool(np.isclose(program.tensors[name].scale * given.step, 1, rtol=1e-6))


def _same_weights(model: onnx.ModelProto, program: Any, layer: str) -> None:
    """The first convolution's integers are those of the file, whatever the layout."""
    arrays = [numpy_helper.to_array(item) for item in model.graph.initializer]
    (theirs,) = (array for array in arrays if array.shape == (8, 4, 3, 3))
    (ours,) = (op.consts["weights"] for op in program.ops if op.layer == layer)
    np.testing.assert_array_equal(ours, theirs.transpose(0, 2, 3, 1))


def test_what_a_scheme_cannot_hold_is_reported(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("Conv", "d w", "c", {}),
        ("BatchNormalization", "c g g g g", "n", {}),
        ("Relu", "n", "y", {}),
    ]
    consts = {
        "s": np.array(0.02, F),
        "z": np.array(131, np.uint8),
        "wq": np.arange(-8, 8, dtype=np.int8).reshape(4, 4, 1, 1),
        "ws": np.array(0.1, F),
        "g": np.abs(random(4)) + F(0.5),
    }
    steps.insert(2, ("DequantizeLinear", "wq ws", "w", {}))
    graph = load_model(save(net(steps, SHAPE, consts), tmp_path))
    assert graph.given == {graph.inputs[0]: Given(float(F(0.02)), 131, "uint8")}
    ranges = calibrate(graph, DATA, "compass42")
    program = quantize(graph, ranges, "compass42")
    spec = program.tensors[graph.inputs[0]]
    assert (spec.dtype, spec.zero_point) == ("int8", -3)
    np.testing.assert_array_equal(
        program.quantize_input(np.full((1, 8, 8, 4), 0.1, F)).reshape(-1)[:1], [131 + 5 - 128]
    )
    lines = given_report(graph, program)
    assert any("folded into its weights" in line for line in lines)
    lines = given_report(graph, quantize(graph, calibrate(graph, DATA, "aqt2021"), "aqt2021"))
    assert any("zero point 131" in line for line in lines)


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_bytes_as_they_are(order: str, scheme: str, tmp_path: Path) -> None:
    """A uint8 input with Cast and preprocessing baked in."""
    steps: list[Step] = [
        ("Cast", "x", "f", {"to": 1}),
        ("Sub", "f m", "s", {}),
        ("Div", "s d", "t", {}),
        ("Conv", "t w", "y", {}),
    ]
    if order == "NHWC":
        steps.insert(3, ("Transpose", "t", "u", {"perm": [0, 3, 1, 2]}))
        steps[4] = ("Conv", "u w", "y", {})
    spread = (-1, 1, 1) if order == "NCHW" else (-1,)
    consts = {
        "m": np.array([120, 115, 100], F).reshape(spread),
        "d": np.array([58, 57, 59], F).reshape(spread),
        "w": random(4, 3, 3, 3),
    }
    shape = (1, 3, 8, 8) if order == "NCHW" else (1, 8, 8, 3)
    model = net(steps, shape, consts)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    path = save(model, tmp_path)
    assert check_model(path) == []
    graph = load_model(path)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    program = quantize(graph, calibrate(graph, pixels.astype(F), scheme), scheme)
    spec = program.tensors[program.inputs[0]]
    assert (spec.dtype, spec.scale, spec.zero_point) == ("uint8", 1.0, 0)
    np.testing.assert_array_equal(program.quantize_input(pixels.astype(F)), pixels)
    fed = pixels[:1].transpose(0, 3, 1, 2) if order == "NCHW" else pixels[:1]
    theirs = session(model).run(["y"], {"x": np.ascontiguousarray(fed)})[0].transpose(0, 2, 3, 1)
    ours = next(iter(FloatSession(graph).run(pixels[:1].astype(F)).values()))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_bytes_with_a_scale_of_their_own(tmp_path: Path) -> None:
    """A model without its first QuantizeLinear: its bytes have the scale that takes them apart."""
    steps: list[Step] = [("DequantizeLinear", "x s z", "d", {}), ("Relu", "d", "y", {})]
    model = net(steps, SHAPE, {"s": np.array(0.5, F), "z": np.array(-10, np.int8)})
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    graph = load_model(save(model, tmp_path))
    assert graph.given[graph.inputs[0]] == Given(0.5, -10, "int8")


def test_torch_form(tmp_path: Path) -> None:
    """Scales as Constant nodes, float weights behind a pair of their own, per channel."""
    wide = {"axis": 0}
    steps: list[Step] = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("QuantizeLinear", "w ws wz", "wq", wide),
        ("DequantizeLinear", "wq ws wz", "wd", wide),
        ("Conv", "d wd", "y", {}),
    ]
    steps_of = np.array([0.1, 0.2, 0.3, 0.4], F)
    consts = {"w": random(4, 4, 1, 1), "wz": np.zeros(4, np.int8)}
    model = net(steps, SHAPE, consts)
    held = {"s": np.array(0.02, F), "z": np.array(0, np.int8), "ws": steps_of}
    for name, value in held.items():
        node = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        model.graph.node.insert(0, node)
    graph = load_model(save(model, tmp_path))
    (conv,) = (layer for layer in graph if layer.facts.linear)
    np.testing.assert_allclose(conv.weight_steps, steps_of)
    program = quantize(graph, calibrate(graph, DATA, "compass42"), "compass42")
    expected = np.rint(consts["w"] / steps_of.reshape(-1, 1, 1, 1)).transpose(0, 2, 3, 1)
    (op,) = (op for op in program.ops if op.layer == conv.name)
    np.testing.assert_array_equal(op.consts["weights"], expected)


def test_computed_scales_stay_refused(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("DynamicQuantizeLinear", "x", "q s z", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("Reshape", "d t", "y", {}),
    ]
    issues = check_model(save(net(steps, SHAPE, {"t": ints(0, -1)}), tmp_path))
    assert [issue.op for issue in issues] == ["DynamicQuantizeLinear", "DequantizeLinear"]


def test_a_second_scale_is_reported(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("QuantizeLinear", "d t z", "p", {}),
        ("DequantizeLinear", "p t z", "e", {}),
        ("Neg", "e", "y", {}),
    ]
    consts = {"s": np.array(0.02, F), "t": np.array(0.05, F), "z": np.array(0, np.int8)}
    graph = load_model(save(net(steps, SHAPE, consts), tmp_path))
    assert graph.given_again == ("d",)
    program = quantize(graph, calibrate(graph, DATA, "compass42"), "compass42")
    assert "second time" in given_report(graph, program)[-1]
