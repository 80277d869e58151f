"""Direct or Winograd: a cost model, and the switch R329FAST_WINOGRAD.

The model counts cycles of one core from the path's vector width, with constants fitted to
measurements on AVX2 (docs/performance.md), in three terms for each way. Where this machine was
measured (runtime/measured.py), each term has its own time for a cycle; else they count as they are.
Only the ratio of the two results matters.

R329FAST_WINOGRAD: `auto` (the default) asks the model, `0` takes direct kernels only, `1` takes
Winograd wherever it is exact. The integers are the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from r329fast.errors import UsageError
from r329fast.kernels.conv.direct import BAND, choose_mode, prepare_rows
from r329fast.kernels.conv.layout import ConvLayout
from r329fast.kernels.conv.position_lanes import prepare_positions
from r329fast.kernels.conv.tiles import tiled_positions
from r329fast.kernels.conv.winograd import prepare_winograd
from r329fast.kernels.conv.winograd_tiling import choose_tiling, products
from r329fast.kernels.ir.winograd import POSITIONS
from r329fast.kernels.leaves.winograd import FEW, WORDS
from r329fast.kernels.runtime.isa import ISA
from r329fast.kernels.runtime.measured import Measured, Terms, measured
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.kernels.runtime.team import Piece
from r329fast.program.program import Op, TensorSpec

VARIABLE = "R329FAST_WINOGRAD"
MODES = ("auto", "0", "1")
LOAD = 8  # bytes of weights per cycle from L3 or memory
_CACHED = 512 * 1024  # as many bytes of weights are there anyway
_EQUAL: Terms = (1.0, 1.0, 1.0)
_MANY = 64  # images whose blocks share the weights


def mode() -> str:
    """The value of R329FAST_WINOGRAD; raises UsageError on a wrong one."""
    value = os.environ.get(VARIABLE, "auto") or "auto"
    if value not in MODES:
        raise UsageError(f"{VARIABLE}={value}: allowed {', '.join(MODES)}", option=VARIABLE)
    return value


def _rate(lanes: int, kgroup: int) -> int:
    """Products per cycle: two vectors of up to 256 bits, or one of 512."""
    return lanes * kgroup * (2 if lanes <= 8 else 1)


def _loading(size: int) -> float:
    return max(size - _CACHED, 0) / LOAD


def direct_terms(layout: ConvLayout, batch: int) -> Terms:
    """Cycles of the tile, of packing and epilogue of `batch` images, of the weights once."""
    inner, outs = -(-layout.inner // 4) * 4, len(layout.weights)
    tile = inner * -(-outs // WORDS.lanes) * WORDS.lanes / _rate(ISA.lanes, ISA.kgroup) / 0.92
    rest = (0.7 * outs + 1.5 * layout.channels) * 8 / ISA.lanes
    weights = layout.weights.size * ISA.element
    rows = batch * layout.positions
    bands = choose_mode(layout) == BAND  # runs of a few positions, the last ones not full
    tiled = batch * tiled_positions(layout.out_height, layout.out_width) if bands else rows
    return tiled * tile, rows * rest, _loading(weights)


def winograd_terms(layout: ConvLayout, batch: int) -> Terms:
    """Cycles of the products, of transforms and epilogue of `batch` images, of the weights once."""
    kinds, several = choose_tiling(layout.out_height, layout.out_width, batch)
    tiles = batch * sum(kind.tiles for kind in kinds)
    groups = len(kinds) if several else 1
    padded = tiles + groups * (-tiles // groups % FEW.rows)
    inner, outs = -(-layout.channels // 2) * 2, -(-len(layout.weights) // WORDS.lanes) * WORDS.lanes
    each = batch * products(kinds) / tiles * padded
    rate = _rate(WORDS.lanes, WORDS.kgroup) * 0.85
    rest = (6 * inner + 24 * outs) * 8 / WORDS.lanes
    loading = _loading(2 * POSITIONS * inner * outs)
    return each * inner * outs / rate, tiles * rest, loading


def _time(terms: Terms, each: Terms) -> float:
    return sum(count * cost for count, cost in zip(terms, each, strict=True))


def winograd_batch(layout: ConvLayout, known: Measured | None) -> int:
    """Fewest images for which Winograd is faster; 0 where it never is.

    known: what this machine was measured to do; the built-in constants count without it.
    """
    if WORDS.name.startswith("neon"):  # its 16-bit products are generic code, never measured
        return 0
    direct, winograd = (known.direct, known.winograd) if known else (_EQUAL, _EQUAL)
    for batch in (1, 2, 4, 8, 16, _MANY):
        if _time(winograd_terms(layout, batch), winograd) < _time(
            direct_terms(layout, batch), direct
        ):
            return batch
    return 0


def prepare_dense(op: Op, layout: ConvLayout, output: TensorSpec) -> OpPlan:
    """A convolution of one group or several, not depthwise, whose sums fit int32."""
    chosen = mode()
    least = (
        {"auto": winograd_batch(layout, measured()), "0": 0, "1": 1}[chosen]
        if is_unit(layout)
        else 0
    )
    winograd = prepare_winograd(op, layout, output) if least else None
    if least == 1 and winograd is not None:
        return winograd
    direct = prepare_positions(layout) or prepare_rows(layout)
    if winograd is None:
        return direct

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        path = winograd if batch >= least else direct
        return path.bind(batch, inputs, output, scratch)

    def scratch_bytes(batch: int) -> int:
        return max(winograd.scratch_bytes(batch), direct.scratch_bytes(batch))

    def pieces(batch: int, threads: int, wanted: int) -> list[Piece]:
        cutter = (winograd if batch >= least else direct).cutter
        assert cutter is not None
        return cutter(batch, threads, wanted)

    name = f"{winograd.path}, {direct.path} below {least} images"
    return OpPlan(name, bind, scratch_bytes, True, pieces)


def is_unit(layout: ConvLayout) -> bool:
    """Whether the geometry is Winograd's: 3x3, stride and dilation 1, one group."""
    ones = layout.stride == layout.dilation == (1, 1)
    return ones and layout.kernel == (3, 3) and layout.group == 1
