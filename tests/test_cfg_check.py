"""Checking a cfg and the files that it names; making one for a model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from cfg_files import GOOD, make_model, swap, write

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
        r"\[Parser\] input: found 'dat', the model has data, did you mean 'data'",
        r"\[AutoQuantizationTool\] calibration_data: file not found: datset.npy",
        r"\[AutoQuantizationTool\] calibration_label: file not found: label.npy",
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
    assert "inputs: found 4 bytes in input.bin, allowed 144 for shape [1, 3, 8, 6]" in lines


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
    assert lines == ["[Parser] input_model: cannot read ./small.onnx: not an ONNX model"]


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
    with pytest.raises(CfgError, match="found 'w', the model has data"):
        new_cfg("small.onnx", input=["w"])
    with pytest.raises(CfgError, match=r"found 'relu', no node or tensor.*did you mean 'relu0'"):
        new_cfg("small.onnx", output=["relu"])
    with pytest.raises(UsageError, match="mode: found 'walk'"):
        new_cfg("small.onnx", mode="walk")
    with pytest.raises(FileError, match=r"model not found: none\.onnx"):
        new_cfg("none.onnx")
    (project / "empty.onnx").write_bytes(b"")
    with pytest.raises(FileError, match="not an ONNX model"):
        new_cfg("empty.onnx")


def test_new_layout_and_file_names(project: Path) -> None:
    make_model(project / "last.onnx", (1, 8, 6, 3))
    assert new_cfg("last.onnx").parser.input_data_format == "NHWC"
    assert nhwc_shape((1, 3, 8, 6), "NCHW") == (1, 8, 6, 3)
    assert nhwc_shape((1, 8, 6, 3), "NHWC") == (1, 8, 6, 3)
    assert nhwc_shape((1, 10), "NCHW") == (1, 10)
