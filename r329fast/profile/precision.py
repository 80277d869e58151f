"""What fixed point costs before any data is seen: multipliers, biases.

Exact comparisons of the program's integers with the real numbers that they stand for. Weight
scales are not in a program; where the float graph is at hand, the scheme is asked for them again.
"""

from __future__ import annotations

import ast
import dataclasses
from dataclasses import dataclass

import numpy as np

from r329fast.graph.ir import Graph, Layer
from r329fast.profile.dead_channels import bits_lost_to_dead, dead_channels
from r329fast.program.program import LayerRecord, Op, Program
from r329fast.quantization.aqt2021 import HARDWARE_BIAS_BITS, Aqt2021, fit_bias
from r329fast.quantization.compass42 import INT32_MAX, INT32_MIN, Compass42
from r329fast.quantization.options import Options

_LINEAR = ("Convolution", "DepthwiseConv", "FullyConnected")


@dataclass(frozen=True)
class Precision:
    """One layer.

    multiplier_error: largest |M / 2**N / real rescale - 1| over its channels and inputs, None
    where not known (weights without the float graph); multiplier_min: its smallest M, None
    without; biases_clipped: biases at an end of int32; bias_bits_lost: low bits of all its biases
    that were cut to fit the hardware's 16 bits with a shift (0 where they are stored whole);
    dead_channels: channels whose multiplier is 0; bits_lost_to_dead: how many of the bits lost
    only their biases cost.
    """

    name: str
    multiplier_error: float | None
    multiplier_min: int | None
    biases_clipped: int
    bias_bits_lost: int
    dead_channels: int = 0
    bits_lost_to_dead: int = 0


def program_options(program: Program) -> Options:
    """The options that a program was quantised with, from the words that it carries."""
    changes: dict[str, object] = {}
    for field in dataclasses.fields(Options):
        if field.name not in program.options:
            continue
        word = program.options[field.name]
        changes[field.name] = word if isinstance(field.default, str) else ast.literal_eval(word)
    return Options(**changes)  # type: ignore[arg-type]


def precision(program: Program, graph: Graph | None = None) -> list[Precision]:
    """Precision of every layer in IR order; `graph` is the float graph of the program."""
    options = program_options(program)
    scheme = (Aqt2021 if program.scheme == "aqt2021" else Compass42)(options)
    layers = {layer.name: layer for layer in graph} if graph is not None else {}
    result = []
    for index, record in enumerate(program.layers):
        ops = program.ops[slice(*record.ops)]
        weight_scale = None
        if record.name in layers:
            weight_scale = _weight_scale(program, scheme, index, layers[record.name])
        errors = [error for op in ops for error in _errors(program, record, op, weight_scale)]
        mults = [int(op.consts["mult"].min()) for op in ops if "mult" in op.consts]
        result.append(
            Precision(
                record.name,
                max(errors) if errors else None,
                min(mults) if mults else None,
                *_bias(program, ops, options),
            )
        )
    return result


def _weight_scale(
    program: Program, scheme: Compass42, index: int, layer: Layer
) -> np.ndarray | None:
    tensors = program.tensors
    if layer.type in _LINEAR:
        ask = scheme.linear
    elif layer.type == "BatchNorm":
        ask = scheme.batchnorm
    else:
        return None
    return ask(index, layer, tensors[layer.inputs[0]], tensors[layer.outputs[0]]).weight_scale


def _errors(
    program: Program, record: LayerRecord, op: Op, weight_scale: np.ndarray | None
) -> list[float]:
    """Relative errors of one op's fixed-point rescales."""
    if "mult" not in op.consts or op.kind in ("softmax_lut", "log_softmax", "lrn"):
        return []
    inputs = [program.tensors[name].scale for name in op.inputs]
    output = program.tensors[op.outputs[0]].scale
    mult = op.consts["mult"].astype(np.float64)
    real = mult / np.exp2(op.consts["shift"].astype(np.float64))
    if record.type in _LINEAR or record.type == "BatchNorm":
        if weight_scale is None:
            return []
        ideal = output / (inputs[0] * weight_scale.astype(np.float64))
    elif op.kind == "eltwise" and op.text("method") != "MUL":
        real = real * op.consts["scales"].astype(np.float64)
        ideal = output / np.array(inputs)
    elif op.kind in ("eltwise", "matmul"):
        ideal = np.array([output / (inputs[0] * inputs[1])])
    elif op.kind == "reduce_sum":
        shape = program.tensors[op.inputs[0]].shape
        count = np.prod([shape[axis] for axis in op.integers("axes")])
        ideal = np.array([output / inputs[0] / count])
    elif op.kind in ("requantize", "concat"):
        ideal = output / np.array(inputs)
    else:
        return []  # average pooling: its areas are not in the op
    if op.kind == "concat":
        same = (op.consts["mult"] == 1) & (op.consts["shift"] == 0)
        ideal = np.where(same, 1.0, ideal)  # values passed on as they are
    return [float(np.abs(real / ideal - 1).max())]


def _bias(program: Program, ops: list[Op], options: Options) -> tuple[int, int, int, int]:
    """(biases at an end of int32, low bits lost, dead channels, bits that only those cost)."""
    biased = [op for op in ops if "bias" in op.consts]
    if not biased:
        return 0, 0, 0, 0
    bias = np.concatenate([op.consts["bias"] for op in biased]).astype(np.int64)
    clipped = int(((bias >= INT32_MAX) | (bias <= INT32_MIN)).sum())
    dead = sum(int(dead_channels(op).sum()) for op in biased)
    bits = options.bias_effective_bits
    if not bits:
        bits = HARDWARE_BIAS_BITS if program.scheme == "aqt2021" else 32
    if bits >= 32 or (ops[0].kind == "batchnorm" and program.scheme == "aqt2021"):
        return clipped, 0, dead, 0
    # the stored biases have the low bits floored away: the same shift fits them again
    return clipped, fit_bias(bias, bits)[1], dead, sum(bits_lost_to_dead(op, bits) for op in biased)
