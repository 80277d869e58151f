"""Files that are no files, far too large, nested too deep: one typed line each, at once."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.evaluation_sets import small_program

from r329fast.base.limits import TEXT, Limit
from r329fast.calibration.ranges import Ranges
from r329fast.cfg import read_cfg
from r329fast.comparison.classes import read_classes
from r329fast.comparison.dumps import read_dump, read_name_map
from r329fast.comparison.result_files import read_raw
from r329fast.errors import FileError, R329Error, UsageError
from r329fast.evaluation.sources import open_source
from r329fast.graph import load_model
from r329fast.images import ImageSet, Preprocess, decode, load_dataset
from r329fast.profile.hardware import load_hardware
from r329fast.program.storage import load_program
from r329fast.report.load import load_run
from r329fast.vendor.aipu.container import read_aipu_bin

READERS: dict[str, Callable[[Path], object]] = {
    "m.onnx": load_model,
    "dataset.npy": load_dataset,
    "a.npz": read_dump,
    "a_max.npy": lambda path: Ranges.load_max_min(path, path),
    "m.r329": load_program,
    "aipu.bin": read_aipu_bin,
    "a.png": decode,
    "set.zip": ImageSet,
    "set.npy": lambda path: open_source(path, None, Preprocess()),
    "run.cfg": read_cfg,
    "classes.txt": read_classes,
    "map.json": read_name_map,
    "recipe.json": Preprocess.from_json,
    "board.toml": load_hardware,
    "profile.json": load_run,
    "output.bin": read_raw,
}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for make in (os.mkfifo, lambda p: os.symlink("/dev/zero", p), lambda p: os.symlink(p, p)):
        make(path)
        begun = time.perf_counter()
        with pytest.raises(R329Error) as caught:
            READERS[name](path)
        assert time.perf_counter() - begun < 10
        assert caught.value.exit_code == 2
        path.unlink()


@pytest.mark.parametrize(
    "name", [name for name in READERS if name not in ("dataset.npy", "set.npy")]
)
def test_files_above_the_limit_are_not_read(tmp_path: Path, name: str) -> None:
    """Holes, so that the test needs no disk: 3 GB each, larger than any default limit."""
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.truncate(3 << 30)
    begun = time.perf_counter()
    with pytest.raises(R329Error) as caught:
        READERS[name](path)
    assert time.perf_counter() - begun < 20
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["map.json", "recipe.json", "board.toml", "profile.json"])
def test_deep_nesting(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    start = "a = " if name.endswith("toml") else '{"a": '
    for count in (500, 5000, 100_000):
        path.write_text(start + "[" * count + "]" * count + ("" if name.endswith("toml") else "}"))
        with pytest.raises(R329Error) as caught:
            READERS[name](path)
        assert caught.value.exit_code == 2


def test_a_limit_is_raised_by_its_variable(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"a\n" * (1 << 20))
    monkeypatch.setenv(TEXT.variable, "1")
    with pytest.raises(FileError, match=rf"found 2 MB, allowed 1 MB \({TEXT.variable} raises it\)"):
        read_classes(path)
    monkeypatch.setenv(TEXT.variable, "2")
    assert len(read_classes(path)) == 1 << 20
    for word in ("0", "-1", "many", "1e9", "9" * 20):
        monkeypatch.setenv(TEXT.variable, word)
        with pytest.raises(UsageError, match=TEXT.variable):
            read_classes(path)


def test_every_limit_has_a_variable_of_its_own() -> None:
    from r329fast.base import limits

    found = [value for value in vars(limits).values() if isinstance(value, Limit)]
    assert len({limit.variable for limit in found}) == len(found) > 8


def _png(width: int, height: int) -> bytes:
    """A black image of one bit per pixel: a few kB for gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(width // 8 + 1 + (width % 8 > 0)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


_LARGE_IMAGE = """
import sys
from pathlib import Path
from r329fast.errors import DataError
from r329fast.images import decode
try:
    decode(sys.argv[1])
except DataError as error:
    print(error.message)
# of this program alone: ru_maxrss would count that of the process it was started from, too
lines = Path("/proc/self/status").read_text().splitlines()
print([int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")][0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory as Linux tells it")
def test_an_image_of_too_many_pixels(tmp_path: Path) -> None:
    """In a process of its own: OpenCV reads the limit once."""
    path = tmp_path / "large.png"
    path.write_bytes(_png(20_000, 20_000))
    assert path.stat().st_size < 1 << 20
    words = [sys.executable, "-c", _LARGE_IMAGE, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    message, peak = done.stdout.splitlines()
    assert "too many pixels, allowed 64 megapixels (R329FAST_MAX_MEGAPIXELS raises it)" in message
    assert int(peak) < 700
    path.write_bytes(_png(4000, 4000))
    environment = {**os.environ, "R329FAST_MAX_MEGAPIXELS": "15"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert "allowed 15 megapixels" in done.stdout
    environment["R329FAST_MAX_MEGAPIXELS"] = "16"
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert len(done.stdout.splitlines()) == 1


def test_an_image_in_a_zip_that_unpacks_to_gigabytes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("R329FAST_MAX_IMAGE_MB", "8")
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(9 << 20))
        archive.writestr("label.txt", "a.png 0\n")
    with (
        ImageSet(path) as images,
        pytest.raises(FileError, match="R329FAST_MAX_IMAGE_MB raises it"),
    ):
        images.image(0)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_size_that_a_zip_lies_about(tmp_path: Path, method: int) -> None:
    """An entry that says 10 bytes and unpacks to 64 MB is not unpacked to 64 MB."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("a.png", bytes(64 << 20))
        archive.writestr("label.txt", "a.png 0\n")
    data = stream.getvalue().replace(struct.pack("<I", 64 << 20), struct.pack("<I", 10))
    path = tmp_path / "set.zip"
    path.write_bytes(data)
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(FileError, match=r"(a\.png|label\.txt) in"), ImageSet(path) as images:
        images.image(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 << 20


def test_a_label_file_above_the_limit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("R329FAST_MAX_TEXT_MB", "1")
    (tmp_path / "label.txt").write_bytes(b"a.png 0\n" * (1 << 18))
    with pytest.raises(FileError, match="R329FAST_MAX_TEXT_MB"):
        ImageSet(tmp_path)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "label.txt", "label.txt")
    with pytest.raises(FileError, match="R329FAST_MAX_TEXT_MB"):
        ImageSet(tmp_path / "set.zip")


def test_a_compressed_tar_that_grows_without_measure(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "set.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        head = tarfile.TarInfo("a.png")
        head.size = 400 << 20
        stream.write(head.tobuf())
        for _ in range(400):
            stream.write(bytes(1 << 20))
        stream.write(bytes(1024))
    with pytest.raises(FileError, match=r"unpacks to more than 256 MB.*R329FAST_MAX_RATIO"):
        ImageSet(path)
    monkeypatch.setenv("R329FAST_MAX_RATIO", "5000")
    with pytest.raises(FileError, match=r"no label\.txt"):
        ImageSet(path)
    monkeypatch.setenv("R329FAST_MAX_UNPACKED_MB", "100")
    with pytest.raises(FileError, match="R329FAST_MAX_UNPACKED_MB"):
        ImageSet(path)


def test_a_list_of_files_above_the_limit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("R329FAST_MAX_DIRECTORY_MB", "1")
    zipped = tmp_path / "set.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for index in range(20_000):
            archive.writestr(f"{index:060d}", b"")
    with pytest.raises(FileError, match="its list of files"):
        ImageSet(zipped)
    tarred = tmp_path / "set.tar"
    head = tarfile.TarInfo("a.png")
    head.type, head.size = tarfile.XHDTYPE, 2 << 20
    tarred.write_bytes(head.tobuf() + bytes(3 << 20))
    with pytest.raises(FileError, match=r"its list of files|no folder, zip or tar"):
        ImageSet(tarred)


def test_entries_of_a_program_that_nobody_reads(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("R329FAST_MAX_PROGRAM_MB", "1")
    path = tmp_path / "m.r329"
    small_program(tmp_path).save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(64 << 20))
    assert load_program(path).outputs
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO()
    np.save(stream, np.zeros(2 << 20, np.int8))
    entries["c0.npy"] = stream.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(FileError, match="R329FAST_MAX_PROGRAM_MB"):
        load_program(path)


def test_headers_of_arrays_that_python_would_tokenise(tmp_path: Path) -> None:
    """NumPy's reader goes on to a tokeniser, which raises errors of its own."""
    path = tmp_path / "a.npy"
    for text in ("{'descr': '<f4', 'shape': (1,", "{" * 3000, "(\n", "'''", "\\", "{'a': 1L}"):
        head = text.encode() + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
        for name in ("dataset.npy", "a_max.npy", "set.npy"):
            with pytest.raises(FileError):
                READERS[name](path)
        with pytest.raises(FileError):
            read_dump(tmp_path)


def test_images_without_pixels(tmp_path: Path) -> None:
    """An axis of 0 beside one of 2^40: nothing to loop over."""
    path = tmp_path / "a.npy"
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 0, 4, 3)}\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    for name in ("dataset.npy", "set.npy"):
        with pytest.raises(R329Error, match=r"1099511627776, 0, 4, 3"):
            READERS[name](path)


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("x" * 5000, "a\0b"):
        for suffix, read in READERS.items():
            with pytest.raises(R329Error) as caught:
                read(Path(name + suffix))
            assert caught.value.exit_code == 2


def test_records_of_other_types(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    for layers in (1, [1], {"a": 1}, None):
        record = {"kind": "profile", "version": 1, "model": "m", "layers": layers, "totals": {}}
        path.write_text(json.dumps(record))
        with pytest.raises(R329Error, match="not a profile"):
            load_run(path)
