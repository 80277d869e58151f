"""Struct arrays of MAT files: a closed, bounded reader of the one form that is needed.

MAT-file format of MATLAB, version 5, with or without compression, of either byte order. Nothing is
followed deeper than a field of the struct array: other fields are stepped over by their size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from math import prod
from struct import unpack_from

import numpy as np

from r329fast.base.limits import TEXT
from r329fast.errors import FileError

Value = int | float | str

_HEADER, _TAG, _ALIGNED = 128, 8, 8
_VERSION, _ORDER = slice(124, 126), slice(126, 128)
_INT8, _UINT8, _UINT16, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 2, 4, 5, 6, 14, 15
_NUMBERS = {
    _INT8: "i1", _UINT8: "u1", 3: "i2", _UINT16: "u2", _INT32: "i4", _UINT32: "u4", 7: "f4",
    9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS = {_INT8: "u1", _UINT8: "u1", 16: "u1", _UINT16: "u2", 17: "u2"}  # 16, 17: UTF-8, UTF-16
_STRUCT, _CHAR, _NUMERIC = 2, 4, range(6, 16)  # classes of arrays
_VARIABLES, _CELLS, _AXES, _NAME = 1000, 1 << 20, 32, 256  # ImageNet's kit: 1, 14,880, 2, 17


def struct_rows(
    data: bytes, variable: str, fields: Sequence[str], where: object
) -> list[tuple[Value, ...]]:
    """The `fields` of each element of the struct array `variable`, in the file's order.

    A field must hold one number or one line of ASCII; others are not looked at. Raises ValueError
    for anything else, with what was found; FileError (of `where`) for more than TEXT allows.
    """
    version = data[_VERSION]
    if len(data) < _HEADER or data[_ORDER] not in (b"IM", b"MI"):
        raise ValueError("found no header of a MAT file, version 5")
    order = "<" if data[_ORDER] == b"IM" else ">"
    if version != (b"\x00\x01" if order == "<" else b"\x01\x00"):
        raise ValueError(f"found version {version.hex()} of MAT files, allowed: version 5 (-v7)")
    for matrix in _matrices(memoryview(data)[_HEADER:], order, where):
        kind, shape, name, rest = _array(matrix, order)
        if name == variable:
            if kind != _STRUCT:
                raise ValueError(f"found {variable} of class {kind}, allowed: a struct array")
            return _rows(rest, prod(shape), fields, order)
    raise ValueError(f"found no variable {variable}")


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Type and bytes of one data element after another, and what follows each."""
    while len(data):
        if len(data) < _TAG:
            raise ValueError("it is cut")
        kind, size = unpack_from(order + "II", data)
        begin = _TAG
        if kind >> 16:  # up to four bytes inside the tag
            kind, size, begin = kind & 0xFFFF, kind >> 16, _TAG // 2
        if size > (len(data) if begin == _TAG else _TAG) - begin:
            raise ValueError(f"found an element of {size} bytes where fewer are left")
        end = begin + size
        after = end if kind == _COMPRESSED else -(-end // _ALIGNED) * _ALIGNED
        part, data = data[begin:end], data[after:]
        yield kind, part, data


def _matrices(data: memoryview, order: str, where: object) -> Iterator[memoryview]:
    """The arrays of a file, unpacked; all of them together have at most the bytes of TEXT."""
    left = TEXT.bytes()
    for count, (kind, part, _) in enumerate(_elements(data, order)):
        if count >= _VARIABLES:
            raise ValueError(f"found more than {_VARIABLES} variables")
        if kind == _COMPRESSED:
            try:
                unpacked = zlib.decompressobj().decompress(part, left + 1)
            except zlib.error as error:
                raise ValueError(f"compressed bytes are damaged: {error}") from error
            if len(unpacked) > left:
                raise FileError(
                    f"cannot read {where}: its variables unpack to more than is "
                    f"{TEXT.advice()}", path=str(where), limit=TEXT.variable,
                )  # fmt: skip
            left -= len(unpacked)
            kind, part, _ = next(_elements(memoryview(unpacked), order), (0, part, part))
        if kind == _MATRIX:
            yield part


def _array(matrix: memoryview, order: str) -> tuple[int, tuple[int, ...], str, memoryview]:
    """Class, shape and name of an array, and the elements that follow them."""
    parts = _elements(matrix, order)
    flags = _numbers(*_next(parts, "the class of an array")[:2], order)
    axes = _numbers(*_next(parts, "the shape of an array")[:2], order)
    kind, name, rest = _next(parts, "the name of an array")
    if not len(flags) or flags.dtype.kind == "f" or axes.dtype.kind == "f":
        raise ValueError("found an array without a class")
    shape = tuple(axes[: _AXES + 1].tolist())
    if not 2 <= len(shape) <= _AXES or min(shape) < 0:
        raise ValueError(f"found an array of shape {shape[:4]}, allowed: 2 to {_AXES} axes from 0")
    return int(flags[0]) & 0xFF, shape, _text(kind, name, order), rest


def _rows(
    data: memoryview, count: int, fields: Sequence[str], order: str
) -> list[tuple[Value, ...]]:
    """The wanted fields of `count` elements: each holds all fields, one array per field."""
    parts = _elements(data, order)
    width = _numbers(*_next(parts, "the length of field names")[:2], order).tolist()
    kind, joined, rest = _next(parts, "field names")
    if len(width) != 1 or not 1 <= width[0] <= _NAME or kind not in (_INT8, _UINT8):
        raise ValueError("found field names of no fixed length")
    step = int(width[0])
    names = [
        bytes(joined[at : at + step]).split(b"\0")[0].decode("latin-1")
        for at in range(0, min(len(joined), _CELLS), step)
    ]
    missing = [field for field in fields if field not in names]
    if missing:
        raise ValueError(f"found no field {missing[0]}")
    if count * len(names) > _CELLS:
        raise ValueError(f"found {count} elements of {len(names)} fields, allowed {_CELLS} arrays")
    wanted = {names.index(field): field for field in fields}
    cells, result = _elements(rest, order), []
    for _ in range(count):
        row: dict[str, Value] = {}
        for place in range(len(names)):
            kind, part, _after = _next(cells, "a field")
            if kind != _MATRIX:
                raise ValueError(f"found an element of type {kind} where a field should be")
            if place in wanted:
                row[wanted[place]] = _value(part, order, wanted[place])
        result.append(tuple(row[field] for field in fields))
    return result


def _value(matrix: memoryview, order: str, field: str) -> Value:
    """The number or the line of text that an array holds."""
    kind, shape, _, rest = _array(matrix, order)
    stored, part, _ = _next(_elements(rest, order), f"values of {field}")
    size = prod(shape)
    if kind == _CHAR and shape[0] == 1:
        text = _text(stored, part, order)
        if len(text) == size:
            return text
    elif kind in _NUMERIC and size == 1:
        numbers = _numbers(stored, part, order)
        if len(numbers) == 1:
            value: int | float = numbers[0].item()
            return value
    raise ValueError(f"found {field} of class {kind} and shape {shape[:4]}, allowed: one value")


def _numbers(kind: int, part: memoryview, order: str) -> np.ndarray:
    dtype = np.dtype(order + _NUMBERS.get(kind, "V0"))
    if kind not in _NUMBERS or len(part) % dtype.itemsize:
        raise ValueError(f"found {len(part)} bytes of type {kind} where numbers should be")
    return np.frombuffer(part, dtype)


def _text(kind: int, part: memoryview, order: str) -> str:
    dtype = np.dtype(order + _TEXTS.get(kind, "V0"))
    if kind not in _TEXTS or len(part) % dtype.itemsize or len(part) > _NAME * dtype.itemsize:
        raise ValueError(f"found {len(part)} bytes of type {kind} where a line of text should be")
    codes = np.frombuffer(part, dtype)
    if len(codes) and not 32 <= int(codes.min()) <= int(codes.max()) < 127:
        raise ValueError("found letters beside those of ASCII")
    return bytes(codes.astype(np.uint8)).decode("ascii")


def _next(
    parts: Iterator[tuple[int, memoryview, memoryview]], what: str
) -> tuple[int, memoryview, memoryview]:
    found = next(parts, None)
    if found is None:
        raise ValueError(f"found the end where {what} should be")
    return found
