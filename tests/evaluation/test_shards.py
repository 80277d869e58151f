"""Shards: parts that know nothing of each other give, merged, the bytes of one run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.evaluation_sets import RECIPE, image_zip, run_cfg

from r329fast.errors import FileError, UsageError
from r329fast.evaluation import Shard, evaluate, evaluate_shard, prepare_model

ROOT = Path(__file__).resolve().parents[2]
COUNT, SHARDS, CHUNK = 203, 16, 8  # 26 chunks, the last one short
OPTIONS = {
    "preprocess": RECIPE, "backend": "reference", "threads": 1, "chunk": CHUNK,
    "float_baseline": True, "logits": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set, a cfg, the unbroken run in `whole` and all shards in `parts`."""
    path = tmp_path_factory.mktemp("shards")
    run_cfg(path)
    image_zip(path / "set.zip", COUNT)
    model = prepare_model(path / "run.cfg")
    evaluate(model, path / "set.zip", out=path / "whole", **OPTIONS)
    for number in range(SHARDS, 0, -1):
        found = evaluate_shard(
            model, path / "set.zip", out=path / "parts", shard=f"{number}/{SHARDS}", **OPTIONS
        )
        assert found.chunks == len(range(number - 1, 26, SHARDS))
        assert found.timing.images == found.images
    return path


@pytest.fixture
def parts(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "parts", tmp_path / "parts"))


def merged(folder: Path, out: Path, *places: Path, kind: str = "parquet") -> bytes:
    options = {**OPTIONS, "file_format": kind}
    evaluate(folder / "run.cfg", folder / "set.zip", out=out, merge=places, **options)
    return (out / f"results.{kind}").read_bytes()


def figures(folder: Path) -> dict[str, object]:
    """What a run record says of accuracy, without times and places."""
    record = json.loads((folder / "run.json").read_text())
    odd = ("seconds", "shares", "files", "memory", "images_this_run", "per_second", "decode")
    return {key: value for key, value in record.items() if not any(word in key for word in odd)}


def test_sixteen_shards_are_one_run(folder: Path, parts: Path, tmp_path: Path) -> None:
    whole = folder / "whole"
    assert merged(folder, tmp_path / "a", parts) == (whole / "results.parquet").read_bytes()
    for name in ("chunks.log", "results.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (whole / name).read_bytes()
    assert figures(tmp_path / "a") == figures(whole)
    # by their own names, in any order, one of them twice, into the folder that holds them
    each = sorted(parts.glob("shard-*"), reverse=True)
    assert [path.name for path in each][:2] == ["shard-16-of-16", "shard-15-of-16"]
    again = merged(folder, parts, *each, each[3])
    assert again == (whole / "results.parquet").read_bytes()
    options = {**OPTIONS, "file_format": "csv"}
    evaluate(folder / "run.cfg", folder / "set.zip", out=tmp_path / "b", **options)
    expected = (tmp_path / "b" / "results.csv").read_bytes()
    assert merged(folder, tmp_path / "csv", parts, kind="csv") == expected


def test_more_shards_than_chunks(folder: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "limit": 20}
    for number in range(1, 6):
        found = evaluate_shard(
            folder / "run.cfg", folder / "set.zip", out=tmp_path, shard=Shard(number, 5), **options
        )
        assert found.images == [8, 8, 4, 0, 0][number - 1]
        empty = [line for line in found.warnings if "has no images: the set is 3 chunks" in line]
        assert len(empty) == (number > 3)
    result = evaluate(
        folder / "run.cfg", folder / "set.zip", out=tmp_path, merge=[tmp_path], **options
    )
    assert result.best.accuracy.images == 20
    assert result.timing.images == 0


_KILLED = """
import os, signal, sys
from pathlib import Path
from support.evaluation_sets import RECIPE
from r329fast.evaluation import evaluate_shard
folder, out = map(Path, sys.argv[1:])
def progress(done, total):
    if done >= 16:
        os.kill(os.getpid(), signal.SIGKILL)
evaluate_shard(
    folder / "run.cfg", folder / "set.zip", out=out, shard="2/4", preprocess=RECIPE,
    backend="reference", threads=1, chunk=8, float_baseline=True, logits=True, progress=progress,
)
"""


def test_a_killed_shard_is_started_again(folder: Path, tmp_path: Path) -> None:
    model = prepare_model(folder / "run.cfg")

    def shard(number: int) -> int:
        found = evaluate_shard(
            model, folder / "set.zip", out=tmp_path, shard=f"{number}/4", **OPTIONS
        )
        return found.timing.images

    for number in (1, 3, 4):
        shard(number)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-c", _KILLED, str(folder), str(tmp_path)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(UsageError, match=r"shard 2 of 4 is missing or not finished \(\d+ of 26"):
        merged(folder, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
    again = shard(2)
    assert 0 < again < 7 * CHUNK  # what was written down is not done twice
    expected = (folder / "whole" / "results.parquet").read_bytes()
    assert merged(folder, tmp_path / "out", tmp_path) == expected
    assert shard(2) == 0


def test_shards_that_do_not_fit(folder: Path, parts: Path, tmp_path: Path) -> None:
    shutil.rmtree(parts / "shard-03-of-16")
    shutil.rmtree(parts / "shard-16-of-16")
    with pytest.raises(UsageError, match=r"shards 3, 16 of 16 are missing .* \(3 of 26 chunks\)"):
        merged(folder, tmp_path / "out", parts)
    with pytest.raises(FileError, match=r"no shard in .*: found no chunks\.log"):
        merged(folder, tmp_path / "out", parts, tmp_path)
    with pytest.raises(UsageError, match=r"cannot merge .*: it was made with another float"):
        evaluate(
            folder / "run.cfg", folder / "set.zip", out=tmp_path / "out", merge=[parts],
            **{**OPTIONS, "float_baseline": False},
        )  # fmt: skip
    # a file that only bears the name stays as it is
    other = tmp_path / "other"
    other.mkdir()
    (other / "chunks.log").write_text("my own notes\n")
    with pytest.raises(UsageError, match="cannot merge"):
        merged(folder, tmp_path / "out", other)
    assert (other / "chunks.log").read_text() == "my own notes\n"
    assert not (tmp_path / "out").exists()
    # a shard of another evaluation is not gone on with, unless it is told to
    options = {**OPTIONS, "logits": False}
    words = {"out": parts, "shard": "1/16", **options}
    with pytest.raises(UsageError, match=r"cannot resume .*another logits"):
        evaluate_shard(folder / "run.cfg", folder / "set.zip", **words)
    evaluate_shard(folder / "run.cfg", folder / "set.zip", overwrite=True, **words)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", "-1/4", "1/4/4", ""])
def test_words_that_are_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match=r"shard: found .*, allowed: 1/N to N/N"):
        Shard.parse(text)


def test_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from r329fast.cli.main import main

    words = ["eval", folder / "run.cfg", "--images", folder / "set.zip", "--out", tmp_path]
    words += ["--size", 8, 6, "--sub", 128, 128, 128, "--div", 64, 64, 64, "--float", "--logits"]
    base = [str(word) for word in [*words, "--chunk", CHUNK, "--backend", "reference"]]
    for number in (1, 2):
        assert main([*base, "--shard", f"{number}/2"]) == 0
    assert f"the same with --merge {tmp_path} instead of --shard" in capsys.readouterr().out
    assert main([*base, "--merge", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == COUNT
    found, expected = (path / "results.parquet" for path in (tmp_path, folder / "whole"))
    assert found.read_bytes() == expected.read_bytes()
    for more, text in (
        (["--shard", "3/2"], "shard: found '3/2'"),
        (["--shard", "1/2", "--resume"], "--shard does not go with"),
        (["--shard", "1/2", "--min-top1", "0.5"], "--shard does not go with"),
        (["--merge", str(tmp_path / "none")], "no shard in"),
    ):
        assert main([*base, *more]) == 2
        assert text in capsys.readouterr().err
    alone = base[: base.index("--out")]
    assert main([*alone, "--shard", "1/2"]) == 2
    assert "--shard goes with --out DIR" in capsys.readouterr().err
