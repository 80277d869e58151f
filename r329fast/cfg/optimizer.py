"""The [Optimizer] section: the 100 fields of the vendor's newer optimiser, with their defaults.

Values stay text, as in the file; `Optimizer` reads them by type. A field that nothing here acts on
is kept, and `Optimizer.warnings` names it where its value is not the vendor's default.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from r329fast.cfg.scoped import Scoped, parse_scoped
from r329fast.cfg.values import BadValueError
from r329fast.errors import CfgError, nearest

TARGET_FAMILIES = ("Z1", "Z2", "Z3", "X1", "X2", "X3", "X3P", "X3S")

DEFAULTS: dict[str, str] = {
    # files & flow
    "graph": "",
    "bin": "",
    "model_name": "unknown",
    "out_ir_name": "",
    "quant_ir_name": "",
    "output_dir": "./opt_log",
    "opt_config": "",
    "qconfig": "",
    "statistic_file": "",
    "save_statistic_info": "False",
    "ignore_missing_statistic": "False",
    "skip_optimization": "false",
    "dataloader_workers": "0",
    "modify_batch_dim": "False",
    "export_parallel_batch": "False",
    "without_batch_dim": "False",
    "data_batch_dim": "0",
    "label_batch_dim": "0",
    # data & metrics
    "dataset": "",
    "calibration_data": "",
    "calibration_batch_size": "1",
    "calibration_shuffe": "False",
    "metric": "",
    "data": "",
    "label": "",
    "metric_batch_size": "1",
    "eval_optimized_model": "True",
    "eval_original_model": "True",
    "similarity_data_num": "1",
    "write_similarity_to_ir": "False",
    "record_debug_acc_info": "False",
    "dump": "False",
    "dump_dir": "./opt_dump",
    # quantisation
    "quantize_method_for_weight": "per_tensor_symmetric_restricted_range",
    "quantize_method_for_activation": "per_tensor_symmetric_full_range",
    "weight_bits": "8",
    "activation_bits": "8",
    "bias_bits": "32",
    "bias_effective_bits": "",
    "bias_effective_bits_auto_adaption": "False",
    "multiplier_bits": "",
    "lut_items_in_bits": "8",
    "quant_type": "disable",
    "weight_block_size": "256",
    "activation_block_size": "256",
    "force_dtype_int": "False",
    "force_shift_positive": "False",
    "unify_shifts_for_aiff": "True",
    "remain_shift": "",
    "set_qinvariant_for_start_nodes": "",
    "activation_perchannel_min_elements": "1",
    "regularize_activation_perchannel_scales": "disable",
    "mixed_precision_auto_search": "0,0.,L",
    "trigger_float_op": "disable",
    # calibration
    "calibration_strategy_for_weight": "extrema",
    "calibration_strategy_for_activation": "mean",
    "running_statistic_momentum": "0.9",
    "histc_bins": "2048",
    "trim_infinity_before_statistic": "clip(-inf, inf)",
    "global_calibration": "none",
    # hardware
    "min_compatible_zhouyi_target": "X2",
    "cast_dtypes_for_lib": "False",
    "perf_mode_for_lib": "True",
    "with_winograd": "False",
    "optimize_wdc_for_x2": "False",
    "resize_degrade_to_nearest": "False",
    "featuremap_tiling_param": "",
    "featuremap_splits_item_x": "1",
    "featuremap_splits_item_y": "1",
    "featuremap_splits_concat_blk": "3",
    "featuremap_splits_overlap_rate": "50",
    "featuremap_splits_sram_size": "0",
    # scale unification
    "unify_scales_for_concat": "False",
    "unify_scales_for_concat_threshold": "1.05",
    "unify_scales_for_concat_max_depth": "20",
    "unify_scales_for_kvc_concat": "False",
    "unify_scales_for_multi_inputs_operators": "",
    # debug
    "fake_quant_scopes_for_debug": "",
    "fake_quant_operators_for_debug": "",
    # passes, dynamic shape, third-party quantised models
    "compat_quantized_model_simplify_dequantize_quantize": "True",
    "enable_pass_merge_matmul_mul": "True",
    "enable_pass_convert_resize_to_convolution": "False",
    "enable_pass_decompose_nonmonotonic_activations": "False",
    "enable_pass_tune_op_complicated_activations": "[0][0]",
    "enable_pass_tune_op_softmax": "[0][0]",
    "enable_pass_deeply_set_unquantifiable": "false",
    "enable_pass_split_qkv_fc_in_transformer": "False",
    "enable_pass_detect_inf_mask_nodes": "False",
    "ds_output_shape_constant": "disable",
    "enable_ds": "False",
    "compat_quantized_model_eliminate_cast": "True",
    "compat_quantized_model": "False",
    "compat_quantized_model_strategy": "8bSymWeightUnchange",
    "compat_quantized_model_int8_to_uint8": "False",
    "compat_quantized_model_ops": "",
    "compat_quantized_model_unify_shifts_mode": "auto",
    "compat_quantized_model_left_shift_bits": "8",
    "compat_quantized_model_force_weight_asym": "False",
    "enable_pass_scaled_dot_product_attention": "False",
    "ds_parameter_constant": "disable",
}

# Ready-made ranges instead of calibration: read here, unknown to the vendor's optimiser.
RANGE_FILES = ("ts_max_file", "ts_min_file")

_WEIGHT_METHODS = (
    "per_tensor_symmetric_restricted_range",
    "per_tensor_symmetric_full_range",
    "per_channel_symmetric_restricted_range",
    "per_channel_symmetric_full_range",
    "per_tensor_asymmetric",
    "per_channel_asymmetric",
)
_ACTIVATION_METHODS = (
    "per_tensor_symmetric_restricted_range",
    "per_tensor_symmetric_full_range",
    "per_tensor_asymmetric",
)
_NUMBER = r"\d+(?:\.\d+)?"
# what calibration.strategies.parse_strategy reads; a test holds the two together
_STRATEGY = re.compile(
    rf"mean|extrema|in_ir|{_NUMBER}std|(?:{_NUMBER})?(?:kld|percentile|aciq_laplace|aciq_gauss)"
)
_WEIGHT_STRATEGIES = ("extrema", "mean", "in_ir")

Check = Callable[[str], None]


def _one_of(*allowed: str) -> Check:
    def check(value: str) -> None:
        if value.lower() not in allowed:
            raise BadValueError(
                f"found {value!r}, allowed {', '.join(allowed)}{nearest(value.lower(), allowed)}"
            )

    return check


def _integer(low: int, high: int | None = None, *, empty: bool = False) -> Check:
    limit = f"{low}..{high}" if high is not None else f"at least {low}"

    def check(value: str) -> None:
        if empty and not value:
            return
        good = re.fullmatch(r"[+-]?\d{1,18}", value)
        if not good or int(value) < low or (high is not None and int(value) > high):
            raise BadValueError(f"found {value!r}, allowed: a whole number, {limit}")

    return check


def _real(low: float, high: float = float("inf")) -> Check:
    def check(value: str) -> None:
        try:
            good = low <= float(value) <= high
        except ValueError:
            good = False
        if not good:
            limit = f"{low:g}..{high:g}" if high != float("inf") else f"at least {low:g}"
            raise BadValueError(f"found {value!r}, allowed: a number, {limit}")

    return check


def _strategy(value: str) -> None:
    if not _STRATEGY.fullmatch(value.lower()):
        names = ("mean", "extrema", "in_ir", "kld", "aciq_laplace", "aciq_gauss", "percentile")
        raise BadValueError(
            f"found {value!r}, allowed mean, extrema, in_ir, Nstd, [N]kld, [R]percentile, "
            f"[R]aciq_laplace, [R]aciq_gauss (N, R: numbers such as 3 or 0.9)"
            f"{nearest(value.lower(), names)}"
        )


def _weight_strategy(value: str) -> None:
    if value.lower() not in _WEIGHT_STRATEGIES:
        raise BadValueError(
            f"found {value!r}, allowed {', '.join(_WEIGHT_STRATEGIES)} (all of them the extrema "
            f"of the weights){nearest(value.lower(), _WEIGHT_STRATEGIES)}"
        )


def _target(value: str) -> None:
    _one_of(*(family.lower() for family in TARGET_FAMILIES))(value.split("_")[0])


def _anything(_value: str) -> None:
    """Any text will do."""


_FLAG = _one_of("true", "false")

# the fields that r329fast acts on, and what it can do with them
ACTED_ON: dict[str, Check] = {
    "dataset": _anything,
    "calibration_data": _anything,
    "calibration_batch_size": _integer(1),
    "quantize_method_for_weight": _one_of(*_WEIGHT_METHODS),
    "quantize_method_for_activation": _one_of(*_ACTIVATION_METHODS),
    "weight_bits": _one_of("8", "16"),
    "activation_bits": _one_of("8", "16"),
    "bias_bits": _integer(16, 48),
    "bias_effective_bits": _integer(16, 48, empty=True),
    "multiplier_bits": _integer(2, 15, empty=True),
    "lut_items_in_bits": _integer(8, 16),
    "force_dtype_int": _FLAG,
    "force_shift_positive": _FLAG,
    "unify_shifts_for_aiff": _FLAG,
    "calibration_strategy_for_weight": _weight_strategy,
    "calibration_strategy_for_activation": _strategy,
    "running_statistic_momentum": _real(0.0, 1.0),
    "histc_bins": _integer(1),
    "unify_scales_for_concat_threshold": _real(1.0),
    "min_compatible_zhouyi_target": _target,
}
SCOPED = frozenset(
    {
        "quantize_method_for_weight",
        "quantize_method_for_activation",
        "calibration_strategy_for_weight",
        "calibration_strategy_for_activation",
        "activation_bits",
        "weight_bits",
        "bias_bits",
        "lut_items_in_bits",
    }
)


# fields of [AutoQuantizationTool] that have another name here
_RENAMED = {
    "calibration_method": "calibration_strategy_for_activation",
    "ops_per_channel": "quantize_method_for_weight",
    "quantize_method": "quantize_method_for_activation",
    "quant_precision": "weight_bits",
}


def _unknown(name: str) -> str:
    if name in _RENAMED:
        return f"a field of [AutoQuantizationTool], ignored, here it is {_RENAMED[name]!r}"
    return f"unknown field, ignored{nearest(name, DEFAULTS)}"


def _plain(value: str) -> str:
    """The value as the vendor's tool compares it: no spaces, no case, 0. equal to 0.0."""
    text = re.sub(r"\s+", "", value).lower()
    try:
        return repr(float(text))
    except ValueError:
        return text


@dataclass
class Optimizer:
    """The fields set in [Optimizer], as text by lower-case name in file order."""

    TITLE: ClassVar[str] = "Optimizer"

    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def known(cls) -> tuple[str, ...]:
        return (*DEFAULTS, *RANGE_FILES)

    def items(self) -> list[tuple[str, str]]:
        return list(self.values.items())

    def text(self, name: str) -> str:
        """The value of a field, the vendor's default where absent or empty.

        Raises CfgError for a name that is no field.
        """
        if name not in DEFAULTS:
            raise CfgError(f"[Optimizer] has no field {name!r}{nearest(name, DEFAULTS)}", key=name)
        return self.values.get(name, "").strip() or DEFAULTS[name]

    def range_files(self) -> tuple[str, str]:
        """(ts_max_file, ts_min_file), '' where absent."""
        high, low = (self.values.get(name, "").strip() for name in RANGE_FILES)
        return high, low

    def integer(self, name: str) -> int | None:
        """A whole number, or None where the field is empty by default."""
        text = self._checked(name)
        return int(text) if text else None

    def real(self, name: str) -> float:
        return float(self._checked(name))

    def flag(self, name: str) -> bool:
        return self._checked(name).lower() == "true"

    def scoped(self, name: str) -> Scoped:
        """The value of a field that may differ from layer to layer."""
        return parse_scoped(self._checked(name))

    def _checked(self, name: str) -> str:
        try:
            self.check(name)
        except BadValueError as error:
            raise CfgError(f"[Optimizer] {name}: {error}", key=name) from error
        return self.text(name)

    def check(self, name: str) -> None:
        """Raise BadValueError where r329fast acts on the field and cannot do what it asks for."""
        rule = ACTED_ON.get(name)
        if rule is None:
            return
        text = self.text(name)
        if name not in SCOPED and "&" in text and "<" in text:
            raise BadValueError(
                f"found {text!r}, allowed: one value for all layers "
                f"(values by layer are read for {', '.join(sorted(SCOPED))})"
            )
        if name in SCOPED:
            scoped = parse_scoped(text)
            for value in (scoped.value, *(scope.value for scope in scoped.scopes)):
                rule(value)
        else:
            rule(text)

    def warnings(self) -> list[tuple[str, str]]:
        """(field, message) for everything that is accepted but will not be done."""
        found = []
        for name, value in self.values.items():
            if name in RANGE_FILES:
                continue
            if name not in DEFAULTS:
                found.append((name, _unknown(name)))
            elif name not in ACTED_ON and value and _plain(value) != _plain(DEFAULTS[name]):
                found.append(
                    (name, f"not acted on: found {value!r}, the default is {DEFAULTS[name]!r}")
                )
        dataset = self.text("dataset")
        if dataset and not dataset.lower().startswith("numpy"):
            found.append(
                ("dataset", f"found {dataset!r}: calibration_data is read as one .npy array")
            )
        target = self.text("min_compatible_zhouyi_target")
        if target.split("_")[0].upper() != "Z1":
            found.append(
                (
                    "min_compatible_zhouyi_target",
                    f"found {target!r}, the numbers are those of Z1 (write Z1_0701)",
                )
            )
        return found
