"""A ring of padded input rows, which output rows that follow each other share."""

from __future__ import annotations

from typing import Any

from r329fast.kernels.conv.windows import load_row
from r329fast.kernels.ir.depthwise_taps import emit_double_row
from r329fast.kernels.leaves.leaf import leaf
from r329fast.kernels.runtime.compiling import kernel_part

# Two filters per channel: what is written behind the row stays within its gap.
double_row: Any = leaf("double_row", emit_double_row)


@kernel_part
def fill_ring(  # type: ignore[no-untyped-def]
    g, rows, ring, row_bytes, ring_rows, columns, x, x_end, pads, pads_end, image, y, made
):
    """Make the input rows under output row `y` ready; returns the first one that is not there yet.

    rows: int64 addresses to fill in, one for each kernel row; ring: address of `ring_rows` cleared
    rows (see `clear_rows`); made: what the call for the row before returned, 0 at an image's start.
    """
    top = y * g.stride_y
    for row in range(max(made, top), top + ring_rows):
        target = ring + row % ring_rows * row_bytes
        load_row(g, target, columns, x, x_end, pads, pads_end, image, row - g.top)
    for ky in range(g.kernel_y):
        rows[ky] = ring + (top + ky * g.dilation_y) % ring_rows * row_bytes
    return top + ring_rows
