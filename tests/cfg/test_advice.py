"""What messages advise to write into a cfg is what a cfg takes."""

from __future__ import annotations

import pytest

from r329fast.cfg import new_cfg
from r329fast.cfg.advice import extremes_setting, merged_settings
from r329fast.cfg.optimizer import ACTED_ON, Optimizer
from r329fast.deploy import bundled
from r329fast.errors import UsageError

PER_CHANNEL = "per_channel_symmetric_restricted_range"
METHOD = "per_tensor_symmetric_restricted_range"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["max_min: a = 0 to 1", "max_min: a = 0 to 1"], "max_min: a = 0 to 1"),
        (["[Optimizer] multiplier_bits = 15"], "[Optimizer] multiplier_bits = 15"),
        (
            [
                "[Optimizer] activation_bits = 8 & <[(3, 3)]:16>, weight_bits = 8 & <[(3, 3)]:16>",
                "[Optimizer] activation_bits = 8 & <[(9, 9), (12, 12)]:16>",
            ],
            "[Optimizer] activation_bits = 8 & <[(3, 3)]:16> <[(9, 9), (12, 12)]:16>; "
            "[Optimizer] weight_bits = 8 & <[(3, 3)]:16>",
        ),
        (  # the whole network's value makes the same one for a layer needless
            [
                f"[Optimizer] quantize_method_for_weight = {METHOD} & <{{/a\\.0}}:{PER_CHANNEL}>",
                "max_min: b = 0 to 1",
                f"[Optimizer] quantize_method_for_weight = {PER_CHANNEL}",
            ],
            f"[Optimizer] quantize_method_for_weight = {PER_CHANNEL}; max_min: b = 0 to 1",
        ),
        (  # what the cfg had by layer stays behind what is new
            [
                "[Optimizer] activation_bits = 8 & <[(3, 3)]:16> <[Softmax]:16>",
                "[Optimizer] activation_bits = 8 & <[(4, 4)]:16> <[Softmax]:16>",
            ],
            "[Optimizer] activation_bits = 8 & <[(3, 3)]:16> <[(4, 4)]:16> <[Softmax]:16>",
        ),
    ],
)
def test_each_key_stands_once(settings: list[str], expected: str) -> None:
    assert merged_settings(settings) == expected


def test_extremes_are_asked_for_by_the_key_of_the_scheme() -> None:
    section, key, value = extremes_setting("compass42").replace(" =", "").split()
    assert section == "[Optimizer]"
    ACTED_ON[key](value)
    assert extremes_setting("aqt2021") == "[AutoQuantizationTool] calibration_method = EXTREME"


def test_fields_of_the_other_section_are_named_with_what_they_are_here() -> None:
    found = dict(Optimizer({"calibration_method": "EXTREME", "quant_typo": "x"}).warnings())
    assert "'calibration_strategy_for_activation'" in found["calibration_method"]
    assert "did you mean 'quant_type'" in found["quant_typo"]


@pytest.mark.parametrize(
    ("scheme", "given", "written"),
    [
        ("aqt2021", "extreme", "EXTREME"),
        ("aqt2021", "extrema", "EXTREME"),
        ("aqt2021", "mean", "MEAN"),
        ("compass42", "EXTREME", "extrema"),
        ("compass42", "10kld", "10kld"),
    ],
)
def test_new_cfg_writes_methods_that_a_run_takes(scheme: str, given: str, written: str) -> None:
    config = new_cfg(
        bundled.path("net.onnx"), scheme=scheme, calibration_data="", calibration_method=given
    )
    method = (
        config.optimizer.text("calibration_strategy_for_activation")
        if config.optimizer
        else config.quantization and config.quantization.calibration_method
    )
    assert method == written


@pytest.mark.parametrize(("scheme", "near"), [("aqt2021", "EXTREME"), ("compass42", "extrema")])
def test_new_cfg_refuses_other_methods(scheme: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{near}'"):
        new_cfg(bundled.path("net.onnx"), scheme=scheme, calibration_method="extrem")
