"""graph.json, profile_data.bin, memory sections, counters and the log against real files."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support import models
from support.nasnet_stem import nasnet_stem

from r329fast.calibration.ranges import Ranges
from r329fast.graph import load_model
from r329fast.graph.ir import Graph
from r329fast.program.counters import layer_counters
from r329fast.program.program import AttrValue, LayerRecord, Op, Program, TensorSpec
from r329fast.quantization import quantize
from r329fast.vendor import (
    execution_groups,
    graph_json,
    int8_bin_size,
    memory_sections,
    perf_node_count,
    profile_data,
    profile_data_size,
    vendor_log,
)
from r329fast.vendor.nodes import ir_ranges


def load(model: onnx.ModelProto, path: Path, name: str) -> Graph:
    """Through a file, as users do; the file goes at once (VGG's is 550 MB)."""
    onnx.save(model, path)
    try:
        return load_model(path, name=name)
    finally:
        path.unlink()


def any_ranges(graph: Graph) -> Ranges:
    """Sizes do not depend on ranges."""
    return Ranges({name: (-1.0, 1.0) for layer in graph for name in layer.outputs})


@pytest.fixture(scope="module")
def resnet18(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """With the ranges that the vendor's tool calibrated: random weights, real scales."""
    folder = shared / "artefacts" / "resnet18_seed" / "max_min"
    ranges = Ranges.load_max_min(folder / "densnet_max.npy", folder / "densnet_min.npy")
    path = tmp_path_factory.mktemp("resnet18") / "model.onnx"
    graph = load(models.resnet18_v2(), path, "densnet")
    assert [layer.outputs[0] for layer in graph] == list(ranges.values)
    return quantize(graph, ranges, scheme="aqt2021")


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Program:
    path = tmp_path_factory.mktemp("vgg16") / "model.onnx"
    graph = load(models.vgg16(), path, "vgg_16")
    return quantize(graph, any_ranges(graph), scheme="aqt2021")


# --- the vendor's files -----------------------------------------------------------------------


@pytest.mark.shared
def test_resnet18_files_equal(resnet18: Program, shared: Path) -> None:
    folder = shared / "artefacts" / "resnet18_seed"
    assert graph_json(resnet18) == (folder / "graph.json").read_text()
    assert profile_data(perf_node_count(resnet18)) == (folder / "profile_data.bin").read_bytes()


@pytest.mark.shared
def test_resnet18_sizes_equal(resnet18: Program) -> None:
    sections = memory_sections(resnet18)
    assert int8_bin_size(resnet18) == 0xB2C024
    assert (sections.ro, sections.desc) == (0x2B00, 0x4E00)
    assert (sections.data, sections.stack) == (0xB2C780, 0x40400)
    assert (sections.text, sections.bss) == (None, None)
    assert sum(layer.ops_count for layer in layer_counters(resnet18)) == 3_635_672_932


@pytest.mark.shared
def test_resnet18_log_lines_are_the_vendor_s(resnet18: Program, shared: Path) -> None:
    """Each line stands in the real log, apart from its prefix and the builder's folder."""
    real = (shared / "artefacts" / "resnet18_seed" / "log.txt").read_text()
    real = re.sub(r" /\S+/", " ", real)
    ends = [line.rstrip() for line in real.splitlines()]
    comment, *lines = vendor_log(resnet18).splitlines()
    assert comment == "# left out, no public rule: " + ", ".join(
        ["Total memory", "Text section", "BSS section", "Workspace(BSS)"]
    )
    place = 0
    for line in lines:
        words = line.removeprefix("[I] ")
        found = [at for at, end in enumerate(ends) if end.endswith(words) and at >= place]
        assert found, words
        place = found[0]  # in the vendor's order
    assert "layer_id: 50, layer_top:resnetv22_dense0_fwd, output_scale:[8.488549]" in real
    assert any("output_scale:[8.488549]" in line for line in lines)


@pytest.mark.shared
@pytest.mark.slow
def test_vgg16_files_equal(vgg16: Program, shared: Path) -> None:
    folder = shared / "artefacts" / "vgg16"
    assert graph_json(vgg16) == (folder / "graph.json").read_text()
    assert profile_data(perf_node_count(vgg16)) == (folder / "profile_data.bin").read_bytes()


@pytest.mark.slow
def test_vgg16_sizes_equal(vgg16: Program) -> None:
    sections = memory_sections(vgg16)
    assert int8_bin_size(vgg16) == 0x83FC860
    assert (sections.ro, sections.desc) == (0x1700, 0x2000)
    assert (sections.data, sections.stack) == (0x83F6800, 0x40400)
    counters = layer_counters(vgg16)
    assert sum(layer.ops_count for layer in counters) == 30_973_763_536
    assert sum(layer.parameters for layer in counters) == 138_357_544


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "model", "nodes"),
    [
        ("shufflenet", models.shufflenet, (111, 77)),
        ("resnet50_caffe2", models.resnet50_caffe2, (60, 57)),
    ],
    ids=["shufflenet", "resnet50"],
)
def test_caffe2_exports_equal(
    shared: Path,
    tmp_path: Path,
    folder: str,
    model: Callable[[], onnx.ModelProto],
    nodes: tuple[int, int],
) -> None:
    """Both deployments bear the model name shufflenet; their dicts list every layer of the IR."""
    path = shared / "artefacts" / folder
    names = (path / "max_min" / f"shufflenet_{word}.npy" for word in ("max", "min"))
    ranges = Ranges.load_max_min(*names)
    graph = load(model(), tmp_path / "model.onnx", "shufflenet")
    program = quantize(graph, ranges, scheme="aqt2021")
    text = graph_json(program)
    assert text == (path / "graph.json").read_text()
    content = json.loads(text)
    assert (content["total nodes number"], content["perf nodes number"]) == nodes
    assert profile_data(perf_node_count(program)) == (path / "profile_data.bin").read_bytes()
    ours = Ranges({name: ranges[name] for layer in graph for name in layer.outputs})
    written = ir_ranges(program, ours).values
    assert list(written) == list(ranges.values)
    assert written == ranges.values


@pytest.mark.shared
def test_nasnet_excerpt_node_for_node(shared: Path) -> None:
    """Eleven channels: which pads and crops there are, what they count, and in which order."""
    folder = shared / "artefacts" / "nasnet_excerpt"
    theirs = json.loads((folder / "first_nodes.json").read_text())
    ours = json.loads(graph_json(nasnet_stem()))
    keys = ("layer node name", "op_type", "ops_count")
    for found, expected in zip(ours["nodes"], theirs["nodes"], strict=False):
        assert [found[key] for key in keys] == [expected[key] for key in keys]
        assert found.get("internal_nodes", []) == expected["internal_nodes"]
        assert found.get("perf_node", False) == expected["perf_node"]
    assert len(theirs["nodes"]) == 64
    whole = next(i for i, runs in enumerate(theirs["run_node_idx"]) if max(runs) == 63) + 1
    assert whole == 37
    assert ours["origin_idx"][:whole] == theirs["origin_idx"][:whole]
    assert ours["run_node_idx"][:whole] == theirs["run_node_idx"][:whole]


# --- without the vendor's files ---------------------------------------------------------------


def test_profile_data_layout() -> None:
    data = profile_data(41)
    assert len(data) == profile_data_size(41) == 1536
    assert struct.unpack_from("<2I", data) == (24, 24 + 32 * 41)
    assert not any(data[8:])
    assert profile_data_size(21) == 768


def test_small_networks(tmp_path: Path) -> None:
    """The same topologies in small: valid JSON, fused pairs, counts that agree."""
    graph = load(models.tiny_resnet(), tmp_path / "tiny.onnx", "tiny")
    program = quantize(graph, any_ranges(graph), scheme="aqt2021")
    content = json.loads(graph_json(program))
    assert content["graph_name"] == "tiny"
    assert content["total nodes number"] == len(content["nodes"]) == len(content["origin_idx"])
    pairs = [pair for pair in content["origin_idx"] if len(pair) == 2]
    kinds = [tuple(program.layers[index].type for index in pair) for pair in pairs]
    assert kinds == [("Convolution", "Eltwise")] * 4
    parameters = sum(layer.consts[name].size for layer in graph for name in layer.consts)
    shifted = sum(
        layer.consts["pad_values"].size for layer in graph if "pad_values" in layer.consts
    )
    assert sum(layer.parameters for layer in layer_counters(program)) == parameters - shifted

    stages = ((4, 1), (8, 2))
    small = models.vgg16(0, stages=stages, hidden=32, classes=12, size=8)
    graph = load(small, tmp_path / "vgg.onnx", "vgg_16")
    content = json.loads(graph_json(quantize(graph, any_ranges(graph), scheme="aqt2021")))
    names = [node["layer node name"] for node in content["nodes"]]
    assert names[0] == "input"
    assert names[1] == "subgraph_vgg_16_conv1_conv1_1_Conv2D"
    assert names[-1] == "subgraph_vgg_16_fc8_Conv2D"


OP_KINDS = {
    "Convolution": "conv2d",
    "DepthwiseConv": "depthwise_conv2d",
    "FullyConnected": "fully_connected",
    "MatMul": "matmul",
    "BatchNorm": "batchnorm",
}


class HandMade:
    """A program put together layer by layer; its ops hold constants only."""

    def __init__(self) -> None:
        self.program = Program("hand", "aqt2021", {}, [], [], ("x",), ())

    def add(
        self,
        kind: str,
        name: str,
        shape: tuple[int, ...],
        inputs: tuple[str, ...] = (),
        act: str = "NONE",
        consts: dict[str, np.ndarray] | None = None,
        **detail: AttrValue,
    ) -> str:
        start = len(self.program.ops)
        if kind not in ("Input", "Reshape"):
            op = Op(OP_KINDS.get(kind, "requantize"), name, inputs, (name,), detail, consts or {})
            self.program.ops.append(op)
        ops = (start, len(self.program.ops))
        self.program.layers.append(LayerRecord(name, kind, inputs, (name,), ops, act, detail))
        self.program.tensors[name] = TensorSpec(name, shape, "int8", 1.0)
        return name

    def conv(
        self,
        name: str,
        source: str,
        outputs: int,
        kernel: int = 1,
        group: int = 1,
        act: str = "NONE",
    ) -> str:
        """Stride 1, padded to keep the size."""
        height, width, channels = self.program.tensors[source].shape
        weights = np.zeros((outputs, kernel, kernel, channels // group), np.int8)
        consts = {"weights": weights, "bias": np.zeros(outputs, np.int32)}
        kind = "DepthwiseConv" if group == channels else "Convolution"
        shape = (height, width, outputs)
        detail: dict[str, AttrValue] = {"kernel": (kernel, kernel), "group": group}
        return self.add(kind, name, shape, (source,), act, consts, **detail)


@pytest.fixture
def hand() -> HandMade:
    made = HandMade()
    made.add("Input", "x", (8, 8, 16))
    return made


def indices(program: Program) -> list[list[int]]:
    return [list(group.layers) for group in execution_groups(program)]


def test_addition_goes_onto_the_last_computed_convolution(hand: HandMade) -> None:
    first, second = hand.conv("a", "x", 16), hand.conv("b", "x", 16)
    hand.add("Eltwise", "sum", (8, 8, 16), (first, second), method="ADD")
    assert indices(hand.program) == [[0], [1], [2, 3]]


def test_fused_pair_waits_for_both_inputs(hand: HandMade) -> None:
    main = hand.conv("a", "x", 16)
    side = hand.add("Pooling", "pool", (8, 8, 16), ("x",), method="MAX")
    hand.add("Eltwise", "sum", (8, 8, 16), (main, side), method="ADD")
    assert indices(hand.program) == [[0], [2], [1, 3]]


@pytest.mark.parametrize(
    ("act", "method", "shape", "again", "output"),
    [
        ("RELU", "ADD", (8, 8, 16), False, False),
        ("NONE", "MUL", (8, 8, 16), False, False),
        ("NONE", "ADD", (1, 1, 16), False, False),
        ("NONE", "ADD", (8, 8, 16), True, False),
        ("NONE", "ADD", (8, 8, 16), False, True),
    ],
    ids=["relu before", "product", "broadcast", "read twice", "graph output"],
)
def test_addition_that_stays_alone(
    hand: HandMade, act: str, method: str, shape: tuple[int, ...], again: bool, output: bool
) -> None:
    main = hand.conv("a", "x", 16, act=act)
    hand.add("Input", "y", shape)
    hand.add("Eltwise", "sum", (8, 8, 16), (main, "y"), method=method)
    if again:
        hand.conv("more", main, 16)
    hand.program.outputs = (main,) if output else ("sum",)
    assert all(len(group) == 1 for group in indices(hand.program))
    assert memory_sections(hand.program).desc is None  # no artefact holds a lone Eltwise


def test_bare_nodes_and_names(hand: HandMade) -> None:
    hand.conv("block/conv:0", "x", 4)
    hand.add("Reshape", "block/flat", (256,), ("block/conv:0",))
    content = json.loads(graph_json(hand.program))
    assert content["perf nodes number"] == perf_node_count(hand.program) == 1
    conv, flat = content["nodes"][1:]
    assert conv["layer node name"] == "subgraph_block_conv:0"
    assert conv["internal_nodes"] == [{"layer node name": "block_conv:0", "op_type": "Convolution"}]
    assert flat == {
        "layer node name": "block_flat",
        "op_type": "Reshape",
        "running on": 0,
        "ops_count": 0,
    }


def test_convolution_counters(hand: HandMade) -> None:
    hand.conv("dense", "x", 32, kernel=3)
    hand.conv("grouped", "x", 32, kernel=3, group=4)
    hand.conv("depthwise", "x", 16, kernel=3, group=16)
    _, dense, grouped, depthwise = layer_counters(hand.program)
    places = 8 * 8
    assert dense.macs == 9 * 16 * 32 * places
    assert dense.ops_count == 2 * (9 * 16 + 1) * 32 * places
    assert dense.weight_bytes == 9 * 16 * 32 + 4 * 32
    assert (dense.input_bytes, dense.output_bytes) == (16 * places, 32 * places)
    assert grouped.macs == dense.macs // 4
    assert grouped.ops_count == dense.ops_count  # the vendor counts groups as dense
    assert grouped.parameters == 9 * 4 * 32 + 32
    assert depthwise.macs == 9 * 16 * places
    assert depthwise.ops_count == 2 * (9 + 1) * 16 * places


def test_other_counters(hand: HandMade) -> None:
    channels = np.zeros(16, np.int32)
    norm = {"weights": channels, "bias": channels}
    hand.add("BatchNorm", "norm", (8, 8, 16), ("x",), consts=norm)
    hand.add("Activation", "relu", (8, 8, 16), ("norm",), act="RELU")
    hand.add("Pooling", "max", (4, 4, 16), ("relu",), method="MAX", kernel=(2, 2))
    hand.add("Pooling", "mean", (1, 1, 16), ("max",), method="AVG", kernel=(4, 4))
    hand.add("Reshape", "flat", (16,), ("mean",))
    dense = {"weights": np.zeros((10, 16), np.int8), "bias": np.zeros(10, np.int32)}
    hand.add("FullyConnected", "fc", (10,), ("flat",), consts=dense)
    hand.add("Softmax", "soft", (10,), ("fc",), axis=0)
    hand.add("Concat", "cat", (20,), ("soft", "soft"), axis=0)
    slope = {"slope": channels}
    hand.add("Activation", "prelu", (8, 8, 16), ("x",), act="PRELU", consts=slope)
    hand.add("MatMul", "product", (8, 8, 8), ("x", "x"), trans_a=0, trans_b=1)
    counters = {layer.name: layer for layer in layer_counters(hand.program)}
    ops = {name: layer.ops_count for name, layer in counters.items()}
    assert ops == {
        "x": 0,
        "norm": 2 * 8 * 8,  # channels are not counted
        "relu": 8 * 8 * 16,
        "max": 8 * 8 * 16,  # elements of the input
        "mean": 4 * 4 * 16,
        "flat": 0,
        "fc": 2 * (16 + 1) * 10,
        "soft": 2 * 10,
        "cat": 0,
        "prelu": 8 * 8 * 16,
        "product": 2 * 8 * 8 * 8 * 16,
    }
    weight_bytes = {name: counters[name].weight_bytes for name in ("norm", "mean", "soft", "prelu")}
    assert weight_bytes == {"norm": 6 * 16, "mean": 580, "soft": 1024, "prelu": 2 * 16}
    assert counters["norm"].macs == 8 * 8 * 16
    assert counters["product"].macs == 8 * 8 * 8 * 16
    assert counters["prelu"].parameters == 16
    assert counters["fc"].parameters == 170


def test_figures_without_a_rule_are_left_out(hand: HandMade) -> None:
    source = hand.conv("grouped", "x", 32, kernel=3, group=4)
    hand.add("Softmax", "soft", (8, 8, 32), (source,), axis=2)
    hand.program.outputs = ("soft",)
    sections = memory_sections(hand.program)
    assert (sections.desc, sections.data) == (None, None)
    assert sections.ro == 0x100 * (2 + 2)
    assert int8_bin_size(hand.program) is None
    comment, *lines = vendor_log(hand.program).splitlines()
    for word in ("output_scale of soft", "graph weight", "Desc section", "Data section"):
        assert word in comment
    assert not any("output_scale" in line or "Desc" in line for line in lines)
