"""What a program costs and where it errs."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from r329fast.base.lazy import loader

if TYPE_CHECKING:
    from r329fast.profile.cost import estimate
    from r329fast.profile.data_counters import count_data
    from r329fast.profile.errors import analyse_errors
    from r329fast.profile.hardware import load_hardware
    from r329fast.profile.profiling import Wanted, collect
    from r329fast.profile.record import make_record
    from r329fast.profile.sensitivity import layer_sensitivity
    from r329fast.profile.suggestions import suggest

_LATE = {
    "Wanted": "profiling",
    "analyse_errors": "errors",
    "collect": "profiling",
    "count_data": "data_counters",
    "estimate": "cost",
    "layer_sensitivity": "sensitivity",
    "load_hardware": "hardware",
    "make_record": "record",
    "suggest": "suggestions",
}

__all__ = [
    "Wanted",
    "analyse_errors",
    "collect",
    "count_data",
    "estimate",
    "layer_sensitivity",
    "load_hardware",
    "make_record",
    "suggest",
]

# Names that stood here until 0.2.0; they go with the next release.
_MOVED = {
    "LayerCounters": "r329fast.program.counters",
    "layer_counters": "r329fast.program.counters",
    **dict.fromkeys(
        (
            "Group",
            "MemorySections",
            "execution_groups",
            "graph_json",
            "int8_bin_size",
            "memory_sections",
            "perf_node_count",
            "profile_data",
            "profile_data_size",
            "vendor_log",
        ),
        "r329fast.vendor",
    ),
}

_load = loader(__name__, _LATE)


def __getattr__(name: str) -> object:
    if name not in _MOVED:
        return _load(name)
    warnings.warn(
        f"r329fast.profile.{name} has moved to {_MOVED[name]}", DeprecationWarning, stacklevel=2
    )
    return getattr(import_module(_MOVED[name]), name)
