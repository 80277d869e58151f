"""What a program costs, where it errs, and the files in which the vendor's tools say so.

What needs images, onnxruntime or a cost model is loaded on first use: a plain run, which only
writes the vendor's files, pays nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from r329fast.lazy import loader
from r329fast.profile.counters import LayerCounters, layer_counters
from r329fast.profile.graph_json import graph_json
from r329fast.profile.grouping import Group, execution_groups, perf_node_count
from r329fast.profile.memory import MemorySections, int8_bin_size, memory_sections
from r329fast.profile.profile_data import profile_data, profile_data_size
from r329fast.profile.vendor_log import vendor_log

if TYPE_CHECKING:
    from r329fast.profile.cost import estimate
    from r329fast.profile.data_counters import count_data
    from r329fast.profile.error_analysis import analyse_errors
    from r329fast.profile.hardware import load_hardware
    from r329fast.profile.profiling import Wanted, collect
    from r329fast.profile.record import make_record
    from r329fast.profile.sensitivity import layer_sensitivity
    from r329fast.profile.suggestions import suggest

_LATE = {
    "Wanted": "profiling",
    "analyse_errors": "error_analysis",
    "collect": "profiling",
    "count_data": "data_counters",
    "estimate": "cost",
    "layer_sensitivity": "sensitivity",
    "load_hardware": "hardware",
    "make_record": "record",
    "suggest": "suggestions",
}

__all__ = [
    "Group",
    "LayerCounters",
    "MemorySections",
    "Wanted",
    "analyse_errors",
    "collect",
    "count_data",
    "estimate",
    "execution_groups",
    "graph_json",
    "int8_bin_size",
    "layer_counters",
    "layer_sensitivity",
    "load_hardware",
    "make_record",
    "memory_sections",
    "perf_node_count",
    "profile_data",
    "profile_data_size",
    "suggest",
    "vendor_log",
]

__getattr__ = loader(__name__, _LATE)
