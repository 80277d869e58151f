"""Lowering rules of softmax, log softmax and LRN (spec B.11, B.12)."""

from __future__ import annotations

import numpy as np

from r329fast.calibration.ranges import mean_square_key, softmax_key
from r329fast.graph.ir import (
    ArgAttrs,
    Graph,
    Layer,
    LrnAttrs,
    NormAttrs,
    ReshapeAttrs,
    SoftmaxAttrs,
    TopKAttrs,
)
from r329fast.program.program import AttrValue, TensorSpec
from r329fast.quantization.compass42 import SOFTMAX_FAST_EXP
from r329fast.quantization.fixed_point import F32, approximate
from r329fast.quantization.linear import linear_params
from r329fast.quantization.lower.context import Lowering, Rule
from r329fast.quantization.tables import (
    SOFTMAX_BITS,
    inverse_root_table,
    log_softmax_exp_table,
    log_table,
    lrn_table,
    softmax_table,
)

_FAST_EXP_BITS = 13
_LOG2_E = F32(1.442695)


def softmax(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    axis, x, y = layer.params(SoftmaxAttrs).axis, inputs[0], outputs[0]
    feeds_layers = _feeds_layers(low.graph, y.name)
    if low.scheme.softmax_method(feeds_layers) == SOFTMAX_FAST_EXP:
        # The range is forced to [0, 1] whatever was calibrated, zero point 0.
        y = TensorSpec(y.name, y.shape, "uint8", 255.0, 0, 0, 255)
        low.tensors[y.name] = y
        mult, shift = approximate(_LOG2_E / F32(x.scale), _FAST_EXP_BITS)
        attrs: dict[str, AttrValue] = {
            "axis": axis,
            "mult_in": int(mult[0]),
            "shift_in": int(shift[0]),
            "q_bits": 31 - int(np.floor(np.log2(x.shape[axis]))),
        }
        low.emit("softmax_fast_exp", layer, inputs, y, attrs)
        return
    table = softmax_table(x.scale, x.zero_point)
    mult, shift = approximate(F32(y.scale), 8)
    attrs = {**low.rounding, **_division(x.shape, axis, int(mult[0]), table)}
    consts = {"table": (table, "int32"), **low.scaled(mult, shift)}
    low.emit("softmax_lut", layer, inputs, y, attrs, consts)


def log_softmax(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    axis, x = layer.params(SoftmaxAttrs).axis, inputs[0]
    table = log_softmax_exp_table(x.scale)
    share = linear_params(*low.ranges[softmax_key(layer.name)], 8, False, "symmetric_full_range")
    mult, shift = approximate(share.scale, 8)
    attrs: dict[str, AttrValue] = {
        **low.rounding,
        **_division(x.shape, axis, int(mult[0]), table),
    }
    low.emit(
        "log_softmax",
        layer,
        inputs,
        outputs[0],
        attrs,
        {
            "table": (table, "int32"),
            "log_table": (log_table(outputs[0]), "int16"),
            **low.scaled(mult, shift),
        },
    )


def lrn(low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    attrs, x, y = layer.params(LrnAttrs), inputs[0], outputs[0]
    largest = low.ranges[mean_square_key(layer.name)][1]
    square = linear_params(0.0, largest, 16, False, "symmetric_full_range").scale[0]
    table, table_scale = lrn_table(float(square), attrs.alpha, attrs.beta, attrs.bias)
    sum_ratio = F32(square / (F32(x.scale) * F32(x.scale) * F32(attrs.size)))
    sum_mult, sum_shift = approximate(sum_ratio, 8)
    ratio = F32(F32(F32(y.scale) / F32(x.scale)) / table_scale)
    words: dict[str, AttrValue] = {
        **low.rounding,
        "size": attrs.size,
        "sum_mult": int(sum_mult[0]),
        "sum_shift": int(sum_shift[0]),
    }
    consts = {"table": (table, "int32"), **low.scaled(*approximate(ratio, 8))}
    low.emit("lrn", layer, inputs, y, words, consts)


def norm(low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    attrs = layer.params(NormAttrs)
    constants = low.scheme.norm(low.index, layer, inputs[0], outputs[0])
    words: dict[str, AttrValue] = {
        **low.rounding,
        "axis": attrs.axis,
        "groups": attrs.groups,
        "var_shift": constants.var_shift,
        "norm_shift": constants.norm_shift,
    }
    consts = low.linear_consts(constants.affine)
    consts["table"] = (inverse_root_table(), "int32")
    if constants.norm_mult and attrs.groups == 1 and not attrs.one_shift:  # LayerNorm
        words = {
            **low.rounding,
            "axis": attrs.axis,
            "norm_mult": constants.norm_mult,
            "norm_shift": constants.norm_shift,
        }
        low.emit("standardize_words", layer, inputs, outputs[0], words, consts)
        return
    low.emit("standardize", layer, inputs, outputs[0], words, consts)


def arg_extreme(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    attrs = layer.params(ArgAttrs)
    words: dict[str, AttrValue] = {
        "axis": attrs.axis,
        "method": attrs.method,
        "last": int(attrs.last),
    }
    low.emit("arg_extreme", layer, inputs, outputs[0], words)


def top_k(low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    attrs = layer.params(TopKAttrs)
    method = "MAX" if attrs.largest else "MIN"
    words: dict[str, AttrValue] = {"axis": attrs.axis, "k": attrs.k, "method": method}
    for result, output in zip(("VALUES", "INDICES"), outputs, strict=True):
        low.emit("top_k", layer, inputs, output, {**words, "result": result})


def _feeds_layers(graph: Graph, tensor: str) -> bool:
    """Whether a layer other than a closing Reshape reads the tensor."""
    return any(
        not isinstance(reader.attrs, ReshapeAttrs) or _feeds_layers(graph, reader.outputs[0])
        for reader in graph.consumers(tensor)
    )


def _division(
    shape: tuple[int, ...], axis: int, mult: int, table: np.ndarray
) -> dict[str, AttrValue]:
    """Which of the two integer divisions a softmax uses, and its extra bits (spec B.12)."""
    length = shape[axis]
    others = int(np.prod(shape)) // length
    room = 30 if int(table.max()) == 1 else 31
    if length < 8 and others % 128 == 0:
        return {"axis": axis, "form": 0, "bits": room - SOFTMAX_BITS}
    return {"axis": axis, "form": 1, "bits": room - int(np.ceil(np.log2(mult)))}


RULES: dict[str, Rule] = {
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "LRN": lrn,
    "LayerNorm": norm,
    "InstanceNorm": norm,
    "GroupNorm": norm,
    "ArgMinMax": arg_extreme,
    "TopK": top_k,
}
