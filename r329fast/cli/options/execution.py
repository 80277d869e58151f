"""Options that `run`, `quantize` and others share: how a cfg is carried out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.cfg import RunConfig
    from r329fast.deploy.pipeline import Prepared
    from r329fast.deploy.settings import Settings


def add_quantization(parser: argparse.ArgumentParser) -> None:
    """--scheme, --rounding, --method, --per-channel."""
    parser.add_argument(
        "--scheme",
        choices=("aqt2021", "compass42"),
        help="default: aqt2021 for a cfg with [AutoQuantizationTool], compass42 for [Optimizer]",
    )
    parser.add_argument(
        "--rounding",
        choices=("half_even", "half_up", "floor"),
        help="of the last shift; silicon's is not public (default half_even)",
    )
    parser.add_argument(
        "--method", metavar="NAME", help="calibration: MEAN, EXTREME; mean, extrema, 3std, 10kld .."
    )
    parser.add_argument(
        "--per-channel",
        action="store_true",
        default=None,
        help="a weight scale for every output channel",
    )


def add_execution(parser: argparse.ArgumentParser) -> None:
    """--backend, --threads."""
    parser.add_argument("--backend", choices=("numba", "reference"), default="numba")
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """--threads, at least 1."""
    parser.add_argument(
        "--threads", type=_positive, default=1, metavar="N", help="that compute (1)"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {value}, allowed at least 1")
    return value


def settings_from(args: argparse.Namespace) -> Settings:
    """What `add_quantization` and `add_threads` asked the user for."""
    from r329fast.deploy.settings import Settings

    return Settings(
        scheme=args.scheme,
        rounding=args.rounding,
        method=args.method,
        per_channel=args.per_channel,
        threads=args.threads,
        progress=calibration_progress(),
    )


def prepare_cfg(cfg: Path | RunConfig, args: argparse.Namespace, out: Console) -> Prepared:
    """`pipeline.prepare` with the options above; its warnings are shown."""
    from r329fast.deploy.pipeline import prepare

    prepared = prepare(cfg, settings_from(args))
    for line in prepared.warnings:
        out.warn(line)
    return prepared


def calibration_progress() -> Callable[[int, int], None]:
    """Calibration progress as a line that is rewritten; nothing without a terminal."""

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        sys.stderr.write(f"\rcalibrating {done}/{total} images{end}")
        sys.stderr.flush()

    return show if sys.stderr.isatty() else lambda done, total: None
