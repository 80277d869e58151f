"""Ops of one input whose output depends on the integer (and channel) alone: tables of 256 bytes.

The tables are filled by the living definition (`reference`), so that they hold its integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.base.limits import check_memory
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.leaves.vector import (
    affine_bytes,
    affine_constants,
    lookup_bytes,
    move_bytes,
    row_width,
)
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, Step, aligned, empty_aligned, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec
from r329fast.reference.interpreter import FUNCTIONS


class TableRows(NamedTuple):
    first: int  # row (over all images) to begin with
    end: int
    length: int  # bytes of a row of the input
    pitch: int  # from one of them to the next
    stride: int  # bytes of a row of the output
    start: int  # byte of that row where the input's begins
    copies: int  # 1: the table would change nothing


class ChannelTables(NamedTuple):
    first: int  # row (over all images) to begin with
    end: int
    channels: int


class Affine(NamedTuple):
    first: int  # row (over all images) to begin with
    end: int
    channels: int
    width: int  # columns with constants, as if so many channels: a multiple of them
    flip: int  # 128 for int8, 0 for uint8


@kernel
def table_rows(frame):  # type: ignore[no-untyped-def]
    """Rows first..end through a table of 256 bytes, into their place in the output's rows."""
    p, x, table, out = arrays(frame, TableRows, "uuu")
    rows, length, stride = p.end - p.first, p.length, p.stride
    source = x.ctypes.data + p.first * p.pitch
    target = out.ctypes.data + p.first * stride + p.start
    if p.copies:
        move_bytes(target, stride, source, p.pitch, rows, length)
    else:
        lookup_bytes(target, stride, source, p.pitch, rows, length, table.ctypes.data)


@kernel
def table_channels(frame):  # type: ignore[no-untyped-def]
    """Rows first..end, a table of 256 bytes for each channel (flat)."""
    p, x, tables, out = arrays(frame, ChannelTables, "uuu")
    channels = p.channels
    # channels inside: input and output are read and written in order
    for r in range(p.first, p.end):
        for c in range(channels):
            out[r * channels + c] = tables[256 * c + np.int64(x[r * channels + c])]


@kernel
def affine_rows(frame):  # type: ignore[no-untyped-def]
    """Rows first..end: finish(x * weights[channel] + bias[channel]), several as one long row."""
    p, x, constants, epilogue, out = arrays(frame, Affine, "uufu")
    length = (p.end - p.first) * p.channels
    source, target = x.ctypes.data + p.first * p.channels, out.ctypes.data + p.first * p.channels
    rows = length // p.width
    affine_bytes(
        source, p.flip, constants.ctypes.data, epilogue.ctypes.data, p.width, rows, target
    )  # fmt: skip
    done = rows * p.width
    if done < length:
        affine_bytes(
            source + done, p.flip, constants.ctypes.data, epilogue.ctypes.data, length - done, 1,
            target + done,
        )  # fmt: skip


_AT_ONCE = 1024  # channels whose tables are computed at once, in int64


def all_bytes(spec: TensorSpec) -> np.ndarray:
    """The 256 values of the dtype in order of their bytes 0..255, int64."""
    return np.arange(256, dtype=np.uint8).view(spec.dtype).astype(np.int64)


def _tables(op: Op, x: TensorSpec, output: TensorSpec, channels: int) -> np.ndarray:
    """uint8 [channels, 256]: the op on every value of every channel."""
    tables = empty_aligned(256 * channels, np.uint8).reshape(channels, 256)
    for first in range(0, channels, _AT_ONCE):
        count = min(_AT_ONCE, channels - first)
        values = np.broadcast_to(all_bytes(x)[:, None], (256, count))
        consts = {
            name: array[first : first + count] if 1 < channels == array.size else array
            for name, array in op.consts.items()
        }
        part = Op(op.kind, op.layer, op.inputs, op.outputs, op.attrs, consts)
        result = FUNCTIONS[op.kind](part, [values], [x], output)
        tables[first : first + count] = (result & 255).astype(np.uint8).T
    return tables


def prepare_table(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """lut, requantize, abs, negative and batchnorm."""
    x, channels = inputs[0], inputs[0].shape[-1]
    rows = x.elements // channels
    single = all(array.size == 1 for array in op.consts.values()) or op.kind == "lut"
    if single:
        table = _tables(op, x, output, 1).reshape(-1)
        copies = int(bool((table == np.arange(256)).all()))
        lines, length = x.shape[0], x.elements // x.shape[0]
        whole = TableRows(
            first=0, end=lines, length=length, pitch=length, stride=length, start=0, copies=copies
        )
        return ranged_plan("copy" if copies else "table", table_rows, whole, (table,))
    affine = _prepare_affine(op, x, output) if op.kind == "batchnorm" else None
    if affine is not None:
        return affine
    check_memory(f"a table for each of {channels:,} channels", 4 * 256 * channels)
    tables = _tables(op, x, output, channels).reshape(-1)
    each = ChannelTables(first=0, end=rows, channels=channels)
    return ranged_plan("channel-tables", table_channels, each, (tables,))


def _prepare_affine(op: Op, x: TensorSpec, output: TensorSpec) -> OpPlan | None:
    """Batch norm by arithmetic; None where int32 or the float32 epilogue would not be exact."""
    channels, flip = x.shape[-1], flip_of(x)
    weights = np.broadcast_to(op.consts["weights"].astype(np.int64), (channels,))
    bias = np.broadcast_to(op.consts["bias"].astype(np.int64), (channels,)) - flip * weights
    bound = 255 * int(np.abs(weights).max())
    epilogue = prepare_epilogue(op, output, channels, bound, bias)
    if not epilogue.rounds_once or bound > INT32_MAX:
        return None
    rows, header = x.elements // channels, epilogue.constants
    width = row_width(channels)
    columns = (weights, bias, epilogue.factors[:channels])
    constants = aligned(affine_constants(*(np.tile(each, width // channels) for each in columns)))
    affine = Affine(first=0, end=rows, channels=channels, width=width, flip=flip)
    return ranged_plan("vector-affine", affine_rows, affine, (constants, header))


def prepare_concat(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """Each input through its own table (or copied) into its place."""
    axis = op.integer("axis")
    outer = int(np.prod(output.shape[:axis], dtype=np.int64))
    stride = int(np.prod(output.shape[axis:], dtype=np.int64))
    parts = []
    start = 0
    for index, x in enumerate(inputs):
        consts = {name: op.consts[name][index : index + 1] for name in ("mult", "shift")}
        attrs = {**op.attrs, "axis": 0}
        alone = Op(op.kind, op.layer, op.inputs[:1], op.outputs, attrs, consts)
        table = _tables(alone, x, output, 1).reshape(-1)
        copies = int(bool((table == np.arange(256)).all()))
        length = int(np.prod(x.shape[axis:], dtype=np.int64))
        place = TableRows(
            first=0, end=outer, length=length, pitch=length, stride=stride, start=start,
            copies=copies,
        )  # fmt: skip
        parts.append((table, place))
        start += length
    return _concat_plan(parts, axis == len(output.shape) - 1)


def _concat_plan(parts: Sequence[tuple[np.ndarray, TableRows]], by_channels: bool) -> OpPlan:
    """One call per input; where channels are put together, it may itself be a range of them."""

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        return [
            (table_rows, (pack(place._replace(end=batch * place.end)), x, table, output))
            for x, (table, place) in zip(inputs, parts, strict=True)
        ]

    def reading(index: int, pitch: int) -> OpPlan:
        table, place = parts[index]
        own = [*parts[:index], (table, place._replace(pitch=pitch)), *parts[index + 1 :]]
        return _concat_plan(own, True)

    copied = all(place.copies for _, place in parts)
    path, pitched = "copy" if copied else "table", reading if by_channels else None
    return OpPlan(path, bind, lambda batch: 0, True, pitched=pitched)


PREPARE = {
    "batchnorm": prepare_table,
    "requantize": prepare_table,
    "lut": prepare_table,
    "abs": prepare_table,
    "negative": prepare_table,
    "concat": prepare_concat,
}
