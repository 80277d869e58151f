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

from dataclasses import dataclass

import numpy as np

from r329fast.kernels.epilogue_wide import ACT_CODES, ROUNDING_CODES
from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import round_shift

INT32_MAX = (1 << 31) - 1  # accumulators of all paths but the int64 ones
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


def _rounds_once(
    act: str,
    rounding: str,
    mult: np.ndarray,
    shift: np.ndarray,
    largest: int,
    low: int,
    high: int,
) -> bool:
    """Whether a float32 multiply-add gives every result (see above); largest: of |a|."""
    if rounding != "half_even" or act not in ("NONE", "RELU", "CLIP"):
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
    rounding, act = op.text("rounding"), str(op.attrs.get("act", "NONE"))
    mult = op.consts["mult"] if mult is None else mult
    shift = op.consts["shift"] if shift is None else shift
    mult = np.broadcast_to(mult.astype(np.int64), (channels,))
    shift = np.broadcast_to(shift.astype(np.int64), (channels,))
    slope = np.broadcast_to(op.consts.get("slope", np.ones(1)).astype(np.int64), (channels,))
    bias = np.zeros(channels, dtype=np.int64) if bias is None else bias.astype(np.int64)
    slope_shift = op.integer("slope_shift") if act == "LEAKY" else 0

    largest = bound + int(np.abs(bias).max(initial=0))
    steps = [largest * int(mult.max(initial=0))]
    if act == "LEAKY":
        steepest = int(np.abs(slope).max())
        sloped = (largest * steepest >> max(slope_shift, 0)) + 1
        steps += [largest * steepest, max(largest, sloped) * int(mult.max(initial=0))]
    wide = (
        max(steps) >= _EXACT
        or abs(output.zero_point) > _MAX_ZERO_POINT
        or not 0 <= slope_shift <= _MAX_SHIFT
    )

    pitch = -(-channels // _PAD) * _PAD
    constants = np.zeros(
        epilogue_ir.HEADER + 5 * pitch + epilogue_ir.LANES
    )  # vectors may read past the end
    rows = constants[epilogue_ir.HEADER : -epilogue_ir.LANES].reshape(5, pitch)[:, :channels]
    low, high = _bounds(op, act, output, rounding)
    constants[epilogue_ir.LOW], constants[epilogue_ir.HIGH] = low, high
    constants[epilogue_ir.ZERO_POINT] = output.zero_point
    if not wide and _rounds_once(act, rounding, mult, shift, largest, low, high):
        form = epilogue_ir.TWICE if act == "CLIP" else epilogue_ir.ONCE
        constants[epilogue_ir.FORM] = form
        words = constants[epilogue_ir.HEADER :].view(np.float32)
        first = np.ldexp(mult.astype(np.float64), -shift.astype(np.int32))
        words[:channels] = first * (256 if act == "CLIP" else 1)
        words.view(np.int32)[pitch : pitch + channels] = bias
    elif not wide:
        forms = {"CLIP": epilogue_ir.WIDE_TWICE, "LEAKY": epilogue_ir.LEAKY}
        form = forms.get(act, epilogue_ir.WIDE)
        factor, offset = _factor_offset(mult, shift - 8 if act == "CLIP" else shift, rounding)
        second, second_offset = np.array([1.0]), np.zeros(1)
        if act == "CLIP":
            second, second_offset = _factor_offset(np.array([1]), np.array([8]), rounding)
        rows[epilogue_ir.FACTOR], rows[epilogue_ir.BIAS] = factor, bias
        rows[epilogue_ir.OFFSET] = offset if act == "LEAKY" else bias * factor + offset
        rows[epilogue_ir.SLOPE] = 1.0
        if act == "LEAKY":
            rows[epilogue_ir.SLOPE], rows[epilogue_ir.SLOPE_OFFSET] = _factor_offset(
                slope, np.full(channels, slope_shift), rounding
            )
        constants[epilogue_ir.SECOND] = second[0]
        constants[epilogue_ir.SECOND_OFFSET] = second_offset[0]
        constants[epilogue_ir.FORM] = form

    clip = (op.integer("clip_min"), op.integer("clip_max")) if act == "CLIP" else (0, 0)
    header = (ACT_CODES[act], ROUNDING_CODES[rounding], slope_shift, *clip)
    wide_constants = np.concatenate(
        [
            np.array([*header, output.zero_point, output.qmin, output.qmax], dtype=np.int64),
            mult,
            shift,
            slope,
            bias,
        ]
    )
    return Epilogue(constants, wide_constants, pitch, wide)
