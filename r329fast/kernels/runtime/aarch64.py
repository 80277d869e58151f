"""What the system knows of an aarch64 processor and LLVM does not tell.

LLVM's list of the host's features names no dot products on Linux (it reads /proc/cpuinfo and leaves
`asimddp` out) and is empty on macOS, whatever the processor has. The system itself always tells.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any

import numba
from numba.core.codegen import get_host_cpu_features

_CONFIG: Any = numba.config
told = False  # whether `tell_numba` has run
_AT_HWCAP = 16
_HWCAP_ASIMDDP = 1 << 20
_SYSCTL_DOTPROD = b"hw.optional.arm.FEAT_DotProd"


def has_dotprod() -> bool:
    """Whether the system reports that this processor multiplies and sums bytes (sdot)."""
    if platform.machine().lower() not in ("aarch64", "arm64"):
        return False
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
            found = library.sysctlbyname(
                _SYSCTL_DOTPROD, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
            )
            return found == 0 and value.value == 1
        getauxval = library.getauxval
        getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
        return bool(getauxval(_AT_HWCAP) & _HWCAP_ASIMDDP)
    except (AttributeError, OSError, TypeError):  # another system: LLVM's answer has to do
        return False


def with_dotprod(features: str) -> str:
    """LLVM's list of features, with dot products added where it does not name them."""
    words = [word for word in features.split(",") if word]
    named = {word[1:] for word in words}
    return ",".join(words if "dotprod" in named else [*words, "+dotprod"])


def tell_numba() -> None:
    """Have Numba compile for dot products if this processor has them.

    A target that the user named (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) stays as it is, and so does
    one for which Numba has compiled before: the setting is read once.
    """
    global told
    told = True
    if _CONFIG.CPU_NAME is None and _CONFIG.CPU_FEATURES is None and has_dotprod():
        _CONFIG.CPU_FEATURES = with_dotprod(get_host_cpu_features())
