"""Measurements behind docs/accuracy.md and docs/cluster.md.

    python benchmarks/evaluation.py throughput RUN.cfg --images SET.zip --preprocess P.json:MODEL
    python benchmarks/evaluation.py around RUN.cfg --images SET.zip --preprocess P.json:MODEL
    python benchmarks/evaluation.py memory

throughput: decode alone, simulate alone, both together, and with the pixel cache, in turn in one
process; medians of ratios, by the wall clock and by the CPU time of this process, which other work
on the machine hardly touches.
around: what an evaluation does besides simulating, with a simulator that answers at once; best of
the rounds.
memory: the bundled images repeated under 50,000 names through the bundled network; resident
memory along the way.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from r329fast.calibration import calibrate
from r329fast.deploy.bundled import path as bundled
from r329fast.evaluation import evaluate, prepare_model
from r329fast.evaluation.decode_ahead import decoded_chunks
from r329fast.evaluation.evaluator import Evaluator
from r329fast.evaluation.job import Job
from r329fast.evaluation.sources import Source, open_source
from r329fast.evaluation.variants import Model
from r329fast.graph import load_model
from r329fast.images.dataset import build_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.quantization import quantize
from r329fast.simulator.simulator import Pending, Simulator


def decode_alone(evaluator: Evaluator, source: Source, chunks: range) -> None:
    """Read, decode, fit and encode all images, with nothing simulated."""
    for chunk in decoded_chunks(evaluator.decoder, source.keys, chunks):
        evaluator.decoder.give_back(chunk)


def timed(work: Callable[[], object]) -> np.ndarray:
    """[wall seconds, CPU seconds of this process]."""
    start = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - start[0], time.process_time() - start[1]])


def all_inputs(evaluator: Evaluator, source: Source, chunks: range) -> np.ndarray:
    parts = [
        chunk.inputs[0].copy() for chunk in decoded_chunks(evaluator.decoder, source.keys, chunks)
    ]
    return np.concatenate(parts)


def throughput(args: argparse.Namespace) -> None:
    path, _, name = args.preprocess.rpartition(":")
    recipe = Preprocess.from_json(path, name)
    model = prepare_model(args.model, threads=args.threads)
    source = open_source(args.images, None, recipe, limit=args.limit)
    programs = tuple(item.program for item in model.variants)
    job = Job(programs, source.reader, recipe)
    evaluator = Evaluator(job, args.threads)
    chunks = range(-(-len(source) // job.chunk_images()))
    inputs = all_inputs(evaluator, source, chunks)
    evaluator.warm_up()
    shares: list[dict[str, float]] = []

    def together(cache: str | None = None) -> np.ndarray:
        """The loop of `evaluate` alone, without preparing and compiling."""
        measured = []

        def progress(done: int, total: int) -> None:
            if done in (0, total):
                measured.append((time.perf_counter(), time.process_time()))

        result = evaluate(
            model, args.images, preprocess=recipe, threads=args.threads, cache=cache,
            limit=args.limit, progress=progress,
        )  # fmt: skip
        shares.append(result.timing.shares())
        return np.subtract(measured[-1], measured[0])

    names = ("decode", "simulate", "both", "cached")
    rounds = []
    with tempfile.TemporaryDirectory() as cache:
        together(cache)
        shares.clear()
        for _ in range(args.rounds):
            rounds.append(
                np.array(
                    [
                        timed(lambda: decode_alone(evaluator, source, chunks)),
                        timed(lambda: evaluator.simulators[0].run(inputs)),
                        together(),
                        together(cache),
                    ]
                )
            )
            rates = len(source) / rounds[-1][:, 0]
            words = ", ".join(f"{name} {rate:.1f}" for name, rate in zip(names, rates, strict=True))
            print(f"images/s: {words}", flush=True)
    evaluator.close()
    seconds = np.median(rounds, axis=0)
    for index, unit in enumerate(("wall", "CPU")):
        decode, simulate, both, cached = (
            array[:, index] for array in np.moveaxis(np.array(rounds), 1, 0)
        )
        figures = [
            np.median(np.maximum(decode, simulate) / both),
            np.median((decode + simulate) / both),
            np.median(simulate / cached),
        ]
        print(
            f"{unit} seconds, medians: "
            + ", ".join(f"{n} {v:.2f}" for n, v in zip(names, seconds[:, index], strict=True))
        )
        print(
            f"  both against the slower alone {figures[0]:.1%}, against the sum of the two "
            f"{figures[1]:.1%}; cached against simulate alone {figures[2]:.1%}"
        )
    for index, name in ((0, "both"), (1, "cached")):
        found = shares[index::2]
        middle = {key: statistics.median(item[key] for item in found) for key in found[0]}
        print(name + ": " + ", ".join(f"{key} {value:.1%}" for key, value in middle.items()))


def around(args: argparse.Namespace) -> None:
    path, _, name = args.preprocess.rpartition(":")
    recipe = Preprocess.from_json(path, name)
    model = prepare_model(args.model, threads=args.threads)

    def answer(simulator: Simulator, x: np.ndarray, **_: object) -> Pending:
        output = simulator.program.outputs[0]
        spec = simulator.program.tensors[output]
        return Pending([], {output: np.zeros((len(x), *spec.shape), dtype=spec.dtype)})

    def once(cache: str | None = None) -> np.ndarray:
        measured: list[np.ndarray] = []

        def progress(done: int, total: int) -> None:
            if done in (0, total):
                measured.append(np.array([total, time.perf_counter(), time.process_time()]))

        evaluate(
            model, args.images, preprocess=recipe, threads=args.threads, cache=cache,
            limit=args.limit, progress=progress,
        )  # fmt: skip
        return np.asarray(1e3 * (measured[-1] - measured[0])[1:] / measured[0][0])

    with tempfile.TemporaryDirectory() as cache, patch.object(Simulator, "submit", answer):
        once(cache)
        for word, folder in (("cached", cache), ("decoded", None)):
            wall, cpu = np.min([once(folder) for _ in range(args.rounds)], axis=0)
            print(f"{word}: {wall:.3f} ms per image by the clock, {cpu:.3f} ms CPU")


def bundled_model() -> tuple[Model, Preprocess]:
    recipe = Preprocess.from_json(bundled("preprocess.json"))
    graph = load_model(bundled("net.onnx"))
    with ImageSet(bundled("calib.zip")) as images:
        data, _ = build_dataset(images, recipe)
    program = quantize(graph, calibrate(graph, data, method="EXTREME"))
    return prepare_model(program), recipe


def repeated(path: Path, count: int) -> Path:
    """A zip with the bundled validation images under `count` names."""
    with ImageSet(bundled("val.zip")) as images, zipfile.ZipFile(path, "w") as archive:
        lines = []
        for index in range(count):
            archive.writestr(f"img/{index:06d}.jpg", images.read(index % len(images)))
            lines.append(f"{index:06d}.jpg {images.labels[index % len(images)]}\n")
        archive.writestr("label.txt", "".join(lines))
    return path


def memory(args: argparse.Namespace) -> None:
    model, recipe = bundled_model()
    with tempfile.TemporaryDirectory() as folder:
        images = repeated(Path(folder) / "set.zip", args.count)
        result = evaluate(
            model, images, preprocess=recipe, out=Path(folder) / "out", threads=args.threads
        )
    print(f"{result}\n{args.count} images, {result.timing.images_per_second:.0f} images/s")
    samples = result.timing.memory
    print(f"resident MB: peak {max(value for _, value in samples):.0f}")
    step = max(1, len(samples) // 20)
    for done, value in [*samples[::step], samples[-1]]:
        print(f"  {done:>7} images  {value:7.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    commands = parser.add_subparsers(required=True)
    speed = commands.add_parser("throughput")
    speed.set_defaults(run=throughput)
    rest = commands.add_parser("around")
    rest.set_defaults(run=around)
    for command in (speed, rest):
        command.add_argument("model", help="RUN.cfg or MODEL.r329")
        command.add_argument("--images", required=True)
        command.add_argument("--preprocess", required=True, metavar="FILE.json:MODEL")
        command.add_argument("--rounds", type=int, default=5)
        command.add_argument("--limit", type=int, help="only the first N images")
    flat = commands.add_parser("memory")
    flat.add_argument("--count", type=int, default=50_000)
    flat.set_defaults(run=memory)
    for command in (speed, rest, flat):
        command.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
