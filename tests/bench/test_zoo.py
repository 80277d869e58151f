"""The networks of the bench: each builds, loads, keeps its range, and gives the exact integers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx
import pytest
from support.qdq import follows_the_float_network

from r329fast.bench import compare_engines as compare
from r329fast.bench import engines
from r329fast.bench.cases import Case, make_case
from r329fast.bench.models import MODELS
from r329fast.bench.qdq import float_forms
from r329fast.bench.static_form import static_form
from r329fast.graph import FloatSession
from r329fast.simulator.simulator import Simulator

# name -> the smallest side that is still a network; VGG-16 has 33 million weights at any size
SMALL = {"resnet20_cifar": 16, "ds_cnn": 49, "inception_v3": 96, "xception": 71}
# name -> GMAC at full size, as the papers have them
GMAC = {
    "mobilenet_v1": 0.569,
    "mobilenet_v3_small": 0.057,
    "mobilenet_v3_large": 0.219,
    "mnasnet": 0.315,
    "efficientnet_lite0": 0.385,
    "efficientnet_b0": 0.390,
    "mixnet_s": 0.252,
    "shufflenet_v2": 0.146,
    "ghostnet_v2": 0.167,
    "regnetx_400mf": 0.414,
    "regnety_400mf": 0.402,
    "densenet121": 2.83,
    "inception_v3": 5.71,
    "googlenet": 1.50,
    "resnext50": 4.23,
    "xception": 8.37,
    "repvgg_a0": 1.36,
    "ds_cnn": 0.0027,
}
NAMES = [name for name in MODELS if name != "vgg16"]


@lru_cache(maxsize=2)
def small_case(name: str) -> Case:
    return make_case(name, SMALL.get(name, 64))


@pytest.mark.parametrize("name", NAMES)
def test_models_are_sound_and_use_their_range(name: str) -> None:
    small = small_case(name)
    onnx.checker.check_model(small.onnx, full_check=True)
    x = small.images(2)
    expected = FloatSession(small.graph).run(x)[small.graph.outputs[0]]
    got = engines.ours(small, 2, 1).run()
    assert expected.shape == got.shape
    assert np.abs(expected).max() > 0.01  # activations have not died on the way
    assert compare.correlation(expected, got) > 0.9
    assert all(low < high for low, high in small.ranges.values.values())


@pytest.mark.parametrize("name", NAMES)
def test_integers_are_those_of_the_reference(name: str) -> None:
    small = small_case(name)
    x = small.program.quantize_input(small.images(2))
    expected = Simulator(small.program, backend="reference").run(x, keep="all")
    got = Simulator(small.program).run(x, keep="all")
    assert set(got) == set(expected)
    for tensor, values in expected.items():
        np.testing.assert_array_equal(got[tensor], values, err_msg=tensor)


@pytest.mark.parametrize("name", list(GMAC))
def test_work_is_that_of_the_papers(name: str) -> None:
    assert make_case(name).macs / 1e9 == pytest.approx(GMAC[name], rel=0.07)


@pytest.mark.parametrize("name", NAMES)
def test_qdq_follows_the_float_network(name: str) -> None:
    follows_the_float_network(small_case(name), "u8")


def test_float_ops_of_the_peers_are_counted() -> None:
    assert float_forms(small_case("resnet20_cifar").graph) == {}
    forms = float_forms(small_case("shufflenet_v2").graph)
    assert forms == {"Split": 13, "ChannelShuffle": 16}


def test_the_static_form_follows_the_float_network() -> None:
    import onnxruntime as ort

    small = small_case("resnet20_cifar")
    model = static_form(small)
    assert static_form(small) is model  # made once
    x = small.images(2)
    session = ort.InferenceSession(model)
    got = session.run(None, {"input": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0]
    expected = FloatSession(small.graph).run(x)[small.graph.outputs[0]]
    assert compare.correlation(expected, got) > 0.9


def test_summary_has_the_mean_and_the_worst() -> None:
    results = [
        {"model": "a", "batch": 16, "threads": 1, "ratio": 2.0},
        {"model": "b", "batch": 256, "threads": 1, "ratio": 0.5},
        {"model": "a", "batch": 1, "threads": 2, "ratio": 3.0},
        {"model": "c", "batch": 1, "threads": 2},  # no peer ran it
    ]
    both, one = compare.summary(results)
    assert both == {
        "one_image": False,
        "threads": 1,
        "networks": 2,
        "geometric_mean": pytest.approx(1.0),
        "worst": 0.5,
        "worst_model": "b",
    }
    assert (one["one_image"], one["geometric_mean"]) == (True, pytest.approx(3.0))
