"""Whole networks: real models, the vendor's names and constants, onnx's own nets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.graph_nets import (
    F,
    agree,
    compare,
    names,
    save,
)
from support.models import preactivation_resnet, resnet18_v2

from r329fast.graph import load_model
from r329fast.graph.ir import LAYER_TYPES


def test_preactivation_resnet(tmp_path: Path) -> None:
    """ResNet v2: the data norm vanishes into the first convolution, the others stay layers."""
    model = preactivation_resnet(1, (8, 16), 32, 10, 7)
    graph = agree(model, tmp_path, batch=1)
    kinds = [layer.type for layer in graph]
    assert kinds[:5] == ["Input", "Convolution", "Pooling", "BatchNorm", "Activation"]
    assert "pad_values" in graph.layers[1].consts
    assert kinds[-3:] == ["Pooling", "Reshape", "FullyConnected"]


@pytest.mark.shared
def test_resnet18_v2_has_the_vendors_layers(shared: Path, tmp_path: Path) -> None:
    """Names, order and types of the real tool's graph.json and calibration dicts."""
    folder = shared / "artefacts" / "resnet18_seed"
    graph = load_model(
        save(resnet18_v2(), tmp_path), inputs=["data"], outputs=["resnetv22_dense0_fwd"]
    )
    vendor = np.load(folder / "max_min" / "densnet_max.npy", allow_pickle=True).item()
    assert names(graph) == list(vendor)
    listed = json.loads((folder / "graph.json").read_text(), strict=False)
    for node in listed["nodes"]:
        for inner in node.get("internal_nodes", []):
            assert graph.producer(inner["layer node name"]).type == inner["op_type"]


GOLDEN = ("resnet18_224_bn", "mobilenet_v2_1.0_224", "squeezenet_v1.0_227", "resnet20_cifar10")


@pytest.mark.shared
@pytest.mark.parametrize("name", GOLDEN)
def test_folded_constants_are_the_vendors(name: str, shared: Path) -> None:
    """Weights and biases after folding, bit for bit; layer names, types and shapes."""
    graph = load_model(shared / "data" / "models" / f"{name}.onnx")
    with np.load(shared / "golden" / f"{name}.npz") as golden:
        listed = json.loads(str(golden["layers_json"]))
    vendor = [layer for layer in listed if layer["type"] not in ("Input", "Transpose")]
    assert sorted(layer["name"] for layer in vendor) == sorted(names(graph)[1:])
    for entry in vendor:
        layer = graph.producer(entry["name"])
        assert layer.type == entry["type"]
        assert list(graph.shapes[layer.name]) == entry["outputs"][0]["shape"][1:]
        assert layer.act.kind == entry["params"].get("with_activation", "NONE")
        for key, const in entry["consts"].items():
            values = layer.consts["bias" if key == "biases" else key]
            assert hashlib.sha256(values.tobytes()).hexdigest() == const["float32_sha256"]


REAL = (
    "mobilenet_v1_0.25_128",
    "mobilenet_v2_1.0_224",
    "resnet18_224_bn",
    "resnet20_cifar10",
    "resnet20_cifar10_raw",
    "resnet44_cifar10",
    "squeezenet_v1.0_227",
)


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str, shared: Path) -> None:
    path = shared / "data" / "models" / f"{name}.onnx"
    graph = load_model(path)
    assert {layer.type for layer in graph} <= set(LAYER_TYPES)
    compare(graph, onnx.load(str(path)), batch=1, scale=1.0)


LIGHT = (
    "shufflenet",
    "squeezenet",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "densenet121",
    pytest.param("bvlc_alexnet", marks=pytest.mark.slow),
    pytest.param("zfnet512", marks=pytest.mark.slow),
    pytest.param("vgg19", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("name", LIGHT)
def test_light_models(name: str, tmp_path: Path) -> None:
    """The nets that the onnx package carries for its own tests, with random weights."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    path = folder / f"light_{name}.onnx"
    if not path.is_file():
        pytest.skip("the onnx package has no light models")
    model = refill(onnx.load(str(path)))
    onnx.save(model, str(tmp_path / "light.onnx"))
    graph = load_model(tmp_path / "light.onnx")
    compare(graph, model, batch=1, scale=0.5)
    kinds = {layer.type for layer in graph}
    assert "Transpose" not in kinds
    assert ("ChannelShuffle" in kinds) == (name == "shufflenet")
    (tmp_path / "light.onnx").unlink()


def refill(model: onnx.ModelProto) -> onnx.ModelProto:
    """Random constants in place of the ConstantOfShape nodes, scaled so that values stay sane."""
    rng = np.random.default_rng(0)
    shapes = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    readers = {
        name: (node, index) for node in model.graph.node for index, name in enumerate(node.input)
    }
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(size) for size in shapes[node.input[0]])
        reader, index = readers[node.output[0]]
        if reader.op_type in ("Conv", "Gemm") and index == 1:
            deviation = np.sqrt(2 / np.prod(shape[1:]))
            values = rng.standard_normal(shape, np.float32) * F(deviation)
        elif reader.op_type in ("BatchNormalization", "Unsqueeze") and index in (0, 1, 4):
            values = rng.uniform(0.5, 1.2, shape).astype(np.float32)
        else:
            values = rng.standard_normal(shape, np.float32) * F(0.1)
        model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model
