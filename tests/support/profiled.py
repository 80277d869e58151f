"""Networks with images that the profile tests share, and sums of their own to check against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.calibration import Ranges, calibrate
from r329fast.deploy import bundled
from r329fast.graph import load_model
from r329fast.graph.ir import Graph
from r329fast.images.dataset import build_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.profile.images import ArrayImages
from r329fast.profile.profiling import Wanted, collect
from r329fast.program.program import Op, Program, TensorSpec
from r329fast.quantization import quantize
from r329fast.report.record import Record


@dataclass(frozen=True)
class Case:
    """A float graph, its ranges and program, and labelled float images."""

    graph: Graph
    ranges: Ranges
    program: Program
    x: np.ndarray
    labels: np.ndarray


def make_case(
    model: Path, images: Path, recipe: Preprocess, count: int, scheme: str = "aqt2021", **options
) -> Case:  # type: ignore[no-untyped-def]
    graph = load_model(model)
    with ImageSet(images, limit=count) as found:
        x, labels = build_dataset(found, recipe)
    method = "EXTREME" if scheme == "aqt2021" else "extrema"
    ranges = calibrate(graph, x[:16], scheme=scheme, method=method)
    return Case(graph, ranges, quantize(graph, ranges, scheme, **options), x, labels)


@cache
def bundled_case(scheme: str = "aqt2021", count: int = 24, per_channel: bool = False) -> Case:
    """The network and images that travel inside the package."""
    options: dict[str, object] = {}
    if per_channel:
        options["quantize_method_for_weight"] = "per_channel_symmetric_restricted_range"
    return make_case(
        bundled.path("net.onnx"),
        bundled.path("val.zip"),
        Preprocess.from_json(bundled.path("preprocess.json")),
        count,
        scheme,
        **options,
    )


@cache
def shared_case(data: Path, name: str, count: int) -> Case:
    """A model of the shared folder, with the first images of its set."""
    images = "cifar10/test.zip" if "cifar10" in name else "imagenet/val10.zip"
    recipe = Preprocess.from_json(data / "preprocess.json", name)
    return make_case(data / "models" / f"{name}.onnx", data / images, recipe, count)


# --- sums of the tests' own: int64, one kernel position after the other ------------------------


def own_accumulators(program: Program, op: Op, arrays: list[np.ndarray]) -> np.ndarray | None:
    """Sums before activation and multiplier, int64, or None for ops without."""
    wide = [array.astype(np.int64) for array in arrays]
    x = wide[0]
    if op.kind in ("conv2d", "depthwise_conv2d"):
        return own_convolution(op, x, program.tensors[op.outputs[0]])
    if op.kind == "fully_connected":
        return np.einsum("...i,oi->...o", x, op.consts["weights"].astype(np.int64)) + op.consts[
            "bias"
        ].astype(np.int64)
    if op.kind == "eltwise" and op.attrs["method"] == "ADD":
        zero = [program.tensors[name].zero_point for name in op.inputs]
        first, second = (int(value) for value in op.consts["scales"])
        return (x + zero[0]) * first + (wide[1] + zero[1]) * second
    if op.kind == "reduce_sum":
        axes = op.attrs["axes"]
        assert isinstance(axes, tuple)
        zero = program.tensors[op.inputs[0]].zero_point
        return (x + zero).sum(axis=tuple(axis + 1 for axis in axes))
    return None


def own_convolution(op: Op, x: np.ndarray, output: TensorSpec) -> np.ndarray:
    (kh, kw), (sy, sx), (dy, dx) = op.attrs["kernel"], op.attrs["stride"], op.attrs["dilation"]  # type: ignore[misc]
    top, left, bottom, right = op.attrs["pads"]  # type: ignore[misc]
    weights = op.consts["weights"].astype(np.int64)
    group = op.attrs["group"]
    assert isinstance(group, int)
    pads = ((0, 0), (top, bottom + kh), (left, right + kw), (0, 0))
    padded = np.pad(x, pads, constant_values=op.attrs["pad_value"])  # type: ignore[arg-type]
    rows, columns = output.shape[:2]
    channels, outputs = x.shape[3] // group, len(weights) // group
    total = np.zeros((len(x), rows, columns, len(weights)), dtype=np.int64)
    for y in range(kh):
        for z in range(kw):
            part = padded[:, y * dy :: sy, z * dx :: sx][:, :rows, :columns]
            for g in range(group):
                values = part[..., g * channels : (g + 1) * channels]
                rows_of = slice(g * outputs, (g + 1) * outputs)
                total[..., rows_of] += np.einsum(
                    "nhwi,oi->nhwo", values, weights[rows_of, y, z], optimize=True
                )
    return total + op.consts["bias"].astype(np.int64)


def own_unclamped(op: Op, sums: np.ndarray, output: TensorSpec) -> np.ndarray:
    """Before the last clamp: float64 holds product and quotient exactly, rint is half to even."""
    assert op.attrs.get("rounding") == "half_even"
    if op.attrs.get("act") == "RELU":
        sums = np.maximum(sums, 0)
    product = sums.astype(np.float64) * op.consts["mult"].astype(np.float64)
    assert np.abs(product).max() < 2**53
    return np.rint(product / np.exp2(op.consts["shift"].astype(np.float64))) - output.zero_point


def bundled_record(images: int, wanted: Wanted, source: str = "") -> dict[str, Any]:
    """The record of a profile of the bundled network over its first images."""
    case = bundled_case()
    found = collect(
        case.program,
        graph=case.graph,
        images=ArrayImages(case.x, case.labels, images),
        wanted=wanted,
        source=source,
    )
    return dict(Record.of(found))
