"""The vendor's max_min dicts are read without unpickling: its form only, nothing else runs."""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from r329fast.calibration.max_min_file import read_max_min
from r329fast.errors import FileError


def _file(tmp_path: Path, payload: bytes, shape: str = "()") -> Path:
    """A .npy of one object whose pickle is `payload`."""
    text = f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (118 - 1 - len(text)) + "\n"
    path = tmp_path / "table.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + text.encode() + payload)
    return path


def _boxed(value: object) -> np.ndarray:
    box = np.empty((), dtype=object)
    box[()] = value
    return box


VALUES = {
    "a": np.array([1.5], np.float32),
    "b/c_0": np.array(-2.25, np.float32),
    "d": 3.5,
    "e": 7,
    "f": np.float32(0.125),
    "g": np.float64(1e-3),
    "h": np.array([[4]], np.int16),
    "i": np.array([2.5], ">f8"),
}
NUMBERS = {"a": 1.5, "b/c_0": -2.25, "d": 3.5, "e": 7, "f": 0.125, "g": 1e-3, "h": 4, "i": 2.5}


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_reads_the_same(tmp_path, protocol: int) -> None:
    path = _file(tmp_path, pickle.dumps(_boxed(VALUES), protocol=protocol))
    assert read_max_min(path) == NUMBERS


def test_what_numpy_saves_reads(tmp_path) -> None:
    np.save(tmp_path / "saved.npy", _boxed(VALUES), allow_pickle=True)
    assert read_max_min(tmp_path / "saved.npy") == NUMBERS


@pytest.mark.shared
def test_all_public_dicts_read_as_numpy_reads_them(shared) -> None:
    files = sorted(
        path
        for path in (shared / "artefacts").rglob("*.npy")
        if path.stem.endswith(("_max", "_min")) or path.stem.startswith(("max_", "min_"))
    )
    assert len(files) >= 10
    for path in files:
        table = np.load(path, allow_pickle=True).item()
        assert read_max_min(path) == {name: float(np.ravel(v)[0]) for name, v in table.items()}


class _Call:
    def __init__(self, function: object, *arguments: object) -> None:
        self.how = function, arguments

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize(
    "value",
    [
        {"x": _Call(print, "called")},
        {"x": _Call(np.ndarray, (1,), "O", b"\x10" * 8)},
        {"x": _Call(np.dtype, "O")},
        {"x": _Call(np.frombuffer, b"\0" * 8)},
        {"x": _Call(exec, "raise SystemExit")},
        {"x": np.array([object()], dtype=object)},
        {"x": np.zeros(1, [("a", "f4")])},
        {"x": np.zeros(2, np.float32)},
        {"x": np.zeros(0, np.float32)},
        {"x": np.array([1j])},
        {"x": np.array(["1"])},
        {"x": "1"},
        {"x": None},
        {"x": True},
        {"x": 10**400},
        {3: 1.0},
        [1.0],
        1.0,
        {"x": {"y": 1.0}},
    ],
)
def test_anything_else_is_one_line(tmp_path, capsys, value: object) -> None:
    for protocol in (0, 2, 4, 5):
        path = _file(tmp_path, pickle.dumps(_boxed(value), protocol=protocol))
        with pytest.raises(FileError, match=r"table\.npy: ") as caught:
            read_max_min(path)
        assert "\n" not in caught.value.message
    assert capsys.readouterr().out == ""


def test_nothing_named_is_imported(tmp_path) -> None:
    """A name that only an import could resolve is refused as a name."""
    payload = b"cnumpy.f2py.__main__\ndtype\n(U\x01xtR."
    with pytest.raises(FileError, match=r"numpy\.f2py\.__main__\.dtype is not allowed"):
        read_max_min(_file(tmp_path, payload))


def test_state_that_would_become_a_pointer_is_refused(tmp_path) -> None:
    """An object dtype made of a number dtype by its state: eight bytes would be an address."""
    array = pickle.dumps(np.array([1.5]), protocol=2)
    assert array.count(b"f8") == 1
    lie = array.replace(b"f8", b"O8")
    path = _file(tmp_path, b"\x80\x02}" + b"X\x01\x00\x00\x00x" + lie[2:-1] + b"s.")
    with pytest.raises(FileError):
        read_max_min(path)


def test_arrays_of_more_than_the_0d_form_are_refused(tmp_path) -> None:
    for box in (np.array([{}], dtype=object), np.array([{}, {}], dtype=object)):
        with pytest.raises(FileError, match="0-d object array holding a dict"):
            read_max_min(_file(tmp_path, pickle.dumps(box, protocol=2)))


def test_damaged_files_read_or_end_in_one_line(tmp_path) -> None:
    """Seeded mutations of a whole file, every one of which ends in numbers or in FileError."""
    stream = io.BytesIO()
    np.save(stream, _boxed(VALUES), allow_pickle=True)
    whole = stream.getvalue()
    generator = random.Random(20)
    path = tmp_path / "damaged.npy"
    refused = []
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(generator.choice((1, 1, 2, 8))):
            place = generator.randrange(len(data))
            what = generator.randrange(3)
            if what == 0:
                data[place] = generator.randrange(256)
            elif what == 1:
                del data[place : place + generator.randrange(1, 20)]
            else:
                data[place:place] = bytes([generator.randrange(256)]) * generator.randrange(1, 9)
        path.write_bytes(data)
        try:
            found = read_max_min(path)
        except FileError as error:
            refused.append(error.message)
        else:
            assert all(type(value) is float for value in found.values())
    assert len(refused) > 1000
    assert not any("\n" in message for message in refused)
