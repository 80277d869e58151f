"""Clipping activations and their bounds."""

from __future__ import annotations

import numpy as np

from r329fast.graph.ir import Act

FLOAT_MAX = float(np.finfo(np.float32).max)


def clip_act(low: float, high: float) -> Act:
    """The activation that clips to [low, high]: RELU and RELU6 where the bounds are theirs."""
    if low == 0 and high >= FLOAT_MAX:
        return Act("RELU")
    if low == 0 and high == 6:
        return Act("RELU6")
    return Act("CLIP", clip_min=low, clip_max=high)


def clip_bounds(act: Act) -> tuple[float, float] | None:
    """The bounds of an activation that clips, None for any other."""
    if act.kind == "RELU":
        return 0.0, FLOAT_MAX
    if act.kind == "RELU6":
        return 0.0, 6.0
    return (act.clip_min, act.clip_max) if act.kind == "CLIP" else None
