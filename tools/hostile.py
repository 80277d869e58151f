#!/usr/bin/env python3
"""Bad and malicious files through the commands that open them: exit code, seconds, memory, lines.

    tools/hostile.py                       files that are made here
    tools/hostile.py ../shared/cases/hostile   and those of a folder

What must be: exit 2 or 3 (or 0, where the file is fine after all), one line that says error (or
the findings of `check`), at most 20 seconds and 1,500 MB. Ends with 1 where something is
otherwise. Linux.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS, MEGABYTES = 20, 1500
_DEEP = 100_000
_ZEROS = bytes(1 << 20)


def measured(words: list[str], folder: Path) -> tuple[int | str, float, int, list[str]]:
    """(exit code, seconds, peak MB, lines with "error", or the first finding) of a command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as told:
        begun, peak = time.monotonic(), 0
        child = subprocess.Popen(
            [sys.executable, "-m", "r329fast.cli.main", *words], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=told, stderr=said,
        )  # fmt: skip
        code: int | str | None = None
        while (code := child.poll()) is None:
            for line in _status(child.pid):
                if line.startswith("VmHWM"):
                    peak = max(peak, int(line.split()[1]) // 1024)
            if time.monotonic() - begun > 10 * SECONDS:
                child.kill()
                child.wait()
                code = "killed"
                break
            time.sleep(0.02)
        spent = time.monotonic() - begun
        said.seek(0)
        lines = [line for line in said.read().splitlines() if "error" in line]
        told.seek(0)
        if words[0] == "check" and code == 3 and not lines:
            lines = told.read().splitlines()[1:2]
    return code, spent, peak, lines


def _status(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []


def _bomb_zip(path: Path) -> None:
    """An image of 4 GB of zeros, and its label."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(zipfile.ZipInfo("a.png"), "w", force_zip64=True) as stream:
            stream.write(_ZEROS)
        archive.writestr("label.txt", "a.png 0\n")
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 0xFFFFFFF0)  # what the list of files announces
    path.write_bytes(bytes(data))


def _bomb_tar(path: Path) -> None:
    """3 GB of zeros in 3 MB."""
    member = tarfile.TarInfo("a.png")
    member.size = 3 << 30
    block = gzip.compress(_ZEROS * 64, 1)
    with path.open("wb") as stream:
        stream.write(gzip.compress(member.tobuf(tarfile.GNU_FORMAT)))
        for _ in range(48):  # members of a gzip file may stand one behind the other
            stream.write(block)
        stream.write(gzip.compress(bytes(1024)))


def _wide_png(path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    side = 30_000
    packed = zlib.compressobj(1)
    rows = b"".join(packed.compress(bytes(side // 8 + 1)) for _ in range(side)) + packed.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _hole(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)


def _heavy_program(path: Path, program: bytes) -> None:
    """A program with an entry of 3 GB that nobody reads."""
    path.write_bytes(program)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(zipfile.ZipInfo("more.npy"), "w", force_zip64=True) as stream,
    ):
        for _ in range(3 << 10):
            stream.write(_ZEROS)


def made(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(what it is, command) of files that are made in `folder`."""
    from support.evaluation_sets import image_zip, run_cfg, small_program  # type: ignore[import-not-found]

    cfg = run_cfg(folder)
    image_zip(folder / "val.zip", 4)
    small_program(folder).save(str(folder / "small.r329"))
    (folder / "set").mkdir()
    (folder / "one.bin").write_bytes(bytes(6 * 8 * 3))
    size = ["--size", "8", "6"]
    files: list[tuple[str, str, Callable[[Path], None], list[str]]] = [
        ("a zip whose image unpacks to 4 GB", "bomb.zip", _bomb_zip,
         ["dataset", "bomb.zip", *size, "--out", "out"]),
        ("a tar.gz of 3 GB", "bomb.tar.gz", _bomb_tar,
         ["dataset", "bomb.tar.gz", *size, "--out", "out"]),
        ("a PNG of 30000 x 30000", "wide.png", _wide_png,
         ["input", "wide.png", "--cfg", str(cfg), "--out", "i.bin"]),
        ("a label file of 1.5 GB", "set/label.txt", lambda path: _hole(path, 3 << 29),
         ["dataset", "set", *size, "--out", "out"]),
        ("a program with an entry of 3 GB", "heavy.r329",
         lambda path: _heavy_program(path, (folder / "small.r329").read_bytes()),
         ["run", "heavy.r329", "--inputs", "one.bin", "--out", "out"]),
        ("a pipe as cfg", "pipe.cfg", lambda path: os.mkfifo(path), ["run", "pipe.cfg"]),
        ("a pipe as image", "pipe.png", lambda path: os.mkfifo(path),
         ["input", "pipe.png", "--cfg", str(cfg), "--out", "i.bin"]),
        ("/dev/zero as cfg", "", lambda path: None, ["run", "/dev/zero"]),
        ("/dev/zero as image", "", lambda path: None,
         ["input", "/dev/zero", "--cfg", str(cfg), "--out", "i.bin"]),
        ("a run.json nested 100,000 deep", "deep/run.json",
         lambda path: _text(path, b"[" * _DEEP), ["report", "deep"]),
        ("a TOML nested 100,000 deep", "deep.toml",
         lambda path: _text(path, b"a = " + b"[" * _DEEP),
         ["profile", str(cfg), "--hardware", "deep.toml", "--out", "out"]),
        ("a results.csv that is not UTF-8", "csv/results.csv",
         lambda path: _text(path, b"image,file\n0,\xff\xfe\n"), ["report", "csv"]),
        ("an .npy whose header is no literal", "tok.npy", lambda path: _text(path, _bad_npy()),
         ["eval", str(cfg), "--images", "tok.npy"]),
    ]  # fmt: skip
    for what, name, build, words in files:
        if name:
            (folder / name).parent.mkdir(exist_ok=True)
            build(folder / name)
        if name == "csv/results.csv":
            record = b'{"top1": 0.5, "images": 1, "model": "m", "settings": [{"name": "a"}]}'
            _text(folder / "csv" / "run.json", record)
        yield what, words


def _text(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _bad_npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(4, np.float32))
    return stream.getvalue().replace(b"'descr'", b"'desc''")


def given(cases: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(name, command) of the files of a folder, by their endings."""
    (folder / "zeros.bin").write_bytes(bytes(1 << 16))
    for path in sorted(cases.rglob("*")):
        name = path.relative_to(cases).as_posix()
        if path.suffix == ".onnx":
            yield name, ["check", str(path)]
        elif path.suffix == ".r329":
            yield name, ["run", str(path), "--inputs", "zeros.bin", "--out", "out"]
        elif path.suffix == ".npy" and path.parent == cases:
            yield f"{name} as images", ["dataset", str(path), "--size", "8", "6", "--out", "out"]
            yield f"{name} as result", ["compare", str(path.parent), str(path.parent)]


def given_cfgs(cases: Path, folder: Path) -> Iterator[tuple[str, list[str], Path]]:
    """(name, command, folder to run in) of cfgs, whose paths are relative to their own folder."""
    for path in sorted(cases.rglob("*.cfg")):
        name = path.relative_to(cases).as_posix()
        yield name, ["run", str(path), "--out", str(folder / "out")], path.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for a file; by default 20")
    parser.add_argument("cases", nargs="?", type=Path, help="a folder of files, looked through")
    arguments = parser.parse_args()
    cases = arguments.cases
    bad = 0
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        folder = Path(name)
        todo = [(what, words, folder) for what, words in made(folder)]
        if cases is not None:
            cases = cases.resolve()
            todo += [(what, words, folder) for what, words in given(cases, folder)]
            todo += list(given_cfgs(cases, folder))
        print(f"{'file':<40}{'exit':>5}{'s':>7}{'MB':>6}  error")
        for what, words, place in todo:
            code, spent, peak, lines = measured(words, place)
            good = code == 0 or (code in (2, 3) and len(lines) == 1)
            good = good and spent <= arguments.seconds and peak <= MEGABYTES
            bad += not good
            said = lines[-1].replace(f"{folder}/", "")[:90] if lines else ""
            print(f"{what:<40}{code:>5}{spent:>7.1f}{peak:>6}  {'' if good else 'BAD '}{said}",
                  flush=True)  # fmt: skip
    print(f"{len(todo)} files, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
