"""Importers of pooling, reductions and resizing: what works on H and W and keeps channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from r329fast.graph.ir import PoolingAttrs, ReduceAttrs, ResizeAttrs
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder, batch_axis
from r329fast.graph.lower.compute import explicit_pads, pair
from r329fast.graph.onnx.model import Node, OnnxModel


def pooled_size(
    size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], ceil_mode: bool
) -> int:
    """Output length of a pooling along one axis.

    With ceil_mode a last window that would start beyond the input and its front padding is
    dropped, as onnxruntime does.
    """
    room = size + pads[0] + pads[1] - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    count = ceil(room / stride) + 1
    if (count - 1) * stride >= size + pads[0]:
        count -= 1
    return count


def import_pool(builder: Builder, node: Node) -> None:
    """MaxPool, AveragePool -> Pooling."""
    source = builder.canonical(builder.value(node.inputs[0]))
    height, width, channels = builder.stored(source)
    kernel = pair(node.attr("kernel_shape"))
    stride, dilation = pair(node.attr("strides")), pair(node.attr("dilations"))
    pads = explicit_pads(node, (height, width), kernel, stride, dilation)
    same = node.attr("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    ceil_mode = bool(node.attr("ceil_mode", 0)) and not same
    rows = pooled_size(height, kernel[0], stride[0], dilation[0], (pads[0], pads[2]), ceil_mode)
    cols = pooled_size(width, kernel[1], stride[1], dilation[1], (pads[1], pads[3]), ceil_mode)
    if rows < 1 or cols < 1:
        raise Unsupported(
            f"the {kernel[0]}x{kernel[1]} window does not fit the {height}x{width} map",
            "check the input shape",
        )
    attrs = PoolingAttrs(
        "MAX" if node.op == "MaxPool" else "AVG",
        kernel,
        stride,
        dilation,
        pads,
        ceil_mode,
        node.op == "AveragePool" and bool(node.attr("count_include_pad", 0)),
    )
    tensor = builder.add(node.name, "Pooling", attrs, (source.tensor,), (rows, cols, channels))
    builder.bind(node.outputs[0], tensor, source.perm)


def import_global_pool(builder: Builder, node: Node) -> None:
    """GlobalAveragePool, GlobalMaxPool -> Pooling with a kernel of the whole map."""
    source = builder.canonical(builder.value(node.inputs[0]))
    height, width, channels = builder.stored(source)
    method = "MAX" if node.op == "GlobalMaxPool" else "AVG"
    attrs = PoolingAttrs(method, (height, width))
    tensor = builder.add(node.name, "Pooling", attrs, (source.tensor,), (1, 1, channels))
    builder.bind(node.outputs[0], tensor, source.perm)


def reduce_axes(node: Node, model: OnnxModel) -> list[int] | None:
    """Per-image axes that a ReduceMean takes (-1: the batch axis); None if not constant."""
    shape = model.shape(node.inputs[0])
    if shape is None:
        return None
    axes: Sequence[int] | None = node.attr("axes")
    if axes is None and node.input(1):
        value = model.const(node.input(1))
        if value is None:
            return None
        axes = [int(axis) for axis in value.reshape(-1)]
    if not axes:
        axes = [] if node.attr("noop_with_empty_axes", 0) else range(len(shape))
    return sorted(batch_axis(int(axis), len(shape)) for axis in axes)


def import_reduce_mean(builder: Builder, node: Node) -> None:
    """ReduceMean over H and W -> Reduce MEAN."""
    value = builder.value(node.inputs[0])
    axes = reduce_axes(node, builder.model) or []
    # the axes that stay must be the channels, lying last
    (channel,) = (axis for axis in range(3) if axis not in axes)
    source = builder.channels_last(value, channel)
    channels = builder.stored(source)[2]
    keep = bool(node.attr("keepdims", 1))
    shape = (1, 1, channels) if keep else (channels,)
    attrs = ReduceAttrs("MEAN", (0, 1), keep)
    tensor = builder.add(node.name, "Reduce", attrs, (source.tensor,), shape)
    builder.bind(node.outputs[0], tensor, source.perm if keep else (0,))


# --- Resize ---------------------------------------------------------------------------------


def resize_factors(node: Node, model: OnnxModel) -> tuple[list[float] | None, list[int] | None]:
    """(scales, sizes) of a Resize or Upsample node, each over all axes, None where not given."""
    shape = model.shape(node.inputs[0])
    rank = len(shape or ())
    if node.op == "Upsample":
        scales = node.attr("scales")
        if scales is None:
            value = model.const(node.input(1))
            scales = None if value is None else value.reshape(-1)
        return (None if scales is None else [float(s) for s in scales]), None
    places = [1] if model.opset < 11 else [2, 3]
    found: list[np.ndarray | None] = []
    for place in places:
        value = model.const(node.input(place)) if node.input(place) else None
        found.append(value if value is not None and value.size else None)
    axes = [int(axis) % rank for axis in node.attr("axes", range(rank))]
    full_scales: list[float] | None = None
    full_sizes: list[int] | None = None
    if found[0] is not None:
        full_scales = [1.0] * rank
        for axis, scale in zip(axes, found[0].reshape(-1), strict=True):
            full_scales[axis] = float(scale)
    if len(found) > 1 and found[1] is not None:
        full_sizes = list(shape or ())
        for axis, size in zip(axes, found[1].reshape(-1), strict=True):
            full_sizes[axis] = int(size)
    return full_scales, full_sizes


def import_resize(builder: Builder, node: Node) -> None:
    """Resize, Upsample -> Resize."""
    source = builder.canonical(builder.value(node.inputs[0]))
    height, width, channels = builder.stored(source)
    scales, sizes = resize_factors(node, builder.model)
    if sizes is not None:
        rows, cols = sizes[2], sizes[3]
    else:
        assert scales is not None
        # in float32, as the runtime has the scales
        rows = int(np.floor(np.float32(height) * np.float32(scales[2])))
        cols = int(np.floor(np.float32(width) * np.float32(scales[3])))
    linear = node.attr("mode", "nearest") != "nearest"
    old = node.op == "Upsample" or builder.model.opset < 11
    coordinates = "asymmetric" if old else node.attr("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else node.attr("nearest_mode", "round_prefer_floor")
    attrs = ResizeAttrs(
        (rows, cols),
        "BILINEAR" if linear else "NEAREST",
        coordinates.upper(),
        nearest.upper(),
    )
    tensor = builder.add(node.name, "Resize", attrs, (source.tensor,), (rows, cols, channels))
    builder.bind(node.outputs[0], tensor, source.perm)


IMPORTERS = {
    "MaxPool": import_pool,
    "AveragePool": import_pool,
    "GlobalAveragePool": import_global_pool,
    "GlobalMaxPool": import_global_pool,
    "ReduceMean": import_reduce_mean,
    "Resize": import_resize,
    "Upsample": import_resize,
}
