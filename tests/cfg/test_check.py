"""Checking a cfg and the files that it names; making one for a model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.cfg_files import GOOD, make_model, make_sum, swap, write

from r329fast.cfg import (
    check_cfg,
    completed,
    new_cfg,
    nhwc_shape,
    read_cfg,
    read_model_names,
)
from r329fast.deploy.pipeline import load_config, load_graph
from r329fast.errors import CfgError, DataError, FileError, UsageError


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
        "[AutoQuantizationTool] calibration_data: dataset.npy: found 1 file for 2 inputs, allowed: "
        "one .npy per input, separated by commas, in the order a, b; or one .npz with arrays of "
        "these names"
    ]
    both = text.replace("= dataset.npy", "= dataset.npy, dataset.npy")
    assert check_cfg(write(project, both)) == []
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
        assert config.calibration_data == "./dataset/dataset.npz"
        assert "calibration_label" not in config.to_text()
        assert read_cfg(config.write(project / "new.cfg")) == config
    assert new_cfg("sum.onnx", scheme="compass42").calibration_data == "./dataset/dataset.npz"
    one = new_cfg("sum.onnx", input=["sum0"], input_shape="[1, 3, 8, 6]")
    assert one.calibration_data == "./dataset/dataset.npy"


def test_new_layout_and_file_names(project: Path) -> None:
    # the shape alone would say NHWC; the network is asked, as it is when the cfg runs
    make_model(project / "first.onnx", (1, 8, 6, 3))
    assert new_cfg("first.onnx").parser.input_data_format == "NCHW"
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 3])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 6])
    turned = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])]
    nodes = [*turned, helper.make_node("MaxPool", ["t"], ["y"], kernel_shape=[1, 1])]
    graph = helper.make_graph(nodes, "last", [info], [out])
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), project / "last.onnx")
    assert new_cfg("last.onnx").parser.input_data_format == "NHWC"
    assert nhwc_shape((1, 3, 8, 6), "NCHW") == (1, 8, 6, 3)
    assert nhwc_shape((1, 8, 6, 3), "NHWC") == (1, 8, 6, 3)
    assert nhwc_shape((1, 10), "NCHW") == (1, 10)


# --- what the model answers


@pytest.mark.parametrize("gone", [("input", "input_shape", "output"), ("input_shape",), ("input",)])
def test_names_and_shapes_left_to_the_model(project: Path, gone: tuple[str, ...]) -> None:
    keep = [line for line in GOOD.splitlines() if line.split("=")[0].strip() not in gone]
    path = write(project, "\n".join(keep) + "\n")
    assert check_cfg(path) == []
    parser = completed(read_cfg(path)).parser
    assert (parser.input, parser.input_shape, parser.output) == (
        ("data",), ((1, 3, 8, 6),), ("out",),
    )  # fmt: skip
    assert load_graph(load_config(path)).shapes["data"] == (8, 6, 3)


def test_ports_and_needed_inputs(project: Path) -> None:
    text = swap("input= data", "input= data:0").replace("output =out", "output =mid:0")
    assert check_cfg(write(project, text)) == []
    graph = load_graph(load_config(write(project, text)))
    assert graph.onnx_names[graph.outputs[0]] == "mid"
    make_sum(project / "sum.onnx")
    names = read_model_names(project / "sum.onnx")
    assert names.inputs_of(["out"]) == ("a", "b")
    make_model(project / "small.onnx", ("N", 3, "h", 6))
    text = GOOD.replace("input_shape = [1, 3, 8, 6]\n", "")
    with pytest.raises(CfgError, match=r"dimension 2 \('h'\) of input data is not fixed"):
        load_config(write(project, text))
    assert "dimension 2 ('h') of input data" in "\n".join(map(str, check_cfg(write(project, text))))


def test_unknown_domain_is_a_warning(project: Path) -> None:
    text = swap("= image_classification", "= super_resolution")
    (found,) = check_cfg(write(project, text))
    assert found.severity == "warning"
    assert "model_domain: found 'super_resolution', known are" in str(found)


HUB = """\
[Common]
mode = build
[Parser]
model_type = onnx
model_name = small
model_domain = super_resolution
input_model = ./small.onnx
[Optimizer]
output_dir = ./
dataset = NumpyDataset
calibration_data = dataset.npy
data = dataset.npy
label = label.npy
metric = TopKMetric,TopKMetric(5)
calibration_batch_size = 2
metric_batch_size = 1
dataloader_workers = 4
quantize_method_for_weight = per_channel_symmetric_restricted_range
quantize_method_for_activation = per_tensor_asymmetric
calibration_strategy_for_activation = extrema & <[Convolution]:mean>
weight_bits = 8
activation_bits = 8
bias_bits = 32
save_statistic_info = True
trigger_float_op = disable
min_compatible_zhouyi_target = Z1_0701
[GBuilder]
target = Z1_0701
outputs = aipu.bin
profile = True
"""


def test_sections_of_the_newer_hub(project: Path) -> None:
    findings = check_cfg(write(project, HUB))
    assert [item.severity for item in findings if item.severity == "error"] == []
    assert {"model_domain", "metric", "save_statistic_info"} <= {item.key for item in findings}
    assert load_graph(load_config(write(project, HUB))).outputs


# --- data of a new cfg


def test_new_takes_the_label_beside_the_data(project: Path) -> None:
    (project / "set").mkdir()
    np.save(project / "set" / "data.npy", np.zeros((2, 8, 6, 3), np.float32))
    config = new_cfg("small.onnx", calibration_data="set/data.npy")
    assert config.quantization is not None
    assert config.quantization.calibration_label == ""
    np.save(project / "set" / "label.npy", np.arange(2))
    config = new_cfg("small.onnx", calibration_data="set/data.npy")
    assert config.quantization is not None
    assert config.quantization.calibration_label == "set/label.npy"
    config.write(project / "new.cfg")
    assert check_cfg("new.cfg") == []
    np.save(project / "set" / "label.npy", np.arange(3))
    with pytest.raises(DataError, match="found 3 labels, the dataset has 2 images"):
        new_cfg("small.onnx", calibration_data="set/data.npy")
    np.save(project / "set" / "data.npy", np.zeros((2, 8, 7, 3), np.float32))
    with pytest.raises(DataError, match=r"the network's input needs \[N, 8, 6, 3\]"):
        new_cfg("small.onnx", calibration_data="set/data.npy")


# --- models of other frameworks


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x1c\0\0\0TFL3" + bytes(40), "a TensorFlow Lite model.*--tflite"),
        (b"\x0a\x14\x0a\x05input\x12\x0bPlaceholder\x0a\x02", "a TensorFlow graph.*--graphdef"),
        (b"\x08\x01\x12\x20\x0a\x1e\x12\x05serve" + bytes(30), "a TensorFlow graph.*saved-model"),
        (b"\x0a\x05lenet\xa2\x06\x10" + bytes(16), "a Caffe model.*caffe2onnx"),
        (b'name: "net"\nlayer {\n', "a Caffe model.*caffe2onnx"),
        (
            b"PK\x03\x04" + bytes(20) + b"m/data.pkl" + bytes(20),
            "a PyTorch file.*onnx.export",
        ),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "a Keras .HDF5. model.*--keras"),
    ],
)
def test_other_frameworks_by_content(project: Path, data: bytes, words: str) -> None:
    (project / "model.bin").write_bytes(data)
    with pytest.raises(FileError, match=words):
        read_model_names("model.bin")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("caffe", "caffe2onnx"), ("tensorflow", "tf2onnx"), ("tflite", "tflite2onnx MODEL")],
)
def test_other_model_types(project: Path, kind: str, words: str) -> None:
    path = write(project, swap("model_type = onnx", f"model_type = {kind}"))
    with pytest.raises(CfgError, match=rf"found '{kind}', allowed onnx: .*{words}"):
        read_cfg(path)
