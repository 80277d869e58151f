"""What a program costs and where it errs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r329fast.base.lazy import loader, moved, names

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

_VENDOR = (
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
)

__getattr__ = moved(
    __name__,
    {
        **dict.fromkeys(("LayerCounters", "layer_counters"), "r329fast.program.counters"),
        **dict.fromkeys(_VENDOR, "r329fast.vendor"),
    },
    loader(__name__, _LATE),
)
__dir__ = names(__all__)
