"""Golden runs: whole trained networks against the vendor's open simulator, layer by layer."""

from __future__ import annotations

import hashlib

import golden_files
import numpy as np
import pytest
from backends import BACKENDS, all_tensors

from r329fast.graph import load_model
from r329fast.program import Program
from r329fast.quantization import quantize

pytestmark = pytest.mark.shared

NAMES = golden_files.names()
_CONST = {"weights": "weights", "biases": "bias"}

_cases: dict[str, tuple[golden_files.Golden, Program]] = {}


def _case(name: str, shared) -> tuple[golden_files.Golden, Program]:
    if name not in _cases:
        golden = golden_files.load(name)
        graph = load_model(shared / "data" / "models" / f"{golden.model}.onnx")
        ranges = golden.our_ranges(graph)
        _cases[name] = golden, quantize(graph, ranges, "compass42", golden.options())
    return _cases[name]


def test_there_are_golden_runs(shared) -> None:
    assert len(NAMES) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_quantisation_from_stored_ranges(name: str, shared) -> None:
    golden, program = _case(name, shared)
    records = {record.name: record for record in program.layers}
    for layer in golden.compared_layers():
        record = records[layer["name"]]
        assert record.type == layer["type"]
        spec, stored = program.tensors[layer["name"]], layer["outputs"][0]
        assert np.float32(spec.scale) == np.float32(stored["scale"])
        assert (spec.zero_point, spec.qmin, spec.qmax) == (
            stored["zp"],
            stored["qmin"],
            stored["qmax"],
        )
        constants = program.ops[record.ops[0]].consts if record.ops[0] < record.ops[1] else {}
        if layer["multiplier"] is not None:
            mult = list(constants["mult"]) + list(constants.get("scales", ()))
            assert mult == list(np.atleast_1d(layer["multiplier"]))
            assert list(constants["shift"]) == list(np.atleast_1d(layer["shift"]))
        for theirs, ours in _CONST.items():
            if theirs in layer["consts"]:
                digest = hashlib.sha256(constants[ours].tobytes()).hexdigest()
                assert digest == layer["consts"][theirs]["sha256"], (layer["name"], ours)
        if "biases" in layer["consts"]:
            key = "biases|" + layer["name"].replace("/", "|")
            np.testing.assert_array_equal(constants["bias"], golden.arrays[key])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_of_the_first_image(name: str, backend: str, shared) -> None:
    golden, program = _case(name, shared)
    feeds = {program.inputs[0]: golden.inputs[:1]}
    tensors = all_tensors(program, feeds, backend)
    for layer in golden.compared_layers():
        stored = golden.first_image(f"{layer['name']}_0")
        np.testing.assert_array_equal(
            tensors[layer["name"]].reshape(-1), stored.reshape(-1), err_msg=layer["name"]
        )


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_and_output_of_all_images(name: str, backend: str, shared) -> None:
    golden, program = _case(name, shared)
    hashes = golden.hashes()
    inputs = golden.inputs
    assert len(hashes) == len(inputs)
    step = 4
    for start in range(0, len(inputs), step):
        feeds = {program.inputs[0]: inputs[start : start + step]}
        tensors = all_tensors(program, feeds, backend)
        outputs = tensors[program.outputs[0]]
        stored = golden.arrays["output_q"][start : start + step]
        np.testing.assert_array_equal(outputs.reshape(len(outputs), -1), stored)
        for layer in golden.compared_layers():
            for image, array in enumerate(tensors[layer["name"]]):
                digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
                assert digest == hashes[start + image][f"{layer['name']}_0"], layer["name"]
