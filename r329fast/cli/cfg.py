"""`r329fast cfg new` and `r329fast cfg check`."""

from __future__ import annotations

import argparse
from pathlib import Path

from r329fast.cfg import Finding
from r329fast.cli.options.part import add_part, names, part_of
from r329fast.cli.options.targets import file_to_write
from r329fast.cli.output import Console

NAME = "cfg"
HELP = "make or check a vendor cfg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="new|check", required=True)
    new = commands.add_parser(
        "new",
        help="a cfg with names and shapes read from the model",
        description="Write a vendor cfg; what is not given is read from the model.",
    )
    new.add_argument("model", metavar="MODEL.onnx", type=Path)
    new.add_argument("--out", metavar="RUN.cfg", type=file_to_write, required=True)
    new.add_argument("--mode", choices=("run", "build"), default="run")
    new.add_argument(
        "--scheme",
        choices=("aqt2021", "compass42"),
        default="aqt2021",
        help="[AutoQuantizationTool] of the 2021 tool, or [Optimizer] of the newer one",
    )
    new.add_argument(
        "--calibration-data",
        metavar="NPY",
        help="default: ./dataset/dataset.npy; for several inputs a list of files or one .npz",
    )
    new.add_argument(
        "--calibration-label",
        metavar="NPY",
        help="default: label.npy beside the data, where it is there",
    )
    new.add_argument(
        "--calibration-method",
        metavar="NAME",
        help="default: the extremes, which suit small sets; MEAN is the vendor's default",
    )
    new.add_argument("--inputs", metavar="FILES", help="input file(s) of the run, comma separated")
    new.add_argument("--outputs", metavar="FILE", help="the file that the run writes")
    add_part(new)
    new.add_argument("--model-name", metavar="NAME", help="default: the name of the model file")
    check = commands.add_parser(
        "check",
        help="name every unknown key, missing file and wrong value",
        description="Check a cfg and the files that it names. Ends with 2 if there are errors.",
    )
    check.add_argument("cfg", metavar="RUN.cfg", type=Path)


def execute(args: argparse.Namespace, out: Console) -> int:
    return _new(args, out) if args.action == "new" else _check(args, out)


def _new(args: argparse.Namespace, out: Console) -> int:
    from r329fast.cfg import new_cfg

    part = part_of(args)
    config = new_cfg(
        args.model,
        mode=args.mode,
        scheme=args.scheme,
        calibration_data=args.calibration_data,
        calibration_label=args.calibration_label,
        inputs=names(args.inputs) or (),
        outputs=args.outputs or "",
        input=part.inputs or (),
        output=part.outputs or (),
        input_shape=part.input_shapes or "",
        model_name=args.model_name or "",
        calibration_method=args.calibration_method or "",
    )
    config.write(args.out)
    out.print(f"{args.out}: written")
    parser = config.parser
    for name, shape in zip(parser.input, parser.input_shape, strict=True):
        out.print(f"  input {name} {list(shape)} {parser.input_data_format}")
    out.print(f"  output {', '.join(parser.output)}")
    out.result(
        {
            "cfg": str(args.out),
            "scheme": config.scheme,
            "input": list(parser.input),
            "input_shape": [list(shape) for shape in parser.input_shape],
            "output": list(parser.output),
        }
    )
    return 0


def _check(args: argparse.Namespace, out: Console) -> int:
    from r329fast.cfg import check_cfg

    findings = check_cfg(args.cfg)
    errors = sum(item.severity == "error" for item in findings)
    warnings = len(findings) - errors
    for item in findings:
        out.print(f"{item.severity:<8} {item}")
    out.print(f"{args.cfg}: {_count(errors, 'error')}, {_count(warnings, 'warning')}")
    out.result(
        {
            "cfg": str(args.cfg),
            "ok": not errors,
            "errors": errors,
            "warnings": warnings,
            "findings": [_as_json(item) for item in findings],
        }
    )
    return 2 if errors else 0


def _as_json(item: Finding) -> dict[str, str]:
    return {
        "severity": item.severity,
        "section": item.section,
        "key": item.key,
        "message": item.message,
    }


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
