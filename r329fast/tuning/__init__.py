"""Accuracy that int8 took, given back: ranges and weights chosen against the exact integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r329fast.base.lazy import loader

if TYPE_CHECKING:
    from r329fast.tuning.options import KINDS, TuneOptions
    from r329fast.tuning.tuner import TuneResult, tune

__all__ = ["KINDS", "TuneOptions", "TuneResult", "tune"]

__getattr__ = loader(
    __name__,
    {"KINDS": "options", "TuneOptions": "options", "TuneResult": "tuner", "tune": "tuner"},
)
