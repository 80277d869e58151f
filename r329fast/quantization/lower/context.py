"""What the lowering rules share: the tensors and ops made so far, and how to add one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from r329fast.calibration.ranges import Ranges
from r329fast.errors import DataError
from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.ir import Graph, Layer
from r329fast.program.program import AttrValue, LayerRecord, Op, TensorSpec
from r329fast.quantization.fixed_point import F32
from r329fast.quantization.scheme import LinearConstants, Scheme

_LEAKY_SHIFT, _PRELU_SHIFT = 8, 12
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
        consts: Consts = {}
        if row.epilogue == "CLIP":
            # A Clip with one bound has the largest float for the other: int32 is far enough.
            bounds = np.clip(np.array([act.clip_min, act.clip_max]), -_FAR, _FAR).astype(F32)
            scaled = np.rint(F32(F32(output.scale) * F32(256)) * bounds).astype(np.float64)
            low, high = np.clip(scaled, -_FAR, _FAR).astype(np.int64)
            attrs.update(clip_min=int(low), clip_max=int(high))
        elif row.epilogue == "LEAKY":
            shift = _PRELU_SHIFT if row.per_channel else _LEAKY_SHIFT
            slope = layer.consts["slope"].astype(np.float64) if row.per_channel else [act.alpha]
            slope = np.rint(np.array(slope) * 2**shift)
            attrs.update(slope_shift=shift)
            consts["slope"] = (np.clip(slope, -32768, 32767) if row.per_channel else slope, "int32")
        return attrs, consts

    def scaled(self, mult: Any, shift: Any) -> Consts:
        return {"mult": (mult, "int32"), "shift": (shift, "int32")}

    def linear_consts(self, constants: LinearConstants) -> Consts:
        weights = constants.weights
        small = weights.min() >= -128 and weights.max() <= 127
        return {
            "weights": (weights, "int8" if small else "int16"),
            "bias": (constants.bias, "int32"),
            **self.scaled(constants.mult, constants.shift),
        }


# (lowering, layer, its inputs, its outputs): appends the layer's ops
Rule = Callable[[Lowering, Layer, list[TensorSpec], list[TensorSpec]], None]
