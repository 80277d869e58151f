"""What a kernel is: one C function that takes the address of its arguments; and who calls it.

A frame is int64 [2 * n]: address and length of each of n flat arrays. Every kernel is compiled to
`void(int64 frame)` when it is first wanted, so that a whole op list is a table of addresses that
one compiled loop calls: no time is spent in Python between ops. Threads that share ops go through
the table together (team.py). Un-jitted, a frame is a tuple of arrays.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, from_dtype, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from r329fast.base.fork import hold_during_fork
from r329fast.kernels.runtime.compiling import (
    OPTIONS,
    KernelCompiler,
    LeafKernelCompiler,
    uncollected,
)
from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.parameters import dtype_of, unpack

_KINDS = {"i": types.int64, "u": types.uint8, "f": types.float64}
_DTYPES = {"i": np.int64, "u": np.uint8, "f": np.float64}
_COMPILING = threading.Lock()
hold_during_fork(_COMPILING)


class Kernel:
    """A function of one frame; `compile` gives its address."""

    def __init__(self, function: Callable[[Any], None], compiler: Any = KernelCompiler) -> None:
        self.function, self._compiler = function, compiler
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self._compiled: Any = None

    def compile(self) -> int:
        """Address of the machine code, made or loaded from the cache on first use."""
        with _COMPILING:  # an address that a second thread replaced would be of code that is gone
            if self._compiled is None:
                compiler = cfunc(
                    "void(int64)", cache=True, pipeline_class=self._compiler, **OPTIONS
                )
                with uncollected():
                    self._compiled = compiler(self.function)
        return int(self._compiled.address)

    @property
    def ready(self) -> bool:
        """Whether the machine code is there."""
        return self._compiled is not None

    def assembly(self) -> str:
        """Its machine code as text, and that of all that it calls."""
        self.compile()
        return str(self._compiled._library.get_asm_str())

    def __call__(self, *arrays: np.ndarray) -> None:
        """Run at once on flat arrays."""
        if JIT:
            frame = make_frame(arrays)
            run_steps(np.array([[self.compile(), frame.ctypes.data]], dtype=np.int64))
        else:
            self.function(arrays)


KERNELS: list[Kernel] = []


def kernel(function: Callable[[Any], None]) -> Kernel:
    """Decorator: registers the function, whose first line takes its `arrays` from the frame."""
    KERNELS.append(Kernel(function))
    return KERNELS[-1]


def leaf_kernel(function: Callable[[Any], None]) -> Kernel:
    """The same for a kernel whose time is that of its leaves: it compiles in less time."""
    KERNELS.append(Kernel(function, LeafKernelCompiler))
    return KERNELS[-1]


def make_frame(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [2 * n]; the arrays must outlive it."""
    pairs = [(array.ctypes.data, array.size) for array in arrays]
    return np.array(pairs, dtype=np.int64).reshape(-1)


def _argument_types(kinds: Sequence[Any]) -> list[Any]:
    """Numba's types of the arguments of a frame; see `arrays`."""

    def row(layout: Any) -> Any:
        kind: Any = dtype_of(layout.instance_class)
        return from_dtype(kind)

    result: list[Any] = []
    for kind in kinds:
        if isinstance(kind, types.StringLiteral):
            result += [types.Array(_KINDS[letter], 1, "C") for letter in kind.literal_value]
        elif isinstance(kind, types.UniTuple):
            result.append(types.Array(row(kind.dtype), 1, "C"))
        else:
            result.append(row(kind))
    return result


@intrinsic(prefer_literal=True)
def _arrays_intrinsic(typingctx: Any, frame: Any, *kinds: Any) -> Any:
    """What lies at the addresses of a frame; see `arrays`."""
    # one tuple of all kinds, or (while Numba looks for the signature) the kinds themselves
    several = len(kinds) == 1 and isinstance(kinds[0], types.StarArgTuple)
    given = tuple(kinds[0]) if several else kinds
    arguments = _argument_types(given)
    result = types.Tuple(tuple(arguments))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entries = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        values = []
        for index, kind in enumerate(arguments):
            address, size = (
                builder.load(cgutils.gep_inbounds(builder, entries, 2 * index + part))
                for part in (0, 1)
            )
            if isinstance(kind, types.Record):
                values.append(builder.inttoptr(address, context.get_value_type(kind)))
                continue
            array = make_array(kind)(context, builder)
            data = context.get_data_type(kind.dtype).as_pointer()
            width = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
            populate_array(
                array,
                data=builder.inttoptr(address, data),
                shape=[size],
                strides=[width],
                itemsize=width,
                meminfo=None,
            )
            values.append(array._getvalue())
        return context.make_tuple(builder, result, values)

    return result(types.int64, types.StarArgTuple.from_types(given)), codegen


@intrinsic
def _call(typingctx: Any, address: Any, frame: Any) -> Any:
    """Call the kernel at `address` with `frame`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        function = ir.FunctionType(ir.VoidType(), [i64]).as_pointer()
        builder.call(builder.inttoptr(args[0], function), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _pause(typingctx: Any) -> Any:
    """Tell the core that this thread only waits, so that its other thread gets more of it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        machine = platform.machine().lower()
        words = ir.IntType(32)
        if machine in ("x86_64", "amd64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause")
            builder.call(function, [])
        elif machine in ("aarch64", "arm64"):
            kind = ir.FunctionType(ir.VoidType(), [words])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint")
            builder.call(function, [words(1)])  # yield
        return context.get_dummy_value()

    return types.void(), codegen


call: Any = _call
pause: Any = _pause


@njit(nogil=True, cache=True)
def run_steps(steps):  # type: ignore[no-untyped-def]
    """Call every kernel of steps int64 [n, 2]: its address and its frame's."""
    for index in range(len(steps)):
        call(steps[index, 0], steps[index, 1])


@cache
def give_way_address() -> int:
    """Address of the system's `sched_yield` (SwitchToThread), 0 where there is none."""
    try:
        if sys.platform == "win32":
            function: Any = ctypes.WinDLL("kernel32").SwitchToThread
        else:
            function = ctypes.CDLL(None).sched_yield
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0


def _arrays_twin(frame: tuple[np.ndarray, ...], *kinds: Any) -> tuple[Any, ...]:
    """The same from a tuple of arrays, each of which must be of its kind."""
    expected: list[Any] = []
    for kind in kinds:
        expected += kind if isinstance(kind, str) else [kind]
    if len(frame) != len(expected):
        raise TypeError(f"{len(frame)} arrays, expected {len(expected)}")
    result: list[Any] = []
    for array, kind in zip(frame, expected, strict=True):
        if isinstance(kind, str):
            if array.dtype != _DTYPES[kind]:
                raise TypeError(f"array of {array.dtype}, expected {_DTYPES[kind]}")
            result.append(array)
        elif isinstance(kind, tuple):
            result.append([unpack(kind[0], array[i : i + 1]) for i in range(array.size)])
        else:
            result.append(unpack(kind, array))
    return tuple(result)


# arrays(frame, *kinds): what a kernel was called with. A kind is a layout (the one row of
# parameters of that layout, `p.name`), a layout in a tuple (an array of such rows), or a word of
# letters, one per flat array: i int64, u uint8, f float64.
arrays: Any = _arrays_intrinsic if JIT else _arrays_twin
