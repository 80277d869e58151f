"""`run` when something is wrong: one line, the exit code, and no half file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.folders import files_in

from r329fast.cli.main import main
from r329fast.deploy import bundled
from r329fast.deploy.run_cfg import run_cfg
from r329fast.errors import CfgError, DataError, FileError


def _break(kind: str) -> None:
    text = Path("run.cfg").read_text()
    if kind == "section":
        text = text.replace("[Parser]", "[Parsre]")
    elif kind == "model":
        text = text.replace("net.onnx", "none.onnx")
    elif kind == "shape":
        text = text.replace("[1, 3, 64, 64]", "[1, 3, 64]")
    elif kind == "data format":
        text = text.replace("= NCHW", "= NHWC")
    elif kind == "output":
        text = text.replace("output = logits", "output = logit")
    elif kind == "rank":
        np.save("dataset/dataset.npy", np.zeros((4, 64, 64), dtype=np.float32))
    elif kind == "layout":
        data = np.load("dataset/dataset.npy").transpose(0, 3, 1, 2)
        np.save("dataset/dataset.npy", np.ascontiguousarray(data))
    elif kind == "dtype":
        np.save("dataset/dataset.npy", np.load("dataset/dataset.npy").astype(np.float64))
    elif kind == "nan":
        data = np.load("dataset/dataset.npy")
        data[3, 1, 1, 1] = np.nan
        np.save("dataset/dataset.npy", data)
    elif kind == "labels":
        np.save("dataset/label.npy", np.zeros(3, dtype=np.int64))
    elif kind == "input":
        Path("input.bin").write_bytes(b"\0" * 100)
    elif kind == "no input":
        Path("input.bin").unlink()
    elif kind == "empty model":
        Path("empty.onnx").write_bytes(b"")
        text = text.replace(str(bundled.path("net.onnx")), "empty.onnx")
    elif kind == "random model":
        Path("random.onnx").write_bytes(np.random.default_rng(0).bytes(5000))
        text = text.replace(str(bundled.path("net.onnx")), "random.onnx")
    elif kind == "truncated model":
        Path("cut.onnx").write_bytes(bundled.path("net.onnx").read_bytes()[:100_000])
        text = text.replace(str(bundled.path("net.onnx")), "cut.onnx")
    elif kind == "unwritable":
        Path("file").write_text("")
        text = text.replace("out/output.bin", "file/output.bin")
    Path("run.cfg").write_text(text)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("section", "Parsre"),
        ("model", "none.onnx"),
        ("shape", "input_shape"),
        ("data format", "is NCHW"),
        ("output", "did you mean"),
        ("rank", "dimensions"),
        ("layout", "channels"),
        ("dtype", "float64"),
        ("nan", "NaN in image 3"),
        ("labels", "3 labels"),
        ("input", "100 bytes"),
        ("no input", "input.bin"),
        ("empty model", "empty.onnx"),
        ("random model", "random.onnx"),
        ("truncated model", "cut.onnx"),
        ("unwritable", "file"),
    ],
)
def test_bad_input_ends_with_one_line_and_no_half_file(job: Path, capsys, kind, word) -> None:
    _break(kind)
    before = files_in(job)
    assert main(["run", "run.cfg"]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert word in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert files_in(job) == before
    assert main(["run", "run.cfg", "--json"]) == 2
    assert word in json.loads(capsys.readouterr().out)["error"]["message"]


def test_unsupported_op_ends_with_3_and_lists_all(job: Path, capsys) -> None:
    model = onnx.load(bundled.path("net.onnx"))
    relus = [node for node in model.graph.node if node.op_type == "Relu"]
    for node in relus[:2]:
        node.op_type = "Cosh" if node is relus[0] else "Sinh"
    onnx.save(model, "odd.onnx")
    text = Path("run.cfg").read_text().replace(str(bundled.path("net.onnx")), "odd.onnx")
    Path("run.cfg").write_text(text)
    assert main(["run", "run.cfg", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert {issue["op"] for issue in error["issues"]} == {"Cosh", "Sinh"}
    assert all(issue["reason"] and issue["advice"] for issue in error["issues"])


@pytest.mark.slow
def test_killed_half_way_leaves_no_half_file(job: Path) -> None:
    command = [sys.executable, "-m", "r329fast.cli.main", "run", "run.cfg", "--out", "killed"]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    assert (
        subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    )
    whole = {name: (job / "killed" / name).read_bytes() for name in files_in(job / "killed")}
    for delay in np.linspace(0.2, 2.0, 7):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(float(delay))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name in files_in(job / "killed") - {"run.json"}:
            if not Path(name).name.startswith("."):
                assert (job / "killed" / name).read_bytes() == whole[name]
    assert (
        subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    )


def test_interrupt_ends_with_130(job: Path, monkeypatch, capsys) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("r329fast.deploy.pipeline.calibrate", interrupted)
    assert main(["run", "run.cfg"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_cfg_needs_a_calibration(job: Path) -> None:
    lines = Path("run.cfg").read_text().splitlines()
    Path("none.cfg").write_text(
        "\n".join(line for line in lines if not line.startswith("calibration_")) + "\n"
    )
    with pytest.raises((CfgError, DataError, FileError), match="calibration_data"):
        run_cfg("none.cfg")


@pytest.mark.parametrize("name", ["graph.json", "run.json", "log.txt", "max_min/net_min.npy"])
def test_any_target_that_cannot_be_written_leaves_all_as_it_was(job: Path, name: str) -> None:
    """Whichever file fails, none of the others is written."""
    Path(name).mkdir(parents=True)
    before = files_in(job)
    assert main(["run", "run.cfg", "--dump", "tensors"]) == 2
    assert files_in(job) == before


def test_a_kill_between_any_two_writes_leaves_wholefiles_in(job: Path, monkeypatch) -> None:
    """Stop at each rename in turn: what stands is old and whole, or new and whole."""
    assert main(["run", "run.cfg"]) == 0
    old = {name: (job / name).read_bytes() for name in files_in(job)}
    assert main(["run", "run.cfg", "--out", "new", "--scheme", "compass42"]) == 0
    new = {name: (job / "new" / name).read_bytes() for name in files_in(job / "new")}
    real = os.replace
    for stop in range(1, 7):
        count = 0

        def replace(source: str, target: object, stop: int = stop) -> None:
            nonlocal count
            count += 1
            if count == stop:
                raise KeyboardInterrupt
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)
        assert main(["run", "run.cfg", "--scheme", "compass42"]) == 130
        for name in new:
            found = (job / name).read_bytes()
            assert found in (old[name], new[name]) or name == "run.json"
        assert not [path for path in job.rglob(".*") if path.is_file()]


def test_an_output_that_is_an_input_is_refused(job: Path, capsys) -> None:
    text = Path("run.cfg").read_text().replace("out/output.bin", "input.bin")
    Path("same.cfg").write_text(text)
    before = Path("input.bin").read_bytes()
    assert main(["run", "same.cfg"]) == 2
    assert "also an input" in capsys.readouterr().err
    assert Path("input.bin").read_bytes() == before


def test_a_second_dump_replaces_the_first(job: Path) -> None:
    assert main(["run", "run.cfg", "--dump", "tensors"]) == 0
    Path("tensors/0000_old.npy").write_bytes(b"")
    index = json.loads(Path("tensors/index.json").read_text())
    Path("tensors/index.json").write_text(json.dumps({**index, "old": "0000_old.npy"}))
    assert main(["run", "run.cfg", "--dump", "tensors"]) == 0
    assert not Path("tensors/0000_old.npy").exists()


def test_links_are_followed_and_pipes_written_to(tmp_path: Path) -> None:
    from r329fast.base.files import write_bytes

    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bytes(tmp_path / "link", b"1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"1"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(tmp_path / "pipe", b"2")
    assert os.read(reader, 10) == b"2"
    os.close(reader)


def test_threads_must_be_positive(job: Path) -> None:
    assert main(["demo", "--threads", "0", "--out", "there"]) == 2
    assert not Path("there").exists()
