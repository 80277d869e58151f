"""Kernels are compiled once: each leaf and each part is in a kernel's module at most once."""

import subprocess
import sys

import numpy as np
import pytest
from numba import cfunc
from numba.core.errors import TypingError

from r329fast.kernels.leaves.vector import move_bytes
from r329fast.kernels.runtime.compiling import OPTIONS, KernelCompiler, kernel_part
from r329fast.kernels.runtime.isa import JIT


@kernel_part
def forward(target, source, count):  # type: ignore[no-untyped-def]
    move_bytes(target, 0, source, 0, 1, count)


@kernel_part
def twice(target, source, count):  # type: ignore[no-untyped-def]
    move_bytes(target, 0, source, 0, 1, count)
    forward(target + count, source, count)


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
