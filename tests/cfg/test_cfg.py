"""Vendor cfg files: reading and writing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cfg_files import GOOD, swap, write

from r329fast.cfg import (
    Common,
    GBuilder,
    Optimizer,
    Parser,
    Quantization,
    RunConfig,
    check_cfg,
    new_cfg,
    read_cfg,
)
from r329fast.cfg.optimizer import DEFAULTS
from r329fast.errors import CfgError, FileError


def test_reads_typed_values(tmp_path: Path) -> None:
    config = read_cfg(write(tmp_path, GOOD))
    assert config.common.mode == "run"
    assert config.parser.input == ("data",)
    assert config.parser.input_shape == ((1, 3, 8, 6),)
    assert config.parser.output == ("out",)
    assert config.parser.detection_postprocess == ""
    assert config.quantization is not None
    assert config.quantization.label_id_offset is None
    assert config.quantization.calibration_method == "MEAN"
    assert config.quantization.ops_per_channel == ("DepthwiseConv",)
    assert config.gbuilder.profile is True
    assert config.gbuilder.inputs == ("input.bin",)
    assert config.scheme == "aqt2021"
    assert config.calibration_data == "dataset.npy"
    assert config.warnings == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n[", "\n\n\n# a remark\n; another\n["),
        lambda text: text.replace("mode=run", "MODE \t=   RUN  "),
        lambda text: text.replace("model_type = onnx\n", ""),
        lambda text: text.replace("= [1, 3, 8, 6]", "=\n  [ 1,3,\n  8,6 ]"),
        lambda text: text.replace("input=", "input_names=").replace("output =", "output_names="),
        lambda text: text.rstrip("\n"),
    ],
)
def test_tolerates_the_forms_in_use(tmp_path: Path, change) -> None:
    assert read_cfg(write(tmp_path, change(GOOD))) == read_cfg(write(tmp_path, GOOD, "good.cfg"))


def test_several_inputs_and_shapes(tmp_path: Path) -> None:
    text = swap("input= data", "input = a, b").replace("[1, 3, 8, 6]", "[1,3,8,6] ,[1, 10]")
    text = text.replace("inputs=input.bin", "inputs = a.bin, b.bin")
    config = read_cfg(write(tmp_path, text))
    assert config.parser.input == ("a", "b")
    assert config.parser.input_shape == ((1, 3, 8, 6), (1, 10))
    assert config.gbuilder.inputs == ("a.bin", "b.bin")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[Common]\nmode=run\n", "", r"\[Common\] section is missing$"),
        ("[Parser]", "[Praser]", r"\[Parser\] section is missing, did you mean it by \[Praser\]\?"),
        ("[GBuilder]", "[gbuilder]", r"\[GBuilder\] section is missing, did you mean it by"),
        ("[AutoQuantizationTool]", "[X]", r"\[AutoQuantizationTool\] .*\(or \[Optimizer\]\)"),
        ("mode=run", "mode=rum", r"\[Common\] mode: found 'rum', allowed run, build, did you mean"),
        ("mode=run", "", r"\[Common\] mode: is missing"),
        ("model_type = onnx", "model_type = caffe", "model_type: found 'caffe'.*convert"),
        ("model_type = onnx", "model_type = tensorflow", "model_type: found 'tensorflow'.*convert"),
        ("model_type = onnx", "model_type = onxn", "allowed onnx, did you mean 'onnx'"),
        ("= [1, 3, 8, 6]", "= 1, 3, 8, 6", r"input_shape: found '1, 3, 8, 6', allowed: bracketed"),
        ("= [1, 3, 8, 6]", "= [1, 3, 8, x]", "input_shape: found"),
        ("= [1, 3, 8, 6]", "= [1, 3, 8, 6", "input_shape: found"),
        ("= [1, 3, 8, 6]", "= [1, 3, 0, 6]", "input_shape: .*at least 1"),
        ("= [1, 3, 8, 6]", "= [1, -3, 8, 6]", "input_shape: found"),
        ("= [1, 3, 8, 6]", "= [1, 3, 8, 6],[1, 2]", "found 2 shapes, allowed: one for each of 1"),
        ("input= data", "inpt= data", r"\[Parser\] input: is missing, did you mean it by 'inpt'"),
        ("output =out", "outputs_ =out", r"\[Parser\] output: is missing, did you mean it by"),
        ("= SYMMETRIC", "= ASYMMETRIC", "quantize_method: found 'ASYMMETRIC', allowed SYMMETRIC"),
        ("quant_precision = int8", "quant_precision = int16", "quant_precision: found 'int16'"),
        ("= DepthwiseConv", "= DepthwiseConvs", "ops_per_channel: found 'DepthwiseConvs', allowed "
                                                "Conv.*FullyConnected, did you mean 'DepthwiseC"),
        ("= DepthwiseConv", "= Convolution,Eltwise", "ops_per_channel: found 'Eltwise', allowed"),
        ("label_id_offset =", "label_id_offset = one", "label_id_offset: found 'one'"),
        ("calibration_data = dataset.npy", "", "calibration_data: is missing .ts_max_file"),
        ("calibration_data = dataset.npy", "ts_max_file = a.npy", "ts_min_file: is missing"),
        ("profile= True", "profile= Ture", "profile: found 'Ture', allowed True, False, did you"),
        ("inputs=input.bin", "", "inputs: is missing, mode = run"),
        ("inputs=input.bin", "inputs=a.bin,b.bin", "inputs: found 2 files, allowed: one for each"),
        ("outputs=output.bin", "", "outputs: is missing"),
        ("mode=run", "mode=run\nmode=run", r"\[Common\] mode: this key is there twice, line 3"),
        ("mode=run", "mode=run\n[Common]", r"\[Common\] this section is there twice, line 3"),
        ("mode=run", "mode=run\nnonsense", "line 3: found 'nonsense', allowed: key = value"),
        ("[Common]", "hello\n[Common]", r"line 1: found 'hello', allowed: a \[Section\] header"),
    ],
)  # fmt: skip
def test_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, swap(old, new))
    with pytest.raises(CfgError, match=message) as caught:
        read_cfg(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message


def test_ops_per_channel_in_any_case(tmp_path: Path) -> None:
    text = swap("= DepthwiseConv", "= depthwiseconv, CONVOLUTION ,FullyConnected")
    quantization = read_cfg(write(tmp_path, text)).quantization
    assert quantization is not None
    assert quantization.ops_per_channel == ("DepthwiseConv", "Convolution", "FullyConnected")


def test_absent_model_type_means_tensorflow(tmp_path: Path) -> None:
    text = swap("model_type = onnx\n", "").replace("small.onnx", "frozen.pb")
    with pytest.raises(CfgError, match=r"model_type: is missing, which means tensorflow.*frozen"):
        read_cfg(write(tmp_path, text))


def test_build_needs_no_input_file(tmp_path: Path) -> None:
    text = swap("mode=run", "mode=build").replace("inputs=input.bin\n", "")
    assert read_cfg(write(tmp_path, text)).gbuilder.inputs == ()


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*none\.cfg: No such file"):
        read_cfg(tmp_path / "none.cfg")
    with pytest.raises(FileError, match="cannot read"):
        read_cfg(tmp_path)
    binary = tmp_path / "binary.cfg"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="UTF-8"):
        read_cfg(binary)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mode=run", "mode=run\nmodee = x", r"\[Common\] modee: unknown key, ignored, did you"),
        ("target=Z1_0701", "target=Z2_1104", "target: found 'Z2_1104', the numbers are"),
        ("quant_precision", "reverse_rgb = True\nquant_precision", "reverse_rgb: not acted on"),
        ("quant_precision", "preprocess_mode=mfcc\nquant_precision", "preprocess_mode: not acted"),
        ("quant_precision", "quantize_batch_size=20\nquant_precision", "quantize_batch_size: not"),
        ("detection_postprocess =", "detection_postprocess = ssd", "detection_postprocess: not"),
        ("[GBuilder]", "[GBuild]\na = b\n[GBuilder]", r"\[GBuild\] unknown section, ignored, did"),
        ("[GBuilder]", "[Optimizer]\ncalibration_data=x\nmin_compatible_zhouyi_target=Z1\n"
                       "[GBuilder]", r"\[AutoQuantizationTool\] is not read"),
    ],
)  # fmt: skip
def test_warnings_are_returned(tmp_path: Path, old: str, new: str, message: str) -> None:
    warnings = read_cfg(write(tmp_path, swap(old, new))).warnings
    assert len(warnings) == 1
    assert re.search(message, warnings[0])


def test_harmless_keys_are_silent_and_kept(tmp_path: Path) -> None:
    text = swap("mode=run", "mode=run\nuse_aqt = True").replace(
        "quant_precision", "dataset_name = Some%Set\nquantize_batch_size = 1\nquant_precision"
    )
    config = read_cfg(write(tmp_path, text))
    assert config.warnings == []
    again = read_cfg(write(tmp_path, config.to_text(), "again.cfg"))
    assert again == config
    assert again.quantization is not None
    assert again.quantization.extra["dataset_name"] == "Some%Set"


# --- writing


def test_text_looks_like_a_vendor_cfg(tmp_path: Path) -> None:
    text = read_cfg(write(tmp_path, GOOD)).to_text()
    assert text.startswith("[Common]\nmode = run\n\n[Parser]\nmodel_type = onnx\n")
    assert "\ndetection_postprocess =\n" in text
    assert "\ninput_shape = [1, 3, 8, 6]\n" in text
    assert text.endswith("target = Z1_0701\n")
    assert all(line == line.rstrip() for line in text.split("\n"))


def test_value_with_a_line_break_is_refused() -> None:
    config = RunConfig()
    config.parser.model_name = "a\n[Common]"
    with pytest.raises(CfgError, match=r"model_name: found 'a\\n\[Common\]', allowed: text on one"):
        config.to_text()


word = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
item = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
items = st.lists(item, min_size=1, max_size=3).map(tuple)
key = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True).map("zz_{}".format)
shape = st.lists(st.integers(1, 999), min_size=1, max_size=5).map(tuple)
extra = st.dictionaries(key, word, max_size=3)
configs = st.builds(
    RunConfig,
    common=st.builds(Common, mode=st.sampled_from(["run", "build"]), extra=extra),
    parser=st.builds(
        Parser,
        input_data_format=st.sampled_from(["NCHW", "NHWC"]),
        model_name=word,
        input_model=word,
        input=items,
        input_shape=st.lists(shape, min_size=1, max_size=3).map(tuple),
        output=items,
        output_dir=word,
        extra=extra,
    ),
    quantization=st.none()
    | st.builds(
        Quantization,
        ops_per_channel=st.lists(
            st.sampled_from(["Convolution", "DepthwiseConv", "FullyConnected"]), max_size=3
        ).map(tuple),
        reverse_rgb=st.booleans(),
        calibration_data=word,
        label_id_offset=st.none() | st.integers(-9, 9),
        calibration_method=st.sampled_from(["MEAN", "EXTREME"]),
        ts_max_file=word,
        extra=extra,
    ),
    optimizer=st.none()
    | st.builds(Optimizer, st.dictionaries(st.sampled_from(sorted(DEFAULTS)), word, max_size=4)),
    gbuilder=st.builds(GBuilder, inputs=items, outputs=word, profile=st.booleans(), target=word),
    extra_sections=st.dictionaries(key, extra, max_size=2),
)


@given(configs)
@settings(max_examples=200, deadline=None)
def test_round_trip_is_byte_stable(config: RunConfig) -> None:
    from r329fast.cfg.run_config import parse_cfg

    text = config.to_text()
    assert parse_cfg(text)[0].to_text() == text


def test_a_blank_optional_value_is_written_as_nothing() -> None:
    """Found by the test above: the blank was written, and read back as the default."""
    from r329fast.cfg.run_config import parse_cfg

    text = RunConfig(parser=Parser(output_dir=" ")).to_text()
    assert "output_dir" not in text
    assert parse_cfg(text)[0].to_text() == text


# --- the real files


@pytest.mark.shared
def test_the_seed_cfg(shared: Path) -> None:
    path = shared / "artefacts" / "resnet18_seed" / "resnet_onnx_run.cfg"
    config = read_cfg(path)
    assert config.parser.model_name == "densnet"
    assert config.parser.output == ("resnetv22_dense0_fwd",)
    assert config.quantization is not None
    assert config.quantization.label_id_offset == 0
    assert config.warnings == []
    # the written form is the vendor's file with its spacing made even
    even = "\n".join(
        re.sub(r"\s*=\s*", " = ", line).rstrip() for line in path.read_text().split("\n")
    )
    assert config.to_text() == even.rstrip("\n") + "\n"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["vgg16/run.cfg", "vgg16/build.cfg", "gesture_z1/build.cfg"])
def test_tensorflow_cfgs_are_refused_for_their_model_only(shared: Path, name: str) -> None:
    path = shared / "artefacts" / name
    with pytest.raises(CfgError, match="convert the model with python -m tf2onnx"):
        read_cfg(path)
    unwanted = [
        item for item in check_cfg(path)
        if "convert the model" not in item.message and "o such file" not in item.message
        and "not found" not in item.message and "is not there yet" not in item.message
    ]  # fmt: skip
    assert unwanted == []


@pytest.mark.shared
def test_new_for_the_real_models(shared: Path, tmp_path: Path) -> None:
    for model in sorted((shared / "data" / "models").glob("*.onnx")):
        config = new_cfg(model)
        assert config.parser.input == ("input",)
        assert config.parser.output == ("logits",)
        assert config.parser.input_shape[0][:2] == (1, 3)
        assert read_cfg(config.write(tmp_path / "run.cfg")) == config
