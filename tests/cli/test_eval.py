"""The command `eval`: options, output, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.evaluation_sets import image_zip, run_cfg, small_program

from r329fast.cli import main as cli

RECIPE = ["--size", 8, 6, "--sub", 128, 128, 128, "--div", 64, 64, 64, "--backend", "reference"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli")
    run_cfg(path)
    image_zip(path / "set.zip", 60)
    small_program(path).save(str(path / "small.r329"))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], folder: Path):
    """`eval` on the small set: (exit code, stdout, stderr)."""

    def call(*argv: object, model: str = "run.cfg", images: str = "set.zip"):
        words = ["eval", folder / model, "--images", folder / images, *RECIPE, *argv]
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


def test_json(run, tmp_path: Path) -> None:
    code, out, err = run("--float", "--json", "--out", tmp_path)
    assert code == 0
    found = json.loads(out)
    for key in ("top1", "top5", "float_top1", "float_top5", "agreement"):
        assert 0 <= found[key] <= 1
    assert found["images"] == 60
    assert found["images_per_second"] == pytest.approx(60 / found["seconds"])
    shares = found["shares"]
    assert sum(shares[key] for key in ("simulate", "float", "wait", "other")) == pytest.approx(1)
    assert found["top1_interval"][0] <= found["top1"] <= found["top1_interval"][1]
    assert found["files"] == [str(tmp_path / "results.parquet"), str(tmp_path / "run.json")]
    assert json.loads((tmp_path / "run.json").read_text())["top1"] == found["top1"]
    assert "top-1 %" in err


def test_without_float_and_from_a_program(run, folder: Path) -> None:
    code, out, _ = run("--json")
    assert code == 0
    found = json.loads(out)
    assert found["float_top1"] is None
    assert found["agreement"] is None
    code, out, _ = run("--json", model="small.r329")
    assert json.loads(out)["top1"] == found["top1"]
    code, out, _ = run("--json", "--float-model", folder / "small.onnx", model="small.r329")
    assert json.loads(out)["float_top1"] is not None
    code, _, err = run("--float", model="small.r329")
    assert code == 2
    assert "a program holds none" in err


@pytest.mark.parametrize("width", [80, 160])
def test_tables(run, folder: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    (folder / "classes.txt").write_text("".join(f"n{i:08d} kind {i}, more\n" for i in range(10)))
    code, out, _ = run(
        "--float", "--scheme", "aqt2021", "compass42", "--method", "MEAN", "3std",
        "--per-channel", "no", "yes", "--classes", folder / "classes.txt",
    )  # fmt: skip
    assert code == 0
    assert max(map(len, out.splitlines())) <= width
    assert "60 images" in out
    assert "loses least: " in out
    for word in ("float", "compass42", "per-channel", "lost", "gained", "images/s"):
        assert word in out
    first_table = out.partition("loses least")[0]
    assert ("aqt2021 half_even MEAN per-channel" in first_table) == (width == 160)


def test_limits(run) -> None:
    code, out, _ = run("--json")
    top1 = json.loads(out)["top1"]
    assert run("--min-top1", top1)[0] == 0
    code, out, _ = run("--min-top1", top1 + 0.001, "--json")
    assert code == 1
    assert json.loads(out)["missed"] == [f"top-1 {top1:.4f} is below {top1 + 0.001:g}"]
    assert run("--max-drop", 1)[0] == 0
    code, out, _ = run("--max-drop", -1)
    assert code == 1
    assert "missed: top-1 drop" in out


def test_skipped_images_end_with_1(run, folder: Path) -> None:
    from support.pictures import make_folder

    make_folder(folder / "bad")
    (folder / "bad" / "d.png").write_bytes(b"nothing")
    code, _, err = run(images="bad")
    assert code == 2
    assert "cannot use image d.png" in err
    assert "--skip-bad" in err
    code, out, _ = run("--skip-bad", images="bad")
    assert code == 1
    assert "skipped: 1 images" in out
    assert "not an image that OpenCV reads" in out


def test_resume(run, tmp_path: Path) -> None:
    assert run("--out", tmp_path, "--chunk", 16, "--format", "csv")[0] == 0
    results = (tmp_path / "results.csv").read_bytes()
    log = tmp_path / "chunks.log"
    log.write_bytes(log.read_bytes()[:-9])
    code, _, err = run("--out", tmp_path, "--chunk", 16)
    assert code == 2
    assert "3 of 4 chunks" in err
    code, out, _ = run("--out", tmp_path, "--chunk", 16, "--resume", "--json", "--format", "csv")
    assert code == 0
    assert json.loads(out)["images_this_run"] == 12
    assert (tmp_path / "results.csv").read_bytes() == results
    code, _, err = run("--out", tmp_path, "--chunk", 16, "--resume", "--rounding", "floor")
    assert code == 2
    assert "cannot resume" in err
    assert "another model" in err
    code, out, _ = run("--out", tmp_path, "--chunk", 16, "--resume")
    assert "nothing left to do" in out


def test_class_folders_by_name(run, folder: Path, tmp_path: Path) -> None:
    from support.evaluation_sets import pictures_of
    from support.pictures import png

    for name in ("n00000002", "n00000005"):
        (folder / "tree" / name).mkdir(parents=True)
        (folder / "tree" / name / "a.png").write_bytes(png(pictures_of(1)[0]))
    (tmp_path / "c.txt").write_text("".join(f"n{i:08d} kind {i}\n" for i in range(10)))
    code, _, _ = run("--classes", tmp_path / "c.txt", "--out", tmp_path, "--format", "csv",
                     images="tree")  # fmt: skip
    assert code == 0
    rows = (tmp_path / "results.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["2", "5"]


def test_a_run_that_fails_at_once_leaves_nothing(run, tmp_path: Path) -> None:
    """Neither a folder that it made, nor a log in one that was there."""
    (tmp_path / "there").mkdir()
    for words in (["--size", 9, 9], ["--label-offset", 900], ["--labels", "none.txt"]):
        for out in (tmp_path / "new" / "deep", tmp_path / "there"):
            assert run("--out", out, *words)[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())


def test_images_that_fail_leave_nothing(run, folder: Path, tmp_path: Path) -> None:
    (folder / "unusable").mkdir()
    (folder / "unusable" / "a.png").write_bytes(b"no image")
    (folder / "unusable" / "label.txt").write_text("a.png 1\n")
    code, _, err = run("--out", tmp_path / "new" / "deep", images="unusable")
    assert code == 2
    assert "cannot use image" in err
    assert not (tmp_path / "new").exists()


def test_equal_settings(run) -> None:
    code, _, err = run("--rounding", "floor", "half_up", "floor")
    assert code == 2
    assert "--rounding: found floor twice" in err
    code, _, err = run("--per-channel", "yes", "yes")
    assert code == 2
    assert "--per-channel: found yes twice" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume"], "go with --out"),
        (["--limit", 0], "--limit: found 0, allowed at least 1"),
        (["--threads", 0], "--threads: found 0"),
        (["--ship-images"], "--ship-images goes with --scheduler"),
        (["--rounding", "half_evn"], "did you mean 'half_even'"),
        (["--scheme", "aqt2020"], "scheme 'aqt2020', allowed aqt2021, compass42"),
        (["--preprocess", "none.json"], "cannot read none.json"),
        (["--labels", "none.txt"], "label file not found: none.txt"),
        (["--size", 9, 9], "needs 6 x 8 x 3"),
        (["--imags", "x"], "unrecognized arguments"),
    ],
)
def test_mistakes(run, words: list[object], message: str) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err


def test_arrays(run, folder: Path) -> None:
    np.save(folder / "label.npy", np.zeros(20, np.int64))
    code, out, _ = run("--json", images="dataset.npy")
    assert code == 0
    assert json.loads(out)["images"] == 20
    assert json.loads(out)["preprocess"] is None


def test_metrics(run, tmp_path: Path) -> None:
    code, out, _ = run("--metric", "per_class", "--float")
    assert code == 0
    assert "mean_class_accuracy" in out
    lines = "".join(f"i{n:05d}.png,{','.join(['0'] * 10)}\n" for n in range(60))
    truth = tmp_path / "truth.csv"
    truth.write_text(lines, encoding="utf-8")
    code, out, _ = run("--metric", "regression", "--targets", truth, "--out", tmp_path / "o")
    assert code == 0
    assert "regression, 60 images" in out
    assert "rmse" in out
    assert (tmp_path / "o" / "measure.json").is_file()
    code, _, err = run("--targets", truth)
    assert code == 2
    assert "--targets needs --metric" in err
    code, _, err = run("--metric", "regression")
    assert code == 2
    assert "needs targets" in err
