"""The [Optimizer] section of a cfg: its fields, their checks, values by layer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.cfg_files import OPTIMIZER, write

from r329fast.calibration.strategies import parse_strategy
from r329fast.cfg import Optimizer, parse_scoped, read_cfg
from r329fast.cfg.optimizer import ACTED_ON, DEFAULTS, SCOPED
from r329fast.cfg.run_config import examine, parse_cfg
from r329fast.cfg.values import BadValueError
from r329fast.errors import CfgError, UsageError

STRATEGY = "calibration_strategy_for_activation"


def test_all_fields_are_known() -> None:
    assert len(DEFAULTS) == 100
    assert set(ACTED_ON) <= set(DEFAULTS)
    assert set(ACTED_ON) >= SCOPED
    for name in DEFAULTS:
        Optimizer().check(name)


@pytest.mark.shared
def test_fields_and_defaults_are_the_vendors(shared: Path) -> None:
    rows = re.findall(
        r"^\| (\w+) \| (?:''|`(.*?)`) \|",
        (shared / "spec" / "vendor_fields.md").read_text().split("## B.")[1],
        re.MULTILINE,
    )
    assert dict(rows) == DEFAULTS


def test_optimizer_values_by_type(tmp_path: Path) -> None:
    text = OPTIMIZER.format("Bias_Effective_Bits = 16\nforce_dtype_int = TRUE\nhistc_bins=")
    config = read_cfg(write(tmp_path, text))
    assert config.scheme == "compass42"
    assert config.calibration_data == "dataset.npy"
    assert config.warnings == []
    optimizer = config.optimizer
    assert optimizer is not None
    assert optimizer.integer("bias_effective_bits") == 16
    assert optimizer.integer("multiplier_bits") is None
    assert optimizer.integer("histc_bins") == 2048
    assert optimizer.flag("force_dtype_int") is True
    assert optimizer.flag("unify_shifts_for_aiff") is True
    assert optimizer.real("running_statistic_momentum") == 0.9
    assert optimizer.text("metric") == ""
    assert optimizer.scoped("calibration_strategy_for_activation").value == "mean"
    with pytest.raises(CfgError, match="no field 'histc_bin', did you mean 'histc_bins'"):
        optimizer.text("histc_bin")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("weight_bits = 4", "weight_bits: found '4', allowed 8, 16$"),
        ("activation_bits = 12", "activation_bits: found '12', allowed 8, 16"),
        ("activation_bits = 16 & <[Softmax]:9>", "activation_bits: found '9', allowed 8, 16"),
        ("bias_bits = 8", "bias_bits: found '8', allowed: a whole number, 16..48"),
        ("bias_effective_bits = 8", "bias_effective_bits: found '8', .*16..48"),
        ("multiplier_bits = 16", "multiplier_bits: .*2..15"),
        ("lut_items_in_bits = 7", "lut_items_in_bits: .*8..16"),
        ("force_dtype_int = yes", "force_dtype_int: found 'yes', allowed true, false"),
        ("running_statistic_momentum = 1.5", "momentum: found '1.5', allowed: a number, 0..1"),
        ("running_statistic_momentum = nan", "momentum: found 'nan'"),
        ("histc_bins = 0", "histc_bins: .*at least 1"),
        ("unify_scales_for_concat_threshold = 0.9", "threshold: .*at least 1"),
        ("quantize_method_for_weight = per_block_asymmetric", "allowed per_tensor_symmetric"),
        ("quantize_method_for_weight = per_channel_symetric_full_range", "did you mean 'per_chann"),
        ("quantize_method_for_activation = per_channel_symmetric_full_range", "allowed per_tensor"),
        ("calibration_strategy_for_activation = meen", "did you mean 'mean'"),
        ("calibration_strategy_for_activation = mean & <[Convolution:kld>", "allowed: value & <"),
        ("calibration_strategy_for_activation = mean & <[Conv]:klx>", "found 'klx'"),
        (
            "calibration_strategy_for_activation = mean & <{a(}:kld>",
            "allowed: a regular expression",
        ),
        (
            "calibration_strategy_for_activation = weighted_scale_param[1,0.5,0.3,2]",
            r"found 'weighted_scale_param\[1,0.5,0.3,2\]', allowed mean, extrema, in_ir, Nstd, ",
        ),
        ("calibration_strategy_for_activation = mean & <[Conv]:1.kld>", "found '1.kld', allowed"),
        (
            "calibration_strategy_for_weight = 3std",
            "found '3std', allowed extrema, mean, in_ir .al",
        ),
        ("calibration_strategy_for_weight = extrem", "did you mean 'extrema'"),
        ("calibration_strategy_for_weight = mean & <[Conv]:kld>", "found 'kld', allowed extrema"),
        ("multiplier_bits = 8 & <[Convolution]:4>", "allowed: one value for all layers"),
        ("min_compatible_zhouyi_target = X9_1", "min_compatible_zhouyi_target: found 'X9'"),
    ],
)
def test_optimizer_refuses_what_it_cannot_do(tmp_path: Path, line: str, message: str) -> None:
    text = OPTIMIZER.format(line)
    if line.startswith("min_"):
        text = text.replace("min_compatible_zhouyi_target = Z1_0701\n", "")
    with pytest.raises(CfgError, match=message):
        read_cfg(write(tmp_path, text))


@pytest.mark.parametrize(
    "value",
    ["extrema", "in_ir", "3std", "kld", "20KLD", "1.5aciq_gauss", "aciq_laplace", "0.99percentile",
     "mean & <[(1, 3),(7,9)]:kld> <[Pooling]:extrema>"],
)  # fmt: skip
def test_optimizer_strategies(tmp_path: Path, value: str) -> None:
    text = OPTIMIZER.format(f"calibration_strategy_for_activation = {value}")
    assert read_cfg(write(tmp_path, text)).warnings == []


@pytest.mark.parametrize(
    "word",
    ["mean", "MEAN", "extrema", "in_ir", "3std", "0.5std", "kld", "10kld", "2.5kld", "percentile",
     "0.99percentile", "aciq_laplace", "1.5aciq_laplace", "aciq_gauss", "3Aciq_Gauss",
     "std", "2mean", "1extrema", "3in_ir", "1.kld", ".5kld", "3 std", "-1kld", "1e2kld", "median",
       "kld10", "3.std", "weighted_scale_param", "weighted_scale_param[1,2,3,4]", "in_irx", "²std"],
)  # fmt: skip
def test_cfg_and_calibration_agree_on_strategies(word: str) -> None:
    """The rooms do not know each other, so each has its own pattern."""
    for value, scoped in ((word, word), (word, f"mean & <[(1,2)]:{word}> <[Pooling]:kld>")):
        try:
            parse_strategy(value)
            good = True
        except UsageError:
            good = False
        try:
            Optimizer({STRATEGY: scoped}).check(STRATEGY)
            accepted = True
        except BadValueError:
            accepted = False
        assert accepted == good


@pytest.mark.parametrize("value", ["mean", "Extrema", "in_ir", "mean & <[Convolution]:IN_IR>"])
def test_weight_strategies(tmp_path: Path, value: str) -> None:
    text = OPTIMIZER.format(f"calibration_strategy_for_weight = {value}")
    assert read_cfg(write(tmp_path, text)).warnings == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("with_winograd = True", "with_winograd: not acted on: found 'True', the default is"),
        ("global_calibration = adaround", "global_calibration: not acted on"),
        ("min_compatible_zhouyi_target = X2_1204", "the numbers are those of Z1"),
        ("min_compatible_zhouyi_target =", "found 'X2', the numbers are those of Z1"),
        ("dataset = TensorflowImageNet", "calibration_data is read as one"),
        ("histc_bin = 5", "histc_bin: unknown field, ignored, did you mean 'histc_bins'"),
    ],
)
def test_optimizer_warns(tmp_path: Path, line: str, message: str) -> None:
    text = OPTIMIZER.format(line)
    if line.startswith("min_"):
        text = text.replace("min_compatible_zhouyi_target = Z1_0701\n", "")
    warnings = read_cfg(write(tmp_path, text)).warnings
    assert len(warnings) == 1
    assert message in warnings[0]


@pytest.mark.parametrize(
    "line",
    ["skip_optimization = FALSE", "dataset = NumpyDataset", "opt_config =", "dump = false",
     "mixed_precision_auto_search = 0, 0., L", "featuremap_splits_sram_size = 0.0"],
)  # fmt: skip
def test_defaults_in_other_words_do_not_warn(tmp_path: Path, line: str) -> None:
    assert read_cfg(write(tmp_path, OPTIMIZER.format(line))).warnings == []


def test_scope_precedence() -> None:
    value = parse_scoped("a & <{conv_[12]:}:r> <[Convolution, sigmoid]:T> <[(2,4),(9, 9)]:n>")
    assert value.value == "a"
    assert value.for_layer(3, "Convolution", "conv_1:") == "n"
    assert value.for_layer(9, "Eltwise", "x") == "n"
    assert value.for_layer(5, "convolution", "conv_1:") == "t"
    assert value.for_layer(5, "Activation", "x", method="Sigmoid") == "t"
    assert value.for_layer(5, "Eltwise", "conv_2:_post") == "r"
    assert value.for_layer(5, "Eltwise", "my_conv_2:") == "a"


@pytest.mark.parametrize(
    "text", ["<[A]:b>", "a &", "& <[A]:b>", "a & b", "a & <[A]>", "a & <[(1)]:b>", "a & <[]:b>",
             "a & <{}:b>", "a & <[A]:>", "a & <[A]:b> c"],
)  # fmt: skip
def test_scopes_that_are_none(text: str) -> None:
    with pytest.raises(BadValueError):
        parse_scoped(text)


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "((ab*)c)+", "(?:x{2,})*", "(" * 400])
def test_patterns_that_could_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(BadValueError, match="a regular expression"):
        parse_scoped(f"mean & <{{{pattern}}}:extrema>")


@pytest.mark.parametrize(
    "pattern", ["conv.*", "(conv|fc)_[0-9]+", r"conv_(\d\d)*", "a+?b", "[(+]*"]
)
def test_patterns_of_common_forms_stay(pattern: str) -> None:
    assert parse_scoped(f"mean & <{{{pattern}}}:extrema>").scopes


def test_ready_made_ranges_stand_for_calibration_data() -> None:
    """r329fast's own keys: both or none, and then no calibration_data is needed."""
    text = "[Common]\nmode = run\n[Parser]\nmodel_name = a\ninput_model = a.onnx\n"
    text += "[GBuilder]\ninputs = a.bin\noutputs = b.bin\n[Optimizer]\n"
    config, _ = parse_cfg(text + "ts_max_file = a.npy\nts_min_file = b.npy\n")
    found = [item for item in examine(config) if item.section == "Optimizer"]
    assert config.range_files == ("a.npy", "b.npy")
    assert not [item for item in found if item.severity == "error" or "ts_" in item.key]
    config, _ = parse_cfg(text + "ts_max_file = a.npy\n")
    assert any(item.key == "ts_min_file" for item in examine(config))
    config, _ = parse_cfg(text)
    assert any(item.key == "calibration_data" for item in examine(config))
