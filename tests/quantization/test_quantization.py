"""Options, scopes, both schemes' special rules, and errors."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from support.programs import small_graph, small_program, small_ranges

from r329fast.calibration import Ranges
from r329fast.errors import DataError, UsageError
from r329fast.graph import ir
from r329fast.program import TensorSpec
from r329fast.quantization import Options, quantize
from r329fast.quantization.aqt2021 import (
    Aqt2021,
    amplified_concats,
    concat_params,
    eltwise_add_params,
    fit_bias,
)
from r329fast.quantization.compass42 import clear_low_bits


def _op(program, layer: str, nth: int = 0):
    return [op for op in program.ops if op.layer == layer][nth]


def test_scales_and_dtypes_of_the_2021_scheme() -> None:
    program = small_program("aqt2021")
    tensors = program.tensors
    assert (tensors["x"].dtype, tensors["x"].scale) == ("int8", 127 / 2.5)
    assert (tensors["conv"].dtype, tensors["conv"].scale) == ("uint8", 255 / 9)
    assert (tensors["dw"].dtype, tensors["dw"].scale) == ("int8", 127 / 11)
    assert (tensors["pool"].dtype, tensors["pool"].scale) == ("uint8", 255 / 14)
    assert all(spec.zero_point == 0 for spec in tensors.values())


def test_weights_reach_127_per_tensor_and_per_depthwise_channel() -> None:
    program = small_program("aqt2021")
    assert np.abs(_op(program, "conv").consts["weights"]).max() == 127
    depthwise = np.abs(_op(program, "dw").consts["weights"].reshape(8, -1)).max(axis=1)
    assert set(depthwise) == {127}


def test_global_average_is_two_means_in_2021_and_one_window_in_compass42() -> None:
    first, second = (_op(small_program("aqt2021"), "pool", nth) for nth in (0, 1))
    assert (first.attrs["axes"], second.attrs["axes"]) == ((0,), (1,))
    # 1/8 as an 8-bit multiplier.
    assert (first.consts["mult"][0], first.consts["shift"][0]) == (128, 10)
    assert _op(small_program("compass42"), "pool").kind == "avgpool"


@pytest.mark.parametrize(
    ("bias", "bits", "expected", "shift"),
    [
        ([0, 1, -1], 16, [0, 1, -1], 0),
        ([32767, -32768], 16, [32767, -32768], 0),
        ([32768], 16, [32768], 1),
        ([65535, -65535], 16, [65534, -65536], 1),
        ([2**31 - 1], 16, [(2**31 - 1) >> 16 << 16], 16),
    ],
)
def test_biases_fit_16_bits_with_one_left_shift(bias, bits, expected, shift) -> None:
    fitted, found = fit_bias(np.array(bias, dtype=np.int64), bits)
    assert (list(fitted), found) == (expected, shift)


def test_effective_bias_bits_of_compass42() -> None:
    bias = np.array([100_000, -5], dtype=np.int64)
    # 100,000 needs 2 more bits than 16: the low 2 are floored away in all.
    assert list(clear_low_bits(bias, 16)) == [100_000, -8]
    assert list(clear_low_bits(bias, 32)) == [100_000, -5]


def test_eltwise_multipliers_of_2021() -> None:
    scales, mult, shift = eltwise_add_params(10.0, 20.0, 5.0)
    assert list(scales) == [512, 256]
    assert mult / 2**shift == pytest.approx(5 / (20 * 256), rel=2**-8)
    # A huge ratio halves both until they fit 15 bits.
    scales, _, _ = eltwise_add_params(1.0, 1000.0, 5.0)
    assert scales.max() <= 32767
    assert scales.min() >= 1


def test_concat_of_2021_passes_equal_scales_and_rescales_mixed_ones() -> None:
    scheme = Aqt2021(Options())
    alike = [TensorSpec("a", (1,), "int8", 2.0), TensorSpec("b", (1,), "int8", 2.0)]
    out = TensorSpec("y", (2,), "int8", 2.0)
    assert [list(part) for part in scheme.concat(alike, out)] == [[1, 1], [0, 0]]
    mixed = [alike[0], TensorSpec("b", (1,), "int8", 4.0)]
    assert [list(part) for part in scheme.concat(mixed, out)] == [[255, 128], [8, 8]]


def test_rounding_reaches_every_requantising_op() -> None:
    for rounding in ("half_up", "floor"):
        program = small_program("aqt2021", rounding=rounding)
        words = {op.attrs["rounding"] for op in program.ops if "rounding" in op.attrs}
        assert words == {rounding}


def test_scoped_methods_in_the_vendors_words() -> None:
    method = (
        "per_tensor_symmetric_restricted_range & <[FullyConnected]:"
        "per_channel_symmetric_restricted_range>"
    )
    program = small_program("compass42", quantize_method_for_weight=method)
    assert _op(program, "conv").consts["mult"].shape == (1,)
    assert _op(program, "fc").consts["mult"].shape == (5,)


def test_asymmetric_weights_carry_their_zero_point() -> None:
    program = small_program("compass42", quantize_method_for_weight="per_channel_asymmetric")
    weights = _op(program, "conv").consts["weights"]
    assert weights.dtype == np.int16
    assert np.abs(weights).max() > 127


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounding": "nearest"}, "rounding: found 'nearest', allowed half_even"),
        ({"quantize_method_for_weight": "per_tensor_symetric"}, "quantize_method_for_weight"),
        ({"multiplier_bits": 16}, "multiplier_bits: found 16, allowed 2 to 15"),
        ({"bias_effective_bits": 8}, "bias_effective_bits: found 8"),
        ({"colour": 1}, "option 'colour'"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_program("compass42", **options)


def test_wrong_scheme_and_missing_range() -> None:
    with pytest.raises(UsageError, match="scheme 'aqt', allowed aqt2021, compass42"):
        small_program("aqt")
    ranges = small_ranges()
    del ranges.values["dw"]
    with pytest.raises(DataError, match="no entry for tensor 'dw'"):
        quantize(small_graph(), ranges, "aqt2021")


def test_a_tensor_that_is_always_zero_does_not_divide_by_zero() -> None:
    ranges = small_ranges()
    ranges.values["conv"] = (0.0, 0.0)
    for scheme in ("aqt2021", "compass42"):
        assert quantize(small_graph(), ranges, scheme).tensors["conv"].scale > 0


def test_folded_norm_pads_with_the_quantised_value_per_channel() -> None:
    graph = small_graph()
    graph.layers[1].consts["pad_values"] = np.array([0.5, -1.0, 100.0], dtype=np.float32)
    program = quantize(graph, small_ranges(), "aqt2021")
    assert list(_op(program, "conv").consts["pad_values"]) == [25, -51, 127]


def test_fused_clip_and_leaky_relu_constants() -> None:
    graph = small_graph()
    attrs = graph.layers[1].params(ir.ConvAttrs)
    graph.layers[1].attrs = ir.ConvAttrs(
        attrs.kernel, pads=attrs.pads, act=ir.Act("CLIP", clip_min=0.0, clip_max=6.0)
    )
    ranges = Ranges({**small_ranges().values, "conv": (0.0, 6.0)})
    op = _op(quantize(graph, ranges, "compass42"), "conv")
    assert (op.attrs["act"], op.attrs["clip_min"], op.attrs["clip_max"]) == ("CLIP", 0, 65280)
    graph.layers[1].attrs = ir.ConvAttrs(
        attrs.kernel, pads=attrs.pads, act=ir.Act("LEAKYRELU", alpha=0.1)
    )
    op = _op(quantize(graph, ranges, "compass42"), "conv")
    assert (op.attrs["act"], list(op.consts["slope"])) == ("LEAKY", [26])


def test_clip_with_one_bound_saturates_far_outside_every_output() -> None:
    graph = small_graph()
    attrs = graph.layers[1].params(ir.ConvAttrs)
    largest = float(np.finfo(np.float32).max)
    graph.layers[1].attrs = ir.ConvAttrs(
        attrs.kernel, pads=attrs.pads, act=ir.Act("CLIP", clip_min=-1.0, clip_max=largest)
    )
    op = _op(quantize(graph, small_ranges(), "compass42"), "conv")
    assert op.attrs["clip_max"] >= 2**30
    assert op.attrs["clip_min"] == round(-256 * float(np.float32(127.5) / np.float32(9)))


def test_a_dead_depthwise_channel_counts_for_the_bias_shift() -> None:
    """Its bias is huge in its own tiny scale; it never reaches the output, but costs low bits."""
    graph = small_graph()
    weights = graph.layers[2].consts["weights"]
    plain = _op(quantize(graph, small_ranges(), "aqt2021"), "dw").consts["bias"].copy()
    weights[3] *= np.float32(1e-6)
    op = _op(quantize(graph, small_ranges(), "aqt2021"), "dw")
    assert op.consts["mult"][3] == 0
    scale = 127 / float(np.abs(weights[3]).max()) * 255 / 9
    real = round(float(graph.layers[2].consts["bias"][3]) * scale)
    _, shift = fit_bias(np.array([real]), 16)
    assert shift > 5
    expected = (plain.astype(np.int64) >> shift) << shift
    expected[3] = (real >> shift) << shift
    np.testing.assert_array_equal(op.consts["bias"], expected)


@pytest.mark.parametrize(("low", "expected"), [(0.0, "uint8"), (0.25, "uint8"), (-1e-6, "int8")])
def test_an_input_that_is_never_below_zero_is_unsigned(low: float, expected: str) -> None:
    ranges = Ranges({**small_ranges().values, "x": (low, 2.5)})
    spec = quantize(small_graph(), ranges, "aqt2021").tensors["x"]
    assert spec.dtype == expected
    assert spec.scale == (255 if expected == "uint8" else 127) / 2.5
    seen = Ranges(ranges.values, {"x": (-0.1, 2.5)})  # an image went below, its mean did not
    assert quantize(small_graph(), seen, "aqt2021").tensors["x"].dtype == "int8"


def concat_graph(wide: float) -> tuple[ir.Graph, Ranges]:
    """x through a 1x1 slice of its own scale beside a narrow convolution."""
    weights = {"weights": np.ones((2, 1, 1, 3), np.float32), "bias": np.zeros(2, np.float32)}
    layers = [
        ir.Layer("x", "Input", ir.InputAttrs(), (), ("x",)),
        ir.Layer("conv", "Convolution", ir.ConvAttrs((1, 1)), ("x",), ("conv",), weights),
        ir.Layer("cat", "Concat", ir.ConcatAttrs(2), ("x", "conv"), ("cat",)),
    ]
    shapes = {"x": (4, 4, 3), "conv": (4, 4, 2), "cat": (4, 4, 5)}
    ranges = Ranges({"x": (-wide, wide), "conv": (-1.0, 1.0), "cat": (-1.0, 1.0)})
    return ir.Graph("cat", layers, shapes, ("cat",)), ranges


def test_concat_amplifies_an_input_whose_scale_is_smaller() -> None:
    program = quantize(*concat_graph(3.9), "aqt2021")
    op = _op(program, "cat")
    mult, shift = (op.consts[name].astype(np.float64) for name in ("mult", "shift"))
    assert mult[0] / 2 ** shift[0] == pytest.approx(3.9, rel=2**-8)
    assert (op.consts["mult"][1], op.consts["shift"][1]) == (255, 8)  # the ratio 1 beside it
    (line,) = amplified_concats(program)
    assert "'cat'" in line
    assert "'x'" in line
    assert "3.9" in line


@pytest.mark.parametrize("ratio", [1.0001, 1.5, 2.0, 255.4, 256.0, 1000.0])
def test_ratios_above_one_take_the_general_multiplier(ratio: float) -> None:
    mult, shift = concat_params(1.0, ratio)
    assert 128 <= mult <= 255
    assert mult / 2.0**shift == pytest.approx(ratio, rel=2**-8)


def test_concat_is_silent_where_nothing_is_amplified() -> None:
    program = quantize(*concat_graph(0.8), "aqt2021")
    assert list(_op(program, "cat").consts["mult"]) == [round(255 * 0.8), 255]
    assert amplified_concats(program) == []
    assert amplified_concats(quantize(*concat_graph(3.9), "compass42")) == []


@pytest.mark.parametrize("pair", [(0.0, 1e-42), (0.0, 1e30)])
def test_ranges_that_give_no_multiplier_are_a_data_error(pair) -> None:
    ranges = Ranges({**small_ranges().values, "conv": pair})
    with contextlib.suppress(DataError):
        quantize(small_graph(), ranges, "aqt2021")


def test_scopes_by_activation_kind_reach_activation_layers() -> None:
    options = Options(
        quantize_method_for_activation=(
            "per_tensor_symmetric_full_range & <[TANH]:per_tensor_asymmetric>"
        )
    )
    assert options.activation_mode(1, "Activation", "t", "TANH") == "asymmetric"
    assert options.activation_mode(1, "Convolution", "t") == "symmetric_full_range"


def test_a_closing_reshape_does_not_make_a_softmax_an_inner_one() -> None:
    graph = small_graph()
    graph.layers.append(ir.Layer("end", "Reshape", ir.ReshapeAttrs((1, 5)), ("prob",), ("end",)))
    graph.shapes["end"] = (1, 5)
    graph.outputs = ("end",)
    assert _op(quantize(graph, small_ranges(), "compass42"), "prob").kind == "softmax_lut"
