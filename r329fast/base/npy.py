"""The one reader of `.npy` files: arrays of plain numbers, no objects, nothing evaluated.

NumPy's own reader goes on to tokenise headers that it cannot parse and so raises many kinds of
errors. Here the header is a literal dict of three known keys, the dtype is a plain number and
the size is compared with the file before memory is taken.
"""

from __future__ import annotations

import ast
import re
import struct
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from r329fast.base.limits import TENSOR, Limit
from r329fast.base.reading import check_size, open_regular, reason, size_of
from r329fast.errors import FileError

_MAGIC = b"\x93NUMPY"
_LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}
_LONGEST_HEADER = 10_000
_MOST_AXES = 32
_NUMBER = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16)")
_LARGEST = (1 << 63) - 1


class NpyError(ValueError):
    """What is wrong with the bytes of an array; the caller knows whose they are."""


class Header:
    """What stands in front of the numbers. `object` means that Python objects follow instead."""

    def __init__(self, data: bytes, structured: bool = False) -> None:
        """Parse the first bytes of a file; NpyError where they are no header."""
        version = data[6] if data[:6] == _MAGIC and len(data) > 8 else 0
        if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            raise NpyError("it is a .npz, allowed one array")
        if version not in _LENGTHS or data[7] != 0:
            raise NpyError("its first bytes are not those of a .npy array")
        length = _LENGTHS[version]
        if len(data) < 8 + length.size:
            raise NpyError("its header ends early")
        size = length.unpack_from(data, 8)[0]
        self.offset = 8 + length.size + size
        if size > _LONGEST_HEADER:
            raise NpyError(f"its header has {size} bytes, allowed {_LONGEST_HEADER}")
        text = data[8 + length.size : self.offset]
        if len(text) < size:
            raise NpyError("its header ends early")
        fields = _literal(text.decode("latin1" if version < 3 else "utf-8", "replace"))
        self.shape = _shape(fields["shape"])
        if not isinstance(fields["fortran_order"], bool):
            raise NpyError("fortran_order is no truth value")
        self.order: Literal["C", "F"] = "F" if fields["fortran_order"] else "C"
        self.object = fields["descr"] in ("|O", "O", "|O8", "O8")
        self.dtype = np.dtype(object) if self.object else _dtype(fields["descr"], structured)

    @property
    def nbytes(self) -> int:
        """The bytes of the numbers that follow."""
        return prod(self.shape) * self.dtype.itemsize


def _literal(text: str) -> dict[str, object]:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, dict) or set(value) != {"descr", "fortran_order", "shape"}:
        raise NpyError("its header is no dict of descr, fortran_order and shape")
    return value


def _shape(value: object) -> tuple[int, ...]:
    good = isinstance(value, tuple) and len(value) <= _MOST_AXES
    if not good or not all(type(size) is int and 0 <= size <= _LARGEST for size in value):  # type: ignore[attr-defined]
        raise NpyError(f"its shape is {str(value)[:60]}")
    shape: tuple[int, ...] = value  # type: ignore[assignment]
    # zeros hide nothing: the other axes must be possible too
    if prod(size for size in shape if size) > _LARGEST // 16:
        raise NpyError(f"its shape is {str(value)[:60]}")
    return shape


def _dtype(descr: object, structured: bool) -> np.dtype:
    if isinstance(descr, str) and _NUMBER.fullmatch(descr):
        return np.dtype(descr)
    if structured and isinstance(descr, list) and len(descr) <= 64:
        return np.dtype([_field(item) for item in descr])
    raise NpyError(f"its dtype is {str(descr)[:40]}, allowed: plain numbers")


def _field(item: object) -> tuple[str, str] | tuple[str, str, tuple[int, ...]]:
    """One field of a record: a name, a plain number and perhaps the shape of an array of it."""
    if isinstance(item, tuple) and len(item) in (2, 3):
        name, descr = item[:2]
        sizes = item[2] if len(item) == 3 else ()
        plain = isinstance(sizes, tuple) and all(type(n) is int and 0 < n <= 4096 for n in sizes)
        if isinstance(name, str) and isinstance(descr, str) and _NUMBER.fullmatch(descr) and plain:
            return (name, descr, sizes) if sizes else (name, descr)
    raise NpyError(f"its dtype has the field {str(item)[:40]}")


def parse_npy(data: bytes, *, structured: bool = False) -> np.ndarray:
    """The array in the bytes of a whole `.npy`, a view of them; NpyError for anything else.

    structured: records of plain numbers are allowed too.
    """
    try:
        header = Header(data, structured)
    except (ValueError, TypeError) as error:
        raise error if isinstance(error, NpyError) else NpyError(reason(error)) from error
    _no_objects(header)
    if header.nbytes > len(data) - header.offset:
        raise NpyError(_short(header, len(data)))
    flat = np.frombuffer(data, header.dtype, prod(header.shape), header.offset)
    return flat.reshape(header.shape, order=header.order)


def read_npy(path: Path | str, limit: Limit = TENSOR) -> np.ndarray:
    """The array of a `.npy` file, writable and in memory; FileError for anything else."""
    with open_regular(path) as stream:
        header = _header(stream, path)
        check_size(path, header.nbytes, limit)
        try:
            flat = np.fromfile(stream, header.dtype, prod(header.shape))
            return flat.reshape(header.shape, order=header.order)
        except (OSError, ValueError) as error:
            raise _damaged(path, reason(error)) from error


def map_npy(path: Path | str) -> np.ndarray:
    """The array of a `.npy` file, read-only and mapped, so that it may be larger than memory.

    Raises FileError as `read_npy` does.
    """
    with open_regular(path) as stream:
        header = _header(stream, path)
        if not header.nbytes:
            return np.empty(header.shape, header.dtype, header.order)
        try:
            return np.memmap(stream, header.dtype, "r", header.offset, header.shape, header.order)
        except (OSError, ValueError) as error:
            raise _damaged(path, reason(error)) from error


def _header(stream: BinaryIO, path: Path | str) -> Header:
    """The header of an open file, which is left at the first number."""
    try:
        header = Header(stream.read(12 + _LONGEST_HEADER))
        _no_objects(header)
        size = size_of(stream)
        if header.nbytes > size - header.offset:
            raise NpyError(_short(header, size))
        stream.seek(header.offset)
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, reason(error)) from error
    return header


def _no_objects(header: Header) -> None:
    if header.object:
        raise NpyError("it holds Python objects, allowed: plain numbers")


def _short(header: Header, size: int) -> str:
    return f"it ends early: {size} bytes, {header.offset + header.nbytes} are announced"


def _damaged(path: Path | str, why: str) -> FileError:
    return FileError(f"cannot read {path}: not a whole .npy array ({why})", path=str(path))
