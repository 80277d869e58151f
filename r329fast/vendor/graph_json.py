"""`graph.json`: the network as the vendor's profiler reads it (spec formats.md 5).

The layout is the vendor's own (one key a line, no indent, nodes joined by a line break and a
comma), so that files can be compared byte for byte. The Pad and Crop nodes that the vendor's
compiler adds around channel counts it cannot take are not written.
"""

from __future__ import annotations

import json

from r329fast.program.counters import LayerCounters, layer_counters
from r329fast.program.program import LayerRecord, Program
from r329fast.vendor.grouping import Group, execution_groups
from r329fast.vendor.profile_data import profile_data_size

TARGET = "Z1_0701"
FREQUENCY_MHZ = 800  # what the builder assumes, whatever the chip runs at
MAGIC_NUMBER = "63b2bb9bea2f2caae1be1497e4a7509df069feea"  # the same in every file seen


def node_name(name: str) -> str:
    """A layer's name as graph.json writes it."""
    return name.replace("/", "_")


def _internal(layer: LayerRecord) -> str:
    name = json.dumps(node_name(layer.name))
    return f'{{\n"layer node name":{name},\n"op_type":{json.dumps(layer.type)}\n}}\n'


def group_ops_count(group: Group, counters: list[LayerCounters]) -> int:
    """ops_count of one node: the sum over its layers."""
    return sum(counters[index].ops_count for index in group.layers)


def _node(program: Program, group: Group, ops_count: int) -> str:
    layers = [program.layers[index] for index in group.layers]
    name = node_name(layers[0].name)
    kind = layers[0].type
    tail = ""
    if group.perf:
        name, kind = f"subgraph_{name}", "SubGraph"
        tail = f',\n"perf_node":true,\n"internal_nodes":[{",".join(map(_internal, layers))}]'
    return (
        f'{{\n"layer node name":{json.dumps(name)},\n"op_type":{json.dumps(kind)},\n'
        f'"running on":0,\n"ops_count":{ops_count}{tail}\n}}\n'
    )


def _index_lists(lists: list[list[int]]) -> str:
    return json.dumps(lists, separators=(",", ":"))


def graph_json(program: Program) -> str:
    """The text of graph.json, line breaks at its end included."""
    groups = execution_groups(program)
    counters = layer_counters(program)
    nodes = [_node(program, group, group_ops_count(group, counters)) for group in groups]
    perf_nodes = sum(group.perf for group in groups)
    return (
        f'{{\n"graph_name":{json.dumps(program.name)},\n"platform target":"{TARGET}",\n'
        f'"total nodes number":{len(groups)},\n"perf nodes number":{perf_nodes},\n'
        f'"nodes":[{",".join(nodes)}],\n'
        f'"origin_idx":{_index_lists([list(group.layers) for group in groups])},\n'
        f'"run_node_idx":{_index_lists([[index] for index in range(len(groups))])},\n'
        f'"profile":{{\n"profile events":"default",\n'
        f'"output size":{profile_data_size(perf_nodes)},\n'
        f'"frequency":{FREQUENCY_MHZ},\n"prof_unit":"AIFF"\n}}\n,\n'
        f'"magic number":"{MAGIC_NUMBER}"\n}}\n\n'
    )
