"""`r329fast aipu inspect`, `aipu load` and `aipu diff`: the vendor's compiled binary."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r329fast.cli.options.part import add_part, part_of, refuse_part
from r329fast.cli.options.targets import file_to_write
from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.graph.ir import Graph
    from r329fast.program.program import Program
    from r329fast.vendor.aipu.diff import LayerDiff, ProgramDiff

NAME = "aipu"
HELP = "look into the vendor's aipu.bin, load it, compare it with a program"
_LESS_WANTED = ("cut", "pads", "entry", "bias", "dtype", "memory")  # columns, the least first
_BAR_HEAD = 37  # columns of a bar's line beside the bar
_SHOWN = 20  # differing layers that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The vendor's compiled binary (Z1_0701, graph version 0.4). The file itself is also taken\n"
        "wherever a .r329 is: run, eval, profile, compare, report."
    )
    commands = parser.add_subparsers(dest="action", metavar="inspect|load|diff", required=True)
    inspect = commands.add_parser(
        "inspect",
        help="header, memory, layers, and what to mind",
        description="Header, sections, inputs and outputs, layers, memory over time, and lints.",
    )
    inspect.add_argument("file", metavar="FILE", type=Path)
    _add_sources(inspect)
    load = commands.add_parser(
        "load",
        help="the binary as a .r329 program",
        description="Save the binary as a program, with names and scales where they are given.",
    )
    load.add_argument("file", metavar="FILE", type=Path)
    load.add_argument("--out", metavar="MODEL.r329", type=file_to_write, required=True)
    load.add_argument(
        "--rounding",
        choices=("half_even", "half_up", "floor"),
        default="half_even",
        help="of the last shift; silicon's is not public (default half_even)",
    )
    _add_sources(load)
    diff = commands.add_parser(
        "diff",
        help="our constants beside the binary's",
        description="Compare the constants of all computing layers. Ends with 1 if any differs.",
    )
    diff.add_argument("ours", metavar="OURS.r329|RUN.cfg", type=Path)
    diff.add_argument("file", metavar="FILE", type=Path)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max", metavar="NPY", type=Path, help="the dicts it was built from give names and scales"
    )
    parser.add_argument("--min", metavar="NPY", type=Path)
    parser.add_argument(
        "--model",
        metavar="MODEL.onnx",
        type=Path,
        help="its float model gives names, layers, input layout, and scales from the biases",
    )
    add_part(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    action = {"inspect": _inspect, "load": _load, "diff": _diff}[args.action]
    return action(args, out)


def _load(args: argparse.Namespace, out: Console) -> int:
    from r329fast.errors import UsageError
    from r329fast.vendor.aipu.load import load_aipu
    from r329fast.vendor.aipu.program import SCALES, scale_warning

    if args.out.suffix != ".r329":
        raise UsageError(f"--out {args.out}: found {args.out.suffix!r}, allowed .r329")
    program = load_aipu(
        args.file,
        max_file=args.max,
        min_file=args.min,
        model=_float_graph(args),
        rounding=args.rounding,
    )
    program.save(str(args.out))
    if warning := scale_warning(program):
        out.warn(warning)
    out.print(
        f"{args.out}: {len(program.ops)} ops of {len(program.layers)} layers, hash "
        f"{program.hash()[:16]}"
    )
    out.result(
        {
            "file": str(args.out),
            "hash": program.hash(),
            "ops": len(program.ops),
            "layers": len(program.layers),
            "inputs": list(program.inputs),
            "outputs": list(program.outputs),
            "scales": program.options[SCALES],
        }
    )
    return 0


def _float_graph(args: argparse.Namespace) -> Graph | None:
    if args.model is None:
        refuse_part(args, "give it with --model")
        return None
    return part_of(args).load(args.model)


# --- inspect ----------------------------------------------------------------------------------


def _inspect(args: argparse.Namespace, out: Console) -> int:
    from r329fast.vendor.aipu.container import read_aipu_bin
    from r329fast.vendor.aipu.facts import facts_of

    names, scales = _names(args)
    facts = facts_of(read_aipu_bin(args.file), names)
    for row in [*facts["inputs"], *facts["outputs"]]:
        if row["name"] in scales:
            row["scale"] = scales[row["name"]]
    _show_facts(facts, out)
    out.result({"file": str(args.file), **facts})
    return 0


def _names(args: argparse.Namespace) -> tuple[dict[str, str], dict[str, float]]:
    """(name in the file -> name in the dicts or model, scale of each), where they are given."""
    from r329fast.vendor.aipu.load import load_aipu
    from r329fast.vendor.aipu.matching import match

    if args.max is None and args.min is None and args.model is None:
        return {}, {}
    plain = load_aipu(args.file)
    graph = _float_graph(args)
    named = load_aipu(args.file, max_file=args.max, min_file=args.min, model=graph)
    scales = {name: spec.scale for name, spec in named.tensors.items()}
    if graph is None:
        pairs = zip(plain.layers, named.layers, strict=True)
        return {old.outputs[0]: new.outputs[0] for old, new in pairs}, scales
    names = {
        pair.theirs.outputs[0]: pair.ours.outputs[0].partition(":")[0]
        for pair in match(named, plain).pairs
    }
    return names, scales


def _show_facts(facts: dict[str, Any], out: Console) -> None:
    from r329fast.vendor.aipu.bars import bar_lines, live_peak

    header = facts["header"]
    out.wrapped(
        f"target {header['target']} ({header['device']}), graph version "
        f"{header['graph_version']}, tool {header['build']}, {header['bytes']:,} bytes"
    )
    sections = ", ".join(f"{name} {size:#x}" for name, size in facts["sections"].items() if size)
    out.wrapped(f"sections: {sections}")
    rows = [
        [kind, row["name"], _shape(row["shape"]), row["dtype"], row.get("scale", ""),
         row["address"]]
        for kind in ("input", "output")
        for row in facts[f"{kind}s"]
    ]  # fmt: skip
    out.table(["", "name", "shape", "dtype", "scale", "address"], rows)
    lines, left_out = _layer_lines(facts["layers"], out.width)
    for line in lines:
        out.print(line)
    if left_out:
        out.wrapped(f"left out here: {', '.join(left_out)} (a wider terminal or --json has all)")
    out.print()
    out.print("memory over time (the first column is before the first step):")
    for line in bar_lines(facts["memory"], min(64, max(8, out.width - _BAR_HEAD))):
        out.print(line)
    for name in ("DDR", "SRAM"):
        maps = [row for row in facts["memory"] if row["memory"] == name]
        peak = live_peak(facts["memory"], name)
        out.print(f"{name}: {len(maps)} feature maps, at most {peak:,} bytes alive at one time")
    for lint in facts["lints"]:
        out.wrapped(f"mind: {lint['text']}")


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape))


def _layer_lines(layers: list[dict[str, Any]], width: int) -> tuple[list[str], list[str]]:
    """(the layers as a table of plain lines, never folded, the columns that have no room)."""
    rows = [
        ["entry", "layer", "op", "in", "out", "dtype", "M", "N", "bias", "pads", "cut", "memory"]
    ]
    for layer in layers:
        cut = ""
        if layer.get("tiles", 1) > 1:
            cut = f"{layer['tiles']} tiles"
        elif layer.get("passes", 1) > 1:
            cut = f"{layer['passes']} passes"
        mult, shift = layer.get("mult", ""), layer.get("shift", "")
        if "multipliers" in layer:
            mult = ",".join(str(pair[0]) for pair in layer["multipliers"])
            shift = ",".join(str(pair[1]) for pair in layer["multipliers"])
        elif isinstance(mult, list):
            mult = f"{mult[0]}..{mult[1]}"
        op = layer["op"] + ("+add" if "eltwise" in layer else "")
        kernel = layer.get("kernel")
        if kernel:
            op += f" {kernel[0]}x{kernel[1]}/{layer['stride'][0]}"
        pads = layer.get("pads", [])
        rows.append(
            [
                str(layer["entry"]),
                layer["name"],
                op,
                " ".join(_shape(shape) for shape in layer["input_shapes"]),
                _shape(layer["shape"]),
                layer["dtype"],
                str(mult),
                str(shift),
                f"<<{layer['bias_shift']}" if "bias_shift" in layer else "",
                ",".join(map(str, pads)) if any(pads) else "",
                cut,
                layer["writes"]["memory"],
            ]
        )
    left_out: list[str] = []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name in _LESS_WANTED:
        if sum(widths) + 2 * (len(widths) - 1) <= width:
            break
        column = rows[0].index(name)
        left_out.append(name)
        widths.pop(column)
        for row in rows:
            row.pop(column)
    lines = [
        "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return lines, left_out


# --- diff -------------------------------------------------------------------------------------


def _diff(args: argparse.Namespace, out: Console) -> int:
    from r329fast.vendor.aipu.diff import diff_programs
    from r329fast.vendor.aipu.load import load_aipu

    theirs = load_aipu(args.file)
    found = diff_programs(_ours(args.ours), theirs)
    _show_diff(found, out)
    first = next((layer for layer in found.layers if not layer.equal), None)
    out.result(
        {
            "equal": found.equal,
            "counts": {
                kind: {"equal": equal, "layers": total}
                for kind, (equal, total) in found.counts.items()
            },
            "first": first.as_json() if first else None,
            "layers": [layer.as_json() for layer in found.layers],
            "only_ours": list(found.only_ours),
            "only_theirs": list(found.only_theirs),
        }
    )
    return 0 if found.equal else 1


def _ours(path: Path) -> Program:
    from r329fast.deploy.pipeline import program_of

    return program_of(path)[0]


def _show_diff(found: ProgramDiff, out: Console) -> None:
    rows = [
        [kind, equal, total, "equal" if equal == total else f"{total - equal} differ"]
        for kind, (equal, total) in found.counts.items()
    ]
    out.table(["op", "equal", "layers", ""], rows)
    different = [layer for layer in found.layers if not layer.equal]
    for layer in different[:_SHOWN]:
        for line in _diff_lines(layer):
            out.wrapped(line)
    if len(different) > _SHOWN:
        out.print(f".. and {len(different) - _SHOWN} more layers (--json has them all)")
    for side, names in (("ours", found.only_ours), ("the file", found.only_theirs)):
        if names:
            out.print(f"only in {side}: {', '.join(names[:_SHOWN])}")
    total = sum(count for _, count in found.counts.values())
    equal = sum(count for count, _ in found.counts.values())
    out.print(f"{equal} of {total} layers have equal constants")


def _diff_lines(layer: LayerDiff) -> list[str]:
    where = f"{layer.ours} ({layer.theirs}, {layer.kind})"
    lines = [f"{where}: {remark}" for remark in layer.remarks]
    for item in layer.constants:
        lines.append(
            f"{where}: {item.name}: {item.differ} of {item.total} differ, by up to "
            f"{item.largest}; first at {item.first}: {item.ours}, theirs {item.theirs}"
        )
    return lines
