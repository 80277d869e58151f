"""Every step on the bundled network and images, into one folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from r329fast.base.files import make_dir, write_bytes, write_json
from r329fast.cfg import new_cfg
from r329fast.comparison.classes import read_classes, top_k
from r329fast.deploy import bundled
from r329fast.deploy.pipeline import input_quantizer, prepare
from r329fast.deploy.run_cfg import RunResult, run_cfg
from r329fast.graph.export.float_session import FloatSession
from r329fast.images.dataset import write_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.simulator.simulator import Simulator

_BATCH = 50
_SHOWN = 1  # the validation image whose way is followed step by step
SCHEMES = ("aqt2021", "compass42")


@dataclass
class AccuracyRow:
    """Top-1 of one way of computing, as fractions; agreement is with the float network."""

    name: str
    top1: float
    agreement: float
    images_per_second: float


@dataclass
class Demo:
    """What the demo found: the run of one image, the accuracy table, files and seconds."""

    run: RunResult
    image: str
    label: str
    classes: list[tuple[int, str, int]]
    accuracy: list[AccuracyRow] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def run_demo(out: Path, threads: int = 1, say: Callable[[str], None] = lambda line: None) -> Demo:
    """Calibration set, cfg, input, run, compare, accuracy; writes below `out` only.

    say: called with a line before each step. Raises FileError where `out` cannot be written.
    """
    seconds: dict[str, float] = {}
    start = time.perf_counter()

    def step(name: str, line: str) -> None:
        nonlocal start
        now = time.perf_counter()
        seconds[name] = round(now - start, 3)
        start = now
        say(line)

    make_dir(out)
    preprocess = Preprocess.from_json(bundled.path("preprocess.json"))
    say("1  calibration set: 100 bundled images -> dataset.npy, label.npy")
    with ImageSet(bundled.path("calib.zip")) as images:
        data_file, label_file = write_dataset(out / "dataset", images, preprocess)
    step("dataset", "2  cfg: names and shapes read from the network -> run.cfg")
    cfg = out / "run.cfg"
    new_cfg(
        bundled.path("net.onnx"),
        calibration_data=str(data_file),
        calibration_label=str(label_file),
        inputs=[str(out / "input.bin")],
        outputs="output.bin",
        model_name="bundled",
    ).write(cfg)
    step("cfg", "3  input: one validation image at the calibrated input scale -> input.bin")
    floats, labels, names = _validation(preprocess)
    write_bytes(out / "input.bin", input_quantizer(cfg)(floats[_SHOWN : _SHOWN + 1]).tobytes())
    step("input", "4  run: calibrate, quantise, simulate -> output.bin, graph.json, max_min ..")
    result = run_cfg(cfg, out=out, threads=threads)
    step("run", "5  compare: the classes of output.bin")
    classes = read_classes(bundled.path("classes.txt"))
    logits = next(iter(result.outputs.values())).reshape(-1)
    best = [(entry.index, classes[entry.index], entry.value) for entry in top_k(logits, 3)]
    demo = Demo(result, names[_SHOWN], classes[int(labels[_SHOWN])], best, seconds=seconds)
    step("compare", f"6  accuracy: {len(labels)} validation images, float and both schemes")
    demo.accuracy = _accuracy(cfg, result, floats, labels, threads)
    seconds["accuracy"] = round(time.perf_counter() - start, 3)
    write_json(out / "demo.json", as_json(demo))
    return demo


def as_json(demo: Demo) -> dict[str, object]:
    """The demo's figures as plain data."""
    return {
        "image": demo.image,
        "label": demo.label,
        "top": [{"index": i, "name": name, "value": value} for i, name, value in demo.classes],
        "accuracy": [vars(row) for row in demo.accuracy],
        "files": demo.run.files,
        "seconds": demo.seconds,
    }


def _validation(preprocess: Preprocess) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """All validation images as float32 NHWC, their labels and names (24 MB in all)."""
    with ImageSet(bundled.path("val.zip")) as images:
        floats = np.stack([preprocess.apply(image) for _, image in images])
        return floats, np.asarray(images.labels), list(images.names)


def _accuracy(
    cfg: Path, result: RunResult, floats: np.ndarray, labels: np.ndarray, threads: int
) -> list[AccuracyRow]:
    session = FloatSession(result.prepared.graph, keep="outputs", threads=threads)
    exact, rate = _classes(lambda x: next(iter(session.run(x).values())), floats)
    rows = [AccuracyRow("float (onnxruntime)", float((exact == labels).mean()), 1.0, rate)]
    for scheme in SCHEMES:
        program = (
            result.prepared.program
            if scheme == result.prepared.scheme
            else prepare(cfg, scheme=scheme, threads=threads).program
        )
        simulator = Simulator(program, threads=threads)
        q = program.quantize_input(floats)
        simulator.run(q[:1])  # compile and pack before the clock starts
        found, rate = _classes(partial(_logits, simulator), q)
        rows.append(
            AccuracyRow(
                f"int8 {scheme}",
                float((found == labels).mean()),
                float((found == exact).mean()),
                rate,
            )
        )
        simulator.close()
    return rows


def _logits(simulator: Simulator, x: np.ndarray) -> np.ndarray:
    return next(iter(simulator.run(x).values()))


def _classes(
    compute: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray
) -> tuple[np.ndarray, float]:
    """(best class of every image, images per second)."""
    start = time.perf_counter()
    best = [
        compute(inputs[first : first + _BATCH]).reshape(-1, 10).argmax(axis=1)
        for first in range(0, len(inputs), _BATCH)
    ]
    return np.concatenate(best), len(inputs) / (time.perf_counter() - start)
