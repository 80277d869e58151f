"""The old place of what is now in `r329fast.deploy.run_cfg`; it goes with the next release."""

from r329fast.base.lazy import moved

__getattr__ = moved(__name__, dict.fromkeys(("RunResult", "run_cfg"), "r329fast.deploy.run_cfg"))
