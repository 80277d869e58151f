"""`r329fast check`: is every operator of a model supported, and if not, what stands in the way."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.graph.ir import Graph
    from r329fast.graph.issues import Issue

NAME = "check"
HELP = "which ops of a model are supported"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read an ONNX model and show what it becomes, layer type by layer type. Ends with 3 and\n"
        "lists every operator or form that is not supported, with what to do about it."
    )
    parser.add_argument("model", metavar="MODEL.onnx", type=Path)
    parser.add_argument(
        "--inputs", metavar="NAME[,NAME]", help="tensors or nodes where the graph begins"
    )
    parser.add_argument(
        "--outputs", metavar="NAME[,NAME]", help="tensors or nodes where the graph ends"
    )
    parser.add_argument(
        "--input-shape",
        metavar="[NAME=]1,3,224,224",
        action="append",
        default=[],
        help="shape of an input with the batch axis, where the file leaves axes free; "
        "once per input, by name or in order",
    )
    parser.add_argument("--layers", action="store_true", help="list every layer")


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.errors import UnsupportedModelError
    from r329fast.graph import Issue, load_model

    try:
        graph = load_model(
            args.model, _names(args.inputs), _names(args.outputs), _shapes(args.input_shape)
        )
    except UnsupportedModelError as error:
        _show_issues(out, args.model, [item for item in error.issues if isinstance(item, Issue)])
        return error.exit_code
    _show_graph(out, args.model, graph, args.layers)
    return 0


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def _shapes(words: list[str]) -> dict[str, list[int]] | list[list[int]] | None:
    """`--input-shape` values: by name if one has a name, else in order."""
    from r329fast.errors import UsageError

    named: dict[str, list[int]] = {}
    plain: list[list[int]] = []
    for word in words:
        name, _, text = word.rpartition("=")
        try:
            shape = [int(size) for size in text.strip("[] ").split(",")]
        except ValueError:
            raise UsageError(f"--input-shape: found {word!r}, allowed [NAME=]1,3,224,224") from None
        if name:
            named[name] = shape
        else:
            plain.append(shape)
    if named and plain:
        raise UsageError("--input-shape: name all inputs or none")
    return named or plain or None


def _show_issues(out: Console, path: Path, issues: list[Issue]) -> None:
    out.print(f"{path}: not supported, {len(issues)} finding{'s' if len(issues) != 1 else ''}")
    out.table(
        ["op", "layer", "reason", "what to do"],
        [[issue.op, issue.layer, issue.reason, issue.advice] for issue in issues],
    )
    out.result(
        {"supported": False, "model": str(path), "issues": [item.as_dict() for item in issues]}
    )


def _show_graph(out: Console, path: Path, graph: Graph, layers: bool) -> None:
    from r329fast.graph.size import layer_macs, layer_params

    macs = {layer.name: layer_macs(layer, graph) for layer in graph}
    params = {layer.name: layer_params(layer) for layer in graph}
    counts = Counter(layer.type for layer in graph)
    by_type = [
        {
            "type": kind,
            "layers": count,
            "macs": sum(macs[layer.name] for layer in graph if layer.type == kind),
            "params": sum(params[layer.name] for layer in graph if layer.type == kind),
        }
        for kind, count in counts.items()
    ]
    out.print(f"{path}: supported")
    ends = [("input", name) for name in graph.inputs] + [("output", name) for name in graph.outputs]
    for what, name in ends:
        shape = ", ".join(str(size) for size in graph.shapes[name])
        out.print(f"  {what} {name}: [N, {shape}]")
    if layers:
        out.table(
            ["layer", "type", "output", "MACs"],
            [
                [layer.name, layer.type, _shape(graph, layer.outputs[0]), macs[layer.name]]
                for layer in graph
            ],
        )
    out.table(
        ["type", "layers", "MACs", "parameters"],
        [
            *([row["type"], row["layers"], row["macs"], row["params"]] for row in by_type),
            ["all", len(graph.layers), sum(macs.values()), sum(params.values())],
        ],
    )
    out.result(
        {
            "supported": True,
            "model": str(path),
            "issues": [],
            "inputs": {name: list(graph.shapes[name]) for name in graph.inputs},
            "outputs": {name: list(graph.shapes[name]) for name in graph.outputs},
            "layers": len(graph.layers),
            "types": by_type,
            "macs": sum(macs.values()),
            "params": sum(params.values()),
        }
    )


def _shape(graph: Graph, tensor: str) -> str:
    return "x".join(str(size) for size in graph.shapes[tensor])
