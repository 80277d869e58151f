"""Result files read as the record of their run says: dtype, shapes, names, ties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from r329fast.cli.main import main
from r329fast.comparison.result_files import compare_files
from r329fast.errors import DataError, FileError

OUTPUTS = {"probs": ("uint8", (3,)), "boxes": ("int8", (2, 2)), "wide": ("int16", (2,))}
VALUES = {"probs": [7, 245, 3], "boxes": [[-5, -1], [-7, -1]], "wide": [-300, 300]}


def write_run(folder: Path, images: int = 1, where: str = "output.bin", mode: str = "run") -> Path:
    """A result file of three outputs with its record; image i holds values rolled by i."""
    path = folder / where
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        np.stack([np.roll(np.array(VALUES[name]), i, -1) for i in range(images)]).astype(dtype)
        for name, (dtype, _) in OUTPUTS.items()
    ]
    path.write_bytes(b"".join(part.tobytes() for part in parts))
    record = {
        "mode": mode,
        "images": images,
        "outputs": {name: {"dtype": d, "shape": list(s)} for name, (d, s) in OUTPUTS.items()},
        "files": {"outputs": f"out/{where}", "record": "out/run.json"},
    }
    (folder / "run.json").write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("where", ["output.bin", "results/of/net.bin"])
def test_outputs_are_read_by_name_with_their_dtype(tmp_path: Path, where: str) -> None:
    result = compare_files(write_run(tmp_path, where=where))
    assert result.recorded
    assert [item.output for item in result.outputs] == ["probs", "boxes", "wide"]
    assert [(item.top[0].index, item.top[0].value) for item in result.outputs] == [
        (1, 245),
        (1, -1),
        (1, 300),
    ]
    assert result.outputs[0].tied == ()
    assert result.outputs[1].tied == (1, 3)  # two boxes of -1
    assert result.top == result.outputs[0].top


def test_every_image_has_its_own_classes(tmp_path: Path) -> None:
    result = compare_files(write_run(tmp_path, images=3))
    assert [item.top[0].index for item in result.outputs if item.output == "probs"] == [1, 2, 0]


def test_second_file_without_a_record_is_read_like_the_first(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    board = tmp_path / "board.bin"
    data = bytearray(path.read_bytes())
    data[1] = 100  # the best class of probs, 245 before
    board.write_bytes(data)
    result = compare_files(path, board)
    assert result.comparison is not None
    assert result.comparison.max_abs_diff == 145
    assert result.other_outputs[0].top[0].value == 100


def test_dtype_overrules_the_record(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    result = compare_files(path, dtype="int8")
    assert not result.recorded
    assert len(result.outputs) == 1


def test_a_record_of_other_sizes_or_no_record_of_a_run(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="says 11"):
        compare_files(path)
    (tmp_path / "run.json").write_text('{"mode": "run", "outputs": []}')
    with pytest.raises(FileError, match="give --dtype"):
        compare_files(path)
    assert not compare_files(write_run(tmp_path / "b", mode="build")).recorded


@pytest.mark.parametrize(
    ("images", "outputs"),
    [
        (0, {"a": {"dtype": "int8", "shape": [3]}}),
        (-1, {"a": {"dtype": "int8", "shape": [3]}}),
        (1, {}),
        (0, {"a": {"dtype": "int8", "shape": [1 << 62, 9]}}),
        (1, {"a": {"dtype": "int8", "shape": [1] * 99}}),
        (1, {"a": {"dtype": "int8", "shape": [1 << 80]}}),
    ],
)
def test_a_record_of_what_no_file_holds(tmp_path: Path, images: int, outputs: dict) -> None:
    (tmp_path / "output.bin").write_bytes(b"")
    record = {"mode": "run", "images": images, "outputs": outputs}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(FileError, match="found no record of a run"):
        compare_files(tmp_path / "output.bin")


def test_command_says_output_and_tie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_run(tmp_path)
    assert main(["compare", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "output probs (uint8):\n  class is 1, index:1, prob:245" in out
    assert "tie: 2 classes have -1 (indices 1, 3)" in out
    assert err == ""
    (tmp_path / "run.json").unlink()
    assert main(["compare", str(path)]) == 0
    assert "give --dtype uint8" in capsys.readouterr().err
