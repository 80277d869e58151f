"""Proof that a refactor changed no integer and no file: hashes of what this tree computes.

    python tools/replay.py --out before.json                          # in the old tree
    python tools/replay.py --out after.json --against before.json     # in the new one

Hashed: programs, calibrated ranges, the integers of every layer, the files and words of commands.
Only public names, the command line and the readers in tests/ are used. Float calibration repeats to
the last bit only on one machine with one set of packages: compare runs of the same one.
Exit codes: 0 all equal, 1 a difference or a case that failed, 2 usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("R329FAST_SHARED", ROOT.parent / "shared")).resolve()
os.environ.setdefault("R329FAST_VECTORS", str(SHARED / "vectors"))
os.environ.setdefault("R329FAST_GOLDEN", str(SHARED / "golden"))
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests")]

import numpy as np  # noqa: E402

import r329fast  # noqa: E402

Entries = Iterator[tuple[str, str]]
Arrays = Mapping[str, np.ndarray]

BUNDLED, MODELS = next((ROOT / "r329fast").rglob("net.onnx")).parent, SHARED / "data" / "models"
SMALL = ("mobilenet_v1", "resnet20", "resnet44")  # networks that the reference runs too
WIDE = "_16__"  # in the names of vectors with 16-bit activations
SLOW = ("data/", "golden/mobile", "golden/resnet18", "golden/squeeze")

ACTS = "quantize_method_for_activation"
ASYMMETRIC, CHANNELS = "per_tensor_asymmetric", "per_channel_symmetric_restricted_range"
WEIGHTED = ("Convolution", "DepthwiseConv", "FullyConnected")
FORCED = {"force_dtype_int": True, "force_shift_positive": True, "unify_shifts_for_aiff": False}
_42_METHODS = ("mean", "extrema", "3std", "10kld", "0.9percentile", "aciq_laplace", "aciq_gauss")
# scheme, calibration method, further arguments of calibrate, options of quantize
VARIANTS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "mean": ("aqt2021", "MEAN", {}, {"rounding": "floor", "bias_effective_bits": 32}),
    "extreme": ("aqt2021", "EXTREME", {}, {}),
    "extreme-half_up": ("aqt2021", "EXTREME", {}, {"rounding": "half_up"}),
    "extreme-channels": ("aqt2021", "EXTREME", {}, {"ops_per_channel": WEIGHTED}),
    **{f"42-{method}": ("compass42", method, {}, {}) for method in _42_METHODS},
    "42-scoped": ("compass42", "mean & <[Convolution]:extrema>", {"batch_size": 4}, {}),
    "42-half_up": ("compass42", "mean", {}, {"rounding": "half_up", "bias_effective_bits": 16}),
    "42-floor": ("compass42", "extrema", {}, {"rounding": "floor", "multiplier_bits": 12}),
    "42-channels": ("compass42", "mean", {}, {"quantize_method_for_weight": CHANNELS}),
    "42-asymmetric": ("compass42", "mean", {"activation_method": ASYMMETRIC}, {ACTS: ASYMMETRIC}),
    "42-forced": ("compass42", "mean", {}, FORCED),
}

# All that varies from run to run or tree to tree, in text files and in what commands print.
_TEXT = {".json", ".csv", ".html", ".cfg", ".txt"}
_VALUE = r'("(?:%s)": ?)(?:\[\s*\[[^{}]*?\]\s*\]|\{[^{}]*\}|[-+.\w]+)'
_RULES = [
    # the version, beside the tool's name
    (r'(r329fast(?:": ?"| ))' + re.escape(r329fast.__version__), r"\1<version>"),
    # clock times of records and --json objects; speeds and shares made of them; kernel times
    (_VALUE % r"seconds|\w+_seconds|images_per_second|shares|host_\w+", r"\1<time>"),
    # the CPU and number of cores of the host; resident memory
    (_VALUE % "machine|memory_mb", r"\1<host>"),
    # measured figures on pages, then in printed tables and last lines
    (
        r'("(?:seconds|images (?:a|per) second|milliseconds here|ms at least here)'
        r'(?: \((?:measured|estimate)\))?"[,:] ?)"[^"]*"',
        r"\1<>",
    ),
    (r"(?m)^( .*\(measured\) ).*$", r"\1<time>"),
    (r"(?m)^( (?:float|int8) .*%) +\d+ *$", r"\1 <time>"),
    (
        r"(?m)^(\d+ images in|time: |decoding, beside|measured  |estimate  .* ms at least).*$",
        r"\1<time>",
    ),
]


def sha(*parts: object) -> str:
    """SHA-256 of bytes, arrays, both by name, and the text of everything else."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Mapping):
            part = "".join(f"{name}={sha(part[name])} " for name in sorted(part))
        elif isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            part = np.ascontiguousarray(part).tobytes()
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def steady(text: str, work: Path) -> str:
    """Text without what varies: _RULES, the folder of this run, that of the package's data."""
    text = text.replace(str(work), "<work>").replace(str(BUNDLED), "<bundled>")
    for pattern, replacement in _RULES:
        text = re.sub(pattern, replacement, text)
    return text


def command(words: str, folder: Path) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `r329fast WORDS`, run in `folder`."""
    line = [sys.executable, "-m", "r329fast.cli.main", *words.split()]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=settings)
    return done.returncode, steady(done.stdout, folder), steady(done.stderr, folder)


@cache
def dataset(images: Path, count: int, recipe: str, out: str) -> np.ndarray:
    """The first images of a set as the `dataset` command prepares them."""
    words = f"dataset {images} --out {out} --limit {count} --preprocess {recipe}"
    assert (done := command(words, Path.cwd()))[0] == 0, done[2]
    return np.load(Path(out) / "dataset.npy")


def range_hash(ranges: r329fast.Ranges) -> str:
    both = (ranges.values, ranges.seen)
    return sha(*({name: np.array(pair, float) for name, pair in table.items()} for table in both))


def program_entries(name: str, program: r329fast.Program, feeds: Arrays, slow: int) -> Entries:
    """The program and its integers; the reference runs the first `slow` images."""
    program.save("program.r329")
    yield f"{name}/program", sha(program.hash(), program)
    yield f"{name}/r329", sha(Path("program.r329").read_bytes())
    yield f"{name}/loaded", sha(r329fast.load_program("program.r329"))
    yield f"{name}/layers", sha(r329fast.Simulator(program).run(feeds, keep="all"))
    if slow:
        few = {tensor: array[:slow] for tensor, array in feeds.items()}
        simulator = r329fast.Simulator(program, backend="reference")
        yield f"{name}/reference", sha(simulator.run(few, keep="all"))


def vector(files: Any, name: str) -> Entries:
    """One test vector of the vendor's open simulator, from its stored ranges, in both schemes;
    those of 16 bits in the one that has them."""
    case = files.load(name)
    hidden = {layer.type for layer in case.graph} & {"LRN", "LogSoftmax"}
    hidden |= {getattr(layer.attrs, "method", "") for layer in case.graph} & {"L2"}
    if hidden or name.startswith("calib_"):
        found = r329fast.calibrate(case.graph, case.arrays["calib0"], "compass42", "mean")
        yield f"vector/{name}/ranges", range_hash(found)
        for key, value in found.values.items():  # what these layers calibrate beside tensors
            case.ranges.values.setdefault(key, value)
    options = files.case_options(case)
    for scheme in ("compass42", *(() if WIDE in name else ("aqt2021",))):
        if scheme == "aqt2021":  # the constants of a norm alone have 16 bits
            options = replace(options, activation_bits="8", weight_bits="8")
        program = r329fast.quantize(case.graph, case.ranges, scheme, options)
        feeds = files.feeds(case, program)
        yield from program_entries(f"vector/{name}/{scheme}", program, feeds, 8)


def golden(files: Any, name: str) -> Entries:
    """One trained network with the vendor's ranges, on all its stored images."""
    case = files.load(name)
    graph = r329fast.load_model(MODELS / f"{case.model}.onnx")
    program = r329fast.quantize(graph, case.our_ranges(graph), "compass42", case.options())
    x = {program.inputs[0]: case.inputs}
    yield from program_entries(f"golden/{name}", program, x, name.startswith(SMALL))


def bundled(name: str) -> Entries:
    """The bundled network under one set of options."""
    scheme, method, arguments, options = VARIANTS[name]
    recipe = str(BUNDLED / "preprocess.json")
    graph = r329fast.load_model(BUNDLED / "net.onnx")
    floats = dataset(BUNDLED / "calib.zip", 40, recipe, "calib")
    ranges = r329fast.calibrate(graph, floats, scheme, method, **arguments)
    yield f"bundled/{name}/ranges", range_hash(ranges)
    program = r329fast.quantize(graph, ranges, scheme, r329fast.Options(**options))
    x = program.quantize_input(dataset(BUNDLED / "val.zip", 16, recipe, "val"))
    yield from program_entries(f"bundled/{name}", program, {program.inputs[0]: x}, 2)
    yield f"bundled/{name}/threads", sha(r329fast.Simulator(program, threads=2, block=3).run(x))


def real_model(name: str) -> Entries:
    """A real model, calibrated by us and run on the first four images of its set."""
    images = "cifar10/test.zip" if "cifar10" in name else "imagenet/samples256.zip"
    recipe = f"{SHARED / 'data' / 'preprocess.json'}:{name}"
    floats = dataset(SHARED / "data" / images, 4, recipe, f"data-{name}")
    yield f"data/{name}/dataset", sha(floats)
    graph = r329fast.load_model(MODELS / f"{name}.onnx")
    for scheme in ("aqt2021", "compass42"):
        ranges = r329fast.calibrate(graph, floats, scheme)
        yield f"data/{name}/{scheme}/ranges", range_hash(ranges)
        program = r329fast.quantize(graph, ranges, scheme)
        x = {program.inputs[0]: program.quantize_input(floats)}
        yield from program_entries(f"data/{name}/{scheme}", program, x, name.startswith(SMALL))


def commands() -> Entries:
    """The whole command line on the bundled network: what it says and every file it leaves."""
    folder = Path.cwd() / "commands"
    shutil.copytree(BUNDLED, folder / "b", ignore=shutil.ignore_patterns("__*", "*.md"))
    with zipfile.ZipFile(BUNDLED / "val.zip") as archive:
        archive.extract("img/val_0001.jpg", folder / "b")
    given = set(folder.rglob("*"))
    image, recipe = "b/img/val_0001.jpg", "--preprocess b/preprocess.json"
    val = f"--images b/val.zip {recipe}"
    for words in (
        "demo --out demo",
        "check b/net.onnx --layers",
        f"dataset b/calib.zip --out dataset {recipe}",
        "cfg new b/net.onnx --out run.cfg --inputs input.bin --outputs output.bin",
        "cfg new b/net.onnx --out opt.cfg --scheme compass42 --inputs input.bin --outputs o.bin",
        "cfg new b/net.onnx --out build.cfg --mode build --outputs net.r329",
        f"input {image} --cfg run.cfg --out input.bin {recipe}",
        f"input {image} --out raw.bin --size 64 64",
        "run run.cfg --out run --dump run/dump",
        "run opt.cfg --out opt --dump opt/dump --method 10kld --per-channel",
        "run run.cfg --out reference --backend reference --rounding floor --threads 2",
        "run build.cfg --out build",
        "quantize run.cfg --out run.r329 --print",
        "quantize run.cfg --out 42.r329 --scheme compass42 --print",
        "compare run/output.bin --classes b/classes.txt",
        "compare run/output.bin opt/o.bin --max-off-by 2",
        "compare run/dump opt/dump",
        f"eval run.cfg {val} --float --out eval --threads 2 --scheme aqt2021 compass42",
        f"eval run.r329 {val} --out csv --format csv --logits --chunk 64 --threads 1 --min-top1 1",
        f"profile run.cfg --no-time {val} --out p --onnx p/net.onnx --sensitivity --suggest",
        f"profile run.cfg --no-time {val} --save 42.json --csv 42.csv --scheme compass42",
        f"profile run.r329 --float b/net.onnx {val} --evaluation csv --out timed/p --fill-profile",
        "report p --csv report.csv --html p.html",
        "report csv run --html two.html",
    ):
        yield f"commands/said/{words}", sha(*command(f"{words} --json", folder))
    with chdir(folder):
        result = r329fast.run_cfg("run.cfg", out="api", scheme="compass42", dump="api/dump")
        yield "commands/api/run_cfg", sha(result.outputs)
        found = r329fast.evaluate("run.cfg", "b/val.zip", float_baseline=True, threads=2)
        yield "commands/api/evaluate", sha(found, found.names, found.classes, *found.scores)
    # kernel times are a column of the one file that is left out
    for path in sorted(set(folder.rglob("*")) - given - {folder / "timed/p/layers.csv"}):
        if path.is_file():
            data = path.read_bytes()
            # the first line of the log bears the version and a checksum of it
            rest = data.partition(b"\n")[2] if path.name == "chunks.log" else data
            content = steady(data.decode(), folder) if path.suffix in _TEXT else rest
            yield f"commands/file/{path.relative_to(folder).as_posix()}", sha(content)


def jobs() -> dict[str, Callable[[], Entries]]:
    """Name -> what yields the entries below that name."""
    vectors, runs = import_module("vector_files"), import_module("golden_files")
    return {
        "commands": commands,
        **{f"bundled/{name}": partial(bundled, name) for name in VARIANTS},
        **{f"vector/{name}": partial(vector, vectors, name) for name in vectors.names()},
        **{f"golden/{name}": partial(golden, runs, name) for name in runs.names()},
        **{f"data/{p.stem}": partial(real_model, p.stem) for p in sorted(MODELS.glob("*.onnx"))},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", metavar="FILE", type=Path, help="write {name: hash} here")
    parser.add_argument("--against", metavar="FILE", type=Path, help="compare with this record")
    parser.add_argument("--only", metavar="GLOB", default="*", help="entries by name")
    parser.add_argument("--quick", action="store_true", help="leave out large networks")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="a new folder for all files")
    args = parser.parse_args()
    if not Path(r329fast.__file__).is_relative_to(ROOT):
        parser.error(f"r329fast comes from {r329fast.__file__}, not from {ROOT}")
    start, known, found = time.perf_counter(), jobs(), dict[str, str]()
    fixed = re.split(r"[*?\[]", args.only)[0]  # what entries begin with
    runs = [name for name in known if f"{name}/".startswith(fixed) or fixed.startswith(f"{name}/")]
    runs = [name for name in runs if not (args.quick and name.startswith(SLOW))]
    with tempfile.TemporaryDirectory(prefix="replay") as temporary:
        (work := args.keep or Path(temporary)).mkdir(parents=True, exist_ok=True)
        with chdir(work):
            for name in runs:
                try:
                    found.update(item for item in known[name]() if fnmatchcase(item[0], args.only))
                except Exception:
                    found[f"{name}/failed"] = traceback.format_exc()
    found = dict(sorted(found.items()))
    print(f"{len(found)} entries in {time.perf_counter() - start:.0f} s")
    if args.out:
        args.out.write_text(json.dumps(found, indent=0) + "\n")
    lines = [f"failed   {name}: {found[name]}" for name in found if name.endswith("/failed")]
    left_out = tuple(f"{name}/" for name in known if name not in runs)
    before = json.loads(args.against.read_text()) if args.against else found
    for name in sorted({*before, *found}):
        if name not in found and fnmatchcase(name, args.only) and not name.startswith(left_out):
            lines.append(f"missing  {name}")
        elif name in found and found[name] != before.get(name):
            lines.append(f"{'differs' if name in before else 'new':<9}{name}")
    print("\n".join(lines) or ("no difference" if args.against else "no failure"))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
