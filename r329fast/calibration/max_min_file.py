"""The vendor's max_min files: a pickled dict of numbers, read without a pickle machine.

np.save stores a dict as a pickled 0-d object array. Unpickling imports and calls what the file
names, and even NumPy's own constructors turn bytes of the file into pointers. Here the opcodes
(pickletools.genops) are walked over a stack of marks, texts, bytes and numbers; the few callables
that NumPy's arrays and numbers are stored with are recognised by name and nothing is called.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.limits import CALIBRATION
from r329fast.base.npy import Header, NpyError, parse_npy
from r329fast.base.reading import read_bytes, reason
from r329fast.errors import FileError

_DTYPE = re.compile(r"([<>|=]?)([iu][1248]|f[248])")
_OBJECT = re.compile(r"[<>|=]?O[48]?")
# module -> names that stand in such files, under NumPy 1 and 2, Python 2 and 3
_KNOWN = {
    name: kind
    for module in ("numpy.core", "numpy._core")
    for name, kind in (
        (f"{module}.multiarray _reconstruct", "array"),
        (f"{module}.multiarray scalar", "scalar"),
        (f"{module}.numeric _frombuffer", "buffer"),
    )
} | {"numpy ndarray": "ndarray", "numpy dtype": "dtype", "_codecs encode": "encode"}


class _RefusedError(ValueError):
    """What does not belong to the one form that is read."""


@dataclass(frozen=True)
class _Name:
    """A callable that the file names: one of the values of `_KNOWN`."""

    kind: str


@dataclass
class _Dtype:
    """A plain number type, or "O" for objects; BUILD gives its byte order."""

    code: str
    order: str = "="


@dataclass
class _Array:
    """An array in the making: its items are bytes of `dtype`, or a list of objects."""

    shape: tuple[int, ...] = ()
    dtype: _Dtype | None = None
    items: Any = None


class _Mark:
    """Where the arguments of a following opcode begin."""


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
        table = _table(_Machine().run(data[header.offset :])) if header.object else None
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
    if not isinstance(value, _Array) or value.dtype is None or value.dtype.code != "O":
        return None
    items = value.items
    if value.shape != () or not isinstance(items, list) or len(items) != 1:
        return None
    return items[0] if isinstance(items[0], dict) else None


def _number(value: object) -> float | None:
    """A plain number, or the one in an array of plain numbers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    if not isinstance(value, _Array) or value.dtype is None or value.dtype.code == "O":
        return None
    dtype = np.dtype(value.dtype.order.replace("|", "=") + value.dtype.code)
    data = value.items
    if prod(value.shape) != 1 or not isinstance(data, bytes) or len(data) != dtype.itemsize:
        return None
    return float(np.frombuffer(data, dtype)[0])


class _Machine:
    """The stack, the memo and what each opcode does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> object:
        """The value that a pickle describes; raises for what is not in the one form."""
        argument: Any
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name in _PUSHED:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _GETS:
                self.stack.append(self.memo[argument])
            elif name in _PUTS:
                self.memo[argument] = self.stack[-1]
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name == "STOP":
                return self._pop()
            elif name not in ("PROTO", "FRAME"):
                raise _RefusedError(f"opcode {name} is not allowed")
        raise _RefusedError("it ends early")

    def _pop(self) -> Any:
        if not self.stack or isinstance(self.stack[-1], _Mark):
            raise _RefusedError("an opcode lacks its arguments")
        return self.stack.pop()

    def _to_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[place], _Mark):
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise _RefusedError("an opcode lacks its mark")

    def memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def tuple_of(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self.stack.append(tuple(items[::-1]))

    def marked_tuple(self, _: object) -> None:
        self.stack.append(tuple(self._to_mark()))

    def marked_list(self, _: object) -> None:
        self.stack.append(self._to_mark())

    def append(self, _: object) -> None:
        self._extend([self._pop()])

    def appends(self, _: object) -> None:
        self._extend(self._to_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, list):
            raise _RefusedError("items for something that is no list")
        target.extend(items)

    def set_item(self, _: object) -> None:
        value = self._pop()
        self._update([self._pop(), value])

    def set_items(self, _: object) -> None:
        self._update(self._to_mark())

    def marked_dict(self, _: object) -> None:
        pairs = self._to_mark()
        self.stack.append({})
        self._update(pairs)

    def _update(self, pairs: list[Any]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, dict) or len(pairs) % 2:
            raise _RefusedError("entries for something that is no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if isinstance(key, _Array) or not isinstance(key, str):
                raise _RefusedError("a key is no text")
            target[key] = value

    def named(self, argument: str) -> None:
        if argument not in _KNOWN:
            raise _RefusedError(f"{argument[:80].replace(' ', '.')} is not allowed")
        self.stack.append(_Name(_KNOWN[argument]))

    def stack_named(self, _: object) -> None:
        name, module = self._pop(), self._pop()
        self.named(f"{module} {name}")

    def reduce(self, _: object) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError("a call is not allowed")
        self.stack.append(_CALLS[function.kind](arguments))

    def build(self, _: object) -> None:
        state = self._pop()
        target = self.stack[-1] if self.stack else None
        if not isinstance(state, tuple):
            raise _RefusedError("a state is no tuple")
        if isinstance(target, _Dtype) and len(state) >= 2 and state[1] in ("<", ">", "|", "="):
            if any(item is not None for item in state[2:5]):
                raise _RefusedError("a dtype with fields is not allowed")
            target.order = state[1]
        elif isinstance(target, _Array) and len(state) == 5:
            target.shape, target.dtype = _sizes(state[1]), _is_dtype(state[2])
            target.items = _raw(state[4])
        else:
            raise _RefusedError("a state for something that has none")


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(type(n) is int and 0 <= n < 1 << 31 for n in value):
        raise _RefusedError("a shape is not allowed")
    if len(value) > 32:
        raise _RefusedError("a shape is not allowed")
    return value


def _is_dtype(value: object) -> _Dtype:
    if not isinstance(value, _Dtype):
        raise _RefusedError("a dtype is missing")
    return value


def _raw(value: object) -> object:
    """Bytes of numbers, which Python 2 stored as text; a list of objects stays."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return value.encode("latin1") if isinstance(value, str) else value


def _called_array(arguments: tuple[Any, ...]) -> _Array:
    if not arguments or arguments[0] != _Name("ndarray"):
        raise _RefusedError("a call is not allowed")
    return _Array()


def _called_dtype(arguments: tuple[Any, ...]) -> _Dtype:
    text = arguments[0] if arguments else None
    found = _DTYPE.fullmatch(text) if isinstance(text, str) else None
    if found:
        return _Dtype(found[2], found[1] or "=")
    if isinstance(text, str) and _OBJECT.fullmatch(text):
        return _Dtype("O")
    raise _RefusedError(f"dtype {str(text)[:40]} is not allowed")


def _called_scalar(arguments: tuple[Any, ...]) -> _Array:
    if len(arguments) != 2:
        raise _RefusedError("a number without its dtype")
    return _Array((), _is_dtype(arguments[0]), _raw(arguments[1]))


def _called_buffer(arguments: tuple[Any, ...]) -> _Array:
    if len(arguments) != 4:
        raise _RefusedError("an array without its shape")
    return _Array(_sizes(arguments[2]), _is_dtype(arguments[1]), _raw(arguments[0]))


def _called_encode(arguments: tuple[Any, ...]) -> bytes:
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] != "latin1":
        raise _RefusedError("a text in another code is not allowed")
    return arguments[0].encode("latin1")


_CALLS: dict[str, Callable[[tuple[Any, ...]], object]] = {
    "array": _called_array,
    "dtype": _called_dtype,
    "scalar": _called_scalar,
    "buffer": _called_buffer,
    "encode": _called_encode,
}
_PUSHED = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
)
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": _Mark,
}
_GETS, _PUTS = ("GET", "BINGET", "LONG_BINGET"), ("PUT", "BINPUT", "LONG_BINPUT")
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MEMOIZE": _Machine.memoize,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": _Machine.marked_tuple,
    "LIST": _Machine.marked_list,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "DICT": _Machine.marked_dict,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.stack_named,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
