"""int8 against float on real networks and images."""

from __future__ import annotations

import json

import pytest

from r329fast.calibration import calibrate
from r329fast.graph import FloatSession, load_model
from r329fast.images.dataset import build_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.quantization import quantize
from r329fast.simulator.simulator import Simulator

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.mark.parametrize(("scheme", "method"), [("aqt2021", "EXTREME"), ("compass42", "mean")])
def test_resnet20_loses_less_than_a_point(shared, scheme: str, method: str) -> None:
    """5,000 CIFAR-10 images, calibrated on 200 others."""
    data = shared / "data"
    preprocess = Preprocess.from_json(data / "preprocess.json", "resnet20_cifar10")
    graph = load_model(data / "models" / "resnet20_cifar10.onnx")
    with ImageSet(data / "cifar10" / "calib.zip") as images:
        calibration, _ = build_dataset(images, preprocess)
    with ImageSet(data / "cifar10" / "test.zip") as images:
        floats, labels = build_dataset(images, preprocess)
    ranges = calibrate(graph, calibration, scheme, method, threads=2)
    program = quantize(graph, ranges, scheme)
    simulator = Simulator(program, threads=2)
    integers = simulator.run(program.quantize_input(floats))[program.outputs[0]]
    simulator.close()
    int8 = float((integers.reshape(5000, -1).argmax(axis=1) == labels).mean())
    session = FloatSession(graph, keep="outputs", threads=2)
    (logits,) = session.run(floats).values()
    exact = float((logits.reshape(5000, -1).argmax(axis=1) == labels).mean())
    expected = json.loads((data / "expected_float.json").read_text())["resnet20_cifar10"]
    assert exact == pytest.approx(expected["cifar10/test"]["top1"], abs=0.002)
    assert abs(exact - int8) < 0.01
