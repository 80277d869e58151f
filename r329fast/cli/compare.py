"""`r329fast compare`: top classes of a result, and how two results differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.comparison.differences import Comparison
    from r329fast.comparison.result_layout import TopOfOutput

NAME = "compare"
HELP = "top classes of a result file, or how two differ"
_SHOWN_IMAGES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show the top classes of a result file, output by output as the run.json beside it says.\n"
        "With a second one: how many values differ and by how much; ends\n"
        "with 1 if any does by more than --max-off-by. Two folders of .npy or\n"
        ".bin files (or two .npz) are compared tensor by tensor; the first layer in execution\n"
        "order that differs is named. `run --dump` writes such a folder."
    )
    parser.add_argument("a", metavar="A", type=Path, help="a raw file, a folder or a .npz")
    parser.add_argument("b", metavar="B", type=Path, nargs="?")
    parser.add_argument(
        "--classes", metavar="FILE", type=Path, help="names: one per line, wnid name, or a dict"
    )
    parser.add_argument("--top", metavar="K", type=int, default=5, help="how many classes (5)")
    parser.add_argument(
        "--dtype",
        choices=("int8", "uint8", "int16", "int32"),
        help="of raw files, read as one vector (default: what the run.json beside A says)",
    )
    parser.add_argument(
        "--max-off-by",
        metavar="N",
        type=int,
        default=0,
        help="differences up to N are accepted (0)",
    )
    dumps = parser.add_argument_group("dumps of other tools")
    dumps.add_argument(
        "--map", metavar="FILE", type=Path, help="names: lines 'name in A, name in B', or JSON"
    )
    dumps.add_argument(
        "--program",
        metavar="MODEL.r329|aipu.bin",
        type=Path,
        help="execution order, and shape and dtype of raw files",
    )
    dumps.add_argument(
        "--common", action="store_true", help="leave out tensors that only one of them has"
    )


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.errors import UsageError

    if args.top < 1:
        raise UsageError(f"--top: found {args.top}, allowed at least 1")
    if args.max_off_by < 0:
        raise UsageError(f"--max-off-by: found {args.max_off_by}, allowed at least 0")
    if args.a.is_dir() or args.a.suffix == ".npz":
        if args.b is None:
            raise UsageError(f"{args.a} holds tensors, give a second set to compare it with")
        return _tensors(args, out)
    return _files(args, out)


def _files(args: argparse.Namespace, out: Console) -> int:
    from r329fast.comparison.classes import read_classes
    from r329fast.comparison.result_files import compare_files

    names = read_classes(args.classes) if args.classes else None
    result = compare_files(args.a, args.b, args.dtype, args.top, names)
    if not result.recorded and args.dtype is None:
        out.warn(
            f"no run.json beside {args.a}: read as one int8 vector; for an unsigned output "
            "(behind Softmax or ReLU) give --dtype uint8"
        )
    _show_tops(out, args.a, result.outputs)
    difference = result.comparison
    if difference is not None:
        _show_tops(out, args.b, result.other_outputs)
        _show_difference(out, difference)
    out.result(
        {
            "top": [vars(item) for item in result.top],
            "other_top": [vars(item) for item in result.other_top],
            "outputs": [_as_json(item) for item in result.outputs],
            "other_outputs": [_as_json(item) for item in result.other_outputs],
            "total": difference.total if difference else None,
            "mismatches": difference.mismatches if difference else None,
            "max_abs_diff": difference.max_abs_diff if difference else None,
            "histogram": difference.histogram if difference else None,
            "first_diverging": difference.first if difference else None,
        }
    )
    return 1 if difference is not None and difference.max_abs_diff > args.max_off_by else 0


def _tensors(args: argparse.Namespace, out: Console) -> int:
    from r329fast.comparison.dumps import compare_dumps, read_dump, read_name_map
    from r329fast.vendor.aipu.load import read_program

    program = read_program(args.program) if args.program else None
    names = read_name_map(args.map) if args.map else None
    ours = read_dump(args.a, program, dtype=args.dtype or "int8")
    theirs = read_dump(args.b, program, names, args.dtype or "int8", known=ours)
    result, odd = compare_dumps(ours, theirs, args.common)
    if odd:
        out.warn(f"{len(odd)} tensors are only in one of them: {', '.join(odd[:5])}")
    out.table(
        ["layer", "values", "mismatches", f"off by > {args.max_off_by}", "max |diff|"],
        [
            [name, layer.total, layer.mismatches, layer.beyond(args.max_off_by), layer.max_abs_diff]
            for name, layer in result.layers.items()
        ],
    )
    first = result.first_diverging
    beyond = result.first_beyond(args.max_off_by)
    out.print(f"first diverging layer: {first}" if first else "all layers are equal")
    if first:
        _show_difference(out, result.layers[first])
    if beyond != first:
        limit = args.max_off_by
        out.print(
            f"first layer off by more than {limit}: {beyond}"
            if beyond
            else f"no layer is off by more than {limit}"
        )
    out.result(
        {
            "top": [],
            "layers": [
                {
                    "name": name,
                    "total": layer.total,
                    "mismatches": layer.mismatches,
                    "max_abs_diff": layer.max_abs_diff,
                    "histogram": layer.histogram,
                }
                for name, layer in result.layers.items()
            ],
            "mismatches": result.mismatches,
            "max_abs_diff": result.max_abs_diff,
            "histogram": result.histogram,
            "first_diverging": first,
            "first_beyond": beyond,
            "only_in_one": odd,
        }
    )
    return 1 if beyond else 0


def _as_json(item: TopOfOutput) -> dict[str, object]:
    return {
        "name": item.output,
        "image": item.image,
        "dtype": item.dtype,
        "top": [vars(ranked) for ranked in item.top],
        "tied": list(item.tied),
    }


def _show_tops(out: Console, path: Path, outputs: tuple[TopOfOutput, ...]) -> None:
    """Every output of the first images; the JSON object has them all."""
    images = 1 + max(item.image for item in outputs)
    for item in outputs:
        if item.image >= _SHOWN_IMAGES:
            continue
        image = f", image {item.image}" if images > 1 else ""
        named = f", output {item.output} ({item.dtype}){image}" if item.output else ""
        out.print(f"{path}{named}:")
        for ranked in item.top:
            name = ranked.name or ranked.index
            out.print(f"  class is {name}, index:{ranked.index}, prob:{ranked.value}")
        if item.tied:
            some = ", ".join(map(str, item.tied[:8])) + (", .." if len(item.tied) > 8 else "")
            out.print(
                f"  tie: {len(item.tied)} classes have {item.top[0].value} (indices {some}); "
                "int8 cannot tell them apart, the lowest index is shown first"
            )
    if images > _SHOWN_IMAGES:
        out.print(f"({images - _SHOWN_IMAGES} more images: --json has all)")


def _show_difference(out: Console, difference: Comparison) -> None:
    if difference.equal:
        out.print(f"equal: all {difference.total} values")
        return
    share = difference.mismatches / difference.total
    out.print(
        f"{difference.mismatches} of {difference.total} values differ ({share:.2%}), "
        f"first at {difference.first}, by {difference.max_abs_diff} at most"
    )
    out.table(["off by", "values"], [[size, n] for size, n in difference.histogram.items()])
