"""The old place of `r329fast.deploy.run_cfg`; it goes with the next release."""

import warnings

from r329fast.deploy.run_cfg import RunResult, run_cfg

__all__ = ["RunResult", "run_cfg"]

warnings.warn(
    "r329fast.run has moved: use r329fast.run_cfg, or r329fast.deploy.run_cfg",
    DeprecationWarning,
    stacklevel=2,
)
