"""Elements of 1 or 2 bytes: read as int32, written from int64 accumulators.

Kernels of 16 bits widen what they read once, compute in int32 or int64 (exact whatever comes), and
finish rows of accumulators together: the common epilogue is straight code that LLVM makes vectors
of, the others go through `epilogue_wide` a value at a time.
"""

from __future__ import annotations

import numpy as np

from r329fast.kernels import epilogue_wide as wide
from r329fast.kernels.epilogue_wide import epilogue_wide
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.program.program import TensorSpec

UINT8, INT8, UINT16, INT16 = range(4)  # codes of dtypes
CODES = {"uint8": UINT8, "int8": INT8, "uint16": UINT16, "int16": INT16}
_HEADER, _MULT, _SHIFT, _BIAS = wide.HEADER, wide.MULT, wide.SHIFT, wide.BIAS


def code_of(spec: TensorSpec) -> int:
    """The code of a tensor's dtype."""
    return CODES[spec.dtype]


@kernel_part
def widen(x, kind, first, count, move, target):  # type: ignore[no-untyped-def]
    """target[i] = element first + i of the flat bytes x, plus `move`; target: int32."""
    end, step = first + count, np.int32(move)
    if kind == UINT8:
        octets = x[first:end]
        for i in range(count):
            target[i] = np.int32(np.int32(octets[i]) + step)
    elif kind == INT8:
        signed = x.view(np.int8)[first:end]
        for i in range(count):
            target[i] = np.int32(np.int32(signed[i]) + step)
    elif kind == UINT16:
        unsigned = x[: x.size & -2].view(np.uint16)[first:end]
        for i in range(count):
            target[i] = np.int32(np.int32(unsigned[i]) + step)
    else:
        words = x[: x.size & -2].view(np.int16)[first:end]
        for i in range(count):
            target[i] = np.int32(np.int32(words[i]) + step)


@kernel_part
def write(values, count, out, kind, place):  # type: ignore[no-untyped-def]
    """Elements place.. of the flat bytes out = values[:count], which fit; any integers."""
    if kind <= INT8:
        octets = out[place : place + count]
        for i in range(count):
            octets[i] = np.uint8(values[i] & 255)
    else:
        words = out[: out.size & -2].view(np.uint16)[place : place + count]
        for i in range(count):
            words[i] = np.uint16(values[i] & 65535)


@kernel_part
def _rectify(acc, count, act):  # type: ignore[no-untyped-def]
    """What the activation makes of sums with their bias; NONE, RELU and RELU_FLOAT32."""
    if act == wide.RELU_FLOAT32:
        for i in range(count):
            acc[i] = np.int64(np.float32(max(acc[i], 0)))
    elif act == wide.RELU:
        for i in range(count):
            acc[i] = max(acc[i], 0)


@kernel_part
def finish(acc, constants, channel, step, count, out, kind, place):  # type: ignore[no-untyped-def]
    """Elements place.. of out from int64 acc[:count], which is overwritten.

    Element i takes the constants (`epilogue_wide`) of channel + i * step, step 0 or 1.
    """
    channels = (constants.size - _HEADER) // 4
    if not constants[wide.PLAIN]:
        for i in range(count):
            acc[i] = epilogue_wide(acc[i], constants, channel + i * step, channels)
        write(acc, count, out, kind, place)
        return
    first = _HEADER + channel
    mults = constants[first + _MULT * channels : first + _MULT * channels + count]
    shifts = constants[first + _SHIFT * channels : first + _SHIFT * channels + count]
    biases = constants[first + _BIAS * channels : first + _BIAS * channels + count]
    act, zero = constants[wide.ACT], constants[wide.ZERO_POINT]
    low, high = constants[wide.QMIN], constants[wide.QMAX]
    # Half to even: one less than a half is added, and one more to what would round to an odd one.
    if step:
        for i in range(count):
            acc[i] += biases[i]
        _rectify(acc, count, act)
        for i in range(count):
            product, shift = acc[i] * mults[i], shifts[i]
            below = (np.int64(1) << (shift - 1)) - 1
            rounded = (product + below + ((product >> shift) & 1)) >> shift
            acc[i] = min(max(rounded - zero, low), high)
    else:
        mult, shift, bias = mults[0], shifts[0], biases[0]
        below = (np.int64(1) << (shift - 1)) - 1
        if bias:
            for i in range(count):
                acc[i] += bias
        _rectify(acc, count, act)
        for i in range(count):
            product = acc[i] * mult
            rounded = (product + below + ((product >> shift) & 1)) >> shift
            acc[i] = min(max(rounded - zero, low), high)
    write(acc, count, out, kind, place)
