"""How kernels are compiled: every one is a module of its own, optimised and translated once.

Numba makes machine code of every function that another one calls, and links a copy of its optimised
IR into each caller, where it is optimised again. What our kernels are made of is called by them
alone: a part stays IR until it is linked into a kernel, and a leaf that several parts call is there
once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from numba import types
from numba.core import codegen as numba_codegen
from numba.core import compiler as numba_compiler
from numba.core import registry as numba_registry

from r329fast.kernels.runtime.isa import JIT

codegen: Any = numba_codegen
compiler: Any = numba_compiler
registry: Any = numba_registry


# Kernels allocate nothing: without counts of references an array that Numba makes is an error.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}


class _NoEnvironment:
    """What a part has instead of Numba's code generator, when Numba tells where globals are."""

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: a part has no machine code that could look for them."""


class _Library(codegen.JITCodeLibrary):  # type: ignore[misc]
    """LLVM's passes run over a whole kernel, once."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        # Numba's first, cheap pipeline gathers counts of references, which kernels do without
        manager, builder = self._codegen._module_pass_manager()
        manager.run(self._final_module, builder)


class _PartLibrary(_Library):
    """IR of a part and of the parts that it calls; never optimised or translated by itself."""

    def finalize(self) -> None:
        self._raise_if_finalized()
        _link(self)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        return _NoEnvironment()


class _KernelLibrary(_Library):
    """A kernel with all that it calls, of which only its wrapper can be called from outside."""

    def finalize(self) -> None:
        self._raise_if_finalized()
        _link(self)
        for function in self._final_module.functions:
            if not function.is_declaration and not function.name.startswith("cfunc."):
                function.linkage = llvm.Linkage.internal
        self._optimize_final_module()
        self._final_module.verify()
        self._finalize_final_module()


def _link(library: Any) -> None:
    """What `library` calls becomes part of its module, each function once."""
    for other in dict.fromkeys(library._linking_libraries):
        library._reload_init.update(other._reload_init)
        library._final_module.link_in(other._get_module_for_linking(), preserve=True)


class _Compiler(compiler.Compiler):  # type: ignore[misc]
    """Numba's compiler with a library of ours."""

    library_class: Any

    def define_pipelines(self) -> Any:
        state = self.state
        if state.library is None:
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


def kernel_part(function: Callable[..., Any]) -> Any:
    """Decorator: a function that kernels call. Un-jitted it stays as it is."""
    if not JIT:
        return function
    options = {**OPTIONS, "nopython": True, "nogil": True, "no_cpython_wrapper": True}
    options["no_cfunc_wrapper"] = True
    return _Part(function, targetoptions=options, pipeline_class=PartCompiler)
