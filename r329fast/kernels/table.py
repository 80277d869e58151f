"""Ops of one input whose output depends on the integer (and channel) alone: tables of 256.

The tables are filled by the living definition (`reference`), so that they hold its integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.ir import epilogue as finish_ir
from r329fast.kernels.leaves.vector import affine_bytes, lookup_bytes, move_bytes
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import Prepared, Step, aligned, flip_of, integers
from r329fast.program.program import Op, TensorSpec
from r329fast.reference.run import FUNCTIONS

_INT32 = (1 << 31) - 1


@kernel
def table_rows(frame):  # type: ignore[no-untyped-def]
    """Rows p[0]..p[1] of p[2] bytes through a table of 256, to rows p[3] apart from p[4] on.

    p[5]: 1 where the table would change nothing.
    """
    p, x, table, out = arrays(frame, "iuuu")
    rows, length, stride = p[1] - p[0], p[2], p[3]
    source = x.ctypes.data + p[0] * length
    target = out.ctypes.data + p[0] * stride + p[4]
    if p[5]:
        move_bytes(target, stride, source, length, rows, length)
    else:
        lookup_bytes(target, stride, source, length, rows, length, table.ctypes.data)


@kernel
def table_channels(frame):  # type: ignore[no-untyped-def]
    """Rows p[0]..p[1] of p[2] channels, a table of 256 bytes for each channel (flat)."""
    p, x, tables, out = arrays(frame, "iuuu")
    channels = p[2]
    for r in range(p[0], p[1]):
        for c in range(channels):
            out[r * channels + c] = tables[256 * c + np.int64(x[r * channels + c])]


@kernel
def affine_rows(frame):  # type: ignore[no-untyped-def]
    """Rows p[0]..p[1] of p[2] channels: finish(x * weights[channel] + bias[channel]).

    p[3]: flip; p[4]: pitch of ef; weights: int32 as bytes.
    """
    p, x, weights, ef, out = arrays(frame, "iuufu")
    first = p[0] * p[2]
    affine_bytes(
        x.ctypes.data + first, p[3], weights.ctypes.data, ef.ctypes.data, p[4], p[2],
        p[1] - p[0], out.ctypes.data + first,
    )  # fmt: skip


def all_bytes(spec: TensorSpec) -> np.ndarray:
    """The 256 values of the dtype in order of their bytes 0..255, int64."""
    return np.arange(256, dtype=np.uint8).view(spec.dtype).astype(np.int64)


def _tables(op: Op, x: TensorSpec, output: TensorSpec, channels: int) -> np.ndarray:
    """uint8 [channels, 256]: the op on every value of every channel."""
    values = np.broadcast_to(all_bytes(x)[:, None], (256, channels))
    result = FUNCTIONS[op.kind](op, [values], [x], output)
    return aligned((result & 255).astype(np.uint8).T)


def prepare_table(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
    """lut, requantize and batchnorm."""
    x, channels = inputs[0], inputs[0].shape[-1]
    rows = x.elements // channels
    single = all(array.size == 1 for array in op.consts.values()) or op.kind == "lut"
    if single:
        table = _tables(op, x, output, 1).reshape(-1)
        copies = int(bool((table == np.arange(256)).all()))
        lines, length = x.shape[0], x.elements // x.shape[0]

        def bind(
            batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
        ) -> list[Step]:
            p = integers(0, batch * lines, length, length, 0, copies)
            return [(table_rows, (p, inputs[0], table, output))]

        return Prepared("copy" if copies else "table", bind, lambda batch: 0, True)
    affine = _prepare_affine(op, x, output) if op.kind == "batchnorm" else None
    if affine is not None:
        return affine
    tables = _tables(op, x, output, channels).reshape(-1)

    def bind_channels(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(0, batch * rows, channels)
        return [(table_channels, (p, inputs[0], tables, output))]

    return Prepared("channel-tables", bind_channels, lambda batch: 0, True)


def _prepare_affine(op: Op, x: TensorSpec, output: TensorSpec) -> Prepared | None:
    """Batch norm by arithmetic; None where int32 or the float32 epilogue would not be exact."""
    channels, flip = x.shape[-1], flip_of(x)
    weights = np.broadcast_to(op.consts["weights"].astype(np.int64), (channels,))
    bias = np.broadcast_to(op.consts["bias"].astype(np.int64), (channels,)) - flip * weights
    bound = 255 * int(np.abs(weights).max())
    epilogue = prepare_epilogue(op, output, channels, bound, bias)
    if not epilogue.rounds_once or bound > _INT32:
        return None
    packed = np.zeros(channels + finish_ir.LANES, dtype=np.int32)  # read in whole vectors
    packed[:channels] = weights
    rows, ef = x.elements // channels, epilogue.ef
    words = aligned(packed.view(np.uint8))

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(0, batch * rows, channels, flip, epilogue.pitch)
        return [(affine_rows, (p, inputs[0], words, ef, output))]

    return Prepared("vector-affine", bind, lambda batch: 0, True)


def prepare_concat(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
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
        parts.append((table, (length, stride, start, copies)))
        start += length

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        return [
            (table_rows, (integers(0, batch * outer, *fixed), x, table, output))
            for x, (table, fixed) in zip(inputs, parts, strict=True)
        ]

    copied = all(fixed[3] for _, fixed in parts)
    return Prepared("copy" if copied else "table", bind, lambda batch: 0, True)
