"""Lookup tables: activations, softmax exponential, logarithm, LRN factor (spec B.8, B.11, B.12).

Real functions are computed in float64 and cast to float32, which gave the vendor's tables for
sigmoid, tanh and hardswish; other functions may differ by one at exact ties of the C library.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from r329fast.errors import ProgramError
from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.ir import Act
from r329fast.program.program import TensorSpec
from r329fast.quantization.fixed_point import F32, Int64Array
from r329fast.quantization.linear import linear_params, quantize_array

SOFTMAX_BITS = 20


RealFunction = Callable[[np.ndarray], np.ndarray]

# Layer type of one input -> its real function (spec B.21).
UNARY_FUNCTIONS: dict[str, RealFunction] = {
    "Cosine": np.cos,
    "Erf": np.vectorize(math.erf, otypes=[np.float64]),
    "Exp": np.exp,
    "Log": np.log,
    "Reciprocal": lambda x: 1.0 / x,
    "Rsqrt": lambda x: 1.0 / np.sqrt(x),
    "Sine": np.sin,
    "Sqrt": np.sqrt,
    "Square": np.square,
}


def activation_table(act: Act, x: TensorSpec, y: TensorSpec, entries: int) -> Int64Array:
    """What an activation makes of each input integer; see `function_table`."""
    function = ACTIVATIONS[act.kind].real
    if function is None:
        raise ProgramError(f"{y.name}: {act.kind} has no lookup table", layer=y.name)
    return function_table(lambda values: function(values, act), x, y, entries)


def power_table(exponent: float, x: TensorSpec, y: TensorSpec, entries: int) -> Int64Array:
    """x ** exponent; a negative base with a fraction as exponent is no number."""
    return function_table(lambda values: np.power(values, exponent), x, y, entries)


def function_table(
    function: RealFunction, x: TensorSpec, y: TensorSpec, entries: int
) -> Int64Array:
    """Entries of a real function: what each input integer (lowest first) becomes.

    entries: 256 for bytes; of 16 bits so many places at equal distances, both ends among them
    (spec B.23). No number becomes the integer 0, infinity the end of the range (spec B.21).
    """
    if x.bits > 8:
        q = linear_places(x.lowest, x.lowest + 65535, entries)
    else:
        # A restricted input never holds -128: its first entry stands twice, as the vendor's does.
        q = np.maximum(np.arange(x.lowest, x.lowest + 256), x.qmin).astype(F32)
    real = (q + F32(x.zero_point)) * (F32(1) / F32(x.scale))
    with np.errstate(all="ignore"):
        values = function(real.astype(np.float64)).astype(F32)
    return quantize_array(values, y.scale, y.zero_point, y.qmin, y.qmax)


def linear_places(low: int, high: int, count: int) -> np.ndarray:
    """float32 (count,) from low to high, as the vendor's library makes them: from both ends."""
    step = F32(F32(high - low) / F32(count - 1))
    index = np.arange(count).astype(F32)
    rising = F32(low) + index * step
    falling = F32(high) - index[::-1] * step
    return np.where(np.arange(count) < count // 2, rising, falling).astype(F32)


def softmax_table(scale: float, zero_point: int) -> Int64Array:
    """T[i] = rne(exp((i - 255) / scale + ln(2**20 - 1))), so that T[255] = 2**20 - 1 (B.12).

    The zero point cancels but for float32 rounding, which is imitated: the vendor dequantises
    i - 255 + zp and folds the maximum into the logarithm. Equal to all stored vendor tables.
    """
    top = 2**SOFTMAX_BITS - 1
    step = F32(1) / F32(scale)
    exponent = (np.arange(256) - 255 + zero_point).astype(F32) * step
    offset = F32(math.log(top)) - F32(zero_point) * step
    return _exponentials(exponent + F32(offset), top)


def log_softmax_exp_table(scale: float) -> Int64Array:
    """As `softmax_table`, but towards 2**20 and with ln(2**20) cut to whole input steps (B.11)."""
    steps = math.floor(math.log(2**SOFTMAX_BITS) * float(F32(scale)))
    exponent = (np.arange(256) - 255 + steps).astype(F32) * (F32(1) / F32(scale))
    return _exponentials(exponent, 2**SOFTMAX_BITS)


def _exponentials(exponent: np.ndarray, top: int) -> Int64Array:
    """float64 exp cast to float32, rounded: what the vendor's float32 exp gives in all vectors."""
    values = np.exp(exponent.astype(np.float64)).astype(F32)
    return np.clip(np.rint(values), 0, top).astype(np.int64)


def log_table(y: TensorSpec) -> Int64Array:
    """ln(i / 255) quantised; entry 0 repeats entry 1 (spec B.11, LogSoftmax)."""
    share = np.maximum(np.arange(256), 1).astype(np.float64) / 255.0
    values = np.log(share).astype(F32)
    return quantize_array(values, y.scale, y.zero_point, y.qmin, y.qmax)


def root_table(y: TensorSpec, square_scale: np.float32) -> Int64Array:
    """sqrt(u / p) at 256 points of u in 0..65535, quantised (Reduce L2, spec B.18)."""
    u = np.linspace(0.0, 65535.0, 256).astype(F32)
    values = np.sqrt((u * (F32(1) / F32(square_scale))).astype(F32))
    return quantize_array(values, y.scale, y.zero_point, y.qmin, y.qmax)


def inverse_root_table() -> Int64Array:
    """15-bit 1 / sqrt(1 + i / 64), 193 entries: equal to the vendor's literal table (B.17)."""
    values = np.rint(32768.0 / np.sqrt(1.0 + np.arange(193) / 64.0))
    return np.minimum(values, 32767).astype(np.int64)


def reciprocal_table() -> Int64Array:
    """65535 / i, ties to even, and 0 for 0: the divisor's table (spec B.19)."""
    steps = np.maximum(np.arange(256), 1).astype(F32)
    values = np.rint(F32(65535) / steps).astype(np.int64)
    values[0] = 0
    return values


def lrn_table(
    square_scale: float, alpha: float, beta: float, bias: float
) -> tuple[Int64Array, np.float32]:
    """(1 / (bias + alpha * u / p) ** beta at 256 points of u in 0..65535, its 16-bit scale)."""
    u = np.linspace(0.0, 65535.0, 256).astype(F32)
    base = (F32(bias) + F32(alpha) * (u / F32(square_scale))).astype(F32)
    values = F32(1) / (base.astype(np.float64) ** beta).astype(F32)
    params = linear_params(0.0, values.max(), 16, False, "symmetric_full_range")
    return quantize_array(values, params.scale, 0, 0, 65535), np.float32(params.scale[0])
