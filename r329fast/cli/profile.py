"""`r329fast profile`: cost and error of every layer."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r329fast.cli.options.classes import add_classes, class_names
from r329fast.cli.options.execution import add_quantization, prepare_cfg
from r329fast.cli.options.model import add_model, made_for
from r329fast.cli.options.part import part_of
from r329fast.cli.options.preprocess import add_preprocess, asked_for
from r329fast.cli.options.targets import file_to_write, folder_to_write
from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.deploy.from_model import ModelRun
    from r329fast.deploy.pipeline import Prepared
    from r329fast.graph.ir import Graph
    from r329fast.profile.images import Images
    from r329fast.profile.record import Findings
    from r329fast.program.program import Program

NAME = "profile"
HELP = "cost and error of every layer"
DEFAULT_IMAGES = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Counters of every layer (exact), what it would cost on the chip (estimate), its time\n"
        "here (measured) and its error against the float network (exact). Data counters and\n"
        "errors run over the cfg's calibration data, or over --images."
    )
    parser.add_argument("model", metavar="RUN.cfg|MODEL.onnx|MODEL.r329|aipu.bin", type=Path)
    parser.add_argument(
        "--images", metavar="SET", type=Path, help="folder, zip or tar of images to run over"
    )
    parser.add_argument("--labels", metavar="FILE", help="lines 'filename label' (label.txt)")
    parser.add_argument(
        "--limit", metavar="N", type=int, default=DEFAULT_IMAGES, help="images used (16; 0: all)"
    )
    parser.add_argument(
        "--float", metavar="MODEL.onnx", type=Path, help="the float network of a .r329 program"
    )
    parser.add_argument("--no-errors", action="store_true", help="no comparison with float")
    parser.add_argument("--no-time", action="store_true", help="no timing of kernels")
    parser.add_argument(
        "--sensitivity", action="store_true", help="each layer quantised alone, and left in float"
    )
    parser.add_argument(
        "--sensitivity-images", metavar="N", type=int, default=16, help="images it uses (16)"
    )
    parser.add_argument(
        "--suggest", action="store_true", help="what to change where, with the measured gain"
    )
    parser.add_argument(
        "--hardware", metavar="NAME|FILE.toml", default="Z1_0701", help="target of the estimate"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="that compute (1)")
    files = parser.add_argument_group("files")
    files.add_argument(
        "--out",
        metavar="DIR",
        type=folder_to_write,
        help="profile.json, layers.csv, report.html, graph.json and profile_data.bin",
    )
    files.add_argument(
        "--html", metavar="FILE", type=file_to_write, help="a page that needs no network connection"
    )
    files.add_argument("--csv", metavar="FILE", type=file_to_write, help="the layer table")
    files.add_argument("--save", metavar="FILE.json", type=file_to_write, help="the whole record")
    files.add_argument(
        "--onnx", metavar="FILE", type=file_to_write, help="the model, numbers on its nodes"
    )
    files.add_argument(
        "--fill-profile",
        action="store_true",
        help="our counters in profile_data.bin (docs/profiling.md has the layout)",
    )
    files.add_argument(
        "--evaluation", metavar="DIR", type=Path, help="an eval run whose worst images to show"
    )
    add_classes(parser)
    add_model(parser, images=False)
    add_quantization(parser)
    add_preprocess(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.errors import UsageError

    if args.limit < 0 or args.sensitivity_images < 1 or args.threads < 1:
        raise UsageError("--limit, --sensitivity-images and --threads must not be negative")
    if args.fill_profile and args.out is None:
        raise UsageError("--fill-profile needs --out, where profile_data.bin is written")
    with made_for(args.model, args, out, part_used=args.float is not None) as made:
        return _profile(args, made, out)


def _profile(args: argparse.Namespace, made: ModelRun | None, out: Console) -> int:
    from r329fast.deploy.recipe import saturation_warning
    from r329fast.deploy.tuned import float_warnings
    from r329fast.errors import UsageError
    from r329fast.profile.hardware import load_hardware
    from r329fast.profile.profiling import Wanted, collect
    from r329fast.profile.record import layer_rows, make_record
    from r329fast.report.columns import totals
    from r329fast.report.findings import findings

    hardware = load_hardware(args.hardware)
    program, graph, prepared = _load(args, made, out)
    random = made is not None and made.random
    if (args.sensitivity or args.suggest) and (graph is None or random):
        needed = "images, give --images" if random else "the float network, give --float MODEL.onnx"
        raise UsageError(f"{args.model}: errors need {needed}")
    images, source = (None, "") if random else _images(args, program, prepared, made, out)
    with _steps(out) as step:
        found = collect(
            program,
            graph=graph,
            ranges=prepared.ranges if prepared else None,
            images=images,
            hardware=hardware,
            wanted=Wanted(
                host_time=not args.no_time,
                errors=not args.no_errors or args.suggest,
                sensitivity=args.sensitivity,
                suggestions=args.suggest,
                sensitivity_images=args.sensitivity_images,
            ),
            threads=args.threads,
            source=source,
            step=step,
        )
    for line in saturation_warning(found.input_saturated or 0.0):
        out.warn(line)
    if found.errors is not None and prepared is not None:
        for line in float_warnings(prepared.config.parser.input_model):
            out.warn(line)
    record = make_record(found, totals(layer_rows(found)))
    record["given"] = str(args.model)
    if args.evaluation is not None:
        from r329fast.report.evaluation_run import evaluation_part

        record["evaluation"] = evaluation_part(
            args.evaluation,
            args.images,
            args.labels,
            program_hash=program.hash(),
            classes=class_names(args.classes)[0],
        )
    model_file = prepared.config.parser.input_model if prepared else args.float
    files = _write(args, found, record, graph, model_file)
    show(record, files, out)
    words = [item.as_json() for item in findings(record)]
    out.result({**record, "findings": words, "files": files})
    return 0


def _load(
    args: argparse.Namespace, made: ModelRun | None, out: Console
) -> tuple[Program, Graph | None, Prepared | None]:
    from r329fast.errors import UsageError
    from r329fast.vendor.aipu.load import is_program, read_program
    from r329fast.vendor.aipu.program import scale_warning

    if made is None and is_program(args.model):
        graph = part_of(args).load(args.float) if args.float else None
        program = read_program(args.model, graph)
        if args.images is not None and (warning := scale_warning(program)):
            out.warn(warning)
        if graph is not None:
            _check_same(program, graph)
        return program, graph, None
    if args.float is not None:
        raise UsageError(
            f"--float is for a program (.r329, aipu.bin); the float network of {args.model} is its "
            f"own, `r329fast eval {args.model} --images SET --float-model {args.float}` compares "
            "with another",
            option="float",
        )
    prepared = prepare_cfg(made.config if made else args.model, args, out)
    return prepared.program, prepared.graph, prepared


def _check_same(program: Program, graph: Graph) -> None:
    from r329fast.errors import DataError

    ours = [layer.name for layer in program.layers]
    theirs = [layer.name for layer in graph]
    if ours != theirs:
        pairs = zip(ours, theirs, strict=False)
        odd = next((a for a, b in pairs if a != b), "the number of layers")
        raise DataError(f"--float: the network is not the program's, they differ at {odd!r}")


def _images(
    args: argparse.Namespace,
    program: Program,
    prepared: Prepared | None,
    made: ModelRun | None,
    out: Console,
) -> tuple[Images | None, str]:
    """Where the data comes from, and its name for people."""
    from r329fast.deploy.recipe import chosen_recipe, recipe_of_program
    from r329fast.images.class_folders import Naming
    from r329fast.images.dataset import load_dataset, load_labels
    from r329fast.profile.images import ArrayImages, SetImages

    limit = args.limit or None
    if args.images is not None:
        height, width = program.tensors[program.inputs[0]].shape[:2]
        known = prepared.known if prepared else recipe_of_program(program)
        wanted = asked_for(args, (width, height), known.recipe)
        recipe, warnings = chosen_recipe(known, wanted, program)
        for line in warnings:
            out.warn(line)
        _, folders = class_names(args.classes)
        outputs = program.tensors[program.outputs[0]].elements
        labelled = made is None or made.labelled
        naming = Naming(folders, outputs, split=args.split, needed=labelled)
        found = SetImages(args.images, args.labels, recipe, limit, naming)
        if found.note:
            out.warn(found.note)
        return found, args.images.name
    if prepared is None or not prepared.config.calibration_data:
        return None, ""
    path = prepared.config.calibration_data
    data = load_dataset(path, (1, *program.tensors[program.inputs[0]].shape))
    labels = None
    quantization = prepared.config.quantization
    if prepared.config.optimizer is None and quantization and quantization.calibration_label:
        labels = load_labels(quantization.calibration_label, len(data))
    return ArrayImages(data, labels, limit), f"calibration data {Path(path).name}"


@contextmanager
def _steps(out: Console) -> Iterator[Callable[[str, int | None], Callable[[int], None]]]:
    """A progress bar per step; the one before it ends when the next begins."""
    with contextlib.ExitStack() as whole:
        current = whole.enter_context(contextlib.ExitStack())

        def step(label: str, total: int | None) -> Callable[[int], None]:
            current.close()
            return current.enter_context(out.progress(total, label))

        yield step


def _write(
    args: argparse.Namespace,
    found: Findings,
    record: dict[str, Any],
    graph: Graph | None,
    source: str | Path,
) -> dict[str, str]:
    from r329fast.base.files import write_bytes, write_text
    from r329fast.profile.vendor_fill import profile_data_of
    from r329fast.report.outputs import PROFILE_FILE, write_csv, write_html, write_record
    from r329fast.vendor import graph_json, perf_node_count, profile_data

    program = found.program
    paths: dict[str, Path] = {}
    if args.out is not None:
        paths["record"] = write_record(args.out / PROFILE_FILE, record)
        paths["csv"] = write_csv(args.out / "layers.csv", record)
        paths["html"] = write_html(args.out / "report.html", record)
        paths["graph_json"] = write_text(args.out / "graph.json", graph_json(program))
        data = profile_data(perf_node_count(program))
        if args.fill_profile and found.cost is not None:
            data = profile_data_of(program, found.cost, found.data)
        paths["profile_data"] = write_bytes(args.out / "profile_data.bin", data)
    if args.save is not None:
        paths["record"] = write_record(args.save, record)
    if args.csv is not None:
        paths["csv"] = write_csv(args.csv, record)
    if args.html is not None:
        paths["html"] = write_html(args.html, record)
    if args.onnx is not None:
        from r329fast.errors import UsageError
        from r329fast.report.annotated_onnx import write_annotated

        if graph is None:
            raise UsageError("--onnx needs the float network: a cfg, or --float MODEL.onnx")
        paths["onnx"] = write_annotated(args.onnx, source, graph, record)
    return {kind: str(path) for kind, path in paths.items()}


def show(record: dict[str, Any], files: dict[str, str], out: Console) -> None:
    """Print a record: findings, summary, suggestions, the worst layers, the files."""
    from r329fast.report.console import (
        SHOWN_LAYERS,
        layer_table,
        suggestion_lines,
        summary_lines,
    )
    from r329fast.report.findings import finding_lines, findings

    out.print("What to look at")
    out.paragraphs(finding_lines(findings(record)))
    out.print()
    out.paragraphs(summary_lines(record))
    if record["suggestions"]:
        out.print("suggestions, each measured on the same images:")
        out.paragraphs(suggestion_lines(record["suggestions"]))
    table = layer_table(record["layers"], out.width, 0 if out.verbose else SHOWN_LAYERS)
    out.print(f"\n{table.about}")
    out.table(table.heads, table.rows)
    if len(table.rows) < len(record["layers"]):
        out.print("all layers and columns: -v, --csv FILE, --html FILE or --out DIR")
    for kind, path in files.items():
        out.print(f"{kind}: {path}")
