"""The op list's table: written spec, checks and facts of every op, one file per family."""

from __future__ import annotations

from r329fast.program.ops import elementwise, linear, movement, normalise, reduce, windows
from r329fast.program.ops.spec import ACTS, ROUNDINGS, OpSpec

# Kind of an op -> its spec.
OPS: dict[str, OpSpec] = {
    **linear.OPS,
    **elementwise.OPS,
    **windows.OPS,
    **reduce.OPS,
    **movement.OPS,
    **normalise.OPS,
}

__all__ = ["ACTS", "OPS", "ROUNDINGS", "OpSpec"]
