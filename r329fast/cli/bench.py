"""`r329fast bench`: speed of whole models here, and of other engines where installed."""

from __future__ import annotations

import argparse
from typing import Any

from r329fast.cli.output import Console

NAME = "bench"
HELP = "speed of kernels and models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Times networks with random weights, built here. With --peers other engines run the same\n"
        "networks in the same process, in turn (A B A B); they are faster or slower, but they do\n"
        "not compute the NPU's numbers. Medians over rounds. Kernels alone: pytest benchmarks."
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        default=["resnet18_v2"],
        help="resnet18_v2 (default), vgg16, mobilenet_v2, ..: 25 networks, listed where a name is "
        "not known; or all",
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="also onnxruntime int8 and float, OpenVINO int8 (pip install r329fast[bench])",
    )
    parser.add_argument(
        "--ops",
        action="store_true",
        help="every op of the models against its bound, one thread, instead of whole runs",
    )
    parser.add_argument(
        "--threads", nargs="+", type=int, metavar="N", help="settings (1 and all cores)"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="images at once (16; CIFAR: 256)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="turns of each (7)")
    parser.add_argument("--size", type=int, metavar="N", help="side of the image (the model's)")


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.base.machine import cores
    from r329fast.bench.compare_engines import bench
    from r329fast.bench.models import MODELS

    _measure_once(out)
    names = list(MODELS) if args.models == ["all"] else args.models
    if args.ops:
        return _ops(names, args, out)
    threads = args.threads or sorted({1, cores()})
    record = bench(
        names,
        threads=threads,
        batch=args.batch,
        rounds=args.rounds,
        with_peers=args.peers,
        size=args.size,
        say=out.detail,
    )
    show(record, out)
    out.result(record)
    return 0


def _measure_once(out: Console) -> None:
    """What `info --measure` does, where nobody did: kernels are chosen as they would be then."""
    from r329fast.kernels.runtime.measured import is_missing

    if is_missing():
        from r329fast.kernels.measure import measure

        out.detail("measuring this machine once (R329FAST_MEASURED=0: not)")
        measure()


def _ops(names: list[str], args: argparse.Namespace, out: Console) -> int:
    """Every op of the models against its bound."""
    from r329fast.bench.cases import make_case
    from r329fast.bench.models import bench_model
    from r329fast.bench.op_times import op_times, record
    from r329fast.errors import UsageError

    for option in ("batch", "rounds", "size"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise UsageError(f"{option}: found {value}, allowed at least 1", option=option)
    results = {}
    for name in names:
        batch = args.batch or min(bench_model(name).batch, 16)
        result = record(*op_times(make_case(name, args.size), batch, args.rounds))
        results[name] = {"batch": batch, **result}
        rates = result["rates"]
        whole = sum(entry["us"] for entry in result["ops"])
        out.table(
            ["ops", "kernels", "us/image", "share %", "of bound %"],
            [
                [
                    entry["ops"],
                    kind,
                    round(entry["us"], 2),
                    _percent(entry, "share"),
                    _percent(entry, "of_bound"),
                ]
                for kind, entry in result["kinds"].items()
            ],
            title=f"{name}: {whole:.4g} us per image, batch {batch}, one thread",
        )
        out.print(
            f"bounds: {rates['gmac']:.0f} GMAC/s of the bare tile, copies of {rates['cache']:.0f} "
            f"GB/s in cache,\n{rates['memory']:.0f} GB/s in memory; each op: --json\n"
        )
    out.result(results)
    return 0


def _percent(entry: dict[str, Any], key: str) -> float:
    return round(100 * entry[key], 1)


def show(record: dict[str, Any], out: Console) -> None:
    """The record as tables for people."""
    from r329fast.bench.compare_engines import cores_note

    machine = record["machine"]
    out.print(f"{machine['cpu']}, {machine['cores']} cores, kernel path {machine['path']}")
    for family, why in record["missing"].items():
        out.print(f"left out: {family} ({why})")
    for result in record["results"]:
        out.table(
            ["engine", "ms/image", "images/s", "GMAC/s", "times ours"],
            [_row(entry) for entry in result["engines"]],
            title=f"{result['model']} {result['size']} ({result['gmac']:.3g} GMAC), "
            f"batch {result['batch']}, threads {result['threads']}",
        )
        for form, why in result["failed"].items():
            out.print(f"not run: {form}: {why}")
        if result["float_ops"]:
            listed = ", ".join(f"{count} {kind}" for kind, count in result["float_ops"].items())
            out.print(f"float ops in the peers' models: {listed}")
        if note := cores_note(result):
            out.warn(note)
        if "ratio" in result:
            out.print(f"against {result['faster_int8_peer']}: {result['ratio']:.2f}x\n")

    for entry in record["summary"]:
        out.print(
            f"{entry['networks']} networks, threads {entry['threads']}"
            f"{', one image' if entry['one_image'] else ''}: geometric mean "
            f"{entry['geometric_mean']:.2f}x, worst {entry['worst']:.2f}x ({entry['worst_model']})"
        )


def _row(entry: dict[str, Any]) -> list[object]:
    variant = f" ({entry['variant']})" if entry["variant"] else ""
    return [
        entry["engine"] + variant,
        float(f"{entry['ms_per_image']:.4g}"),
        float(f"{entry['images_per_second']:.4g}"),
        float(f"{entry['gmac_per_second']:.3g}"),
        float(f"{entry['times_ours']:.3g}"),
    ]
