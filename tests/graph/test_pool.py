"""Pooling, means and resizing, against onnxruntime on the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graph_nets import (
    F,
    Step,
    agree,
    ints,
    net,
    types,
)

POOLS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "max": ("MaxPool", 13, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "max_7": ("MaxPool", 7, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "max_ceil": ("MaxPool", 13, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max_ceil_pads": (
        "MaxPool",
        13,
        {"kernel_shape": [3, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    ),
    "max_dilated": ("MaxPool", 13, {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    "max_same": (
        "MaxPool",
        13,
        {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "max_same_lower": (
        "MaxPool",
        13,
        {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ),
    "avg": ("AveragePool", 13, {"kernel_shape": [2, 3], "strides": [2, 1]}),
    "avg_7": ("AveragePool", 7, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "avg_pads": ("AveragePool", 13, {"kernel_shape": [3, 3], "pads": [1, 0, 2, 1]}),
    "avg_include": (
        "AveragePool",
        13,
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "avg_ceil": ("AveragePool", 13, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "avg_ceil_pads": (
        "AveragePool",
        11,
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    ),
    "avg_ceil_include": (
        "AveragePool",
        19,
        {
            "kernel_shape": [3, 3],
            "strides": [2, 2],
            "ceil_mode": 1,
            "pads": [1, 1, 1, 1],
            "count_include_pad": 1,
        },
    ),
    "avg_same": (
        "AveragePool",
        13,
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "avg_dilated": ("AveragePool", 19, {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "global_avg": ("GlobalAveragePool", 13, {}),
    "global_max": ("GlobalMaxPool", 13, {}),
}


@pytest.mark.parametrize("case", POOLS)
def test_pool(case: str, tmp_path: Path) -> None:
    op, opset, attrs = POOLS[case]
    graph = agree(net([(op, "x", "y", attrs)], opset=opset), tmp_path)
    assert types(graph) == ["Pooling"]
    if "global" in case:
        attrs_ = graph.layers[1].attrs
        assert (attrs_.kernel, attrs_.count_include_pad) == ((6, 7), False)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("opset", [13, 18])
def test_reduce_mean(keep: int, opset: int, tmp_path: Path) -> None:
    if opset < 18:
        model = net([("ReduceMean", "x", "y", {"axes": [-2, 3], "keepdims": keep})], opset=opset)
    else:
        step: Step = ("ReduceMean", "x a", "y", {"keepdims": keep})
        model = net([step], consts={"a": ints(2, 3)}, opset=opset)
    graph = agree(model, tmp_path)
    assert types(graph) == ["Reduce"]
    assert graph.shapes["n0"] == ((1, 1, 4) if keep else (4,))


# --- resize -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize(
    "mode", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
)
@pytest.mark.parametrize("size", [(12, 14), (9, 5), (1, 3)])
def test_resize_nearest(nearest: str, mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    attrs = {"mode": "nearest", "nearest_mode": nearest, "coordinate_transformation_mode": mode}
    step: Step = ("Resize", "x - - s", "y", {**attrs, "axes": [2, 3]})
    graph = agree(net([step], consts={"s": ints(*size)}, opset=18), tmp_path)
    assert types(graph) == ["Resize"]


@pytest.mark.parametrize("batch_size", [2])
@pytest.mark.parametrize(
    "mode", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
)
@pytest.mark.parametrize("size", [(12, 14), (9, 5), (1, 3)])
def test_resize_linear(batch_size: int, mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    attrs = {"mode": "linear", "coordinate_transformation_mode": mode}
    step: Step = ("Resize", "x - - s", "y", attrs)
    model = net([step], (batch_size, 4, 6, 7), {"s": ints(batch_size, 4, *size)})
    assert types(agree(model, tmp_path, batch_size)) == ["Resize"]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    "form", ["upsample_7", "upsample_9", "resize_10", "resize_11", "resize_18"]
)
def test_resize_forms(mode: str, form: str, tmp_path: Path) -> None:
    scales = np.array([1, 1, 2, 3], F)
    opset = int(form.split("_")[1])
    consts = {"s": scales}
    attrs: dict[str, Any] = {"mode": mode}
    if form == "upsample_7":
        step: Step = ("Upsample", "x", "y", {**attrs, "scales": scales.tolist()})
        consts = {}
    elif opset < 11:
        step = ("Upsample" if opset == 9 else "Resize", "x s", "y", attrs)
    elif opset == 18:
        step = ("Resize", "x - s", "y", {**attrs, "axes": [2, 3]})
        consts = {"s": scales[2:]}
    else:
        step = ("Resize", "x r s", "y", attrs)
        consts = {"s": scales, "r": np.zeros(0, F)}
    assert types(agree(net([step], consts=consts, opset=opset), tmp_path)) == ["Resize"]
