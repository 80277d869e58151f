"""`r329fast run`: parse, calibrate, quantise and simulate what a cfg names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from r329fast.cli.options.classes import add_classes
from r329fast.cli.options.execution import add_execution, add_quantization, settings_from
from r329fast.cli.options.model import add_model, made_for, refuse_model_options
from r329fast.cli.options.preprocess import add_preprocess
from r329fast.cli.options.targets import folder_to_write
from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.deploy.run_cfg import RunResult

NAME = "run"
HELP = "parse, calibrate, quantise and simulate what a cfg names"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Drop-in for `aipubuild RUN.cfg`. Paths in the cfg are relative to where the command "
        "runs.\nWrites outputs, graph.json, profile_data.bin, max_min/, log.txt and run.json; "
        "mode=build writes\na .r329 program instead of a simulation, which is no vendor binary."
    )
    parser.add_argument("cfg", metavar="RUN.cfg|MODEL.onnx|MODEL.r329|aipu.bin", type=Path)
    parser.add_argument(
        "--inputs",
        metavar="FILES",
        help="of a program or a model: raw input file(s), comma separated (of a model: the first "
        "of its images)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=folder_to_write, help="folder for all that is written"
    )
    parser.add_argument(
        "--dump", metavar="DIR", type=folder_to_write, help="every layer's integers as .npy"
    )
    add_quantization(parser)
    add_execution(parser)
    add_model(parser)
    add_classes(parser, split="train")
    add_preprocess(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.deploy.run_cfg import run_cfg
    from r329fast.errors import UsageError
    from r329fast.vendor.aipu.load import is_program

    if is_program(args.cfg):
        return _run_program(args, out)
    with made_for(args.cfg, args, out, mode="run") as made:
        if made is not None and args.inputs is not None:
            made.config.gbuilder.inputs = tuple(args.inputs.split(","))
        elif args.inputs is not None:
            raise UsageError("--inputs goes with a program or a model, a cfg names its own")
        cfg = made.config if made else args.cfg
        settings = settings_from(args)
        result = run_cfg(cfg, settings, out=args.out, dump=args.dump, backend=args.backend)
    for line in result.prepared.warnings:
        out.warn(line)
    _show(result, out)
    record = result.record
    keys = ("outputs", "output_scale", "weight_bytes", "files", "seconds", "scheme", "images")
    out.result({key: record[key] for key in keys})
    return 0


def _run_program(args: argparse.Namespace, out: Console) -> int:
    from r329fast.deploy.run_program import run_program
    from r329fast.errors import UsageError

    if any((args.scheme, args.rounding, args.method, args.per_channel)):
        raise UsageError(
            "a program is quantised already: scheme, rounding, method and per-channel go with a cfg"
        )
    refuse_model_options(args, f"{args.cfg} is a program")
    if args.inputs is None:
        raise UsageError(f"{args.cfg} is a program: give its raw input files with --inputs")
    record = run_program(
        args.cfg,
        args.inputs.split(","),
        out=args.out,
        dump=args.dump,
        backend=args.backend,
        threads=args.threads,
    )
    for line in cast("list[str]", record["warnings"]):
        out.warn(line)
    images = "1 image" if record["images"] == 1 else f"{record['images']} images"
    out.print(f"{record['model_name']}: {images}, {record['macs']:,} MACs each")
    for name, spec in cast("dict[str, Any]", record["outputs"]).items():
        out.print(f"output {name}: {spec['dtype']} {spec['shape']}")
    for kind, path in cast("dict[str, Any]", record["files"]).items():
        out.print(f"{kind}: {path}")
    out.result(record)
    return 0


def _show(result: RunResult, out: Console) -> None:
    prepared, record = result.prepared, result.record
    program = prepared.program
    out.print(
        f"{program.name}: scheme {prepared.scheme}, calibration {prepared.method}, "
        f"{len(program.layers)} layers, {record['macs']:,} MACs per image (exact)"
    )
    for name in program.outputs:
        spec = program.tensors[name]
        out.print(f"output {name}: {spec.dtype} {list(spec.shape)}, output_scale {spec.scale:.7g}")
    if prepared.config.common.mode == "build":
        out.print("mode=build: the output is an r329fast program, not a vendor binary")
    for name, array in result.outputs.items():
        _show_top(name, array, out)
    rows = [[kind, path] for kind, path in result.files.items()]
    out.table(["file", "path"], rows)


def _show_top(name: str, array: object, out: Console) -> None:
    """The best classes of the first images, in the words of the tutorial's script."""
    import numpy as np

    from r329fast.comparison.classes import top_k

    values = np.asarray(array)
    for image, logits in enumerate(values.reshape(len(values), -1)[:3]):
        best = top_k(logits, 5)
        words = ", ".join(f"{entry.index} ({entry.value})" for entry in best)
        out.print(f"{name}, image {image}: class {words}")
