"""The vendor's max_min files: a pickled dict of numbers, read without a pickle machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from r329fast.base.closed_pickle import StoredArray, read_pickle
from r329fast.base.limits import CALIBRATION
from r329fast.base.npy import Header, NpyError, parse_npy
from r329fast.base.reading import read_bytes, reason
from r329fast.errors import FileError


def read_max_min(path: Path) -> dict[str, float]:
    """Layer top name -> number, of a `ts_max_file` or `ts_min_file`.

    The file is a 0-d object array holding a dict of str to numbers, or to arrays of one number.
    Raises FileError for anything else.
    """
    data = read_bytes(path, CALIBRATION)
    try:
        header = Header(data)
        if not header.object:
            parse_npy(data)
        table = _table(read_pickle(data[header.offset :])) if header.object else None
    except NpyError as error:
        raise FileError(f"{path}: not readable as .npy ({error})", path=str(path)) from error
    except Exception as error:  # genops documents no closed list
        raise FileError(
            f"{path}: not a max_min dictionary ({reason(error)})", path=str(path)
        ) from error
    if table is None:
        raise FileError(f"{path}: expected a 0-d object array holding a dict", path=str(path))
    result = {}
    for name, value in table.items():
        number = _number(value)
        if number is None:
            raise FileError(f"{path}: entry {name[:80]!r} is no single number", path=str(path))
        result[name] = number
    return result


def _table(value: object) -> Mapping[str, object] | None:
    """The dict inside the array."""
    if not isinstance(value, StoredArray) or value.shape != ():
        return None
    items = value.objects()
    if items is None or len(items) != 1 or not isinstance(items[0], dict):
        return None
    return items[0] if all(isinstance(key, str) for key in items[0]) else None


def _number(value: object) -> float | None:
    """A plain number, or the one in an array of plain numbers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    numbers = value.numbers() if isinstance(value, StoredArray) else None
    return float(numbers.flat[0]) if numbers is not None and numbers.size == 1 else None
