"""Ranges from the extremes of every image are those that calibration finds."""

from __future__ import annotations

import numpy as np
import pytest

from r329fast.calibration import calibrate
from r329fast.calibration.of_extremes import ranges_of_extremes
from r329fast.deploy import bundled
from r329fast.graph import load_model
from r329fast.graph.export.float_session import FloatSession

NET = str(bundled.path("net.onnx"))


@pytest.mark.parametrize(
    ("scheme", "method"),
    [("aqt2021", "EXTREME"), ("aqt2021", "MEAN"), ("compass42", "extrema"), ("compass42", "mean"),
     ("compass42", "0.9percentile")],
)  # fmt: skip
def test_equal_to_calibration(scheme: str, method: str) -> None:
    graph = load_model(NET)
    x = np.random.default_rng(0).normal(size=(8, *graph.shapes[graph.inputs[0]]))
    x = x.astype(np.float32)
    tensors = {graph.inputs[0]: x, **FloatSession(graph, keep="all").run(x)}
    extremes = {
        name: np.stack([(image.min(), image.max()) for image in values])
        for name, values in tensors.items()
    }
    found = ranges_of_extremes(graph, extremes, scheme, method)
    expected = calibrate(graph, x, scheme, method)
    assert found is not None
    assert found.values == expected.values
    assert found.seen == expected.seen


@pytest.mark.parametrize("method", ["10kld", "3std", "mean & <[Convolution]:extrema>"])
def test_what_needs_more_is_left_to_calibration(method: str) -> None:
    graph = load_model(NET)
    extremes = {name: np.zeros((1, 2), np.float32) for name in graph.shapes}
    assert ranges_of_extremes(graph, extremes, "compass42", method) is None
