"""The reader of struct arrays of MAT files: equal to scipy's on good files, closed for others."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from r329fast.errors import FileError
from r329fast.images.mat_file import struct_rows

FIELDS = ("ILSVRC2012_ID", "WNID")


def synsets(numbers: type = np.float64, shape: tuple[int, ...] = (7, 1)) -> np.ndarray:
    """Classes with the fields of ImageNet's kit, the long and nested ones too."""
    every = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "other"]
    rows = np.zeros(shape, dtype=[(name, object) for name in every])
    for place, row in enumerate(rows.reshape(-1)):
        row["ILSVRC2012_ID"] = np.asarray(90 + place, numbers)
        row["WNID"] = f"n{place * 1234567:08d}"[: 9 - place % 2 * 6]  # some fit into a tag
        row["words"], row["gloss"] = "chien, Hündin", "x" * 300
        row["num_children"], row["children"] = np.uint8(place), np.arange(place, dtype=np.int32)
        row["other"] = {"deep": np.array([{"cell": 1}, "text"], object)}
    return rows


def saved(compressed: bool = False, **variables: Any) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "numbers", [np.float64, np.float32, np.uint8, np.int16, np.uint32, np.int64]
)
@pytest.mark.parametrize("shape", [(7, 1), (1, 3), (2, 3), (1, 1)])
def test_good_files_read_as_scipy_reads_them(
    compressed: bool, numbers: type, shape: tuple[int, ...]
) -> None:
    data = saved(compressed, first=np.eye(40), synsets=synsets(numbers, shape), last="text")
    theirs = loadmat(io.BytesIO(data))["synsets"].reshape(-1, order="F")
    wanted = [(row[FIELDS[0]].item(), row[FIELDS[1]].item()) for row in theirs]
    assert struct_rows(data, "synsets", FIELDS, "meta.mat") == wanted
    turned = [(wnid, number) for number, wnid in wanted]
    assert struct_rows(data, "synsets", FIELDS[::-1], "meta.mat") == turned


def element(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def array(kind: int, shape: tuple[int, ...], name: bytes, rest: bytes) -> bytes:
    axes = struct.pack(f">{len(shape)}i", *shape)
    flags = element(6, struct.pack(">II", kind, 0))
    return element(14, flags + element(5, axes) + element(1, name) + rest)


def big_endian(rows: list[tuple[float, str]], count: int | None = None, step: int = 16) -> bytes:
    """The struct array of a machine that scipy does not write for."""
    names = b"".join(field.encode().ljust(step, b"\0") for field in FIELDS)
    fields = b"".join(
        array(6, (1, 1), b"", element(9, struct.pack(">d", number)))
        + array(4, (1, len(wnid)), b"", element(4, wnid.encode("utf-16-be")))
        for number, wnid in rows
    )
    step_bytes = struct.pack(">HHi", 4, 5, step)  # inside its tag
    shape = (len(rows) if count is None else count, 1)
    matrix = array(2, shape, b"synsets", step_bytes + element(1, names) + fields)
    return b"MATLAB".ljust(124) + b"\x01\x00MI" + matrix


def test_the_other_byte_order() -> None:
    rows = [(1.0, "n02119789"), (2.0, "n02100735")]
    data = big_endian(rows)
    assert struct_rows(data, "synsets", FIELDS, "meta.mat") == rows
    theirs = loadmat(io.BytesIO(data), squeeze_me=True)["synsets"]
    assert [(row[FIELDS[0]], row[FIELDS[1]]) for row in theirs] == rows


def with_bytes(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no header"),
        (b"no mat file at all" * 20, "no header"),
        (with_bytes(saved(synsets=synsets()), 124, b"\x00\x02"), "version 0002 .*allowed.*5"),
        (saved(others=synsets()), "no variable synsets"),
        (saved(synsets=np.eye(3)), "synsets of class 6, allowed: a struct array"),
        (saved(synsets={"WNID": "n1", "words": "cat"}), "no field ILSVRC2012_ID"),
        (saved(synsets={"ILSVRC2012_ID": [1, 2], "WNID": "n1"}), r"ILSVRC2012_ID .*\(1, 2\)"),
        (saved(synsets={"ILSVRC2012_ID": 1, "WNID": ["n1", "n2"]}), r"WNID .*shape \(2"),
        (saved(synsets={"ILSVRC2012_ID": 1, "WNID": "ü"}), "letters beside"),
        (saved(synsets={"ILSVRC2012_ID": 1, "WNID": "n" * 300}), "300 bytes"),
        (saved(synsets=synsets())[:900], "where fewer are left"),
        (saved(True, synsets=synsets())[:400], "where fewer are left"),
        (with_bytes(saved(True, synsets=synsets()), 140, b"\xff" * 9), "bytes are damaged"),
        (big_endian([(1.0, "n1")], count=3), "the end where a field should be"),
        (big_endian([(1.0, "n1")], count=1 << 30), "1073741824 elements of 2 fields"),
        (big_endian([(1.0, "n1")], count=-1), "shape"),
        (big_endian([(1.0, "n1")], step=0), "no fixed length"),
        (big_endian([(1.0, "n1")]) [:140] + b"\0\0\0", "where fewer are left"),
        (saved() + bytes(8) * 2000, "more than 1000 variables"),
    ],
)  # fmt: skip
def test_other_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        struct_rows(data, "synsets", FIELDS, "meta.mat")


def test_a_small_file_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R329FAST_MAX_TEXT_MB", "2")
    packed = zlib.compress(bytes(20 << 20), 9)
    bomb = saved() + struct.pack("<II", 15, len(packed)) + packed
    tracemalloc.start()
    with pytest.raises(FileError, match=r"meta\.mat: .*allowed 2 MB \(R329FAST_MAX_TEXT_MB"):
        struct_rows(bomb, "synsets", FIELDS, "meta.mat")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_end_in_one_kind_of_error(compressed: bool) -> None:
    """Bytes of the uncompressed form, and of what a compressed one unpacks to."""
    data, random_ = saved(synsets=synsets(shape=(2, 1))), random.Random(7)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(random_.choice((1, 1, 3))):
            place = random_.randrange(124, len(data))
            damaged[place] = random_.choice((0, 1, 4, 14, 15, 127, 255, random_.randrange(256)))
        if random_.random() < 0.1:
            del damaged[random_.randrange(128, len(data)) :]
        if compressed:
            packed = zlib.compress(bytes(damaged[128:]))
            damaged[128:] = struct.pack("<II", 15, len(packed)) + packed
        try:
            rows = struct_rows(bytes(damaged), "synsets", FIELDS, "meta.mat")
        except ValueError:
            refused += 1
        else:
            assert all(isinstance(wnid, str | int | float) for row in rows for wnid in row)
    assert 200 < refused < 1500
