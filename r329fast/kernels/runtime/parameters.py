"""Parameters of kernels, by name: what a driver writes and a kernel reads.

A layout is a `NamedTuple` of integers that a kernel gets: sizes, strides, offsets. It is
declared once, with the meaning of every name, and used at both ends:

    class Rows(NamedTuple):
        first: int  # row to begin with
        end: int  # row to stop before
        length: int  # bytes of a row

    pack(Rows(first=0, end=8, length=64))           # in the driver: int64 in memory
    p, x = arrays(frame, Rows, "u"); ... p.length   # in the kernel: one load at a fixed offset

A name that is missing or unknown is an error where it is written, so that a parameter may be added
anywhere. Kernels whose work is shared by threads get their range as `first` and `end`.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np


def dtype_of(layout: Any) -> np.dtype[np.void]:
    """The structured dtype of a layout: one int64 per name, in order."""
    return np.dtype([(name, np.int64) for name in layout._fields], align=True)


def pack(*rows: Any) -> np.ndarray:
    """Values of one layout as structured array (n,), usually of one row.

    Raises TypeError where a value is no integer.
    """
    kind = dtype_of(type(rows[0]))
    return np.array([tuple(index(value) for value in row) for row in rows], dtype=kind)


def unpack(layout: Any, array: np.ndarray) -> Any:
    """The only row of what `pack` gave, by name: what an un-jitted kernel reads."""
    if array.dtype != dtype_of(layout):
        raise TypeError(f"parameters {array.dtype.names}, expected {layout._fields}")
    (row,) = array
    return layout(*row)
