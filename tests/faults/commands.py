"""The commands that are disturbed, what they work on, and what must hold of what they leave."""

from __future__ import annotations

import os
from pathlib import Path

from support.aipu_canonical import canonical
from support.aipu_networks import small_program
from support.aipu_writer import write_aipu
from support.evaluation_sets import image_zip, pictures_of, run_cfg
from support.pictures import png

from r329fast.cli.main import main

# Files with times in them, and the log of an evaluation, whose chunks may come in another order.
_DIFFER = (
    "run.json", "profile.json", "report.html", "log.txt", "chunks.log", "shard.json", "demo.json",
    "tune.json", "tune.html",
)  # fmt: skip


_OF_OUT = {
    "try": ("layers.csv", "run.cfg"),
    "demo": ("run.cfg",),
}  # times, paths


def make_folder(place: Path) -> Path:
    """A small network with its cfg, calibration set, input, images, binary, and a run of it."""
    run_cfg(place)
    image_zip(place / "val.zip", 11)
    size = 6 * 8 * 3
    (place / "input.bin").write_bytes(bytes(size))
    (place / "image.png").write_bytes(png(pictures_of(1)[0]))
    (place / "aipu.bin").write_bytes(write_aipu(canonical(small_program())))
    assert main(commands(place, place / "ran")["run"]) == 0
    for number in (1, 2):
        assert main([*_evaluation(place, place / "sharded"), "--shard", f"{number}/2"]) == 0
    assert main(commands(place, place / "profiled")["profile"]) == 0
    return place


def commands(folder: Path, out: Path) -> dict[str, list[str]]:
    cfg, images = str(folder / "run.cfg"), str(folder / "val.zip")
    return {
        "run": ["run", cfg, "--out", str(out)],
        "quantize": ["quantize", cfg, "--out", str(out / "m.r329")],
        "dataset": ["dataset", images, "--size", "8", "6", "--out", str(out)],
        "eval": ["eval", cfg, "--images", images, "--out", str(out), "--chunk", "4", "--threads",
                 "1", "--cache", str(out / "cache"), "--float", "--format", "csv"],
        "profile": ["profile", cfg, "--images", images, "--out", str(out), "--no-time"],
        "cfg": ["cfg", "new", str(folder / "small.onnx"), "--out", str(out / "new.cfg")],
        "input": ["input", str(folder / "image.png"), "--cfg", cfg, "--out", str(out / "i.bin")],
        "report": ["report", str(folder / "profiled"), "--html", str(out / "report.html"),
                   "--csv", str(out / "layers.csv")],
        "tune": ["tune", cfg, "--images", images, "--out", str(out), "--allow", "bias",
                 "--size", "8", "6"],
        "try": ["try", str(folder / "small.onnx"), images, "--out", str(out), "--threads", "1",
                "--size", "8", "6", "--save-cfg", str(out / "kept" / "run.cfg")],
        "write": ["check", str(folder / "small.onnx"), "--write", str(out / "small.onnx")],
        "shard": [*_evaluation(folder, out), "--shard", "2/2"],
        "merge": [*_evaluation(folder, out), "--merge", str(folder / "sharded")],
        "aipu": ["aipu", "load", str(folder / "aipu.bin"), "--out", str(out / "m.r329")],
    }  # fmt: skip


def _evaluation(folder: Path, out: Path) -> list[str]:
    words = ["eval", str(folder / "run.cfg"), "--images", str(folder / "val.zip")]
    return [*words, "--out", str(out), "--chunk", "4", "--threads", "1", "--format", "csv"]


def long_commands(out: Path) -> dict[str, list[str]]:
    """Commands that take too long for every n."""
    return {"demo": ["demo", "--out", str(out), "--threads", "1"]}


def reading_commands(folder: Path) -> dict[str, list[str]]:
    """Commands that write nothing but to stdout (and compiled kernels)."""
    return {
        "compare": ["compare", str(folder / "output.bin"), str(folder / "output.bin")],
        "bench": ["bench", "--models", "resnet20_cifar", "--rounds", "1", "--threads", "1",
                  "--batch", "1"],
        "check": ["check", str(folder / "small.onnx")],
        "info": ["info"],
        "completion": ["completion", "bash"],
    }  # fmt: skip


def content(out: Path) -> dict[str, bytes]:
    """Every file but the pixel cache and what a tuning goes on from; the folder's name is OUT."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes().replace(os.fsencode(out), b"OUT")
        for path in sorted(out.rglob("*"))
        if path.is_file() and not {"cache", ".tune"} & set(path.relative_to(out).parts)
    }


def check_whole(
    name: str, code: int, found: dict[str, bytes], expected: dict[str, bytes], where: object
) -> None:
    """Files are there whole, or not at all; a failed command left none but the evaluation's log."""
    if code == 0:
        assert set(found) == set(expected), where
    for file, data in found.items():
        if not file.endswith((*_DIFFER, *_OF_OUT.get(name, ()))):
            assert data == expected[file], (where, file)
    if name in ("run", "quantize", "dataset") and code == 2:
        assert found == {}, where
