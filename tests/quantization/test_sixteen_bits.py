"""16 bits by layer: which tensors are wide, mixed networks, what has no rule, what a cfg asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import Step, ints, net, random, save

from r329fast.calibration import calibrate
from r329fast.calibration.ranges import Ranges
from r329fast.errors import UnsupportedModelError, UsageError
from r329fast.graph import FloatSession, load_model
from r329fast.graph.ir import Graph
from r329fast.quantization import Options, quantize
from r329fast.quantization.scopes import idle_scopes
from r329fast.reference import run_program
from r329fast.simulator import Simulator

Case = tuple[Graph, Ranges, np.ndarray]
WEIGHTS = {
    "w1": random(12, 4, 3, 3, scale=0.3),
    "b1": random(12, seed=3),
    "w2": random(12, 12, 3, 3, seed=1, scale=0.2),
    "wd": random(12, 1, 3, 3, seed=2, scale=0.4),
    "fc": random(7, 12, seed=4),
}
NODES: list[Step] = [
    ("Conv", "x w1 b1", "c1", {"pads": [1, 1, 1, 1]}),
    ("Relu", "c1", "r1", {}),
    ("Conv", "r1 w2", "c2", {"pads": [1, 1, 1, 1]}),
    ("Conv", "c2 wd", "d", {"pads": [1, 1, 1, 1], "group": 12}),
    ("Add", "d r1", "sum", {}),
    ("Concat", "sum c2", "joined", {"axis": 1}),
    ("Split", "joined", "left right", {"axis": 1}),
    ("Sigmoid", "left", "gate", {}),
    ("Mul", "gate right", "gated", {}),
    ("MaxPool", "gated", "pooled", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("GlobalAveragePool", "pooled", "mean", {}),
    ("Flatten", "mean", "flat", {"axis": 1}),
    ("Gemm", "flat fc", "y", {"transB": 1}),
]


def loaded(folder: Path, nodes: list[Step]) -> Case:
    model = net(nodes, (1, 4, 9, 8), WEIGHTS, 13)
    graph = load_model(save(model, folder))
    x = random(4, 9, 8, 4, seed=9, scale=2.0)
    return graph, calibrate(graph, x, "compass42", "extrema"), x


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return loaded(tmp_path_factory.mktemp("mixed"), NODES)


def snr(case: Case, tensor: str = "n12", **options: str) -> float:
    """dB of a tensor, after the kernels were held against the reference."""
    graph, ranges, x = case
    program = quantize(graph, ranges, "compass42", **options)
    q = program.quantize_input(x)
    expected = run_program(program, {program.inputs[0]: q})
    found = Simulator(program, threads=2).run(q, keep="all")
    for layer in program.layers:
        for name in layer.outputs:
            if layer.ops[0] < layer.ops[1] and name in found:
                np.testing.assert_array_equal(found[name], expected[name])
    real = FloatSession(graph, keep="all").run(x)[tensor]
    error = program.tensors[tensor].dequantize(expected[tensor]) - real
    return float(10 * np.log10((real.astype(float) ** 2).sum() / (error.astype(float) ** 2).sum()))


def test_wide_layers_gain_what_their_bits_are_worth(case: Case) -> None:
    narrow = snr(case, "n4")
    assert snr(case, "n4", activation_bits="16") > narrow  # weights of 8 bits are left
    wide = {"activation_bits": "16", "weight_bits": "16", "bias_bits": "48"}
    assert snr(case, "n4", **wide) > narrow + 30
    # tables and the 8-bit multipliers of average pooling stay as coarse as they were
    assert snr(case, **wide) > snr(case) + 6


@pytest.mark.parametrize(
    "scope",
    ["[Convolution]", "[DepthwiseConv, Eltwise]", "[(2, 4)]", "{n3$}", "[Activation]", "[Concat]"],
)
def test_mixed_networks_equal_the_reference(case: Case, scope: str) -> None:
    for narrow, wide in (("8", "16"), ("16", "8")):
        snr(case, activation_bits=f"{narrow} & <{scope}:{wide}>", lut_items_in_bits="10")
        snr(case, weight_bits=f"{narrow} & <{scope}:{wide}>", activation_bits=wide)


def test_the_asked_tensors_are_wide_and_what_moves_them(case: Case) -> None:
    graph, ranges, _ = case
    scoped = "8 & <[Eltwise]:16>"
    program = quantize(graph, ranges, "compass42", activation_bits=scoped)
    wide = {name for name, spec in program.tensors.items() if spec.bits == 16}
    made = {name for layer in graph for name in layer.outputs if layer.type == "Eltwise"}
    # max and average pooling and a Reshape keep scale and width
    assert wide == made | {"n9", "n10", "n11"}
    for op in program.ops:
        if op.kind == "eltwise":
            assert int(op.consts["mult"].min()) >= 1 << 14 or int(op.consts["shift"][0]) == 31


def test_zero_points_are_for_8_bits(case: Case) -> None:
    graph, ranges, _ = case
    options = {
        "quantize_method_for_activation": "per_tensor_asymmetric",
        "activation_bits": "8 & <[Convolution]:16>",
    }
    program = quantize(graph, ranges, "compass42", **options)
    for spec in program.tensors.values():
        assert spec.bits == 8 or spec.zero_point == 0
    assert any(spec.zero_point for spec in program.tensors.values())
    snr(case, **options)


def test_what_has_no_rule_is_one_line_that_says_what_to_keep(tmp_path: Path) -> None:
    nodes: list[Step] = [
        ("Conv", "x w1", "c1", {}),
        ("MaxPool", "c1", "pool", {"kernel_shape": [2, 2]}),
        ("Softmax", "pool", "soft", {"axis": 1}),
        ("Reshape", "soft s", "y", {}),
    ]
    model = net(nodes, (1, 4, 9, 8), {**WEIGHTS, "s": ints(1, -1)}, 13)
    graph = load_model(save(model, tmp_path))
    ranges = calibrate(graph, random(2, 9, 8, 4, seed=9), "compass42", "extrema")
    with pytest.raises(UnsupportedModelError, match="no 16-bit rule for Softmax 'n2'") as raised:
        quantize(graph, ranges, "compass42", activation_bits="16")
    line = raised.value.message
    assert "\n" not in line
    assert raised.value.exit_code == 3
    advice = line.partition("activation_bits = ")[2]
    program = quantize(graph, ranges, "compass42", activation_bits=advice)  # the advice helps
    assert program.tensors[program.inputs[0]].bits == 16


def test_aqt2021_has_8_bits_only(case: Case) -> None:
    graph, ranges, _ = case
    for options in ({"activation_bits": "16"}, {"weight_bits": "8 & <[Convolution]:16>"}):
        with pytest.raises(UsageError, match="aqt2021 has 8 bits only"):
            quantize(graph, ranges, "aqt2021", **options)


def test_widths_without_a_rule_are_refused(case: Case) -> None:
    with pytest.raises(UsageError, match="activation_bits: found '12', allowed 8, 16"):
        Options(activation_bits="12")
    with pytest.raises(UsageError, match="weight_bits: found '4', allowed 8, 16"):
        Options(weight_bits="8 & <[Convolution]:4>")


def test_scopes_that_reach_nothing_are_named(case: Case) -> None:
    graph, _, _ = case
    assert idle_scopes(graph, Options(activation_bits="8 & <[Convolution]:16> <{n3$}:16>")) == []
    (line,) = idle_scopes(graph, Options(weight_bits="8 & <{nowhere}:16> <[(0, 3)]:16>"))
    assert "weight_bits: no layer fits {nowhere}" in line


def test_large_biases_take_48_bits(case: Case) -> None:
    graph, ranges, _ = case
    wide = {"activation_bits": "16", "weight_bits": "16"}
    cut = quantize(graph, ranges, "compass42", **wide)
    whole = quantize(graph, ranges, "compass42", **wide, bias_bits="48")
    for a, b in zip(cut.ops, whole.ops, strict=True):
        if "bias" in a.consts:
            assert a.consts["bias"].dtype == np.int32
            np.testing.assert_array_equal(
                a.consts["bias"], np.clip(b.consts["bias"], -(2**31), 2**31 - 1)
            )


def test_a_wide_program_is_stored_and_read_again(case: Case, tmp_path: Path) -> None:
    from r329fast.program.storage import load_program

    graph, ranges, _ = case
    program = quantize(graph, ranges, "compass42", activation_bits="16", lut_items_in_bits="12")
    program.save(str(tmp_path / "wide.r329"))
    assert load_program(tmp_path / "wide.r329").hash() == program.hash()
