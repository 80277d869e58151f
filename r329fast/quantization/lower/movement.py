"""Lowering rules of layers that move integers: concat to resize (spec B.11)."""

from __future__ import annotations

from r329fast.graph.ir import (
    ConcatAttrs,
    GatherAttrs,
    Layer,
    PadAttrs,
    ResizeAttrs,
    SplitAttrs,
)
from r329fast.program.ops import OPS
from r329fast.program.program import AttrValue, TensorSpec
from r329fast.quantization import sampling
from r329fast.quantization.linear import quantize_array
from r329fast.quantization.lower.context import Consts, Lowering, Rule


def nothing(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    """An input is made by no op."""


def moved(low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    """A layer that is one op, whose attributes have the names of the layer's."""
    kind = layer.facts.op
    attrs = {name: getattr(layer.attrs, name) for name in OPS[kind].attrs}
    low.emit(kind, layer, inputs, outputs[0], attrs)


def concat(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    mult, shift = low.scheme.concat(inputs, outputs[0])
    attrs: dict[str, AttrValue] = {**low.rounding, "axis": layer.params(ConcatAttrs).axis}
    low.emit("concat", layer, inputs, outputs[0], attrs, low.scaled(mult, shift))


def split(low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    attrs, shape = layer.params(SplitAttrs), inputs[0].shape
    start = 0
    for size, output in zip(attrs.sizes, outputs, strict=True):
        begin = tuple(start if axis == attrs.axis else 0 for axis in range(len(shape)))
        end = tuple(start + size if i == attrs.axis else n for i, n in enumerate(shape))
        ranges: dict[str, AttrValue] = {"begin": begin, "end": end}
        ranges["strides"] = (1,) * len(shape)
        low.emit("slice", layer, inputs, output, ranges)
        start += size


def pad(low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    attrs, x = layer.params(PadAttrs), inputs[0]
    value = quantize_array(attrs.value, x.scale, x.zero_point, x.qmin, x.qmax)
    words: dict[str, AttrValue] = {
        "before": tuple(pair[0] for pair in attrs.pads),
        "after": tuple(pair[1] for pair in attrs.pads),
        "mode": attrs.mode,
        "value": int(value),
    }
    low.emit("pad", layer, inputs, outputs[0], words)


def constant(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    y = outputs[0]
    value = quantize_array(layer.consts["value"], y.scale, y.zero_point, y.qmin, y.qmax)
    low.emit("constant", layer, inputs, y, {}, {"value": (value, y.dtype)})


def gather(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    axis = layer.params(GatherAttrs).axis
    consts: Consts = {"indices": (layer.consts["indices"], "int32")}
    low.emit("gather", layer, inputs[:1], outputs[0], {"axis": axis}, consts)


def resize(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs, x = layer.params(ResizeAttrs), inputs[0]
    rows = sampling.source_coordinates(x.shape[0], attrs.size[0], attrs.mode)
    columns = sampling.source_coordinates(x.shape[1], attrs.size[1], attrs.mode)
    if attrs.method == "NEAREST":
        rows = sampling.nearest_indices(rows, x.shape[0], attrs.nearest)
        columns = sampling.nearest_indices(columns, x.shape[1], attrs.nearest)
        consts: Consts = {
            "rows": (rows, "int32"),
            "columns": (columns, "int32"),
        }
        low.emit("resize_nearest", layer, inputs, outputs[0], {}, consts)
        return
    tables = sampling.bilinear_tables(rows, columns, x.shape[:2])
    words: dict[str, AttrValue] = {**low.rounding, "weight_shift": sampling.WEIGHT_SHIFT}
    consts = {name: (values, "int32") for name, values in tables.items()}
    low.emit("resize_bilinear", layer, inputs, outputs[0], words, consts)


RULES: dict[str, Rule] = {
    "Input": nothing,
    "Concat": concat,
    "Split": split,
    "Pad": pad,
    "Resize": resize,
    "Constant": constant,
    "Gather": gather,
}
