"""`run`, `quantize`, `demo`, `info`: the commands as a user calls them, and what they leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from support import models
from support.folders import files_in

from r329fast.cfg import new_cfg
from r329fast.cli.main import main
from r329fast.deploy import bundled
from r329fast.deploy.pipeline import prepare
from r329fast.deploy.run_cfg import run_cfg
from r329fast.images.sets import ImageSet
from r329fast.program.storage import load_program
from r329fast.simulator.simulator import Simulator
from r329fast.vendor import perf_node_count, profile_data


def test_run_writes_the_vendorsfiles_in(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "run.cfg", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= {"outputs", "output_scale", "weight_bytes", "files", "seconds"}
    assert files_in(job) >= {
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


def test_demo_writes_only_where_it_is_told(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--out", "there", "--json"]) == 0
    written = capsys.readouterr()
    result = json.loads(written.out)
    assert "r329fast profile there/run.cfg --out there" in written.err
    assert "there/report.html" in written.err
    assert {Path(name).parts[0] for name in files_in(tmp_path)} == {"there"}
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


def test_a_program_under_another_name_is_recognised(job: Path) -> None:
    from r329fast.deploy.pipeline import program_of

    text = Path("run.cfg").read_text().replace("mode = run", "mode = build")
    Path("build.cfg").write_text(text.replace("out/output.bin", "aipu.bin"))
    assert main(["run", "build.cfg"]) == 0
    assert program_of("aipu.bin")[0].hash() == prepare("run.cfg").program.hash()


def test_a_run_on_arrays_waits_for_no_images() -> None:
    """Neither OpenCV, nor the readers of image sets, nor that of aipu.bin is imported for it."""
    code = (
        "import sys, r329fast.deploy.run_cfg, r329fast.deploy.from_model\n"
        "rest = {'r329fast.images.sets', 'r329fast.vendor.aipu.program', 'cv2', 'onnx', 'numba'}\n"
        "print(sorted(rest & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]
