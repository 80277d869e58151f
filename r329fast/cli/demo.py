"""`r329fast demo`: all steps on the bundled network and images."""

from __future__ import annotations

import argparse

from r329fast.cli.options.compiling import compile_progress
from r329fast.cli.options.execution import add_threads
from r329fast.cli.options.targets import folder_to_write
from r329fast.cli.output import Console

NAME = "demo"
HELP = "all steps on a bundled model and images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Calibration set, cfg, input, run, compare and accuracy on images and a network\n"
        "that travel with the package. Everything is written below --out."
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=folder_to_write,
        default="r329fast-demo",
        help="where everything goes (r329fast-demo)",
    )
    add_threads(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.deploy.demo import as_json, run_demo

    with compile_progress(out):
        demo = run_demo(args.out, args.threads, out.print)
    best = ", ".join(f"{name} ({value})" for _, name, value in demo.classes)
    out.print(f"\n{demo.image}: class is {best}; labelled {demo.label}")
    rows = [
        [row.name, f"{row.top1:.1%}", f"{row.agreement:.1%}", round(row.images_per_second)]
        for row in demo.accuracy
    ]
    out.table(["network", "top-1", "agrees with float", "images/s"], rows)
    out.print(f"files in {args.out}: " + ", ".join(sorted(p.name for p in args.out.iterdir())))
    cfg = args.out / "run.cfg"
    out.print("next:")
    out.print(f"  r329fast profile {cfg} --out {args.out}")
    out.print(f"    cost and error of every layer; the page is {args.out / 'report.html'}")
    out.print(f"  r329fast run {cfg} --out {args.out}")
    out.print("    what the vendor's tool does")
    out.print("  r329fast try MODEL.onnx IMAGES --open")
    out.print("    the same for a model of your own")
    out.result(as_json(demo))
    return 0
