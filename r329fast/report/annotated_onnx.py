"""The user's ONNX model with a profile's numbers on its nodes, for Netron and the like.

A layer's numbers stand as `metadata_props` on the node that the layer is named after, or else on
the node that makes the layer's output.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r329fast.base.files import write_bytes
from r329fast.graph.ir import Graph
from r329fast.graph.onnx.model_file import load_proto
from r329fast.report.columns import COLUMNS

PREFIX = "r329fast."


def annotate(model: Any, graph: Graph, record: Mapping[str, Any]) -> int:
    """Put the record's numbers on the nodes of an onnx.ModelProto; returns how many layers found
    their node (inputs have none).

    graph: what the model was read to. Keys are `r329fast.<column key>`; the value ends in its
    unit and in exact, estimate or measured.
    """
    named = {node.name: node for node in model.graph.node if node.name}
    makers = {name: node for node in model.graph.node for name in node.output}
    rows = {row["name"]: row for row in record["layers"]}
    found = 0
    for layer in graph:
        row = rows.get(layer.name)
        output = layer.outputs[0]
        node = (
            named.get(layer.name)
            or makers.get(layer.name)
            or makers.get(graph.onnx_names.get(output, output))
        )
        if row is None or node is None:
            continue
        found += 1
        for key, text in [("layer", layer.name), *_words(row)]:
            entry = node.metadata_props.add()
            entry.key, entry.value = PREFIX + key, text
    whole = model.metadata_props.add()
    whole.key, whole.value = PREFIX + "tool", str(record.get("tool", ""))
    return found


def write_annotated(
    path: Path, source: str | Path, graph: Graph, record: Mapping[str, Any]
) -> Path:
    """Write the model of the file `source` with the record's numbers; raises FileError."""
    model = load_proto(source)
    annotate(model, graph, record)
    return write_bytes(path, model.SerializeToString())


def _words(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    words = []
    for column in COLUMNS:
        value = row.get(column.key)
        if value is None or value == "":
            continue
        unit = f" {column.unit}" if column.unit and column.form != "share" else ""
        status = "" if column.form == "text" and column.status == "exact" else column.status
        words.append((column.key, f"{column.text(value)}{unit} {status}".rstrip()))
    return words
