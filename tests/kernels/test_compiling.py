"""Kernels are compiled once: each leaf and each part is in a kernel's module at most once."""

import subprocess
import sys

import numpy as np
import pytest
from numba import cfunc, njit
from numba.core.errors import TypingError

from r329fast.errors import R329Warning
from r329fast.kernels.leaves.vector import move_bytes
from r329fast.kernels.runtime.compiling import OPTIONS, KernelCompiler, kernel_part, own_way
from r329fast.kernels.runtime.isa import JIT


@kernel_part
def forward(target, source, count):  # type: ignore[no-untyped-def]
    move_bytes(target, 0, source, 0, 1, count)


@kernel_part
def twice(target, source, count):  # type: ignore[no-untyped-def]
    move_bytes(target, 0, source, 0, 1, count)
    forward(target + count, source, count)


@kernel_part
def halves(value):  # type: ignore[no-untyped-def]
    return (value >> 1) + (value & 1)


def writes_halves(frame):  # type: ignore[no-untyped-def]
    move_bytes(frame, 0, frame + halves(frame & 0) + 64, 0, 1, halves(32))


def moves_once(frame):  # type: ignore[no-untyped-def]
    move_bytes(frame, 0, frame + 64, 0, 1, 16)


def moves_rows(frame):  # type: ignore[no-untyped-def]
    move_bytes(frame, 16, frame + 64, 32, 2, 8)


def moves(frame):  # type: ignore[no-untyped-def]
    forward(frame, frame + 64, 32)  # a constant
    forward(frame + 32, np.uint64(frame + 64), frame & 31)  # an address, a count
    twice(frame, frame + 64, 16)


def allocates(frame):  # type: ignore[no-untyped-def]
    np.empty(frame & 3)[0] = 1.0


@pytest.mark.skipif(not JIT, reason="un-jitted kernels are Python functions")
class TestModule:
    def test_a_leaf_and_a_part_are_there_once(self) -> None:
        compiled = cfunc("void(int64)", pipeline_class=KernelCompiler, **OPTIONS)(moves)
        names = [function.name for function in compiled._library.get_defined_functions()]
        assert sum("move_bytes" in name for name in names) == 1
        assert len(forward.overloads) == len(twice.overloads) == 1
        room = np.arange(128, dtype=np.uint8)
        call = compiled.ctypes
        call(room.ctypes.data)
        assert np.array_equal(room[:16], np.arange(64, 80))
        assert np.array_equal(room[16:32], np.arange(64, 80))

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("_optimize_functions", AttributeError),
            ("_optimize_final_module", TypeError),
            ("finalize", RuntimeError),
        ],
    )
    def test_a_numba_of_another_form_compiles_its_own_way(
        self, name: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(self: object, *args: object) -> None:
            raise kind(f"{name} is not what it was")

        library = KernelCompiler.library_class
        monkeypatch.setattr(library, name, missing)
        own_way.cache_clear()
        room = np.arange(128, dtype=np.uint8)
        try:
            with pytest.warns(R329Warning, match=f"Numba's own way.*{kind.__name__}"):
                compiled = cfunc("void(int64)", pipeline_class=KernelCompiler, **OPTIONS)(
                    writes_halves
                )
            assert not isinstance(compiled._library, library)
            compiled.ctypes(room.ctypes.data)
        finally:
            own_way.cache_clear()
        assert np.array_equal(room[:32], [*range(64, 80), *range(16, 32)])

    def test_numba_without_the_base_class(self) -> None:
        code = (
            "import warnings\n"
            "from numba.core import codegen\n"
            "del codegen.JITCodeLibrary\n"
            "warnings.simplefilter('error')\n"
            "from r329fast.kernels.runtime.compiling import own_way\n"
            "own_way()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "R329Warning: kernels are compiled in Numba's own way" in done.stderr

    def test_leaves_of_kernels_are_hidden_from_other_code(self) -> None:
        """A leaf is specialised for a kernel; jitted functions have one of their own."""
        compiled = cfunc("void(int64)", pipeline_class=KernelCompiler, **OPTIONS)(moves_once)
        room = np.arange(128, dtype=np.uint8)
        compiled.ctypes(room.ctypes.data)
        assert np.array_equal(room[:16], np.arange(64, 80))
        njit(moves_rows)(room.ctypes.data)
        assert np.array_equal(room[:24].reshape(3, 8), [range(64 + i, 72 + i) for i in (0, 8, 32)])

    def test_where_it_works_its_library_is_used(self) -> None:
        assert own_way()
        compiled = cfunc("void(int64)", pipeline_class=KernelCompiler, **OPTIONS)(moves)
        assert isinstance(compiled._library, KernelCompiler.library_class)

    def test_python_cannot_call_a_part(self) -> None:
        with pytest.raises(TypeError, match="forward is part of kernels"):
            forward(0, 0, 0)

    def test_a_kernel_that_allocates_is_refused(self) -> None:
        with pytest.raises(TypingError, match="built-in function empty"):
            cfunc("void(int64)", pipeline_class=KernelCompiler, **OPTIONS)(allocates)


def test_kernels_and_simulator_import_no_rooms_of_the_pipeline() -> None:
    """What a worker or a program that runs a .r329 file waits for."""
    code = (
        "import sys, r329fast.kernels, r329fast.simulator.simulator, r329fast.program.storage\n"
        "rooms = {f'r329fast.{room}' for room in ('cfg', 'images', 'calibration', 'deploy')}\n"
        "print(sorted(({'cv2', 'onnx', 'onnxruntime', 'rich'} | rooms) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]
