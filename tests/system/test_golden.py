"""Golden runs: whole trained networks against the vendor's open simulator, layer by layer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from support import golden_files
from support.backends import BACKENDS, all_tensors

from r329fast.graph import load_model
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.program import Program
from r329fast.quantization import quantize
from r329fast.simulator.simulator import Simulator

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


MORE = sorted(path.name.split(".more")[0] for path in golden_files.GOLDEN.glob("*.more.npz"))
_SETS = {"resnet20_cifar10": ("cifar10", "test.zip")}


@pytest.mark.slow
@pytest.mark.parametrize("model", MORE)
def test_outputs_of_more_images_from_their_files(model: str, shared) -> None:
    """Hundreds of images, decoded and preprocessed by us, through the compiled kernels."""
    _, program = _case(model, shared)
    with np.load(golden_files.GOLDEN / f"{model}.more.npz") as stored:
        meta, outputs = json.loads(str(stored["meta_json"])), stored["output_q"]
    preprocess = Preprocess.from_json(shared / "data" / "preprocess.json", model)
    folder, archive = _SETS.get(model, ("imagenet", "samples256.zip"))
    digest = hashlib.sha256()
    found = []
    with ImageSet(shared / "data" / folder / archive, limit=len(meta["files"])) as images:
        assert [Path(name).name for name in images.names] == [Path(n).name for n in meta["files"]]
        simulator = Simulator(program, threads=2)
        for first in range(0, len(images), 20):
            last = min(first + 20, len(images))
            floats = np.stack([preprocess.apply(images.image(i)) for i in range(first, last)])
            digest.update(np.ascontiguousarray(floats.transpose(0, 3, 1, 2)).tobytes())
            found.append(simulator.run(program.quantize_input(floats))[program.outputs[0]])
        simulator.close()
    if digest.hexdigest() != meta["test_float32_nchw_sha256"]:
        pytest.skip("this machine's JPEG decoder gives other pixels than the stored run's")
    result = np.concatenate(found)
    np.testing.assert_array_equal(result.reshape(len(result), -1), outputs)
