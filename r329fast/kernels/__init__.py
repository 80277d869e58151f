"""Compiled kernels: op and buffers in, integers out. One file per family, one registry.

Importing this package chooses the kernel path (see `isa.py`) and the compile cache's folder.
"""

# both before any kernel is decorated: Numba reads folder and target once
from r329fast.kernels.runtime.cache import CACHE_DIR  # isort: skip
from r329fast.kernels.runtime.isa import ISA, STORED  # isort: skip
from r329fast.kernels.registry import REGISTRY, prepare
from r329fast.kernels.runtime.call_table import CallTable
from r329fast.kernels.runtime.kernel import KERNELS
from r329fast.kernels.runtime.op_plan import OpPlan
from r329fast.kernels.warm_up import warmup

__all__ = [
    "CACHE_DIR",
    "ISA",
    "KERNELS",
    "REGISTRY",
    "STORED",
    "CallTable",
    "OpPlan",
    "prepare",
    "warmup",
]
