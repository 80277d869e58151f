"""Top classes, mismatches, first diverging layer, class files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from r329fast.comparison.classes import read_classes, top_k
from r329fast.comparison.differences import compare_arrays, compare_tensors
from r329fast.comparison.result_files import compare_files, read_raw, read_tensors
from r329fast.errors import DataError, FileError, UsageError


def test_top_k_keeps_the_order_of_equal_values() -> None:
    values = np.array([[3, 127, -128], [127, 0, 126]], np.int8)
    assert [(item.index, item.value) for item in top_k(values, 4)] == [
        (1, 127),
        (3, 127),
        (5, 126),
        (0, 3),
    ]
    assert len(top_k(values, 99)) == 6
    assert top_k(np.array([0, 255], np.uint8), 1, {1: "cat"})[0].name == "cat"
    assert top_k(np.array([-128, 0], np.int8), 2)[1].value == -128
    with pytest.raises(DataError, match="allowed at least 1"):
        top_k(values, 0)
    with pytest.raises(DataError, match="found dtype float64"):
        top_k(np.zeros(3), 1)


def test_compare_counts_by_distance() -> None:
    a = np.array([0, 1, 2, -128, 5, 5], np.int8)
    b = np.array([0, 2, 1, 127, 5, 7], np.int8)
    result = compare_arrays(a, b)
    assert (result.total, result.mismatches, result.max_abs_diff, result.first) == (6, 4, 255, 1)
    assert result.histogram == {1: 2, 2: 1, 255: 1}
    assert list(result.histogram) == [1, 2, 255]
    assert not result.equal
    same = compare_arrays(a, a)
    assert (same.mismatches, same.max_abs_diff, same.histogram, same.first) == (0, 0, {}, None)
    assert same.equal


def test_compare_goes_by_value_not_by_bytes() -> None:
    result = compare_arrays(np.array([255], np.uint8), np.array([-1], np.int8))
    assert result.histogram == {256: 1}
    big = compare_arrays(np.array([2**31 - 1], np.int32), np.array([-(2**31)], np.int32))
    assert big.max_abs_diff == 2**32 - 1


def test_compare_needs_one_shape() -> None:
    with pytest.raises(DataError, match="found 3 and 4 values, allowed: equally many"):
        compare_arrays(np.zeros(3, np.int8), np.zeros(4, np.int8))
    with pytest.raises(DataError, match=r"found shapes \[2, 3\] and \[3, 2\]"):
        compare_arrays(np.zeros((2, 3), np.int8), np.zeros((3, 2), np.int8))
    with pytest.raises(DataError, match="found no values"):
        compare_arrays(np.zeros(0, np.int8), np.zeros(0, np.int8))


def test_first_diverging_layer_follows_the_order() -> None:
    a = {"z": np.zeros(3, np.int8), "a": np.zeros(3, np.int8), "m": np.zeros(2, np.uint8)}
    b = {name: array.copy() for name, array in a.items()}
    assert compare_tensors(a, b).first_diverging is None
    b["a"][1] = 4
    b["m"][:] = 2
    result = compare_tensors(a, b)
    assert result.first_diverging == "a"
    assert (result.mismatches, result.max_abs_diff) == (3, 4)
    assert compare_tensors(a, b, ["z", "m", "a"]).first_diverging == "m"
    assert list(compare_tensors(a, b, ["m"]).layers) == ["m"]
    with pytest.raises(DataError, match="tensor 'mm' is not in the first run, did you mean 'mmm'"):
        compare_tensors({"mmm": a["m"]} | a, b, ["mm"])
    del b["m"]
    with pytest.raises(DataError, match="tensor 'm' is not in the second run"):
        compare_tensors(a, b)
    b["m"] = np.zeros(5, np.int8)
    with pytest.raises(DataError, match="tensor 'm': found 2 and 5 values"):
        compare_tensors(a, b)


def test_compare_files(tmp_path: Path) -> None:
    a, b = tmp_path / "a.bin", tmp_path / "b.bin"
    a.write_bytes(bytes([1, 255, 127]))
    b.write_bytes(bytes([1, 254, 127]))
    result = compare_files(a)
    assert result.comparison is None
    assert [item.value for item in result.top] == [127, 1, -1]
    result = compare_files(a, b, dtype="uint8", k=1)
    assert (result.top[0].value, result.other_top[0].value) == (255, 254)
    assert result.comparison is not None
    assert result.comparison.histogram == {1: 1}
    b.write_bytes(b"12")
    with pytest.raises(DataError, match=r"a\.bin holds 3 values and .*b\.bin holds 2"):
        compare_files(a, b)


def test_raw_files_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(FileError, match="No such file"):
        read_raw(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="found 0 bytes"):
        read_raw(path)
    path.write_bytes(b"123")
    with pytest.raises(DataError, match="found 3 bytes, allowed: a multiple of 2"):
        read_raw(path, "int16")
    with pytest.raises(UsageError, match=r"found 'in8', allowed int8.*did you mean 'int8'"):
        read_raw(path, "in8")
    path.write_bytes(b"\x01\x02")
    assert read_raw(path, "int16").tolist() == [513]


def test_tensors_from_folder_and_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "001_b.npy", np.zeros(2, np.int8))
    np.save(tmp_path / "000_z.npy", np.zeros(2, np.int8))
    assert list(read_tensors(tmp_path)) == ["000_z", "001_b"]
    np.savez(tmp_path / "run.npz", z=np.zeros(2), a=np.zeros(3))
    assert list(read_tensors(tmp_path / "run.npz")) == ["z", "a"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no tensors"):
        read_tensors(tmp_path / "empty")
    (tmp_path / "bad.npz").write_bytes(b"bad")
    for name in ("bad.npz", "none.npz", "000_z.npy"):
        with pytest.raises(FileError, match="cannot read tensors"):
            read_tensors(tmp_path / name)


@pytest.mark.parametrize(
    "shape", [(-1, 3), (-2, -6), (2**63, 2), (2**70,), (2**40, 2**40), (2**50, 3), (0, 2**70)]
)
def test_tensors_with_absurd_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with (tmp_path / "a.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(48))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "a.npy")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 and no more")
    for path in (tmp_path, tmp_path / "a.npz", tmp_path / "b.npz"):
        with pytest.raises(FileError, match="cannot read tensors") as caught:
            read_tensors(path)
        assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["tench\ngoldfish, Carassius\n", "tench\r\ngoldfish, Carassius",
     "n01440764 tench\nn01443537 goldfish, Carassius\n\n",
     "{0: 'tench',\n 1: 'goldfish, Carassius'}\n", "['tench', \"goldfish, Carassius\"]",
     '\ufeff{"0": "tench", "1": "goldfish, Carassius"}'],
)  # fmt: skip
def test_class_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(text.encode())
    assert read_classes(path) == {0: "tench", 1: "goldfish, Carassius"}


@pytest.mark.parametrize(
    "text", ["", "\n\n", "{0: 'tench'", "{0: open('x')}", "{}", "{'a': 'b'}", "{0: 1}", "[[1]]",
     '{"²": "a"}', '{"٣": "a"}', "{-1: 'a'}", "{1.0: 'a'}", "{True: 'a'}", "{None: 'a'}",
     "{(1,): 'a'}", "{[1]: 'a'}", "{'%s': 'a'}" % ("9" * 5000), "{1, 2}"],
)  # fmt: skip
def test_class_files_with_mistakes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"classes\.txt: found no"):
        read_classes(path)


def test_class_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        read_classes(tmp_path / "none.txt")
    (tmp_path / "x").write_bytes(b"\xff\xff")
    with pytest.raises(FileError, match="UTF-8"):
        read_classes(tmp_path / "x")


@pytest.mark.shared
def test_the_seed_output(shared: Path) -> None:
    names = read_classes(shared / "data" / "imagenet" / "synsets.txt")
    assert len(names) == 1000
    path = shared / "artefacts" / "resnet18_seed" / "dataset" / "output.bin"
    result = compare_files(path, names=names)
    # saturated twice; the true class of the image is 230
    assert [(item.index, item.value) for item in result.top[:2]] == [(230, 127), (231, 127)]
    assert "sheepdog" in result.top[0].name
    assert len(read_classes(shared / "data" / "cifar10" / "classes.txt")) == 10
