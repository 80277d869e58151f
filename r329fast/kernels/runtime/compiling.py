"""How kernels are compiled: every one is a module of its own, optimised and translated once.

Numba makes machine code of every function that another one calls, and links a copy of its optimised
IR into each caller, where it is optimised again. What our kernels are made of is called by them
alone: a part stays IR until it is linked into a kernel, and a leaf that several parts call is there
once.

That overrides methods that are Numba's own business. `own_way` tries it on a small kernel before
the first one is compiled; with a Numba where it does not work, Numba's way gives the same integers.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import cfunc, types
from numba.core import codegen as numba_codegen
from numba.core import compiler as numba_compiler
from numba.core import options as numba_options
from numba.core import registry as numba_registry

from r329fast.errors import R329Warning
from r329fast.kernels.runtime.isa import JIT

codegen: Any = numba_codegen
compiler: Any = numba_compiler
registry: Any = numba_registry


OPTIONS: dict[str, Any] = {"error_model": "numpy"}
if hasattr(numba_options.DefaultOptions, "_nrt"):
    # kernels allocate nothing: without counts of references an array that Numba makes is an error
    OPTIONS["_nrt"] = False


# What the names of leaves begin with in IR.
LEAF = "leaf."


class _NoEnvironment:
    """What a part has instead of Numba's code generator, when Numba tells where globals are."""

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: a part has no machine code that could look for them."""


class _Library(getattr(codegen, "JITCodeLibrary", object)):  # type: ignore[misc]
    """Not optimised function by function: LLVM's passes run over a whole kernel, once."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout
        for function in ll_module.functions:
            if function.name.startswith(LEAF):
                function.linkage = llvm.Linkage.linkonce_odr  # one, of all parts of a kernel


class _PartLibrary(_Library):
    """IR of a part and of the parts that it calls; never optimised or translated by itself."""

    def _optimize_final_module(self) -> None:
        """Nothing: that is done once it is in a kernel."""

    def _finalize_final_module(self) -> None:
        """Not handed to the machine's linker."""
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        return _NoEnvironment()


class _KernelLibrary(_Library):
    """A kernel with all that it calls, of which only its wrapper can be called from outside."""

    passes: dict[str, Any] = {}  # noqa: RUF012  # other than Numba's

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and not function.name.startswith("cfunc."):
                # "internal" would stay in the table of symbols, where code of another module finds
                # by its name what is specialised for the callers in this one
                function.linkage = llvm.Linkage.private
        # Numba's first, cheap pipeline gathers counts of references, which kernels do without
        manager, builder = self._codegen._module_pass_manager(**self.passes)
        manager.run(self._final_module, builder)


class _LeafKernelLibrary(_KernelLibrary):
    """One whose leaves are vectors already: LLVM's first level makes the same of them."""

    passes: dict[str, Any] = {"opt": 1}  # noqa: RUF012


class _Compiler(compiler.Compiler):  # type: ignore[misc]
    """Numba's compiler with a library of ours, where that works."""

    library_class: Any

    def works(self) -> bool:
        """Whether a library of ours serves."""
        return own_way()

    def define_pipelines(self) -> Any:
        state = self.state
        if state.library is None and self.works():
            name = state.func_id.func_qualname
            state.library = self.library_class(state.targetctx.codegen(), name)
            state.library.enable_object_caching()
        return super().define_pipelines()


class PartCompiler(_Compiler):
    """Of parts."""

    library_class = _PartLibrary


class KernelCompiler(_Compiler):
    """Of kernels."""

    library_class = _KernelLibrary


class LeafKernelCompiler(_Compiler):
    """Of kernels whose time is that of their leaves."""

    library_class = _LeafKernelLibrary


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's search for cycles, which takes a tenth of the time of compiling."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _as_int64(kind: Any) -> Any:
    whole = kind == types.uint64 or isinstance(kind, types.IntegerLiteral)
    return types.int64 if whole else kind


class _Part(registry.CPUDispatcher):  # type: ignore[misc]
    """A jitted function that only jitted functions can call."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """As Numba finds it, but compiled once for int64, for addresses (uint64) and constants."""
        return super().get_call_template(tuple(map(_as_int64, args)), kws)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self.__name__} is part of kernels: Python cannot call it")


def _part(function: Callable[..., Any], pipeline: Any) -> Any:
    options = {**OPTIONS, "nopython": True, "nogil": True, "no_cpython_wrapper": True}
    options["no_cfunc_wrapper"] = True
    return _Part(function, targetoptions=options, pipeline_class=pipeline)


def kernel_part(function: Callable[..., Any]) -> Any:
    """Decorator: a function that kernels call. Un-jitted it stays as it is."""
    return _part(function, PartCompiler) if JIT else function


class _PartOnTrial(PartCompiler):
    """Of the part that `own_way` tries."""

    def works(self) -> bool:
        return True


class _KernelOnTrial(KernelCompiler):
    """Of the kernel that `own_way` tries."""

    def works(self) -> bool:
        return True


@cache
def own_way() -> bool:
    """Whether a small kernel compiled our way gives its integer; a warning says where not."""

    def part(value):  # type: ignore[no-untyped-def]
        return 3 * value + 1

    def kernel(value):  # type: ignore[no-untyped-def]
        return compiled_part(value) + compiled_part(7)

    compiled_part = _part(part, _PartOnTrial)
    try:
        made = cfunc("int64(int64)", pipeline_class=_KernelOnTrial, **OPTIONS)(kernel)
        found = made.ctypes(-5) if made.address else "no address"
    except Exception as error:  # whatever a Numba that we do not know raises
        found = type(error).__name__
    if found == 8:
        return True
    warnings.warn(
        f"kernels are compiled in Numba's own way, which takes longer and changes no integer: ours "
        f"does not work with Numba {numba.__version__} ({found}); install a Numba that r329fast is "
        "tested with",
        R329Warning,
        stacklevel=2,
    )
    return False
