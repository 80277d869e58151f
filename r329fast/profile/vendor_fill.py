"""Our counters in the vendor's `profile_data.bin` (`--fill-profile`)."""

from __future__ import annotations

from collections.abc import Mapping

from r329fast.profile.cost import CostEstimate
from r329fast.profile.data_counters import DataCounters
from r329fast.program.counters import layer_counters
from r329fast.program.program import Program
from r329fast.vendor.nodes import graph_nodes
from r329fast.vendor.profile_data import NodeRecord, filled_profile_data


def profile_data_of(
    program: Program, cost: CostEstimate, data: Mapping[str, DataCounters] | None = None
) -> bytes:
    """The file with a record for each perf node, in graph.json order; `data` by layer name."""
    counters = layer_counters(program)
    records = []
    for node in graph_nodes(program).nodes:
        if not node.perf:
            continue
        costs = [cost.layers[index] for index in node.layers]
        counted = [data[program.layers[index].name] for index in node.layers] if data else []
        cut = sum(item.saturated_low + item.saturated_high for item in counted)
        outputs = sum(item.outputs for item in counted)
        records.append(
            NodeRecord(
                sum(item.cycles for item in costs),
                sum(item.compute_cycles for item in costs),
                sum(item.memory_cycles for item in costs),
                sum(item.ddr_read for item in costs),
                sum(item.ddr_write for item in costs),
                sum(counters[index].macs for index in node.layers),
                round(1e6 * cut / outputs) if outputs else 0,
            )
        )
    return filled_profile_data(records)
