"""Measurements behind docs/tuning.md: what `tune` brings on trained networks.

    python benchmarks/tuning.py all [MODEL ..] [--scheme compass42] [--per-channel] [--threads 2]
    python benchmarks/tuning.py ablation [MODEL ..]
    python benchmarks/tuning.py few [MODEL ..]

all: every kind together; ablation: each kind alone, and all but each; few: five calibration
images. --out DIR keeps what each run leaves, in a folder of its own, and says every step; a run
that was killed goes on there. One line a run: the network before and after on images that `tune`
never saw. Models and images come from the folder that R329FAST_SHARED names (default: shared/
beside the repository); calibration images are those that its files set apart, labels only count at
the end. Agreement and top-1 share ties. McNemar's test compares before and after on the same
images, first class each.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import tempfile
import time
import zipfile
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.calibration import calibrate
from r329fast.deploy.pipeline import prepare, with_per_channel
from r329fast.evaluation.summary import mcnemar
from r329fast.graph import load_model
from r329fast.graph.export.float_session import FloatSession
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.program import Program
from r329fast.quantization import Options, quantize
from r329fast.simulator.simulator import Simulator
from r329fast.tuning import KINDS, tune

MODELS = (
    "resnet20_cifar10",
    "resnet44_cifar10",
    "mobilenet_v1_0.25_128",
    "mobilenet_v2_1.0_224",
    "resnet18_224_bn",
    "squeezenet_v1.0_227",
    "resnet20_cifar10_raw",
)
METHODS = {"aqt2021": "EXTREME", "compass42": "mean"}
FEW = 5
_BATCH = 32
Part = tuple[str, np.ndarray, np.ndarray]  # name, images, labels


def data_folder() -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared"
    return Path(os.environ.get("R329FAST_SHARED", beside)) / "data"


def _read(
    path: Path, recipe: Preprocess, names: Collection[str], inside: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Images whose names are in `names` (inside) or are not, and their labels."""
    with ImageSet(path) as images:
        rows = [i for i, name in enumerate(images.names) if (name in names) == inside]
        return np.stack([recipe.apply(images.image(i)) for i in rows]), images.labels[rows]


def images_of(model: str) -> tuple[np.ndarray, list[Part]]:
    """(calibration images, the sets that count)."""
    data = data_folder()
    recipe = Preprocess.from_json(data / "preprocess.json", model)
    if "cifar" in model:
        calibration, _ = _read(data / "cifar10/calib.zip", recipe, (), False)
        return calibration, [("test", *_read(data / "cifar10/test.zip", recipe, (), False))]
    samples = data / "imagenet/samples256.zip"
    lines = zipfile.ZipFile(samples).read("calib.txt").decode().splitlines()
    names = {line.split()[0] for line in lines if line.strip()}
    calibration, _ = _read(samples, recipe, names, True)
    plain = dataclasses.replace(recipe, resize="stretch", shorter=None)
    return calibration, [
        ("samples256", *_read(samples, recipe, names, False)),
        ("val10", *_read(data / "imagenet/val10.zip", plain, (), False)),
    ]


def outputs(program: Program, x: np.ndarray, threads: int) -> np.ndarray:
    """float32 [N, classes]."""
    name = program.outputs[0]
    with closing(Simulator(program, threads=threads)) as simulator:
        parts = [
            simulator.run(program.quantize_input(x[i : i + _BATCH]))[name]
            for i in range(0, len(x), _BATCH)
        ]
    return program.tensors[name].dequantize(np.concatenate(parts)).reshape(len(x), -1)


@dataclasses.dataclass
class Figures:
    """Of one network on one set. right: bool [N], first class is the label."""

    snr: float
    agreement: float
    top1: float
    right: np.ndarray

    def __str__(self) -> str:
        words = "" if np.isnan(self.snr) else f"{self.snr:.2f} dB, "
        return f"{words}agreement {self.agreement:.2%}, top-1 {self.top1:.2%}"


def figures(found: np.ndarray, expected: np.ndarray, labels: np.ndarray) -> Figures:
    error = ((found - expected).astype(np.float64) ** 2).sum()
    first = found == found.max(axis=1, keepdims=True)
    share = first / first.sum(axis=1, keepdims=True)
    rows = np.arange(len(found))
    return Figures(
        10 * np.log10((expected.astype(np.float64) ** 2).sum() / max(error, 1e-30)),
        float(share[rows, expected.argmax(axis=1)].mean()),
        float(share[rows, labels].mean()),
        found.argmax(axis=1) == labels,
    )


class Network:
    """One model with its images and the float network's answers."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads = name, threads
        self.path = data_folder() / "models" / f"{name}.onnx"
        self.calibration, parts = images_of(name)
        self.graph = load_model(str(self.path))
        session, output = FloatSession(self.graph, threads=threads), self.graph.outputs[0]
        self.parts = []
        for word, x, labels in parts:
            rows = [session.run(x[i : i + _BATCH])[output] for i in range(0, len(x), _BATCH)]
            expected = np.concatenate(rows).reshape(len(x), -1)
            self.parts.append((word, x, labels, expected))

    def show(self, word: str, before: Program, after: Program, note: str) -> None:
        """Lines of every set, and of all together where there are several."""
        found = []
        for name, x, labels, expected in self.parts:
            one, other = (
                figures(outputs(program, x, self.threads), expected, labels)
                for program in (before, after)
            )
            floats = expected.argmax(axis=1) == labels
            self._line(word, name, one, other, float(floats.mean()))
            found.append(((one, other), floats))
        if len(found) > 1:
            counts = [len(floats) for _, floats in found]
            both = [
                Figures(
                    float("nan"),
                    float(np.average([item[0][side].agreement for item in found], weights=counts)),
                    float(np.average([item[0][side].top1 for item in found], weights=counts)),
                    np.concatenate([item[0][side].right for item in found]),
                )
                for side in (0, 1)
            ]
            floats = np.concatenate([floats for _, floats in found])
            self._line(word, "together", both[0], both[1], float(floats.mean()))
        print(f"    {note}", flush=True)

    def _line(self, word: str, part: str, one: Figures, other: Figures, top1: float) -> None:
        lost = int((one.right & ~other.right).sum())
        gained = int((~one.right & other.right).sum())
        print(
            f"{self.name} {word}, {part}: {one} -> {other}  float {top1:.2%}  "
            f"McNemar -{lost} +{gained} p = {mcnemar(lost, gained):.3g}",
            flush=True,
        )


@contextmanager
def _folder(out: Path | None, name: str) -> Iterator[Path]:
    """A folder of that name in `out`, or one that vanishes."""
    if out is not None:
        yield out / name.replace(",", "").replace(" ", "-")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def measure(
    network: Network, scheme: str, per_channel: bool, word: str, out: Path | None, **changes: Any
) -> None:
    """One tuning and its lines."""
    x = changes.pop("dataset", network.calibration)
    graph = load_model(str(network.path))
    options = with_per_channel(Options()) if per_channel else Options()
    ranges = calibrate(graph, x, scheme, METHODS[scheme], threads=network.threads)
    before = quantize(graph, ranges, scheme, options)
    told = partial(print, "   ", flush=True) if out is not None else lambda line: None
    with _folder(out, f"{network.name} {word}") as folder:
        start = time.perf_counter(), time.process_time()
        result = tune(
            network.path, folder, dataset=x, scheme=scheme, per_channel=per_channel or None,
            threads=network.threads, budget=0.0, told=told, **changes,
        )  # fmt: skip
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        kept = [step["step"] for step in result.record["steps"] if step["accepted"]]
        after = before
        if result.gained:
            after = prepare(result.files["cfg"], scheme=scheme).program
            assert after.hash() == result.record["program_hash"]
    confirmed = (result.record[side]["confirmed"]["snr"] for side in ("before", "after"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # with the images that count
    note = f"kept: {', '.join(kept) or 'nothing'}; {wall:.0f} s, {cpu:.0f} s of CPU, at most "
    note += f"{peak} MB so far; confirming "
    note += "images {:.2f} -> {:.2f} dB".format(*confirmed)
    network.show(word, before, after, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("all", "ablation", "few"))
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--scheme", choices=tuple(METHODS), default="aqt2021")
    parser.add_argument("--per-channel", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    word = args.scheme + (", per channel" if args.per_channel else "")
    for name in args.models:
        network = Network(name, args.threads)
        if args.what == "all":
            measure(network, args.scheme, args.per_channel, word, args.out)
        elif args.what == "few":
            few = network.calibration[:FEW]
            text = f"{word}, {FEW} images"
            measure(network, args.scheme, args.per_channel, text, args.out, dataset=few)
        else:
            for kind in KINDS:
                others = tuple(other for other in KINDS if other != kind)
                for text, allow in ((kind, (kind,)), (f"all but {kind}", others)):
                    text = f"{word}, {text}"
                    measure(network, args.scheme, args.per_channel, text, args.out, allow=allow)


if __name__ == "__main__":
    main()
