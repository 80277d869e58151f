"""What fixed point costs before any data is seen: multipliers, biases.

Exact comparisons of the program's integers with the real numbers that they stand for. Weight
scales are not in a program; where the float graph is at hand, the scheme is asked for them again.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from r329fast.graph.ir import Graph, Layer
from r329fast.profile.dead_channels import bits_lost_to_dead, dead_channels
from r329fast.program.ops import OPS
from r329fast.program.program import LayerRecord, Op, Program
from r329fast.quantization.aqt2021 import HARDWARE_BIAS_BITS, Aqt2021, fit_bias
from r329fast.quantization.compass42 import Compass42
from r329fast.quantization.fixed_point import real_multiplier
from r329fast.quantization.options import Options


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
    if layer.facts.linear:
        ask = scheme.linear
    elif layer.facts.weighted:
        ask = scheme.batchnorm
    else:
        return None
    return ask(index, layer, tensors[layer.inputs[0]], tensors[layer.outputs[0]]).weight_scale


# (input multipliers of the op, the real rescale from each input to the output)
Rescale = tuple[np.ndarray | float, np.ndarray]


def _products(op: Op, inputs: np.ndarray, output: float, count: int) -> Rescale:
    return 1.0, np.array([output / (inputs[0] * inputs[1])])


def _eltwise(op: Op, inputs: np.ndarray, output: float, count: int) -> Rescale:
    if op.text("method") == "MUL":
        return _products(op, inputs, output, count)
    return op.consts["scales"].astype(np.float64), output / inputs


def _inputs(op: Op, inputs: np.ndarray, output: float, count: int) -> Rescale:
    return 1.0, output / inputs


def _concat(op: Op, inputs: np.ndarray, output: float, count: int) -> Rescale:
    same = (op.consts["mult"] == 1) & (op.consts["shift"] == 0)
    return 1.0, np.where(same, 1.0, output / inputs)  # 1: values passed on as they are


def _mean(op: Op, inputs: np.ndarray, output: float, count: int) -> Rescale:
    return 1.0, np.array([output / inputs[0] / count])


# What an op's multipliers stand for, from (op, input scales, output scale, number of elements in
# a sum). Not known of average pooling, whose areas are not in the op, and of ops that normalise.
RESCALES: dict[str, Callable[[Op, np.ndarray, float, int], Rescale]] = {
    "eltwise": _eltwise,
    "matmul": _products,
    "reduce_sum": _mean,
    "requantize": _inputs,
    "concat": _concat,
}


def _errors(
    program: Program, record: LayerRecord, op: Op, weight_scale: np.ndarray | None
) -> list[float]:
    """Relative errors of one op's fixed-point rescales."""
    if "mult" not in op.consts:
        return []
    inputs = np.array([program.tensors[name].scale for name in op.inputs])
    output = program.tensors[op.outputs[0]].scale
    factor: np.ndarray | float = 1.0
    if OPS[op.kind].linear:
        if weight_scale is None:
            return []
        ideal = output / (inputs[0] * weight_scale.astype(np.float64))
    elif op.kind in RESCALES:
        shape = program.tensors[op.inputs[0]].shape
        axes = op.attrs.get("axes", ())
        count = prod(shape[axis] for axis in axes) if isinstance(axes, tuple) else 1
        factor, ideal = RESCALES[op.kind](op, inputs, output, count)
    else:
        return []
    real = real_multiplier(op.consts["mult"], op.consts["shift"])
    return [float(np.abs(real * factor / ideal - 1).max())]


def _bias(program: Program, ops: list[Op], options: Options) -> tuple[int, int, int, int]:
    """(biases at an end of their bits, low bits lost, dead channels, bits that only those cost)."""
    biased = [op for op in ops if "bias" in op.consts]
    if not biased:
        return 0, 0, 0, 0
    bias = np.concatenate([op.consts["bias"] for op in biased]).astype(np.int64)
    whole = 48 if any(op.consts["bias"].itemsize > 4 for op in biased) else 32
    end = 1 << (whole - 1)
    clipped = int(((bias >= end - 1) | (bias <= -end)).sum())
    dead = sum(int(dead_channels(op).sum()) for op in biased)
    bits = options.bias_effective_bits
    if not bits:
        bits = HARDWARE_BIAS_BITS if program.scheme == "aqt2021" else whole
    if bits >= whole or (ops[0].kind == "batchnorm" and program.scheme == "aqt2021"):
        return clipped, 0, dead, 0
    # the stored biases have the low bits floored away: the same shift fits them again
    return clipped, fit_bias(bias, bits)[1], dead, sum(bits_lost_to_dead(op, bits) for op in biased)
