"""Constants of the epilogue, prepared once: float32 or float64 where exact, int64 elsewhere.

Float32, for half_even: fma(a, M*2**-N, MAGIC) with MAGIC = 3 * 2**22 rounds the exact sum once, to
an integer, ties to even. It is the wanted one for every a that float32 holds (|a| <= 2**24), and
a larger a may move only where the result is clamped anyway: `_rounds_once` asks that whatever is
not clamped is small enough, and that no result reaches 2**22, where integers would end.

Float64: with p = a * M, |p| < 2**50, every rounding of p / 2**N is one float64 rounding to nearest
even:

    half_even  rint(a * M*2**-N)
    half_up    rint(a * M*2**-N + 2**-(N+1))            = floor(p / 2**N + 1/2)
    floor      rint(a * M*2**-N - 1/2 + 2**-(N+1))

since p / 2**N is a multiple of 2**-N, so that the added 2**-(N+1) never makes a tie nor moves a
value past one. Sums and products are multiples of 2**-(N+1) below 2**52 times that: exact.
The bias joins the offset, ReLU and clips join the bounds (rounding is monotonic, M >= 0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels import epilogue_wide
from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import round_shift

FLOAT32_INTEGERS = 1 << 24  # float32 holds every integer up to this one
_EXACT = 1 << 50
_MAX_SHIFT = 51
_MAX_ZERO_POINT = 1 << 20
_LAST_INTEGER = (1 << 22) - (1 << 10)  # of MAGIC's neighbourhood, less room for a moved a
_PAD = 32  # channels are padded to this: vectors may read past the last


@dataclass(frozen=True)
class Epilogue:
    """What an epilogue needs to know of every channel.

    constants: float64, a header (ir/epilogue.py), then five rows of `pitch` channels and some
    slack; in the float32 forms a row of float32 factors and one of int32 biases instead.
    wide_constants: int64, laid out in epilogue_wide.py.
    wide: float64 is not exact for this op, only wide_constants may be used.
    """

    constants: np.ndarray
    wide_constants: np.ndarray
    pitch: int
    wide: bool

    @property
    def rounds_once(self) -> bool:
        """Whether it is one of the float32 forms."""
        return not self.wide and bool(self.constants[epilogue_ir.FORM] >= epilogue_ir.ONCE)

    @property
    def factors(self) -> np.ndarray:
        """float32 [pitch], of the float32 forms."""
        return self.constants[epilogue_ir.HEADER :].view(np.float32)[: self.pitch]

    @property
    def biases(self) -> np.ndarray:
        """int32 [pitch], of the float32 forms."""
        return self.constants[epilogue_ir.HEADER :].view(np.int32)[self.pitch : 2 * self.pitch]


def _factor_offset(
    mult: np.ndarray, shift: np.ndarray, rounding: str
) -> tuple[np.ndarray, np.ndarray]:
    """factor, offset float64 (C,) of round(a * mult / 2**shift) for |a * mult| < 2**50."""
    shift = np.maximum(shift, -31)  # round_shift moves left by 31 at most
    if rounding == "floor":
        shift = np.minimum(shift, _MAX_SHIFT)  # below 2**-51 only the sign of p is left
    factor = np.ldexp(mult.astype(np.float64), -shift.astype(np.int32))
    offset = np.zeros_like(factor)
    if rounding == "half_up":
        offset = np.ldexp(1.0, -(shift + 1).astype(np.int32))
    elif rounding == "floor":
        offset = np.ldexp(1.0, -(shift + 1).astype(np.int32)) - 0.5
    offset = np.where(shift > 0, offset, 0.0)
    if rounding != "floor":  # |p| / 2**52 < 1/2 rounds to 0
        factor = np.where(shift > _MAX_SHIFT, 0.0, factor)
        offset = np.where(shift > _MAX_SHIFT, 0.0, offset)
    return factor, offset


def _bounds(op: Op, act: str, output: TensorSpec, rounding: str) -> tuple[int, int]:
    """Clamp of the rounded value before the zero point is subtracted."""
    low, high = output.qmin + output.zero_point, output.qmax + output.zero_point
    if act == "RELU":
        low = min(max(0, low), high)
    elif act == "CLIP":
        limits = np.array([op.integer("clip_min"), op.integer("clip_max")], dtype=np.int64)
        limits[0] = min(limits[0], limits[1])
        clip_low, clip_high = (int(v) for v in round_shift(limits, 8, rounding))
        low, high = min(max(clip_low, low), high), min(max(clip_high, low), high)
    return low, high


@dataclass(frozen=True)
class _Requant:
    """Act and requantisation of all channels, int64 (C,)."""

    act: str
    rounding: str
    mult: np.ndarray
    shift: np.ndarray
    slope: np.ndarray
    slope_shift: int
    bias: np.ndarray

    def largest(self, bound: int) -> int:
        """Of |accumulator + bias|."""
        return bound + int(np.abs(self.bias).max(initial=0))

    def products(self, bound: int) -> int:
        """Largest absolute product that any step makes."""
        largest, steepest = self.largest(bound), int(np.abs(self.slope).max())
        most = largest * int(self.mult.max(initial=0))
        if self.act == "LEAKY":
            sloped = (largest * steepest >> max(self.slope_shift, 0)) + 1
            most = max(most, largest * steepest, sloped * int(self.mult.max(initial=0)))
        return most


def _rounds_once(requant: _Requant, largest: int, low: int, high: int) -> bool:
    """Whether a float32 multiply-add gives every result (see above); largest: of |a|."""
    act, mult, shift = requant.act, requant.mult, requant.shift
    if requant.rounding != "half_even" or act not in ("NONE", "RELU", "CLIP"):
        return False
    if largest > INT32_MAX or mult.max(initial=0) > FLOAT32_INTEGERS:
        return False
    parts = 256 if act == "CLIP" else 1  # the first of two roundings keeps eight more bits
    factor = np.ldexp(mult.astype(np.float64), -shift.astype(np.int32)) * parts
    if largest * factor.max(initial=0.0) >= _LAST_INTEGER or shift.max(initial=0) > _MAX_SHIFT:
        return False
    kept = (max(abs(low), abs(high)) + 1) * parts  # results beyond this one are clamped
    moved = largest > FLOAT32_INTEGERS and (factor > 0) & (kept > factor * FLOAT32_INTEGERS)
    return not np.any(moved)


def _fill_float32(constants: np.ndarray, pitch: int, requant: _Requant) -> None:
    """Form, factors and biases of the float32 forms."""
    clip = requant.act == "CLIP"
    constants[epilogue_ir.FORM] = epilogue_ir.TWICE if clip else epilogue_ir.ONCE
    words = constants[epilogue_ir.HEADER :].view(np.float32)
    factors = np.ldexp(requant.mult.astype(np.float64), -requant.shift.astype(np.int32))
    words[: len(factors)] = factors * (256 if clip else 1)
    words.view(np.int32)[pitch : pitch + len(factors)] = requant.bias


def _fill_float64(constants: np.ndarray, pitch: int, requant: _Requant) -> None:
    """Form and rows of channels of the float64 forms."""
    channels, act, rounding = len(requant.bias), requant.act, requant.rounding
    forms = {"CLIP": epilogue_ir.WIDE_TWICE, "LEAKY": epilogue_ir.LEAKY}
    constants[epilogue_ir.FORM] = forms.get(act, epilogue_ir.WIDE)
    rows = constants[epilogue_ir.HEADER :][: 5 * pitch].reshape(5, pitch)[:, :channels]
    shift = requant.shift - 8 if act == "CLIP" else requant.shift
    factor, offset = _factor_offset(requant.mult, shift, rounding)
    second, second_offset = np.array([1.0]), np.zeros(1)
    if act == "CLIP":
        second, second_offset = _factor_offset(np.array([1]), np.array([8]), rounding)
    constants[epilogue_ir.SECOND] = second[0]
    constants[epilogue_ir.SECOND_OFFSET] = second_offset[0]
    rows[epilogue_ir.FACTOR], rows[epilogue_ir.BIAS] = factor, requant.bias
    rows[epilogue_ir.OFFSET] = offset if act == "LEAKY" else requant.bias * factor + offset
    rows[epilogue_ir.SLOPE] = 1.0
    if act == "LEAKY":
        rows[epilogue_ir.SLOPE], rows[epilogue_ir.SLOPE_OFFSET] = _factor_offset(
            requant.slope, np.full(channels, requant.slope_shift), rounding
        )


def _int64_constants(op: Op, output: TensorSpec, requant: _Requant) -> np.ndarray:
    """What `epilogue_wide` takes."""
    header = np.zeros(epilogue_wide.HEADER, dtype=np.int64)
    header[epilogue_wide.ACT] = epilogue_wide.ACT_CODES[requant.act]
    header[epilogue_wide.ROUNDING] = epilogue_wide.ROUNDING_CODES[requant.rounding]
    header[epilogue_wide.SLOPE_SHIFT] = requant.slope_shift
    if requant.act == "CLIP":
        header[epilogue_wide.CLIP_MIN] = op.integer("clip_min")
        header[epilogue_wide.CLIP_MAX] = op.integer("clip_max")
    header[epilogue_wide.ZERO_POINT] = output.zero_point
    header[epilogue_wide.QMIN], header[epilogue_wide.QMAX] = output.qmin, output.qmax
    plain = requant.rounding == "half_even" and requant.act not in ("CLIP", "LEAKY")
    mult, shift = requant.mult, requant.shift
    if plain:  # p is (2 * p) / 2: a shift like the others
        mult, shift = np.where(shift == 0, 2 * mult, mult), np.where(shift == 0, 1, shift)
    inside = shift.min(initial=1) >= 1 and shift.max(initial=1) <= 62
    header[epilogue_wide.PLAIN] = plain and inside
    rows = np.zeros((4, len(requant.bias)), dtype=np.int64)
    rows[epilogue_wide.MULT], rows[epilogue_wide.SHIFT] = mult, shift
    rows[epilogue_wide.SLOPE], rows[epilogue_wide.BIAS] = requant.slope, requant.bias
    return np.concatenate([header, rows.reshape(-1)])


def prepare_epilogue(
    op: Op,
    output: TensorSpec,
    channels: int,
    bound: int,
    bias: np.ndarray | None = None,
    mult: np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> Epilogue:
    """Pack act and requant of `op` for `channels` channels.

    bound: largest |accumulator| before the bias, exact; bias: int64 (C,), what the kernel adds
    to its accumulators (not always the op's own: byte paths fold their offset into it).
    """
    act = str(op.attrs.get("act", "NONE"))

    def per_channel(array: np.ndarray) -> np.ndarray:
        return np.broadcast_to(array.astype(np.int64), (channels,))

    requant = _Requant(
        act,
        op.text("rounding"),
        per_channel(op.consts["mult"] if mult is None else mult),
        per_channel(op.consts["shift"] if shift is None else shift),
        per_channel(op.consts.get("slope", np.ones(1))),
        op.integer("slope_shift") if act == "LEAKY" else 0,
        np.zeros(channels, dtype=np.int64) if bias is None else bias.astype(np.int64),
    )
    wide = (
        requant.products(bound) >= _EXACT
        or abs(output.zero_point) > _MAX_ZERO_POINT
        or not 0 <= requant.slope_shift <= _MAX_SHIFT
    )
    wide_constants = _int64_constants(op, output, requant)
    if act == "RELU_FLOAT32":  # up to here float32 is exact
        wide = wide or requant.largest(bound) > FLOAT32_INTEGERS
        act, requant = "RELU", replace(requant, act="RELU")
    pitch = -(-channels // _PAD) * _PAD
    # vectors may read past the last channel
    constants = np.zeros(epilogue_ir.HEADER + 5 * pitch + epilogue_ir.LANES)
    low, high = _bounds(op, act, output, requant.rounding)
    constants[epilogue_ir.LOW], constants[epilogue_ir.HIGH] = low, high
    constants[epilogue_ir.ZERO_POINT] = output.zero_point
    if not wide and _rounds_once(requant, requant.largest(bound), low, high):
        _fill_float32(constants, pitch, requant)
    elif not wide:
        _fill_float64(constants, pitch, requant)
    return Epilogue(constants, wide_constants, pitch, wide)
