"""A folder of an evaluation that somebody else made: its log may say anything, with checksums."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evaluation_sets import image_zip, run_cfg

from r329fast.cli.main import main
from r329fast.evaluation.chunk_log import ChunkLog, pack, unpack


@pytest.mark.parametrize(
    "lie",
    [
        {"score0": None},
        {"bad": None},
        {"bad": np.frombuffer(b"[[[", np.uint8)},
        {"bad": np.frombuffer(b'{"x": 1}', np.uint8)},
        {"bad": np.frombuffer(b"3", np.uint8)},
        {"bad": np.frombuffer(b"[" * 50_000, np.uint8)},
        {"score0": np.zeros(4, np.int8)},
        {"score0": np.zeros((99, 2), np.float32)},
        {"score0": np.array(3)},
        {
            "score0": np.zeros(
                3,
                [
                    ("rank", "i4"),
                    ("tied", "i4"),
                    ("saturated", "i4"),
                    ("tup", "i4", (5,)),
                    ("value", "i4", (5,)),
                ],
            )
        },
        {"logits0": np.zeros((3, 2), np.float32)},
        {"logits0": np.zeros((9, 2), np.int8)},
        {"logits0": np.zeros(3, np.int8)},
    ],
)
def test_records_of_the_wrong_form(tmp_path: Path, capsys, lie: dict[str, Any]) -> None:
    cfg, images = run_cfg(tmp_path), image_zip(tmp_path / "val.zip", 7)
    words = ["eval", str(cfg), "--images", str(images), "--out", str(tmp_path / "out")]
    words += ["--chunk", "4", "--threads", "1", "--format", "csv"]
    assert main(words) == 0
    path = tmp_path / "out" / "chunks.log"
    with ChunkLog(path, {}) as log:
        header = log.header
        chunks = {number: unpack(log.read(number)) for number in log.done}
        log.restart(header)
        for number, arrays in chunks.items():
            changed = {**arrays, **lie} if number == 1 else arrays
            log.append(number, pack({k: v for k, v in changed.items() if v is not None}))
    capsys.readouterr()
    code = main([*words, "--resume"])
    said = capsys.readouterr().err.splitlines()
    assert code == 2, said
    assert len(said) == 1


@pytest.mark.parametrize("chunks", ["x", None, [], 1e400, {}])
def test_a_log_that_says_no_number_of_chunks(tmp_path: Path, capsys, chunks: Any) -> None:
    cfg, images = run_cfg(tmp_path), image_zip(tmp_path / "val.zip", 7)
    words = ["eval", str(cfg), "--images", str(images), "--out", str(tmp_path / "out")]
    words += ["--chunk", "4", "--threads", "1", "--format", "csv"]
    assert main(words) == 0
    with ChunkLog(tmp_path / "out" / "chunks.log", {}) as log:
        header, first = log.header, log.read(0)
        log.restart({**header, "chunks": chunks})
        log.append(0, first)
    assert main(words) == 0, capsys.readouterr().err  # another evaluation's: begun anew


@pytest.mark.parametrize(
    "lie", [{"pairs": None}, {"pairs": np.array([[0, 1 << 60, 1]])}, {"classes": np.zeros(3)}]
)
def test_records_that_a_metric_cannot_count(tmp_path: Path, capsys, lie: dict[str, Any]) -> None:
    cfg, images = run_cfg(tmp_path), image_zip(tmp_path / "val.zip", 7)
    words = ["eval", str(cfg), "--images", str(images), "--out", str(tmp_path / "out")]
    words += ["--chunk", "4", "--threads", "1", "--format", "csv", "--metric", "per_class"]
    assert main(words) == 0
    with ChunkLog(tmp_path / "out" / "chunks.log", {}) as log:
        header = log.header
        chunks = {number: unpack(log.read(number)) for number in log.done}
        log.restart(header)
        named = {f"state0.{key}": value for key, value in lie.items()}
        for number, arrays in chunks.items():
            changed = {**arrays, **named}
            log.append(number, pack({k: v for k, v in changed.items() if v is not None}))
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "--overwrite begins anew" in said[0]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_pipe_as_log(tmp_path: Path, capsys) -> None:
    cfg, images = run_cfg(tmp_path), image_zip(tmp_path / "val.zip", 7)
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "chunks.log")
    words = ["eval", str(cfg), "--images", str(images), "--out", str(tmp_path / "out")]
    assert main([*words, "--resume"]) == 2
    assert "a pipe, allowed: a file" in capsys.readouterr().err


def test_only_dumped_files_go_with_an_old_index(tmp_path: Path) -> None:
    """An index.json that lists other files of the folder does not get them removed."""
    from r329fast.deploy.run_cfg import remove_old_dump

    names = ["0000_a.npy", "notes.txt", "a.npy", "../b.npy", "0001_x.py"]
    for name in names:
        (tmp_path / Path(name).name).touch()
    (tmp_path / "index.json").write_text(json.dumps({str(i): n for i, n in enumerate(names)}))
    remove_old_dump(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"notes.txt", "a.npy", "b.npy", "0001_x.py", "index.json"}
    (tmp_path / "index.json").write_text("[" * 100_000)
    remove_old_dump(tmp_path)
