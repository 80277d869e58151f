"""Going on after a crash: no image lost or counted twice, whatever the moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.evaluation_sets import RECIPE, image_zip, run_cfg

from r329fast.errors import UsageError
from r329fast.evaluation import evaluate
from r329fast.evaluation.chunk_log import ChunkLog
from r329fast.images.preprocess import Preprocess

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    "preprocess": RECIPE, "backend": "reference", "threads": 2, "chunk": 8,
    "file_format": "csv", "float_baseline": True,
}  # fmt: skip
COUNT = 100


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the set, the cfg and a finished run in `out`."""
    folder = tmp_path_factory.mktemp("resume")
    run_cfg(folder)
    image_zip(folder / "set.zip", COUNT)
    evaluate(folder / "run.cfg", folder / "set.zip", out=folder / "out", **OPTIONS)
    return folder


def resumed(whole: Path, out: Path, log: bytes) -> tuple[bytes, int]:
    """The results after resuming with this chunk log, and the images done anew."""
    out.mkdir(exist_ok=True)
    (out / "chunks.log").write_bytes(log)
    result = evaluate(whole / "run.cfg", whole / "set.zip", out=out, resume=True, **OPTIONS)
    assert len(result.names) == result.best.accuracy.images == COUNT
    return (out / "results.csv").read_bytes(), result.timing.images


def test_log_cut_anywhere(whole: Path, tmp_path: Path) -> None:
    log = (whole / "out" / "chunks.log").read_bytes()
    expected = (whole / "out" / "results.csv").read_bytes()
    rng = random.Random(1)
    cuts = [0, 1, 60, len(log) - 1, len(log), *(rng.randrange(len(log)) for _ in range(12))]
    done = {cut: resumed(whole, tmp_path / "out", log[:cut]) for cut in cuts}
    assert {results for results, _ in done.values()} == {expected}
    assert done[len(log)][1] == 0
    assert done[0][1] == COUNT
    assert 0 < done[len(log) - 1][1] <= 8
    again = [images for _, images in (done[cut] for cut in sorted(cuts))]
    assert again == sorted(again, reverse=True)


def test_log_damaged_anywhere(whole: Path, tmp_path: Path) -> None:
    log = (whole / "out" / "chunks.log").read_bytes()
    expected = (whole / "out" / "results.csv").read_bytes()
    rng = random.Random(2)
    for _ in range(12):
        data = bytearray(log)
        data[rng.randrange(len(log))] ^= 1 << rng.randrange(8)
        results, images = resumed(whole, tmp_path / "out", bytes(data))
        assert results == expected
        assert images > 0


def test_a_chunk_written_twice_counts_once(whole: Path, tmp_path: Path) -> None:
    log = (whole / "out" / "chunks.log").read_bytes()
    first = log.index(b"CHNK")
    second = log.index(b"CHNK", first + 4)
    results, images = resumed(whole, tmp_path / "out", log + log[first:second])
    assert results == (whole / "out" / "results.csv").read_bytes()
    assert images == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"roundings": ["floor"]}, ["model"]),
        ({"preprocess": Preprocess((8, 6))}, ["preprocessing"]),
        ({"float_baseline": False}, ["float baseline"]),
        ({"logits": True}, ["logits"]),
        ({"chunk": 9}, ["chunk size"]),
        ({"label_offset": 1, "labels": "shifted.txt"}, ["labels"]),
        ({"limit": 40}, ["number of images"]),
    ],
)
def test_resume_refuses_another_run_and_says_why(
    whole: Path, tmp_path: Path, change: dict[str, object], named: list[str]
) -> None:
    (tmp_path / "chunks.log").write_bytes((whole / "out" / "chunks.log").read_bytes())
    if "labels" in change:
        change = {**change, "labels": whole / "shifted.txt"}
        names = [f"i{index:05d}.png {index % 9}\n" for index in range(COUNT)]
        (whole / "shifted.txt").write_text("".join(names))
    with pytest.raises(UsageError, match="cannot resume") as caught:
        evaluate(
            whole / "run.cfg", whole / "set.zip", out=tmp_path, resume=True, **{**OPTIONS, **change}
        )
    assert caught.value.details["differing"] == named
    for name in named:
        assert name in caught.value.message
    assert ("--limit" in caught.value.message) == ("limit" in change)


def test_another_image_file_is_another_set(whole: Path, tmp_path: Path) -> None:
    image_zip(tmp_path / "set.zip", COUNT, seed=2)
    (tmp_path / "chunks.log").write_bytes((whole / "out" / "chunks.log").read_bytes())
    with pytest.raises(UsageError, match="another images"):
        evaluate(whole / "run.cfg", tmp_path / "set.zip", out=tmp_path, resume=True, **OPTIONS)


def test_unfinished_work_is_not_thrown_away(whole: Path, tmp_path: Path) -> None:
    log = (whole / "out" / "chunks.log").read_bytes()
    (tmp_path / "chunks.log").write_bytes(log[:-5])
    with pytest.raises(UsageError, match=r"12 of 13 chunks.*--resume goes on"):
        evaluate(whole / "run.cfg", whole / "set.zip", out=tmp_path, **OPTIONS)
    result = evaluate(whole / "run.cfg", whole / "set.zip", out=tmp_path, overwrite=True, **OPTIONS)
    assert result.timing.images == COUNT
    # a finished run may be done again without a word
    assert evaluate(
        whole / "run.cfg", whole / "set.zip", out=tmp_path, **OPTIONS
    ).timing.images == COUNT  # fmt: skip


def test_one_writer_at_a_time(whole: Path) -> None:
    log = ChunkLog(whole / "out" / "chunks.log", {})
    with pytest.raises(UsageError, match="written by another run"):
        evaluate(whole / "run.cfg", whole / "set.zip", out=whole / "out", resume=True, **OPTIONS)
    log.close()


def test_an_error_on_the_way_keeps_what_is_done(whole: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(whole / "run.cfg", whole / "set.zip", out=tmp_path, progress=stop, **OPTIONS)
    result = evaluate(whole / "run.cfg", whole / "set.zip", out=tmp_path, resume=True, **OPTIONS)
    assert result.timing.images == COUNT - 40
    assert (tmp_path / "results.csv").read_bytes() == (whole / "out" / "results.csv").read_bytes()


@pytest.mark.slow
def test_killed_ten_times(whole: Path, tmp_path: Path) -> None:
    """kill -9 at random moments, then resume, ten times; the last run finishes."""
    image_zip(tmp_path / "set.zip", 6000)
    recipe = ["--size", 8, 6, "--sub", 128, 128, 128, "--div", 64, 64, 64]
    command = [
        sys.executable, "-m", "r329fast.cli.main", "eval", whole / "run.cfg", "--images",
        tmp_path / "set.zip", *recipe, "--backend", "reference", "--threads", 2, "--chunk", 8,
        "--format", "csv", "--float",
    ]  # fmt: skip
    base = [str(word) for word in command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(out: str, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*base, "--out", str(tmp_path / out), *more], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    unbroken = start("unbroken")
    assert unbroken.communicate()[1] == b""
    rng = random.Random(3)
    log = tmp_path / "broken" / "chunks.log"
    kills, sizes = 0, [0]
    while kills < 10:
        process = start("broken", "--resume")
        # a few kills fall before the first chunk, most while chunks are written
        early = kills % 5 == 4
        while process.poll() is None and not early:
            if log.exists() and log.stat().st_size > sizes[-1]:
                break
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 2.0 if early else 0.25))
        assert process.poll() is None, "finished before the tenth kill: use more images"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        sizes.append(log.stat().st_size if log.exists() else 0)
    assert len(set(sizes)) >= 6, "too few kills fell into the work"
    last = start("broken", "--resume")
    assert last.communicate()[1] == b""
    assert last.returncode == 0
    found = (tmp_path / "broken" / "results.csv").read_bytes()
    assert found == (tmp_path / "unbroken" / "results.csv").read_bytes()
    assert not list((tmp_path / "broken").glob(".results*"))
