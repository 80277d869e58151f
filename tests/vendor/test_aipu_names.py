"""Names, scales and constants: binaries beside the vendor's dicts, float networks and programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.aipu_canonical import canonical
from support.aipu_networks import small_network, small_program
from support.aipu_writer import write_aipu

import r329fast
from r329fast.bench.rebuilt import float_network
from r329fast.calibration import Ranges
from r329fast.errors import DataError, FileError, UsageError
from r329fast.graph.export.to_onnx import to_onnx
from r329fast.graph.ir import Graph, Layer, PoolingAttrs, ReshapeAttrs
from r329fast.program.program import Program
from r329fast.quantization import quantize
from r329fast.reference import run_program
from r329fast.vendor.aipu.container import parse_aipu_bin
from r329fast.vendor.aipu.diff import diff_programs
from r329fast.vendor.aipu.model import on_model
from r329fast.vendor.aipu.names import kind_of_name, with_ranges
from r329fast.vendor.aipu.program import build_program, load_program_of


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "artefacts" / "gesture_z1"


@pytest.fixture(scope="module")
def gesture(folder: Path) -> Program:
    """The TensorFlow build with the dicts that it was built from."""
    return r329fast.load_aipu(
        folder / "aipu_mobilenet6.bin",
        max_file=folder / "max_dict3.npy",
        min_file=folder / "min_dict3.npy",
    )


@pytest.fixture(scope="module")
def rebuilt(gesture: Program) -> tuple[Graph, Ranges]:
    return float_network(gesture)


@pytest.mark.shared
def test_names_and_scales_of_the_dicts(gesture: Program, folder: Path) -> None:
    ranges = Ranges.load_max_min(folder / "max_dict3.npy", folder / "min_dict3.npy")
    names = [layer.name for layer in gesture.layers]
    assert len(set(names)) == len(names) == 106
    assert all(name in ranges for name in names)
    assert gesture.inputs[:2] == ("x_input_0", "x_input0_0")
    assert gesture.outputs[0] == "fully_connected/BiasAdd_0"
    assert gesture.tensors[gesture.outputs[0]].scale == pytest.approx(127 / 65.31637573242188)
    assert gesture.tensors["Relu6_1_0"].scale == pytest.approx(255 / 6)
    assert gesture.tensors["Slice_3_0"].scale == gesture.tensors["concat_1_0"].scale
    plain = load_program_of(folder / "aipu_mobilenet6.bin")
    for ours, theirs in zip(gesture.ops, plain.ops, strict=True):
        assert ours.kind == theirs.kind
        for name, array in ours.consts.items():
            np.testing.assert_array_equal(array, theirs.consts[name])


@pytest.mark.shared
def test_wrong_dicts_are_found_out(folder: Path) -> None:
    ranges = Ranges.load_max_min(folder / "max_dict3.npy", folder / "min_dict3.npy")
    with pytest.raises(FileError, match="not those that it was built from"):
        with_ranges(load_program_of(folder / "aipu_onnx.bin"), ranges)
    fewer = dict(ranges.values)
    del fewer["Add_9_0"]
    with pytest.raises(FileError, match="10 layers like 'add', the dicts 9"):
        with_ranges(load_program_of(folder / "aipu_mobilenet6.bin"), Ranges(fewer))


@pytest.mark.shared
def test_all_constants_of_the_binary_are_ours(folder: Path, rebuilt: tuple[Graph, Ranges]) -> None:
    """75 of 75 layers, the three whose dead channels cost bias bits included."""
    ours = quantize(*rebuilt, scheme="aqt2021")
    found = diff_programs(ours, load_program_of(folder / "aipu_mobilenet6.bin"))
    assert found.equal
    assert found.counts == {
        "conv2d": (35, 35),
        "depthwise_conv2d": (17, 17),
        "eltwise": (10, 10),
        "concat": (10, 10),
        "reduce_sum": (2, 2),
        "fully_connected": (1, 1),
    }


@pytest.mark.shared
def test_without_dead_channels_counting_three_layers_would_differ(
    folder: Path, rebuilt: tuple[Graph, Ranges]
) -> None:
    """The comparison sees what it is there for: biases of dead channels set to zero."""
    graph, ranges = rebuilt
    ours = quantize(graph, ranges, scheme="aqt2021")
    dead = {op.layer: op.consts["mult"] == 0 for op in ours.ops if op.kind == "depthwise_conv2d"}
    for layer in graph:
        if layer.name in dead:
            bias = np.where(dead[layer.name], 0, layer.consts["bias"])
            layer.consts["bias"] = bias.astype(np.float32)
    mended = quantize(graph, ranges, scheme="aqt2021")
    found = diff_programs(mended, load_program_of(folder / "aipu_mobilenet6.bin"))
    differ = {layer.theirs: layer for layer in found.layers if not layer.equal}
    assert {"dw2", "dw35", "dw41"} <= set(differ)
    (item,) = differ["dw35"].constants
    assert (item.name, item.total) == ("bias", 384)
    assert item.differ > 300
    assert item.largest > 100


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "dtype", "largest"),
    [("aipu_mobilenet6.bin", "int8", 1.0), ("aipu_onnx.bin", "uint8", 1.0000125)],
)
def test_ranges_recovered_from_biases(
    folder: Path, gesture: Program, name: str, dtype: str, largest: float
) -> None:
    """The input's range, and every tensor's where the dicts say what it is."""
    graph, _ = float_network(gesture)
    found = on_model(load_program_of(folder / name), graph)
    image = found.program.inputs[0]
    assert found.program.tensors[image].dtype == dtype
    assert found.scales[image].exact
    assert found.ranges[image][1] == pytest.approx(largest, abs=1e-4 if name[5] == "o" else 1e-6)
    if name == "aipu_mobilenet6.bin":
        for tensor, scale in found.scales.items():
            real = gesture.tensors[tensor].scale if ":" not in tensor else 255 / 6  # the mean's
            assert scale.value == pytest.approx(real, rel=1e-6 if scale.exact else 2**-7)


@pytest.mark.shared
def test_binary_on_its_model_computes_the_same(folder: Path, gesture: Program) -> None:
    graph, _ = float_network(gesture)
    plain = load_program_of(folder / "aipu_mobilenet6.bin")
    found = on_model(plain, graph).program
    rng = np.random.default_rng(0)
    simulators = [r329fast.Simulator(program) for program in (plain, found)]
    feeds = [
        rng.integers(-128, 128, (2, *plain.tensors[name].shape)).astype(np.int8)
        for name in plain.inputs
    ]
    outputs = [
        simulator.run(dict(zip(program.inputs, feeds, strict=True)))
        for simulator, program in zip(simulators, (plain, found), strict=True)
    ]
    for first, second in zip(plain.outputs, found.outputs, strict=True):
        np.testing.assert_array_equal(
            outputs[0][first].reshape(-1), outputs[1][second].reshape(-1), first
        )


# --- networks made here -----------------------------------------------------------------------


def small_binary(seed: int) -> Program:
    blob = write_aipu(canonical(small_program(seed)))
    return build_program(parse_aipu_bin(blob), "small")


@pytest.mark.parametrize("seed", range(4))
def test_ours_equals_a_binary_made_of_it(seed: int) -> None:
    found = diff_programs(small_program(seed), small_binary(seed))
    assert found.equal
    assert len(found.layers) == 11
    other = diff_programs(small_program(seed), small_binary(seed + 1))
    assert not other.equal


def test_a_changed_constant_is_named_with_its_size() -> None:
    ours, theirs = small_program(1), small_binary(1)
    op = next(op for op in ours.ops if op.kind == "conv2d" and op.layer == "expand")
    op.consts["bias"] = op.consts["bias"].copy()
    op.consts["bias"][[2, 5]] += np.array([3, -7], np.int32)
    found = diff_programs(ours, theirs)
    (layer,) = (layer for layer in found.layers if not layer.equal)
    (item,) = layer.constants
    assert layer.ours == "expand"
    assert (item.name, item.differ, item.largest, item.first) == ("bias", 2, 7, 2)
    assert item.ours - item.theirs == 3


@pytest.mark.parametrize("seed", range(4))
def test_small_binary_on_its_float_network(seed: int) -> None:
    """Scales come back, and every layer computes what the binary does."""
    graph, _ = small_network(seed)
    program, binary = small_program(seed), small_binary(seed)
    found = on_model(binary, graph)
    for name, scale in found.scales.items():
        accuracy = 2**-7 if not scale.exact else 1e-3  # few, rounded biases
        assert scale.value == pytest.approx(program.tensors[name].scale, rel=accuracy)
    rng = np.random.default_rng(seed)
    feeds = {
        name: rng.integers(-128, 128, (1, *program.tensors[name].shape)).astype(np.int8)
        for name in program.inputs
    }
    expected, got = run_program(program, feeds), run_program(found.program, feeds)
    for layer in program.layers:
        if layer.type != "Input":
            np.testing.assert_array_equal(got[layer.name], expected[layer.name], layer.name)


def test_another_model_is_found_out(tmp_path: Path) -> None:
    graph, _ = small_network(2)
    with pytest.raises(DataError, match="the model is not the binary's"):
        on_model(small_binary(3), graph)
    with pytest.raises(UsageError, match="go together"):
        r329fast.load_aipu(tmp_path / "x.bin", max_file=tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Conv/Conv2D_0", "conv"),
        ("SeparableConv2d_3/depthwise_0", "dw"),
        ("BatchNorm_1/FusedBatchNormV3_0", "norm"),
        ("Relu6_0", "act"),
        ("Add_3_0", "add"),
        ("concat_1_0", "concat"),
        ("Slice/begin_0", "constant"),
        ("Slice_2_0", "slice"),
        ("Mean_1_0", "mean"),
        ("resnetv22_stage1__plus0", "add"),
        ("x_input3_0", ""),
    ],
)
def test_kinds_of_names(name: str, kind: str) -> None:
    assert kind_of_name(name) == kind


def test_load_with_a_model_file(tmp_path: Path) -> None:
    """Through an ONNX file, first step to last: names, layout and scales are the model's.

    The model has one pooling where the binary has two means, which go over W first.
    """
    graph, _ = small_network(1)
    rows, pooled = (next(x for x in graph if x.name == name) for name in ("rows", "pooled"))
    height, width, channels = graph.shapes["wide"]
    graph.layers.remove(rows)
    graph.layers[graph.layers.index(pooled)] = Layer(
        "mean", "Pooling", PoolingAttrs("AVG", (height, width)), ("wide",), ("mean",)
    )
    flat = Layer("pooled", "Reshape", ReshapeAttrs((channels,)), ("mean",), ("pooled",))
    graph.layers.insert(-1, flat)
    graph.shapes |= {"mean": (1, 1, channels)}
    onnx.save(to_onnx(graph), tmp_path / "net.onnx")
    (tmp_path / "aipu.bin").write_bytes(write_aipu(canonical(small_program(1))))
    plain = r329fast.load_aipu(tmp_path / "aipu.bin")
    program = r329fast.load_aipu(tmp_path / "aipu.bin", model=tmp_path / "net.onnx")
    assert program.options["scales"] == "model"
    assert diff_programs(small_program(1), program).counts["conv2d"] == (5, 5)
    rng = np.random.default_rng(0)
    feeds = [
        rng.integers(-128, 128, (3, *plain.tensors[name].shape)).astype(np.int8)
        for name in plain.inputs
    ]
    first = run_program(plain, dict(zip(plain.inputs, feeds, strict=True)))
    second = run_program(program, dict(zip(program.inputs, feeds, strict=True)))
    for theirs, ours in zip(plain.outputs, program.outputs, strict=True):
        np.testing.assert_array_equal(second[ours].reshape(-1), first[theirs].reshape(-1))
