"""Exact counters against sums of the tests' own on the reference backend's tensors."""

from __future__ import annotations

import dataclasses
from math import prod
from pathlib import Path

import numpy as np
import pytest
from support.profiled import Case, bundled_case, own_accumulators, own_unclamped, shared_case

from r329fast.graph.ir import Graph
from r329fast.profile.accumulators import accumulators, clamp_limits, clamped_counts, unclamped
from r329fast.profile.data_counters import DataCounters, count_data
from r329fast.profile.precision import precision, program_options
from r329fast.program.counters import layer_counters
from r329fast.program.program import Op, Program, TensorSpec
from r329fast.reference import run_program

CHECKED = ("conv2d", "depthwise_conv2d", "fully_connected", "eltwise", "reduce_sum")


def check_data_counters(case: Case, images: int) -> int:
    """Every layer of a case over its first images; returns how many layers had sums."""
    program = case.program
    q = program.quantize_input(case.x[:images])
    # batches of unequal size: the sums must not depend on them
    found = count_data(program, [q[:1], q[1:]], threads=2)
    tensors = run_program(program, {program.inputs[0]: q})
    checked = 0
    for layer in program.layers:
        counters = found[layer.name]
        values = tensors[layer.outputs[0]]
        spec = program.tensors[layer.outputs[0]]
        assert counters.images == images
        assert counters.outputs == values.size
        assert counters.zeros == int((values.astype(np.int64) + spec.zero_point == 0).sum())
        lowest = -128 if spec.dtype == "int8" else 0
        for level in (spec.qmin, spec.qmax, 0, 17):
            at = level - lowest
            assert counters.histogram[at] == int((values == level).sum()), (layer.name, level)
        assert counters.histogram.sum() == values.size
        checked += check_sums(program, layer.name, counters, tensors)
    return checked


def check_sums(
    program: Program, name: str, counters: DataCounters, tensors: dict[str, np.ndarray]
) -> bool:
    layer = next(layer for layer in program.layers if layer.name == name)
    ops = program.ops[slice(*layer.ops)]
    sums = [own_accumulators(program, op, [tensors[n] for n in op.inputs]) for op in ops]
    known = [part for part in sums if part is not None]
    if not known or len(known) != len(ops):
        return False
    assert counters.acc_min == min(int(part.min()) for part in known), name
    assert counters.acc_max == max(int(part.max()) for part in known), name
    assert counters.headroom_bits is not None
    spare = 2**counters.headroom_bits
    largest = max(counters.acc_max, -counters.acc_min - 1)
    assert largest * spare < 2**31 <= max(largest, 1) * spare * 2, name
    spec = program.tensors[layer.outputs[0]]
    before = own_unclamped(ops[-1], known[-1], spec)
    assert np.array_equal(
        np.clip(before, spec.qmin, spec.qmax).reshape(-1), tensors[spec.name].reshape(-1)
    )
    cut_by_relu6 = layer.act == "RELU6" and round(6 * spec.scale) - spec.zero_point <= spec.qmax
    assert counters.saturated_low == int((before < spec.qmin).sum()), name
    expected = 0 if cut_by_relu6 else int((before > spec.qmax).sum())
    assert counters.saturated_high == expected, name
    return True


def check_static(program: Program, graph: Graph) -> None:
    """MACs, parameters and bytes from the float graph's shapes alone."""
    for counters, layer in zip(layer_counters(program), graph, strict=True):
        output = graph.shapes[layer.outputs[0]]
        weights = layer.consts.get("weights")
        macs = 0
        if layer.type in ("Convolution", "DepthwiseConv", "FullyConnected") and weights is not None:
            macs = prod(output) * prod(weights.shape[1:])
        assert counters.macs == macs, layer.name
        if layer.type in ("Convolution", "DepthwiseConv", "FullyConnected") and weights is not None:
            assert counters.parameters == weights.size + layer.consts["bias"].size
            assert counters.weight_bytes == weights.size + 4 * layer.consts["bias"].size
        assert counters.output_bytes == sum(prod(graph.shapes[name]) for name in layer.outputs)
        assert counters.input_bytes == sum(prod(graph.shapes[name]) for name in layer.inputs)


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
def test_bundled_network(scheme: str) -> None:
    case = bundled_case(scheme)
    check_static(case.program, case.graph)
    assert check_data_counters(case, 5) >= 18


def test_bundled_network_asymmetric() -> None:
    """Zero points everywhere: what stands for 0 is another integer."""
    case = bundled_case("compass42")
    options = dataclasses.replace(
        program_options(case.program),
        quantize_method_for_activation="per_tensor_asymmetric",
        quantize_method_for_weight="per_channel_symmetric_full_range",
    )
    from r329fast.quantization import quantize

    program = quantize(case.graph, case.ranges, "compass42", options)
    assert any(spec.zero_point for spec in program.tensors.values())
    assert check_data_counters(dataclasses.replace(case, program=program), 3) >= 15


@pytest.mark.shared
def test_resnet20(shared: Path) -> None:
    case = shared_case(shared / "data", "resnet20_cifar10", 16)
    check_static(case.program, case.graph)
    assert check_data_counters(case, 4) >= 30


@pytest.mark.shared
@pytest.mark.slow
def test_mobilenet_v2(shared: Path) -> None:
    case = shared_case(shared / "data", "mobilenet_v2_1.0_224", 16)
    check_static(case.program, case.graph)
    assert sum(counters.macs for counters in layer_counters(case.program)) == 300_774_272
    assert check_data_counters(case, 2) >= 60


# --- the last clamp, for every activation and rounding ------------------------------------------


def requantize_op(
    act: str, rounding: str, mult: list[int], shift: list[int], **more: object
) -> tuple[Op, TensorSpec]:
    consts = {"mult": np.array(mult, np.int32), "shift": np.array(shift, np.int32)}
    if act == "LEAKY":
        consts["slope"] = np.array(more.pop("slope"), np.int32)
    attrs = {"rounding": rounding, "act": act, "clip_min": 0, "clip_max": 0, "slope_shift": 0}
    op = Op("requantize", "r", ("x",), ("y",), {**attrs, **more}, consts)  # type: ignore[dict-item]
    zero_point = 3 if act == "NONE" else 0
    return op, TensorSpec("y", (4, 2), "int8", 10.0, zero_point, -128, 127)


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
@pytest.mark.parametrize(
    ("act", "more"),
    [
        ("NONE", {}),
        ("RELU", {}),
        ("CLIP", {"clip_min": 0, "clip_max": 200 * 256}),
        ("LEAKY", {"slope": [26], "slope_shift": 8}),
        ("LEAKY", {"slope": [26, -26], "slope_shift": 8}),
    ],
)
def test_clamp_limits_agree_with_every_value(
    act: str, more: dict[str, object], rounding: str
) -> None:
    """The bisection finds the very accumulators at which the clamp begins to cut."""
    op, output = requantize_op(act, rounding, [201, 9], [9, -2], **more)
    values = np.stack([np.arange(-40_000, 40_000)] * 2, axis=-1)
    result = unclamped(op, values, output)
    expected = int((result < output.qmin).sum()), int((result > output.qmax).sum())
    limits = clamp_limits(op, output)
    assert (limits is None) == (act == "LEAKY" and -26 in more["slope"])  # type: ignore[operator]
    assert clamped_counts(op, values, output, limits) == expected
    assert sum(expected) > 0


@pytest.mark.parametrize("kind", ["conv2d", "depthwise_conv2d"])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
def test_accumulators_of_odd_convolutions(kind: str, dilation: tuple[int, int]) -> None:
    """Groups, strides, dilations, uneven pads and a pad value, against plain loops."""
    rng = np.random.default_rng(5)
    depthwise = kind == "depthwise_conv2d"
    group, outputs = (6, 6) if depthwise else (2, 4)
    attrs = {
        "kernel": (3, 2),
        "stride": (2, 1),
        "dilation": dilation,
        "pads": (1, 0, 2, 1),
        "group": group,
        "pad_value": -7,
    }
    consts = {
        "weights": rng.integers(-128, 128, (outputs, 3, 2, 6 // group)).astype(np.int8),
        "bias": rng.integers(-(2**20), 2**20, outputs).astype(np.int32),
    }
    op = Op(kind, "c", ("x",), ("y",), attrs, consts)  # type: ignore[arg-type]
    rows = (9 + 3 - dilation[0] * 2 - 1) // 2 + 1
    columns = 7 + 1 - dilation[1] - 1 + 1
    specs = {
        "x": TensorSpec("x", (9, 7, 6), "int8", 1.0),
        "y": TensorSpec("y", (rows, columns, outputs), "int8", 1.0),
    }
    program = Program("p", "aqt2021", specs, [op], [], ("x",), ("y",))
    x = rng.integers(-128, 128, (3, 9, 7, 6)).astype(np.int8)
    found = np.stack([values for _, values in accumulators(program, op, [x])])
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=-7)
    for n, y, z, o in np.ndindex(found.shape):
        first = o // (outputs // group) * (6 // group)
        window = padded[n, 2 * y :: dilation[0], z :: dilation[1], first : first + 6 // group]
        weights = consts["weights"][o].astype(np.int64)
        assert found[n, y, z, o] == (window[:3, :2] * weights).sum() + consts["bias"][o]


# --- precision -----------------------------------------------------------------------------------


def test_precision_of_multipliers_and_biases() -> None:
    case = bundled_case()
    found = {item.name: item for item in precision(case.program, case.graph)}
    for layer in case.graph:
        if layer.type != "Convolution":
            continue
        record = next(item for item in case.program.layers if item.name == layer.name)
        op = case.program.ops[record.ops[0]]
        x, y = (case.program.tensors[name] for name in (op.inputs[0], op.outputs[0]))
        scale = 127 / float(np.abs(layer.consts["weights"]).max())
        ideal = y.scale / (x.scale * scale)
        error = abs(int(op.consts["mult"][0]) / 2.0 ** int(op.consts["shift"][0]) / ideal - 1)
        assert found[layer.name].multiplier_error == pytest.approx(error, abs=1e-9)
        assert found[layer.name].multiplier_min == int(op.consts["mult"][0])
        assert error <= 0.5 / 128 + 1e-9
        real = np.rint(layer.consts["bias"].astype(np.float64) * x.scale * scale)
        lost = found[layer.name].bias_bits_lost
        assert np.array_equal(op.consts["bias"], (real.astype(np.int64) >> lost) << lost)
        assert np.abs(op.consts["bias"].astype(np.int64) >> lost).max() < 2**15 + 1
    assert all(item.biases_clipped == 0 for item in found.values())
    # without the float graph the weights' scales are unknown, an addition's inputs are not
    alone = {item.name: item for item in precision(case.program)}
    assert all(
        (alone[layer.name].multiplier_error is None) == (layer.type != "Eltwise")
        for layer in case.graph
        if layer.type in ("Convolution", "FullyConnected", "Eltwise")
    )


def test_clipped_biases_are_counted() -> None:
    case = bundled_case("compass42")
    ops = list(case.program.ops)
    bias = ops[0].consts["bias"].copy()
    bias[:3] = [2**31 - 1, -(2**31), 2**31 - 1]
    ops[0] = dataclasses.replace(ops[0], consts={**ops[0].consts, "bias": bias})
    program = dataclasses.replace(case.program, ops=ops)
    found = precision(program, case.graph)
    assert [item.biases_clipped for item in found][:3] == [0, 3, 0]
