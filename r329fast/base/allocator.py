"""Memory that Python freed and the C library keeps."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return free memory to the system, where the C library can (glibc; elsewhere nothing).

    glibc takes arrays of up to 32 MB from its heap once one of that size was freed, and returns
    only what lies free at the heap's end: hundreds of MB of freed maps would stay.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
