"""`run`, `quantize`, `demo`, `info`: the commands as a user calls them, and what they leave."""

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
from support import models

from r329fast.cfg import new_cfg
from r329fast.cli.main import main
from r329fast.deploy import bundled
from r329fast.deploy.pipeline import input_quantizer, prepare
from r329fast.deploy.run_cfg import run_cfg
from r329fast.errors import CfgError, DataError, FileError
from r329fast.images.dataset import write_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.program.storage import load_program
from r329fast.simulator.simulator import Simulator
from r329fast.vendor import perf_node_count, profile_data


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a cfg for the bundled network, ten calibration images, one input."""
    monkeypatch.chdir(tmp_path)
    preprocess = Preprocess.from_json(bundled.path("preprocess.json"))
    with ImageSet(bundled.path("calib.zip"), limit=10) as images:
        write_dataset("dataset", images, preprocess)
    new_cfg(
        bundled.path("net.onnx"), inputs=["input.bin"], outputs="out/output.bin", model_name="net"
    ).write("run.cfg")
    floats = np.load("dataset/dataset.npy")[:1]
    Path("input.bin").write_bytes(input_quantizer("run.cfg")(floats).tobytes())
    return tmp_path


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_run_writes_the_vendors_files(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "run.cfg", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= {"outputs", "output_scale", "weight_bytes", "files", "seconds"}
    assert _files(job) >= {
        "out/output.bin",
        "graph.json",
        "profile_data.bin",
        "max_min/net_max.npy",
        "max_min/net_min.npy",
        "log.txt",
        "run.json",
    }
    assert Path("out/output.bin").stat().st_size == 10
    program = prepare("run.cfg").program
    assert Path("profile_data.bin").read_bytes() == profile_data(perf_node_count(program))
    graph = json.loads(Path("graph.json").read_text())
    assert graph["graph_name"] == "net"
    assert graph["total nodes number"] == len(graph["nodes"])
    scale = next(iter(result["output_scale"].values()))
    assert f"output_scale:[{np.float32(scale)!s}]" in Path("log.txt").read_text()


def test_run_equals_the_python_surface_and_the_reference(job: Path) -> None:
    assert main(["run", "run.cfg"]) == 0
    by_command = Path("out/output.bin").read_bytes()
    program = prepare("run.cfg").program
    x = np.fromfile("input.bin", dtype=np.int8).reshape(1, 64, 64, 3)
    for backend in ("numba", "reference"):
        (array,) = Simulator(program, backend=backend).run(x).values()
        assert array.tobytes() == by_command
    assert main(["run", "run.cfg", "--backend", "reference", "--out", "again"]) == 0
    assert Path("again/out/output.bin").read_bytes() == by_command


def test_input_command_writes_the_calibrated_recipe(job: Path) -> None:
    with ImageSet(bundled.path("calib.zip"), limit=1) as images:
        Path("image.jpg").write_bytes(images.read(0))
    command = ["input", "image.jpg", "--cfg", "run.cfg", "--out", "again.bin"]
    preprocess = ["--preprocess", str(bundled.path("preprocess.json"))]
    assert main([*command, *preprocess]) == 0
    assert Path("again.bin").read_bytes() == Path("input.bin").read_bytes()


def test_the_schemes_and_roundings_are_really_used(job: Path) -> None:
    hashes = {
        run_cfg(
            "run.cfg", out=f"o{i}", scheme=scheme, rounding=rounding, per_channel=channel
        ).prepared.program.hash()
        for i, (scheme, rounding, channel) in enumerate(
            [
                ("aqt2021", None, None),
                ("aqt2021", "floor", None),
                ("aqt2021", None, True),
                ("compass42", None, None),
                ("compass42", "half_up", None),
                ("compass42", None, True),
            ]
        )
    }
    assert len(hashes) == 6


def test_written_ranges_reproduce_the_run(job: Path) -> None:
    assert main(["run", "run.cfg"]) == 0
    first = Path("out/output.bin").read_bytes()
    text = Path("run.cfg").read_text()
    replaced = [line for line in text.splitlines() if not line.startswith("calibration_")]
    at = replaced.index("[AutoQuantizationTool]") + 1
    replaced[at:at] = ["ts_max_file = max_min/net_max.npy", "ts_min_file = max_min/net_min.npy"]
    Path("again.cfg").write_text("\n".join(replaced) + "\n")
    assert main(["run", "again.cfg", "--out", "again"]) == 0
    assert Path("again/out/output.bin").read_bytes() == first


def test_several_images_in_one_input_file(job: Path) -> None:
    one = Path("input.bin").read_bytes()
    assert main(["run", "run.cfg"]) == 0
    single = Path("out/output.bin").read_bytes()
    Path("input.bin").write_bytes(one * 3)
    assert main(["run", "run.cfg", "--threads", "2"]) == 0
    assert Path("out/output.bin").read_bytes() == single * 3


def test_dump_holds_every_layer(job: Path) -> None:
    assert main(["run", "run.cfg", "--dump", "tensors"]) == 0
    index = json.loads(Path("tensors/index.json").read_text())
    program = prepare("run.cfg").program
    assert list(index) == [name for layer in program.layers for name in layer.outputs]
    final = np.load(Path("tensors") / index[program.outputs[0]])
    assert final.tobytes() == Path("out/output.bin").read_bytes()


def test_mode_build_writes_a_program_and_says_what_it_is(job: Path, capsys) -> None:
    text = Path("run.cfg").read_text().replace("mode = run", "mode = build")
    Path("build.cfg").write_text(text.replace("out/output.bin", "net.r329"))
    assert main(["run", "build.cfg"]) == 0
    assert "not a vendor binary" in capsys.readouterr().out
    assert load_program("net.r329").hash() == prepare("run.cfg").program.hash()


def test_quantize_saves_what_run_uses(job: Path, capsys) -> None:
    assert main(["quantize", "run.cfg", "--out", "net.r329", "--print", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["hash"] == prepare("run.cfg").program.hash()
    assert "conv2d" in captured.err
    assert main(["quantize", "run.cfg", "--out", "net.bin"]) == 2


def test_optimizer_section_selects_compass42_and_its_fields(job: Path) -> None:
    new_cfg(
        bundled.path("net.onnx"), scheme="compass42", inputs=["input.bin"], outputs="o.bin"
    ).write("compass.cfg")
    plain = prepare("compass.cfg")
    assert plain.scheme == "compass42"
    text = (
        Path("compass.cfg")
        .read_text()
        .replace(
            "[GBuilder]",
            "quantize_method_for_weight = per_channel_symmetric_restricted_range\n"
            "bias_effective_bits = 16\ncalibration_batch_size = 2\n\n[GBuilder]",
        )
    )
    # The new keys belong to the section before [GBuilder], which is [Optimizer].
    text = text.replace("calibration_batch_size = 1\n", "")
    Path("changed.cfg").write_text(text)
    changed = prepare("changed.cfg").program
    assert changed.options["bias_effective_bits"] == "16"
    assert changed.options["quantize_method_for_weight"].startswith("per_channel")
    assert changed.hash() != plain.program.hash()


def test_narrow_mean_range_is_reported(job: Path, capsys) -> None:
    data = np.load("dataset/dataset.npy")
    data[-1] = 0
    np.save("dataset/dataset.npy", data)
    assert main(["run", "run.cfg", "--method", "MEAN"]) == 0
    assert "of what calibration saw" in capsys.readouterr().err


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
    before = _files(job)
    assert main(["run", "run.cfg"]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert word in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert _files(job) == before
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
    whole = {name: (job / "killed" / name).read_bytes() for name in _files(job / "killed")}
    for delay in np.linspace(0.2, 2.0, 7):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(float(delay))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name in _files(job / "killed") - {"run.json"}:
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


def test_demo_writes_only_where_it_is_told(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--out", "there", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {Path(name).parts[0] for name in _files(tmp_path)} == {"there"}
    float_top1, *int8 = [row["top1"] for row in result["accuracy"]]
    assert 0.85 <= float_top1 <= 0.98
    # A quantised network that works loses a few points at the most.
    assert all(float_top1 - 0.05 <= top1 <= float_top1 + 0.02 for top1 in int8)
    assert main(["cfg", "check", "there/run.cfg"]) == 0


def test_info_names_the_kernel_path_and_the_cache(capsys) -> None:
    from r329fast.kernels import ISA

    assert main(["info", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["kernel_path"] == ISA.name
    assert result["numba"]
    assert result["cache"]


def test_cfg_needs_a_calibration(job: Path) -> None:
    lines = Path("run.cfg").read_text().splitlines()
    Path("none.cfg").write_text(
        "\n".join(line for line in lines if not line.startswith("calibration_")) + "\n"
    )
    with pytest.raises((CfgError, DataError, FileError), match="calibration_data"):
        run_cfg("none.cfg")


@pytest.mark.shared
@pytest.mark.parametrize("recipe", ["calibrated", "raw"])
def test_real_network_names_the_sheepdog(tmp_path, monkeypatch, shared, capsys, recipe) -> None:
    monkeypatch.chdir(tmp_path)
    seed = shared / "artefacts" / "resnet18_seed" / "dataset"
    model = shared / "data" / "models" / "resnet18_224_bn.onnx"
    image = str(seed / "img" / "ILSVRC2012_val_00000003.JPEG")
    assert main(["dataset", str(seed / "img"), str(seed / "label.txt"), "--out", "dataset"]) == 0
    made = ["cfg", "new", str(model), "--out", "run.cfg", "--inputs", "input.bin"]
    assert main([*made, "--outputs", "output.bin"]) == 0
    option = ["--cfg", "run.cfg"] if recipe == "calibrated" else []
    assert main(["input", image, "--out", "input.bin", *option]) == 0
    assert main(["run", "run.cfg"]) == 0
    capsys.readouterr()
    assert main(["compare", "output.bin", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top"][0]["index"] in (230, 231)


@pytest.mark.shared
@pytest.mark.slow
def test_the_seed_cfg_runs_unchanged(tmp_path, monkeypatch, shared) -> None:
    """The cfg of the article, with a network of that topology and random weights in its place."""
    monkeypatch.chdir(tmp_path)
    seed = shared / "artefacts" / "resnet18_seed"
    Path("model").mkdir()
    onnx.save(models.resnet18_v2(seed=0), "model/resnet18-v2-7.onnx")
    Path("dataset").mkdir()
    for name in ("dataset.npy", "label.npy", "input.bin"):
        Path("dataset", name).symlink_to(seed / "dataset" / name)
    assert main(["run", str(seed / "resnet_onnx_run.cfg")]) == 0
    assert Path("dataset/output.bin").stat().st_size == 1000
    for name in ("graph.json", "profile_data.bin"):
        assert Path(name).read_bytes() == (seed / name).read_bytes()
    ours = np.load("max_min/densnet_max.npy", allow_pickle=True).item()
    theirs = np.load(seed / "max_min" / "densnet_max.npy", allow_pickle=True).item()
    assert list(ours) == list(theirs)
    np.testing.assert_allclose(ours["data"], theirs["data"], rtol=0, atol=1e-6)
    log = Path("log.txt").read_text()
    for figure in ("0xb2c024", "0x00002b00", "0x00004e00", "0x00b2c780", "0x00040400"):
        assert figure in log


@pytest.mark.parametrize("name", ["graph.json", "run.json", "log.txt", "max_min/net_min.npy"])
def test_any_target_that_cannot_be_written_leaves_all_as_it_was(job: Path, name: str) -> None:
    """Whichever file fails, none of the others is written."""
    Path(name).mkdir(parents=True)
    before = _files(job)
    assert main(["run", "run.cfg", "--dump", "tensors"]) == 2
    assert _files(job) == before


def test_a_kill_between_any_two_writes_leaves_whole_files(job: Path, monkeypatch) -> None:
    """Stop at each rename in turn: what stands is old and whole, or new and whole."""
    assert main(["run", "run.cfg"]) == 0
    old = {name: (job / name).read_bytes() for name in _files(job)}
    assert main(["run", "run.cfg", "--out", "new", "--scheme", "compass42"]) == 0
    new = {name: (job / "new" / name).read_bytes() for name in _files(job / "new")}
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


def test_methods_carry_over_to_the_other_scheme(job: Path) -> None:
    """`cfg new` writes EXTREME; asked for compass42, that is extrema and not its mean."""
    assert prepare("run.cfg", scheme="compass42").method == "extrema"
    assert prepare("run.cfg", scheme="compass42", method="mean").method == "mean"


def test_the_old_section_is_not_read_beside_the_new_one(job: Path) -> None:
    new_cfg(bundled.path("net.onnx"), scheme="compass42", inputs=["input.bin"]).write("both.cfg")
    text = Path("both.cfg").read_text()
    text += "\n[AutoQuantizationTool]\nts_max_file = none.npy\nts_min_file = none.npy\n"
    Path("both.cfg").write_text(text)
    assert prepare("both.cfg").method == "extrema"


def test_odd_type_names_in_ops_per_channel(job: Path) -> None:
    text = Path("run.cfg").read_text()
    for word in ("depthwiseconv", "DepthwiseConv"):
        Path("odd.cfg").write_text(text.replace("= DepthwiseConv", f"= {word}"))
        assert prepare("odd.cfg").program.hash() == prepare("run.cfg").program.hash()
    Path("odd.cfg").write_text(text.replace("= DepthwiseConv", "= DepthwiseConvv"))
    assert main(["run", "odd.cfg"]) == 2


def test_threads_must_be_positive(job: Path) -> None:
    assert main(["demo", "--threads", "0", "--out", "there"]) == 2
    assert not Path("there").exists()


def test_a_program_under_another_name_is_recognised(job: Path) -> None:
    from r329fast.deploy.pipeline import program_of

    text = Path("run.cfg").read_text().replace("mode = run", "mode = build")
    Path("build.cfg").write_text(text.replace("out/output.bin", "aipu.bin"))
    assert main(["run", "build.cfg"]) == 0
    assert program_of("aipu.bin")[0].hash() == prepare("run.cfg").program.hash()
