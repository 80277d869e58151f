"""`r329fast quantize`: save the quantised program of a cfg."""

from __future__ import annotations

import argparse
from pathlib import Path

from r329fast.cli.options.classes import add_classes
from r329fast.cli.options.execution import add_quantization, add_threads, prepare_cfg
from r329fast.cli.options.model import add_model, made_for
from r329fast.cli.options.preprocess import add_preprocess
from r329fast.cli.options.targets import file_to_write
from r329fast.cli.output import Console

NAME = "quantize"
HELP = "save the quantised program of a cfg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Calibrate and quantise what a cfg names, and save the op list."
    parser.add_argument("cfg", metavar="RUN.cfg|MODEL.onnx", type=Path)
    parser.add_argument("--out", metavar="MODEL.r329", type=file_to_write, required=True)
    parser.add_argument("--print", action="store_true", help="print the op list as well")
    add_threads(parser)
    add_quantization(parser)
    add_model(parser)
    add_classes(parser, split="train")
    add_preprocess(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.errors import UsageError

    if str(args.out) == "-":
        raise UsageError("--out -: a program is written to a file, allowed a name with .r329")
    if args.out.suffix != ".r329":
        raise UsageError(f"--out {args.out}: found {args.out.suffix!r}, allowed .r329")
    with made_for(args.cfg, args, out) as made:
        prepared = prepare_cfg(made.config if made else args.cfg, args, out)
    program = prepared.program
    program.save(args.out)
    if args.print:
        out.print(str(program))
    out.print(
        f"{args.out}: {len(program.ops)} ops of {len(program.layers)} layers, "
        f"scheme {program.scheme}, hash {program.hash()[:16]}"
    )
    out.result(
        {
            "file": str(args.out),
            "scheme": program.scheme,
            "hash": program.hash(),
            "ops": len(program.ops),
            "layers": len(program.layers),
            "options": program.options,
        }
    )
    return 0
