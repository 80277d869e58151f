"""Ops of one input whose output depends on the integer (and channel) alone: tables of 256.

The tables are filled by the living definition (`reference`), so that they hold its integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from r329fast.kernels.prepared import Prepared, Step, aligned, integers
from r329fast.program.program import Op, TensorSpec
from r329fast.reference.run import FUNCTIONS


@njit(nogil=True, cache=True)
def table_rows(p, x, table, out):  # type: ignore[no-untyped-def]
    """x bytes [p[0], p[1]] -> out, rows p[2] apart from p[3] on, through a table of 256 bytes.

    p[4]: 1 where the table would change nothing.
    """
    rows, length, stride, start = p[0], p[1], p[2], p[3]
    for r in range(rows):
        source = x[r * length : (r + 1) * length]
        target = out[start + r * stride : start + r * stride + length]
        if p[4]:
            for i in range(length):
                target[i] = source[i]
        else:
            for i in range(length):
                target[i] = table[source[i]]


@njit(nogil=True, cache=True)
def table_channels(p, x, tables, out):  # type: ignore[no-untyped-def]
    """x bytes [p[0], p[1]] -> out, a table of 256 bytes for each of p[1] channels (flat)."""
    rows, channels = p[0], p[1]
    for r in range(rows):
        for c in range(channels):
            out[r * channels + c] = tables[256 * c + np.int64(x[r * channels + c])]


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
    single = all(array.size == 1 for array in op.consts.values()) or op.kind == "lut"
    if single:
        table = _tables(op, x, output, 1).reshape(-1)
        copies = int(bool((table == np.arange(256)).all()))

        def bind(
            batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
        ) -> list[Step]:
            size = batch * x.elements
            return [(table_rows, (integers(1, size, size, 0, copies), inputs[0], table, output))]

        return Prepared("copy" if copies else "table", bind, lambda batch: 0)
    tables = _tables(op, x, output, channels).reshape(-1)

    def bind_channels(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(batch * x.elements // channels, channels)
        return [(table_channels, (p, inputs[0], tables, output))]

    return Prepared("channel-tables", bind_channels, lambda batch: 0)


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
            (table_rows, (integers(batch * outer, *fixed), x, table, output))
            for x, (table, fixed) in zip(inputs, parts, strict=True)
        ]

    copied = all(fixed[3] for _, fixed in parts)
    return Prepared("copy" if copied else "table", bind, lambda batch: 0)
