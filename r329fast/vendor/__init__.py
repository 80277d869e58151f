"""The vendor's own files: graph.json, profile data, log, memory sections, binary."""

from r329fast.vendor.graph_json import graph_json
from r329fast.vendor.grouping import Group, execution_groups
from r329fast.vendor.log import vendor_log
from r329fast.vendor.memory import MemorySections, int8_bin_size, memory_sections
from r329fast.vendor.nodes import perf_node_count
from r329fast.vendor.profile_data import profile_data, profile_data_size

__all__ = [
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
]
