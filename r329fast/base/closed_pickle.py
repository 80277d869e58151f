"""Pickles read without a pickle machine: plain values and arrays of plain numbers, nothing else.

Unpickling imports and calls what the file names, and even NumPy's own constructors turn bytes of
the file into pointers. Here the opcodes (pickletools.genops) are walked over a stack of marks,
texts, bytes and numbers; the few callables that NumPy's arrays and numbers are stored with are
recognised by name and nothing is called.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

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


class RefusedError(ValueError):
    """What is more than plain values."""


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
class StoredArray:
    """An array as it is stored: its items are bytes of `dtype`, or a list of objects."""

    shape: tuple[int, ...] = ()
    dtype: _Dtype | None = None
    items: Any = None
    fortran: bool = False

    def objects(self) -> list[Any] | None:
        """The items of an array of objects; None for any other."""
        wanted = self.dtype is not None and self.dtype.code == "O" and isinstance(self.items, list)
        return self.items if wanted else None

    def numbers(self) -> np.ndarray | None:
        """The array of plain numbers; None for any other, and where its size does not fit."""
        if self.dtype is None or self.dtype.code == "O" or not isinstance(self.items, bytes):
            return None
        dtype = np.dtype(self.dtype.order.replace("|", "=") + self.dtype.code)
        if prod(self.shape) * dtype.itemsize != len(self.items):
            return None
        order: Any = "F" if self.fortran else "C"
        return np.frombuffer(self.items, dtype).reshape(self.shape, order=order)


class _Mark:
    """Where the arguments of a following opcode begin."""


def read_pickle(data: bytes) -> object:
    """The value that a pickle describes; arrays are StoredArray.

    Raises RefusedError, or whatever pickletools raises, for anything beyond plain values.
    """
    return _Machine().run(data)


class _Machine:
    """The stack, the memo and what each opcode does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> object:
        """The value that a pickle describes; raises for what is more."""
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
                raise RefusedError(f"opcode {name} is not allowed")
        raise RefusedError("it ends early")

    def _pop(self) -> Any:
        if not self.stack or isinstance(self.stack[-1], _Mark):
            raise RefusedError("an opcode lacks its arguments")
        return self.stack.pop()

    def _to_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[place], _Mark):
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise RefusedError("an opcode lacks its mark")

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
            raise RefusedError("items for something that is no list")
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
            raise RefusedError("entries for something that is no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, (str, bytes)):
                raise RefusedError("a key is no text")
            target[key] = value

    def named(self, argument: str) -> None:
        if argument not in _KNOWN:
            raise RefusedError(f"{argument[:80].replace(' ', '.')} is not allowed")
        self.stack.append(_Name(_KNOWN[argument]))

    def stack_named(self, _: object) -> None:
        name, module = self._pop(), self._pop()
        self.named(f"{module} {name}")

    def reduce(self, _: object) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise RefusedError("a call is not allowed")
        self.stack.append(_CALLS[function.kind](arguments))

    def build(self, _: object) -> None:
        state = self._pop()
        target = self.stack[-1] if self.stack else None
        if not isinstance(state, tuple):
            raise RefusedError("a state is no tuple")
        if isinstance(target, _Dtype) and len(state) >= 2 and state[1] in ("<", ">", "|", "="):
            if any(item is not None for item in state[2:5]):
                raise RefusedError("a dtype with fields is not allowed")
            target.order = state[1]
        elif isinstance(target, StoredArray) and len(state) == 5:
            target.shape, target.dtype = _sizes(state[1]), _is_dtype(state[2])
            target.items, target.fortran = _raw(state[4]), state[3] is True
        else:
            raise RefusedError("a state for something that has none")


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(type(n) is int and 0 <= n < 1 << 31 for n in value):
        raise RefusedError("a shape is not allowed")
    if len(value) > 32:
        raise RefusedError("a shape is not allowed")
    return value


def _is_dtype(value: object) -> _Dtype:
    if not isinstance(value, _Dtype):
        raise RefusedError("a dtype is missing")
    return value


def _raw(value: object) -> object:
    """Bytes of numbers, which Python 2 stored as text; a list of objects stays."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return value.encode("latin1") if isinstance(value, str) else value


def _called_array(arguments: tuple[Any, ...]) -> StoredArray:
    if not arguments or arguments[0] != _Name("ndarray"):
        raise RefusedError("a call is not allowed")
    return StoredArray()


def _called_dtype(arguments: tuple[Any, ...]) -> _Dtype:
    text = arguments[0] if arguments else None
    found = _DTYPE.fullmatch(text) if isinstance(text, str) else None
    if found:
        return _Dtype(found[2], found[1] or "=")
    if isinstance(text, str) and _OBJECT.fullmatch(text):
        return _Dtype("O")
    raise RefusedError(f"dtype {str(text)[:40]} is not allowed")


def _called_scalar(arguments: tuple[Any, ...]) -> StoredArray:
    if len(arguments) != 2:
        raise RefusedError("a number without its dtype")
    return StoredArray((), _is_dtype(arguments[0]), _raw(arguments[1]))


def _called_buffer(arguments: tuple[Any, ...]) -> StoredArray:
    if len(arguments) != 4:
        raise RefusedError("an array without its shape")
    return StoredArray(_sizes(arguments[2]), _is_dtype(arguments[1]), _raw(arguments[0]))


def _called_encode(arguments: tuple[Any, ...]) -> bytes:
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] != "latin1":
        raise RefusedError("a text in another code is not allowed")
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
