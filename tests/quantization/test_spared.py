"""What `force_dtype_int` makes signed and spares, bits of biases, refusals while lowering."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import F, Step, net, random, save

from r329fast.calibration import calibrate
from r329fast.errors import ProgramError, UnsupportedModelError
from r329fast.graph import load_model
from r329fast.program import Program
from r329fast.quantization import quantize
from r329fast.quantization.lower import lowering

R: Step = ("Relu", "x", "r", {})
ROOT: Step = ("Sqrt", "r", "y", {})
# spec B.2 and B.16: (steps behind a Relu, constants, whether the flag makes the result signed)
CASES: dict[str, tuple[list[Step], dict[str, np.ndarray], bool]] = {
    "relu": ([("Relu", "x", "y", {})], {}, True),
    "abs": ([("Abs", "x", "y", {})], {}, True),
    "exp": ([("Exp", "x", "y", {})], {}, True),
    "sqrt": ([R, ROOT], {}, True),
    "hard_sigmoid": ([("HardSigmoid", "x", "y", {})], {}, True),
    "reduce": ([("ReduceL1", "x", "y", {"axes": [1]})], {}, True),
    "concat": ([R, ("Sigmoid", "x", "s", {}), ("Concat", "r s", "y", {"axis": 1})], {}, True),
    "add_relu": ([R, ("Add", "r x", "a", {}), ("Relu", "a", "y", {})], {}, True),
    "thresholded": ([("ThresholdedRelu", "x", "y", {})], {}, False),
}


def program_of(case: str, folder: Path, **options: object) -> Program:
    steps, consts, _ = CASES[case]
    graph = load_model(save(net(steps, consts=consts), folder))
    ranges = calibrate(graph, random(4, 6, 7, 4), "compass42", "extrema")
    return quantize(graph, ranges, "compass42", **options)


@pytest.mark.parametrize("case", CASES)
def test_signed_where_the_spec_says(case: str, tmp_path: Path) -> None:
    usual = program_of(case, tmp_path)
    assert usual.tensors[usual.outputs[0]].dtype == "uint8"
    forced = program_of(case, tmp_path, force_dtype_int=True)
    assert (forced.tensors[forced.outputs[0]].dtype == "int8") == CASES[case][2]


# unsigned inputs by themselves, so that only the op's own rule is seen
SPARED: dict[str, list[Step]] = {
    "div": [("Div", "t u", "y", {})],
    "matmul": [("MatMul", "t u", "y", {})],
    "mul": [("Mul", "t u", "y", {})],
    "pow": [("Pow", "t e", "y", {})],
    "l2": [("LpNormalization", "t", "y", {"axis": 1})],
}


@pytest.mark.parametrize("case", SPARED)
def test_spared_of_unsigned_inputs(case: str, tmp_path: Path) -> None:
    """ThresholdedRelu is spared itself, so that what it feeds has unsigned inputs."""
    steps: list[Step] = [
        ("ThresholdedRelu", "x", "t", {}),
        ("ThresholdedRelu", "x", "u", {"alpha": 0.5}),
        *SPARED[case],
    ]
    graph = load_model(save(net(steps, ("N", 4, 6, 6), {"e": np.array(3, F)}), tmp_path))
    ranges = calibrate(graph, np.abs(random(4, 6, 6, 4)) + F(1), "compass42", "extrema")
    program = quantize(graph, ranges, "compass42", force_dtype_int=True)
    assert program.tensors[program.outputs[0]].dtype == "uint8"


@pytest.mark.parametrize("bits", [16, 24, 32, 40])
def test_biases_have_the_bits_that_are_asked_for(bits: int, tmp_path: Path) -> None:
    consts = {"w": random(3, 4, 1, 1, scale=1e-3), "b": np.array([900, -900, 1], F)}
    graph = load_model(save(net([("Conv", "x w b", "y", {})], consts=consts), tmp_path))
    ranges = calibrate(graph, random(4, 6, 7, 4), "compass42", "extrema")
    program = quantize(graph, ranges, "compass42", bias_bits=str(bits))
    (op,) = (op for op in program.ops if "bias" in op.consts)
    bias = op.consts["bias"].astype(np.int64)
    assert bias.max() <= 2 ** (bits - 1) - 1
    assert bias.min() >= -(2 ** (bits - 1))
    if bits <= 24:
        assert bias.max() == 2 ** (bits - 1) - 1


def test_a_broken_rule_while_lowering_is_a_model_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ProgramError("layer 'n0': a limit", layer="n0")

    monkeypatch.setitem(lowering.RULES, "Activation", broken)
    with pytest.raises(UnsupportedModelError, match="a limit") as caught:
        program_of("hard_sigmoid", tmp_path)
    assert caught.value.exit_code == 3
