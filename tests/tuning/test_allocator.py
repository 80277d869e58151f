"""What a long run holds of memory that it no longer needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FREED = """
import ctypes
import numpy as np
from r329fast.base.allocator import give_back

if not hasattr(ctypes.CDLL(None), "malloc_trim"):
    print("none")
    raise SystemExit

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) << 12

np.ones(31 << 20, np.uint8)  # from now on such sizes come from the heap
maps = [np.ones(8 << 20, np.uint8) for _ in range(20)]
last = np.ones(1 << 20, np.uint8)  # behind them
del maps
before = resident()
give_back()
print(before - resident() >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux is what is asked")
def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FREED], capture_output=True, text=True, check=True
    )
    if done.stdout.strip() == "none":
        pytest.skip("this C library gives nothing back")
    assert int(done.stdout) >= 100, done.stdout
