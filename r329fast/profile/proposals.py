"""What `profile --suggest` and `tune` share: how a range is narrowed, and what counts as a gain.

Dead channels, which both look for too, are in `dead_channels.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MIN_GAIN = 0.05  # dB of output SNR
_FACTORS = np.arange(0.3, 1.001, 0.05)


def least_loss_factor(loss: Callable[[float], float]) -> float:
    """What to scale a range by: loss(factor) is the squared error, rounding and cutting off."""
    return float(_FACTORS[int(np.argmin([loss(float(factor)) for factor in _FACTORS]))])
