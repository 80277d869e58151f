"""What a program costs and the files in which the vendor's tools say so."""

from r329fast.profile.counters import LayerCounters, layer_counters
from r329fast.profile.graph_json import graph_json
from r329fast.profile.grouping import Group, execution_groups, perf_node_count
from r329fast.profile.memory import MemorySections, int8_bin_size, memory_sections
from r329fast.profile.profile_data import profile_data, profile_data_size
from r329fast.profile.vendor_log import vendor_log

__all__ = [
    "Group",
    "LayerCounters",
    "MemorySections",
    "execution_groups",
    "graph_json",
    "int8_bin_size",
    "layer_counters",
    "memory_sections",
    "perf_node_count",
    "profile_data",
    "profile_data_size",
    "vendor_log",
]
