"""Leaves: functions written as LLVM IR that kernels call with addresses and other int64."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from r329fast.kernels.ir.emit import BYTES, Pointer
from r329fast.kernels.runtime.compiling import LEAF


def leaf(name: str, emit: Callable[..., None], *settings: Any) -> Any:
    """A function for kernels whose body `emit(builder, *settings, *arguments)` writes as LLVM IR.

    Called a leaf because it calls nothing: the innermost loops, for which LLVM's own vectorising of
    Python code is not good enough. Kernels call it with int64 arguments; those that the emitter
    annotates as `Pointer` are addresses, which reach it as byte pointers. name: of the function,
    another one for other `settings`.

    It is made once per module and called, not inlined, so that it is compiled once however many
    places call it. Un-jitted runs call a twin, a Python function of the same parameters, instead.
    """
    # Numba wants every argument by name: those of `emit`, but for the builder and the settings.
    own = list(inspect.signature(emit).parameters)[1 + len(settings) :]
    hints = get_type_hints(emit, include_extras=True)
    pointers = [hints[each] is Pointer for each in own]

    def definition(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            function = builder.module.globals.get(LEAF + name)
            if function is None:
                function = _define(builder.module, name, len(values))
                inner = ir.IRBuilder(function.append_basic_block("entry"))
                given = [
                    inner.inttoptr(value, BYTES) if pointer else value
                    for value, pointer in zip(function.args, pointers, strict=True)
                ]
                emit(inner, *settings, *given)
                inner.ret_void()
            builder.call(function, values)
            return context.get_dummy_value()

        return types.void(*(types.int64,) * len(arguments)), codegen

    parameters = [
        inspect.Parameter(each, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for each in ("typingctx", *own)
    ]
    definition.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    definition.__name__ = name
    return intrinsic(definition)


def _define(module: Any, name: str, count: int) -> Any:
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * count)
    function = ir.Function(module, kind, LEAF + name)
    function.linkage = "internal"  # to a module, however it is compiled
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    return function


def memory(address: int, count: int, kind: type = np.uint8) -> np.ndarray:
    """`count` elements at `address` as an array: for the twins of leaves, in un-jitted runs."""
    size = count * np.dtype(kind).itemsize
    array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(address)))
    return array.view(kind)
