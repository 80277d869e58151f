"""`graph.json`: the network as the vendor's profiler reads it (spec formats.md 5).

The layout is the vendor's own (one key a line, no indent, nodes joined by a line break and a
comma), so that files can be compared byte for byte.
"""

from __future__ import annotations

import json

from r329fast.program.program import Program
from r329fast.vendor.nodes import Node, graph_nodes
from r329fast.vendor.profile_data import profile_data_size

TARGET = "Z1_0701"
FREQUENCY_MHZ = 800  # what the builder assumes, whatever the chip runs at
MAGIC_NUMBER = "63b2bb9bea2f2caae1be1497e4a7509df069feea"  # the same in every file seen


def node_name(name: str) -> str:
    """A layer's name as graph.json writes it."""
    return name.replace("/", "_")


def _internal(part: tuple[str, str]) -> str:
    name, kind = part
    return (
        f'{{\n"layer node name":{json.dumps(node_name(name))},\n"op_type":{json.dumps(kind)}\n}}\n'
    )


def _node(node: Node) -> str:
    name, kind, tail = node_name(node.name), node.type, ""
    if node.perf:
        name, kind = f"subgraph_{name}", "SubGraph"
        parts = ",".join(map(_internal, node.internal))
        tail = f',\n"perf_node":true,\n"internal_nodes":[{parts}]'
    return (
        f'{{\n"layer node name":{json.dumps(name)},\n"op_type":{json.dumps(kind)},\n'
        f'"running on":0,\n"ops_count":{node.ops_count}{tail}\n}}\n'
    )


def _index_lists(lists: tuple[tuple[int, ...], ...]) -> str:
    return json.dumps(lists, separators=(",", ":"))


def graph_json(program: Program) -> str:
    """The text of graph.json, line breaks at its end included."""
    graph = graph_nodes(program)
    perf_nodes = sum(node.perf for node in graph.nodes)
    return (
        f'{{\n"graph_name":{json.dumps(program.name)},\n"platform target":"{TARGET}",\n'
        f'"total nodes number":{len(graph.nodes)},\n"perf nodes number":{perf_nodes},\n'
        f'"nodes":[{",".join(map(_node, graph.nodes))}],\n'
        f'"origin_idx":{_index_lists(graph.origin)},\n'
        f'"run_node_idx":{_index_lists(graph.runs)},\n'
        f'"profile":{{\n"profile events":"default",\n'
        f'"output size":{profile_data_size(perf_nodes)},\n'
        f'"frequency":{FREQUENCY_MHZ},\n"prof_unit":"AIFF"\n}}\n,\n'
        f'"magic number":"{MAGIC_NUMBER}"\n}}\n\n'
    )
