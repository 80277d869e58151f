"""Resizing of feature maps: by sampling, and by blocks of pixels that become channels or back."""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.graph.ir import Layer, ResizeAttrs
from r329fast.graph.issues import FORM, VALUES, Unsupported
from r329fast.graph.layers.movement import DepthToSpaceAttrs
from r329fast.graph.lower.builder import Builder
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import constraint_four_axes
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, first_shape, show

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


@advise("cut the graph in front of it (--output): another mode would be another function", FORM)
def constraint_resize_mode(node: Node, model: OnnxModel) -> Result:
    """mode must be nearest or linear; coordinate_transformation_mode half_pixel,
    pytorch_half_pixel, align_corners or asymmetric; no antialias; policy stretch."""
    mode = node.attr("mode", "nearest")
    coordinates = node.attr("coordinate_transformation_mode", "half_pixel")
    antialias = int(node.attr("antialias", 0))
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    ok = mode in ("nearest", "linear", "bilinear") and coordinates in _COORDINATES
    ok = ok and not antialias and policy == "stretch"
    why = f"mode {mode}, {coordinates}, antialias {antialias}, policy {policy}"
    return ok, why


@advise(
    "make the sizes constants; where a scale hits no whole size, or other axes change, cut the "
    "graph in front of it (--output)",
    VALUES,
)
def constraint_resize_factors(node: Node, model: OnnxModel) -> Result:
    """Scales or sizes must be constants that change H and W only, and scales must give whole
    sizes (else the pixel grid would not follow from the sizes)."""
    scales, sizes = resize_factors(node, model)
    shape = first_shape(node, model)
    if len(shape) != 4:
        return True, ""
    if sizes is not None:
        return len(sizes) == 4 and sizes[:2] == list(shape[:2]), f"sizes {sizes}"
    if scales is None:
        return False, "they are computed"
    if len(scales) != 4 or scales[0] != 1 or scales[1] != 1:
        return False, f"scales {scales}"
    exact = [size * scale for size, scale in zip(shape[2:], scales[2:], strict=True)]
    whole = all(abs(value - round(value)) < 1e-4 and round(value) > 0 for value in exact)
    aligned = node.attr("coordinate_transformation_mode", "") == "align_corners"
    return whole or aligned, f"scales {scales} of {show(shape)}"


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
    elif scales is None:
        raise Unsupported("scales and sizes are computed", "make them constants (onnxslim)", VALUES)
    else:
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


def write_resize(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ResizeAttrs)
    channels = w.graph.shapes[layer.outputs[0]][2]
    size = w.const(np.array([channels, *attrs.size], np.int64))
    more: dict[str, Any] = {}
    if attrs.method == "NEAREST":
        more["nearest_mode"] = attrs.nearest.lower()
    return str(
        w.node(
            "Resize",
            [w.names[layer.inputs[0]], "", "", size],
            axes=[1, 2, 3],
            mode="nearest" if attrs.method == "NEAREST" else "linear",
            coordinate_transformation_mode=attrs.mode.lower(),
            **more,
        )
    )


# --- blocks ---------------------------------------------------------------------------------


@advise("no runtime takes such blocks: export the model again")
def constraint_whole_blocks(node: Node, model: OnnxModel) -> Result:
    """DepthToSpace needs a multiple of blocksize * blocksize channels and mode DCR or CRD,
    SpaceToDepth multiples of blocksize as H and W."""
    _, channels, height, width = first_shape(node, model)
    block, mode = int(node.attr("blocksize", 1)), node.attr("mode", "DCR")
    why = f"blocksize {block}, mode {mode}, input {show(first_shape(node, model))}"
    if block < 1 or mode not in ("DCR", "CRD"):
        return False, why
    if node.op == "DepthToSpace":
        return channels % (block * block) == 0, why
    return height % block == 0 and width % block == 0, why


def import_depth_to_space(builder: Builder, node: Node) -> None:
    """DepthToSpace -> DepthToSpace, SpaceToDepth -> SpaceToDepth."""
    source = builder.canonical(builder.value(node.inputs[0]))
    height, width, channels = builder.stored(source)
    block, inverse = int(node.attr("blocksize", 1)), node.op == "SpaceToDepth"
    shape = (height * block, width * block, channels // block**2)
    if inverse:
        shape = (height // block, width // block, channels * block**2)
    attrs = DepthToSpaceAttrs(block, str(node.attr("mode", "DCR")), int(inverse))
    tensor = builder.add(node.name, node.op, attrs, (source.tensor,), shape)
    builder.bind(node.outputs[0], tensor, source.perm)


def write_depth_to_space(w: Writer, layer: Layer) -> str:
    attrs = layer.params(DepthToSpaceAttrs)
    words: dict[str, Any] = {"blocksize": attrs.block}
    if not attrs.inverse:
        words["mode"] = attrs.mode
    return str(w.node(layer.type, [w.names[layer.inputs[0]]], **words))


_RESIZE = (constraint_four_axes, constraint_resize_mode, constraint_resize_factors)
_BLOCKS = (constraint_four_axes, constraint_whole_blocks)

OPERATORS = {
    "Resize": Operator(import_resize, "Resize", _RESIZE),
    "Upsample": Operator(import_resize, "Resize", _RESIZE),
    "DepthToSpace": Operator(import_depth_to_space, "DepthToSpace", _BLOCKS),
    "SpaceToDepth": Operator(import_depth_to_space, "SpaceToDepth", _BLOCKS),
}

WRITERS: dict[str, LayerWriter] = {
    "Resize": write_resize,
    "DepthToSpace": write_depth_to_space,
    "SpaceToDepth": write_depth_to_space,
}
