"""Checking a cfg and the files that it names; making one for a model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.cfg_files import GOOD, make_model, make_sum, swap, write

from r329fast.cfg import check_cfg, new_cfg, nhwc_shape, read_cfg
from r329fast.errors import CfgError, FileError, UsageError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that GOOD names, and the current folder of the test."""
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "small.onnx")
    np.save(tmp_path / "dataset.npy", np.zeros((2, 8, 6, 3), np.float32))
    np.save(tmp_path / "label.npy", np.arange(2))
    (tmp_path / "input.bin").write_bytes(bytes(8 * 6 * 3))
    return tmp_path


# --- check


def test_check_finds_nothing_in_a_good_project(project: Path) -> None:
    assert check_cfg(write(project, GOOD)) == []


def test_check_collects_everything(project: Path) -> None:
    (project / "label.npy").unlink()
    text = (
        swap("mode=run", "mode=run\nmodde=1")
        .replace("output =out", "output =oout")
        .replace("input= data", "input= dat")
        .replace("quant_precision = int8", "quant_precision = int4")
        .replace("input.bin", "none.bin")
        .replace("dataset.npy", "datset.npy")
    )
    found = check_cfg(write(project, text))
    assert [item.severity for item in found] == ["error"] * (len(found) - 1) + ["warning"]
    lines = "\n".join(str(item) for item in found)
    for expected in (
        r"\[AutoQuantizationTool\] quant_precision: found 'int4', allowed int8",
        r"\[Parser\] output: found 'oout'.*did you mean 'out'",
        r"\[Parser\] input: found 'dat', no input, node or .* are data, did you mean 'data'",
        r"\[AutoQuantizationTool\] calibration_data: cannot read datset.npy: No such file",
        r"\[AutoQuantizationTool\] calibration_label: cannot read label.npy: No such file",
        r"\[GBuilder\] inputs: file not found: none.bin",
        r"\[Common\] modde: unknown key, ignored, did you mean 'mode'",
    ):
        assert re.search(expected, lines), expected


def test_check_compares_shapes_and_counts(project: Path) -> None:
    np.save(project / "label.npy", np.arange(3))
    found = check_cfg(write(project, swap("[1, 3, 8, 6]", "[1, 3, 6, 8]")))
    lines = "\n".join(str(item) for item in found)
    assert "input_shape: found [1, 3, 6, 8], the model has [N, 3, 8, 6] for data" in lines
    assert "calibration_data: dataset.npy: found [2, 8, 6, 3], the network's input needs" in lines
    (project / "input.bin").write_bytes(b"1234")
    lines = "\n".join(str(item) for item in check_cfg(write(project, GOOD)))
    assert "calibration_label: label.npy: found 3 labels, the dataset has 2 images" in lines
    assert "inputs: found 4 bytes in input.bin, allowed 144 per image (3 x 8 x 6) or a mul" in lines


def test_check_takes_several_images_in_an_input_file(project: Path) -> None:
    for size, good in ((144, True), (3 * 144, True), (0, False), (145, False), (72, False)):
        (project / "input.bin").write_bytes(bytes(size))
        for shape in ("[1, 3, 8, 6]", "[2, 3, 8, 6]"):
            found = check_cfg(write(project, swap("[1, 3, 8, 6]", shape)))
            assert (not found) is good, (size, shape, found)


@pytest.mark.parametrize("name", ["mid", "mul0", "mul0:0"])
def test_a_cut_inside_the_model(project: Path, name: str) -> None:
    assert check_cfg(write(project, swap("input= data", f"input= {name}"))) == []
    assert check_cfg(write(project, swap("output =out", f"output ={name}"))) == []
    with pytest.raises(CfgError, match=r"input mid has no shape in the model.*--input-shape"):
        new_cfg("small.onnx", input=[name])
    config = new_cfg("small.onnx", input=[name], input_shape="[1, 3, 8, 6]", output=["relu0"])
    assert config.parser.input == ("mid",)  # the tensor, which a run finds in any case
    assert config.parser.input_shape == ((1, 3, 8, 6),)
    assert config.parser.input_data_format == "NCHW"
    config = new_cfg("small.onnx", input=[name], input_shape="[1, 8, 6, 3]")
    assert config.parser.input_data_format == "NCHW"


def test_a_cut_at_an_unknown_name(project: Path) -> None:
    with pytest.raises(CfgError, match=r"found 'mull0', .* inputs are data, did you mean 'mul0'"):
        new_cfg("small.onnx", input=["mull0"], input_shape="[1, 3, 8, 6]")
    lines = [str(item) for item in check_cfg(write(project, swap("input= data", "input= mit")))]
    assert len(lines) == 1
    assert lines[0].startswith("[Parser] input: found 'mit', no input, node or computed tensor")
    assert lines[0].endswith("did you mean 'mid'?")


def test_check_of_several_inputs(project: Path) -> None:
    make_sum(project / "small.onnx")
    (project / "b.bin").write_bytes(bytes(144))
    text = swap("input= data", "input= a, b").replace("inputs=input.bin", "inputs=input.bin,b.bin")
    text = text.replace("[1, 3, 8, 6]", "[1, 3, 8, 6],[1, 3, 8, 6]")
    lines = [str(item) for item in check_cfg(write(project, text))]
    assert lines == [
        "[AutoQuantizationTool] calibration_data: one array cannot hold the data of 2 inputs, "
        "allowed: ts_max_file and ts_min_file in [AutoQuantizationTool]"
    ]
    ranges = "ts_max_file = label.npy\nts_min_file = label.npy\n"
    text = text.replace("calibration_data = dataset.npy\n", ranges)
    assert check_cfg(write(project, text)) == []


def test_check_says_a_missing_section_once(project: Path) -> None:
    text = GOOD[: GOOD.index("[GBuilder]")]
    assert [str(item) for item in check_cfg(write(project, text))] == [
        "[GBuilder] section is missing"
    ]
    assert len(check_cfg(write(project, ""))) == 4


def test_check_of_damaged_lines_goes_on(project: Path) -> None:
    text = swap("mode=run", "mode=run\nmode=build\nwhat is this").replace("onnx\n", "caffe\n", 1)
    lines = "\n".join(str(item) for item in check_cfg(write(project, text)))
    assert "there twice" in lines
    assert "found 'what is this'" in lines
    assert "found 'caffe'" in lines


def test_check_ready_made_ranges(project: Path) -> None:
    text = swap(
        "calibration_data = dataset.npy\n", "ts_max_file = a.npy\nts_min_file = label.npy\n"
    )
    lines = [str(item) for item in check_cfg(write(project, text))]
    assert lines == ["[AutoQuantizationTool] ts_max_file: file not found: a.npy"]


def test_check_of_a_model_that_is_none(project: Path) -> None:
    (project / "small.onnx").write_bytes(b"no model")
    lines = [str(item) for item in check_cfg(write(project, GOOD))]
    assert len(lines) == 1
    assert lines[0].startswith("[Parser] input_model: ./small.onnx: not a readable ONNX model (")


# --- new


def test_new_fills_in_what_the_model_tells(project: Path) -> None:
    config = new_cfg("small.onnx", calibration_data="dataset.npy", calibration_label="label.npy")
    assert config.parser.input == ("data",)
    assert config.parser.input_shape == ((1, 3, 8, 6),)
    assert config.parser.output == ("out",)
    assert config.parser.input_data_format == "NCHW"
    assert config.parser.model_name == "small"
    path = config.write(project / "new.cfg")
    assert read_cfg(path) == config
    assert check_cfg(path) == []


def test_new_takes_what_is_given(project: Path) -> None:
    config = new_cfg(
        "small.onnx",
        mode="build",
        output=["relu0"],
        outputs="aipu.bin",
        model_name="net",
        scheme="compass42",
    )
    assert config.common.mode == "build"
    assert config.parser.output == ("relu0",)
    assert config.gbuilder.outputs == "aipu.bin"
    assert config.gbuilder.inputs == ()
    assert config.scheme == "compass42"
    assert config.warnings == []
    assert "[Optimizer]" in config.to_text()
    assert new_cfg("small.onnx", mode="build").gbuilder.outputs == "./small.r329"


def test_new_needs_fixed_sizes(project: Path) -> None:
    make_model(project / "free.onnx", ("N", 3, "height", 6))
    with pytest.raises(CfgError, match=r"dimension 2 \('height'\) of input data.*--input-shape"):
        new_cfg("free.onnx")
    config = new_cfg("free.onnx", input_shape="[1, 3, 10, 6]")
    assert config.parser.input_shape == ((1, 3, 10, 6),)
    assert new_cfg("free.onnx", input_shape=[(1, 3, 9, 6)]).parser.input_shape == ((1, 3, 9, 6),)
    for wrong, message in (
        ("[1, 3, 10, 7]", r"found \[1, 3, 10, 7\], the model has \[N, 3, height, 6\]"),
        ("[1, 3, 10]", "the model has"),
        ("[1, 3, 10, 6],[1]", "found 2 shapes"),
        ("1x3x10x6", "allowed: bracketed"),
    ):
        with pytest.raises(CfgError, match=message):
            new_cfg("free.onnx", input_shape=wrong)


def test_new_refuses_wrong_names(project: Path) -> None:
    with pytest.raises(CfgError, match=r"found 'w', no input, node or comp.*inputs are data$"):
        new_cfg("small.onnx", input=["w"])
    with pytest.raises(CfgError, match=r"found 'relu', no node or tensor.*did you mean 'relu0'"):
        new_cfg("small.onnx", output=["relu"])
    with pytest.raises(UsageError, match="mode: found 'walk'"):
        new_cfg("small.onnx", mode="walk")
    with pytest.raises(FileError, match=r"model not found: none\.onnx"):
        new_cfg("none.onnx")
    (project / "empty.onnx").write_bytes(b"")
    with pytest.raises(FileError, match="the file is empty"):
        new_cfg("empty.onnx")


def test_new_for_several_inputs(project: Path) -> None:
    make_sum(project / "sum.onnx")
    for mode in ("run", "build"):
        config = new_cfg("sum.onnx", mode=mode, model_name="net")
        assert config.parser.input == ("a", "b")
        assert config.quantization is not None
        assert config.quantization.ts_max_file == "./max_min/net_max.npy"
        assert config.quantization.ts_min_file == "./max_min/net_min.npy"
        assert "calibration_data" not in config.to_text()
        assert "calibration_label" not in config.to_text()
        assert read_cfg(config.write(project / "new.cfg")) == config
    with pytest.raises(CfgError, match=r"calibration_data: found 'd\.npy', one array cannot hold"):
        new_cfg("sum.onnx", calibration_data="d.npy")
    with pytest.raises(CfgError, match=r"scheme: found compass42, .*2 inputs need, allowed: aqt20"):
        new_cfg("sum.onnx", scheme="compass42")
    one = new_cfg("sum.onnx", input=["sum0"], input_shape="[1, 3, 8, 6]")
    assert one.calibration_data == "./dataset/dataset.npy"


def test_new_layout_and_file_names(project: Path) -> None:
    make_model(project / "last.onnx", (1, 8, 6, 3))
    assert new_cfg("last.onnx").parser.input_data_format == "NHWC"
    assert nhwc_shape((1, 3, 8, 6), "NCHW") == (1, 8, 6, 3)
    assert nhwc_shape((1, 8, 6, 3), "NHWC") == (1, 8, 6, 3)
    assert nhwc_shape((1, 10), "NCHW") == (1, 10)
