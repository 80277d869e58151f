"""Compiling kernels ahead of the first run: what `info --warmup` does, for images and CI.

Every kernel has one signature, for all shapes, dtypes, roundings and activations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from numba import types

from r329fast.kernels.conv import conv_tiles
from r329fast.kernels.conv_wide import conv_wide
from r329fast.kernels.depthwise import depthwise_rows
from r329fast.kernels.elementwise import eltwise_blocks, eltwise_wide
from r329fast.kernels.isa import JIT
from r329fast.kernels.matmul import matmul_rows, matmul_wide
from r329fast.kernels.movement import copy_runs
from r329fast.kernels.normalise import lrn_rows, softmax_fast_exp_lines, softmax_lut_lines
from r329fast.kernels.pool import avgpool_rows, maxpool_rows
from r329fast.kernels.reduce import reduce_any, reduce_rows
from r329fast.kernels.resize import bilinear_rows
from r329fast.kernels.table import table_channels, table_rows
from r329fast.kernels.winograd import winograd_tiles

# Arguments of each kernel, in order: i int64, u uint8, f float64, all flat arrays.
SIGNATURES: dict[Any, str] = {
    conv_tiles: "iuuufuu",
    winograd_tiles: "iuuufuu",
    depthwise_rows: "iuuufuu",
    eltwise_blocks: "iuufuu",
    maxpool_rows: "iuu",
    avgpool_rows: "iuifuu",
    reduce_rows: "iufuu",
    table_rows: "iuuu",
    table_channels: "iuuu",
    copy_runs: "iuiu",
    softmax_lut_lines: "iuiiu",
    softmax_fast_exp_lines: "iuu",
    matmul_rows: "iuufuu",
    bilinear_rows: "iuiiiiiu",
    lrn_rows: "iuiiu",
    conv_wide: "iuiiiu",
    eltwise_wide: "iuuiu",
    matmul_wide: "iuuiu",
    reduce_any: "iuiiiu",
}
_KINDS = {"i": types.int64, "u": types.uint8, "f": types.float64}


def warmup(report: Callable[[str, float], None] | None = None) -> float:
    """Compile every kernel, or load it from the cache; returns seconds.

    report: called with each kernel's name and seconds.
    """
    begin = time.perf_counter()
    if not JIT:
        return 0.0
    for kernel, letters in SIGNATURES.items():
        start = time.perf_counter()
        kernel.compile(tuple(types.Array(_KINDS[letter], 1, "C") for letter in letters))
        if report is not None:
            report(kernel.__name__, time.perf_counter() - start)
    import r329fast.kernels.pixels  # noqa: F401  (compiled when it is imported)

    return time.perf_counter() - begin
