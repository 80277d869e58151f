"""What the lowering rules share: the tensors and ops made so far, and how to add one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from r329fast.base.integers import INT32_MAX, INT32_MIN
from r329fast.calibration.ranges import Ranges
from r329fast.errors import DataError
from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.ir import Graph, Layer
from r329fast.program.ops import OPS
from r329fast.program.program import AttrValue, LayerRecord, Op, TensorSpec
from r329fast.quantization.fixed_point import F32
from r329fast.quantization.scheme import LinearConstants, Scheme

_PRELU_SHIFT = 12
_FAR = 2.0**30


# Constants of an op before they are cast: name -> (values, dtype).
Consts = dict[str, tuple[Any, str]]


class Lowering:
    """State while the layers are walked; `index` is the current layer's position in the IR."""

    def __init__(self, graph: Graph, ranges: Ranges, scheme: Scheme) -> None:
        self.graph, self.ranges, self.scheme = graph, ranges, scheme
        self.tensors: dict[str, TensorSpec] = {}
        self.ops: list[Op] = []
        self.records: list[LayerRecord] = []
        self.index = 0
        # layers without a rule for the widths of their tensors -> one of those tensors
        self.without_rule: dict[str, str] = {}

    def emit(
        self,
        kind: str,
        layer: Layer,
        inputs: list[TensorSpec],
        output: TensorSpec,
        attrs: dict[str, AttrValue] | None = None,
        consts: Consts | None = None,
    ) -> None:
        """Append one op; raises DataError for a constant that does not fit its dtype exactly."""
        row = OPS[kind]
        for tensor, widths in [*((x, row.reads) for x in inputs), (output, row.writes)]:
            if tensor.itemsize not in widths:
                self.without_rule[layer.name] = tensor.name
        arrays = {}
        for name, (values, dtype) in (consts or {}).items():
            array = np.ascontiguousarray(values)
            with np.errstate(invalid="ignore"):
                cast = array.astype(dtype)
            if not np.array_equal(cast, array):
                raise DataError(
                    f"layer {layer.name!r}: its {name} runs from {array.min():g} to "
                    f"{array.max():g}, allowed is {dtype}: its parameters, or the ranges of its "
                    "input and output, do not go together",
                    layer=layer.name,
                )
            arrays[name] = cast
        names = tuple(x.name for x in inputs)
        self.ops.append(Op(kind, layer.name, names, (output.name,), dict(attrs or {}), arrays))

    @property
    def rounding(self) -> dict[str, AttrValue]:
        return {"rounding": self.scheme.options.rounding}

    def act(self, layer: Layer, output: TensorSpec) -> tuple[dict[str, AttrValue], Consts]:
        """Op attributes and constants of the activation in the epilogue (spec B.8)."""
        act, row = layer.act, ACTIVATIONS[layer.act.kind]
        attrs: dict[str, AttrValue] = {
            **self.rounding,
            "act": row.epilogue,
            "clip_min": 0,
            "clip_max": 0,
            "slope_shift": 0,
        }
        inputs = (self.tensors[name] for name in layer.inputs)
        if row.epilogue == "RELU" and any(x.bits > 8 for x in (output, *inputs)):
            # RELU alone; of RELU6 the vendor's accumulator stays exact (spec B.13)
            attrs["act"] = "RELU_FLOAT32" if act.kind == "RELU" else "RELU"
        consts: Consts = {}
        if row.epilogue == "CLIP":
            # A Clip with one bound has the largest float for the other: int32 is far enough.
            bounds = np.clip(np.array([act.clip_min, act.clip_max]), -_FAR, _FAR).astype(F32)
            scaled = np.rint(F32(F32(output.scale) * F32(256)) * bounds).astype(np.float64)
            low, high = np.clip(scaled, -_FAR, _FAR).astype(np.int64)
            attrs.update(clip_min=int(low), clip_max=int(high))
        elif row.epilogue == "LEAKY":
            shift = _PRELU_SHIFT if row.per_channel else output.bits
            slope = layer.consts["slope"].astype(np.float64) if row.per_channel else [act.alpha]
            slope = np.rint(np.array(slope) * 2**shift)
            attrs.update(slope_shift=shift)
            consts["slope"] = (np.clip(slope, -32768, 32767) if row.per_channel else slope, "int32")
        return attrs, consts

    def table_entries(self, layer: Layer, x: TensorSpec) -> int:
        """Entries of a layer's lookup table for integers of `x`."""
        options, act = self.scheme.options, layer.act.kind
        asked = options.bits("lut_items_in_bits", self.index, layer.type, layer.name, act)
        return 1 << min(x.bits, asked)

    def table_lookup(self, layer: Layer, x: TensorSpec, y: TensorSpec, table: Any) -> None:
        """One entry per byte, or lines between entries for 16 bits."""
        wide = "int32" if y.bits > 8 else "int16"
        if x.bits == 8:
            self.emit("lut", layer, [x], y, consts={"table": (table, wide)})
            return
        shift = x.bits - (len(table).bit_length() - 1)
        self.emit("lut_line", layer, [x], y, {"shift": shift}, {"table": (table, "int32")})

    def scaled(self, mult: Any, shift: Any) -> Consts:
        return {"mult": (mult, "int32"), "shift": (shift, "int32")}

    def linear_consts(self, constants: LinearConstants) -> Consts:
        weights = constants.weights
        small = weights.min() >= -128 and weights.max() <= 127
        return {
            "weights": (weights, "int8" if small else "int16"),
            "bias": (constants.bias, bias_dtype(constants.bias)),
            **self.scaled(constants.mult, constants.shift),
        }


def bias_dtype(bias: np.ndarray) -> str:
    """int32, or int64 for biases that 48 bits hold."""
    small = bias.min(initial=0) >= INT32_MIN and bias.max(initial=0) <= INT32_MAX
    return "int32" if small else "int64"


# (lowering, layer, its inputs, its outputs): appends the layer's ops
Rule = Callable[[Lowering, Layer, list[TensorSpec], list[TensorSpec]], None]
