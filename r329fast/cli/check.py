"""`r329fast check`: is every operator of a model supported, and if not, what stands in the way."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from r329fast.cli.options.part import add_part, part_of
from r329fast.cli.options.targets import file_to_write
from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.graph.ir import Graph
    from r329fast.graph.issues import Issue
    from r329fast.graph.load import ModelPart

NAME = "check"
HELP = "which ops of a model are supported"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read an ONNX model and show what it becomes, layer type by layer type. Ends with 3 and\n"
        "lists every operator or form that is not supported, with what to do about it."
    )
    parser.add_argument("model", metavar="MODEL.onnx", type=Path)
    add_part(parser, plural=True)
    parser.add_argument(
        "--write",
        metavar="FILE.onnx",
        type=file_to_write,
        help="the model cut at its ends, constants folded, sizes fixed; of a model whose head is "
        "not supported the part in front of it",
    )
    parser.add_argument("--layers", action="store_true", help="list every layer")


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.errors import UnsupportedModelError, UsageError
    from r329fast.graph import Issue

    part = part_of(args)
    written: dict[str, object] = {}
    if args.write and args.write.suffix.lower() != ".onnx":
        raise UsageError(f"--write {args.write}: found {args.write.suffix!r}, allowed .onnx")
    if args.write and args.write.exists() and args.write.samefile(args.model):
        raise UsageError(f"--write {args.write}: that is the model itself, give another name")
    try:
        graph = part.load(args.model)
    except UnsupportedModelError as error:
        issues = [item for item in error.issues if isinstance(item, Issue)]
        cut = list(error.cut)
        _show_issues(out, args, issues, cut)
        if args.write and cut:
            written = _write(out, args, replace(part, outputs=cut))
        elif args.write:
            out.warn(f"{args.write} is not written: what is refused is no head that can be cut off")
        out.result(
            {
                "supported": False,
                "model": str(args.model),
                "issues": [item.as_dict() for item in issues],
                "cut": cut,
                **written,
            }
        )
        return error.exit_code if not written else 0
    if args.write:
        written = _write(out, args, part)
    _show_graph(out, args.model, graph, args.layers, written)
    return 0


def _write(out: Console, args: argparse.Namespace, part: ModelPart) -> dict[str, object]:
    """Write the folded or cut model and say how it compares with the original."""
    from r329fast.graph.export.cleaned import write_cleaned

    cleaned = write_cleaned(args.model, args.write, part.inputs, part.outputs, part.input_shapes)
    if cleaned.difference is None:
        same = "not compared with the original, which onnxruntime cannot run from these inputs"
    else:
        same = f"float outputs as the original's (largest difference {cleaned.difference:.1e})"
    out.wrapped(
        f"{args.write}: {cleaned.nodes} of {cleaned.nodes_before} nodes, inputs "
        f"{', '.join(cleaned.inputs)}, outputs {', '.join(cleaned.outputs)}, {same}"
    )
    return {"written": str(args.write), "difference": cleaned.difference, "cut": part.outputs or []}


def _show_issues(
    out: Console, args: argparse.Namespace, issues: list[Issue], cut: list[str]
) -> None:
    plural = "s" if len(issues) != 1 else ""
    out.print(f"{args.model}: not supported, {len(issues)} finding{plural}")
    for issue in issues:
        out.wrapped(f"{issue.where()}: {issue.reason}", "  ")
        out.wrapped(f"-> {issue.advice}", "    ")
    if cut and not args.write:
        names = ",".join(cut)
        out.wrapped(
            f"Up to {names} it is supported. --write FILE.onnx writes that part; --output {names} "
            f"takes it in other commands, output = {names} in a cfg; the rest is then computed "
            "from these outputs."
        )


def _show_graph(
    out: Console, path: Path, graph: Graph, layers: bool, written: dict[str, object]
) -> None:
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
            **written,
        }
    )


def _shape(graph: Graph, tensor: str) -> str:
    return "x".join(str(size) for size in graph.shapes[tensor])
