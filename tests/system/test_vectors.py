"""All test vectors of the vendor's open simulator: parameters, constants, outputs, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from support import vector_files
from support.backends import BACKENDS, all_tensors, one_op

from r329fast.calibration import calibrate
from r329fast.calibration.ranges import mean_square_key, softmax_key, sum_square_key
from r329fast.errors import UnsupportedModelError
from r329fast.program import Op, Program
from r329fast.quantization import quantize

pytestmark = pytest.mark.shared

NAMES = vector_files.names()
# Our name -> the vendor's, for constants of an op.
CONSTANTS = (
    ("weights", "weights"),
    ("bias", "biases"),
    ("mult", "scale"),
    ("shift", "shift"),
    ("slope", "negative_slope"),
    ("table", "lut"),
    ("table", "lut_exp"),
    ("log_table", "lut_log"),
    ("table", "sqrt_lut"),
    ("value", "weights"),
)
CALIBRATIONS = [name for name in NAMES if name.startswith("calib_")]

_programs: dict[str, tuple[vector_files.Vector, Program]] = {}


def _case(name: str) -> tuple[vector_files.Vector, Program]:
    """The vector and our program for it (quantised once for both backends)."""
    if name not in _programs:
        vector = vector_files.load(name)
        _add_hidden_ranges(vector)
        options = vector_files.case_options(vector)
        _programs[name] = vector, quantize(vector.graph, vector.ranges, "compass42", options)
    return _programs[name]


def _add_hidden_ranges(vector: vector_files.Vector) -> None:
    """LRN and LogSoftmax calibrate a value that is no tensor; it comes from our calibration."""
    if not any(
        layer.type in ("LRN", "LogSoftmax") or getattr(layer.attrs, "method", "") == "L2"
        for layer in vector.graph
    ):
        return
    found = calibrate(vector.graph, vector.arrays["calib0"], "compass42", "mean")
    for layer in vector.graph:
        for name in (mean_square_key, softmax_key, sum_square_key):
            key = name(layer.name)
            if key in found:
                vector.ranges.values[key] = found[key]


def test_there_are_vectors(shared) -> None:
    assert len(NAMES) >= 198 + 289 - 5


@pytest.mark.parametrize("name", vector_files.faults())
def test_what_is_left_out_is_what_no_program_can_hold(name: str) -> None:
    """Spec B.22: a negative alpha negates the zero point and puts +128 into int8; of three inputs
    every result saturates. The specification advises to refuse such Gemms, and they are."""
    vector = vector_files.load(name)
    gemm = next(node for node in vector.nodes if node["type"] == "Gemm")
    q = vector.arrays[f"{gemm['outputs'][0]['key']}.q"]
    ends = (gemm["outputs"][0]["qmin"], gemm["outputs"][0]["qmax"])
    if len(gemm["inputs"]) == 2:
        assert q.max() == ends[1] + 1  # no int8
    else:
        assert np.isin(q, ends).all()  # nothing of the product is left
    with pytest.raises(UnsupportedModelError, match="two inputs and alpha 1"):
        quantize(vector.graph, vector.ranges, "compass42", vector_files.case_options(vector))


@pytest.mark.parametrize("name", NAMES)
def test_quantiser_parameters(name: str) -> None:
    vector, program = _case(name)
    for i, node in enumerate(vector.nodes):
        for k, tensor in enumerate(node["outputs"]):
            spec = program.tensors[tensor["name"]]
            assert np.float32(spec.scale) == vector.arrays[f"n{i}.out{k}.scale"][0]
            assert spec.zero_point == vector.arrays[f"n{i}.out{k}.zp"][0]
            assert (spec.qmin, spec.qmax) == (tensor["qmin"], tensor["qmax"])
            assert spec.dtype.upper() == tensor["dtype"]


@pytest.mark.parametrize("name", NAMES)
def test_constants(name: str) -> None:
    vector, program = _case(name)
    for i, node in enumerate(vector.nodes):
        first, last = program.layers[i].ops
        if first == last:
            continue
        op = program.ops[first]
        for ours, theirs in CONSTANTS:
            stored = vector.arrays.get(f"n{i}.c.{theirs}.q")
            if stored is not None and ours in op.consts:
                found = op.consts[ours]
                found = found.reshape(stored.shape) if ours == "value" else found
                np.testing.assert_array_equal(found, stored, err_msg=f"{node} {ours}")
        _compare_parameters(op, node["params"])


def _compare_parameters(op: Op, params: dict) -> None:
    """Per-tensor multipliers and shifts stand among the vendor's layer parameters."""
    if op.kind == "l2_normalize":
        for ours, theirs in (("mult", "scale"), ("shift", "shift"), ("before", "reciprocal_shift")):
            assert op.attrs[ours] == params[f"{theirs}_value"]
        return
    if op.kind == "standardize":
        assert op.attrs["var_shift"] == params["var_shift_value"]
        assert op.attrs["norm_shift"] == params["norm_shift_value"]
    if op.kind == "standardize_words":
        assert op.attrs["norm_mult"] == params["norm_scale_value"]
        assert op.attrs["norm_shift"] == params["norm_shift_value"]
    if op.kind == "reduce_product":
        assert op.attrs["power"] == params["shift_value"]
        params = {"scale_value": params["scale_value"]}
    if "scale_value" in params and op.kind not in ("concat", "lut"):
        expected = np.atleast_1d(params["scale_value"])
        mult = op.consts["mult"]
        if op.kind == "eltwise" and len(expected) == 3:
            mult = np.concatenate([mult, op.consts["scales"]])
        np.testing.assert_array_equal(mult, expected)
    if "shift_value" in params and op.kind != "lut":
        np.testing.assert_array_equal(op.consts["shift"], np.atleast_1d(params["shift_value"]))
    if op.kind == "concat" and "scale_value" in params:
        np.testing.assert_array_equal(op.consts["mult"], params["scale_value"])
    if op.attrs.get("act") == "CLIP":
        assert op.attrs["clip_min"] == params["clip_min"]
        assert op.attrs["clip_max"] == params["clip_max"]
    if op.kind == "lrn":
        assert op.attrs["sum_mult"] == params["scale_sum_value"]
        assert op.attrs["sum_shift"] == params["shift_sum_value"]
    if op.kind == "softmax_fast_exp":
        assert op.attrs["mult_in"] == params["input_scale_value"]
        assert op.attrs["shift_in"] == params["input_shift_value"]
        assert op.attrs["q_bits"] == params["pow2_out_q"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_each_node_on_its_own(name: str, backend: str) -> None:
    vector, program = _case(name)
    for i, node in enumerate(vector.nodes):
        tensors = {
            tensor["name"]: vector.arrays[f"n{i}.in{k}.q"].astype(tensor["dtype"].lower())
            for k, tensor in enumerate(node["inputs"])
        }
        first, last = program.layers[i].ops
        for op in program.ops[first:last]:
            arrays = [tensors[tensor] for tensor in op.inputs]
            tensors[op.outputs[0]] = one_op(program, op, arrays, backend)
        for k, tensor in enumerate(node["outputs"]):
            if node["inputs"]:
                stored = vector.arrays[f"n{i}.out{k}.q"]
                np.testing.assert_array_equal(tensors[tensor["name"]], stored)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_end_to_end(name: str, backend: str) -> None:
    vector, program = _case(name)
    tensors = all_tensors(program, vector_files.feeds(vector, program), backend)
    for i, node in enumerate(vector.nodes):
        for k, tensor in enumerate(node["outputs"]):
            stored = vector.arrays[f"n{i}.out{k}.q"]
            if tensor["name"] in program.inputs:
                quantised = program.quantize_input(vector.arrays[f"test{i}"], tensor["name"])
                np.testing.assert_array_equal(quantised, stored)
            else:
                np.testing.assert_array_equal(tensors[tensor["name"]], stored)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_calibration_strategies(name: str) -> None:
    """Another float engine than the vendor's: equal to a relative 5e-7 of the range."""
    vector = vector_files.load(name)
    attrs = vector.nodes[-1]["attrs"]
    found = calibrate(
        vector.graph,
        vector.arrays["calib0"],
        "compass42",
        attrs["q_strategy_activation"],
        batch_size=int(vector.cfg["calibration_batch_size"]),
        momentum=attrs["running_statistic_momentum"],
        activation_method=attrs["q_mode_activation"],
    )
    for tensor, (low, high) in vector.ranges.values.items():
        size = max(abs(low), abs(high))
        np.testing.assert_allclose(found[tensor], (low, high), rtol=0, atol=5e-7 * size)
