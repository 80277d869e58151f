"""Cuts, input shapes, damaged files and the float session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graph_nets import (
    Step,
    feeds,
    names,
    net,
    random,
    save,
)
from support.models import tiny_resnet

from r329fast.errors import DataError, FileError, UnsupportedModelError, UsageError
from r329fast.graph import FloatSession, check_model, load_model
from r329fast.graph.size import layer_macs, layer_params

BLOCK: list[Step] = [
    ("Conv", "x w", "c", {"pads": [1, 1, 1, 1]}),
    ("Relu", "c", "r", {}),
    ("Conv", "r w", "d", {"pads": [1, 1, 1, 1]}),
    ("Add", "d r", "a", {}),
    ("Relu", "a", "s", {}),
    ("GlobalAveragePool", "s", "p", {}),
    ("Flatten", "p", "y", {}),
]
WEIGHTS = {"w": random(4, 4, 3, 3, scale=0.2)}


@pytest.fixture
def block(tmp_path: Path) -> Path:
    return save(net(BLOCK, consts=WEIGHTS), tmp_path)


# --- cuts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "layers"),
    [
        ("y", ["x", "n0", "n2", "n3", "n5", "n6"]),
        ("n6", ["x", "n0", "n2", "n3", "n5", "n6"]),
        ("c", ["x", "n0"]),
        ("n0", ["x", "n0"]),
        ("r", ["x", "n0"]),
        ("n4", ["x", "n0", "n2", "n3"]),
        ("n4:0", ["x", "n0", "n2", "n3"]),
    ],
)
def test_output_cut(block: Path, output: str, layers: list[str]) -> None:
    graph = load_model(block, outputs=[output])
    assert names(graph) == layers
    assert graph.outputs == (layers[-1],)
    # a cut in front of the activation leaves it out
    assert graph.layers[-1].act.kind == ("RELU" if output in ("r", "n4", "n4:0") else "NONE")


def test_two_outputs_keep_what_lies_between(block: Path) -> None:
    """The conv's own output is wanted too, so its ReLU cannot go into it."""
    graph = load_model(block, outputs=["c", "s"])
    assert names(graph) == ["x", "n0", "n1", "n2", "n3"]
    assert graph.outputs == ("n0", "n3")
    assert [layer.type for layer in graph][2] == "Activation"


@pytest.mark.parametrize("where", ["r", "n1"])
def test_input_cut(block: Path, where: str) -> None:
    graph = load_model(block, inputs=[where])
    assert names(graph) == ["r", "n2", "n3", "n5", "n6"]
    assert graph.shapes["r"] == (6, 7, 4)
    assert graph.input_layouts == {"r": "NCHW"}


def test_input_cut_runs_like_the_whole(block: Path) -> None:
    whole = FloatSession(load_model(block), "all")
    x = feeds(whole.graph, 2)
    tensors = whole.run(x)
    rest = FloatSession(load_model(block, inputs=["r"]))
    np.testing.assert_allclose(rest.run(tensors["n0"])["n6"], tensors["n6"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"outputs": ["n66"]}, "did you mean 'n6'"),
        ({"outputs": ["zzz"]}, "neither a tensor nor a node"),
        ({"inputs": ["xx"]}, "neither a tensor nor a node"),
        ({"inputs": ["r"], "outputs": ["c"]}, "no output depends on it"),
        ({"inputs": ["d"]}, "also need the input 'x'"),
        ({"input_shapes": {"z": [1, 4, 6, 7]}}, "no input of the model"),
        ({"input_shapes": [[1, 4, 6, 8]]}, "does not fit"),
        ({"input_shapes": [[1, 4, 6]]}, "does not fit"),
        ({"input_shapes": [[1, 4, 6, 7], [1]]}, "2 input shapes for 1"),
    ],
)
def test_wrong_cuts(block: Path, cut: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_model(block, **cut)
    assert "\n" not in caught.value.message


# --- input shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["N", 1, 0, -1, 3])
def test_any_batch(batch: int | str, tmp_path: Path) -> None:
    model = net(BLOCK, (batch, 4, 6, 7), WEIGHTS)
    graph = load_model(save(model, tmp_path))
    assert graph.shapes["x"] == (6, 7, 4)
    for size in (1, 5):
        y = FloatSession(graph).run(random(size, 6, 7, 4))
        assert y["n6"].shape == (size, 4)


def test_free_axes_need_a_shape(tmp_path: Path) -> None:
    path = save(net(BLOCK, ("N", 4, "H", "W"), WEIGHTS), tmp_path)
    issues = check_model(path)
    assert [(issue.op, issue.layer) for issue in issues] == [("Input", "x")]
    assert "input_shapes" in issues[0].advice
    with pytest.raises(UnsupportedModelError) as caught:
        load_model(path)
    assert caught.value.exit_code == 3
    for shapes in ([[1, 4, 6, 7]], {"x": (1, 4, 6, 7)}, [[9, 4, 6, 7]]):
        assert load_model(path, input_shapes=shapes).shapes["x"] == (6, 7, 4)


def test_an_input_without_a_shape(tmp_path: Path) -> None:
    model = net(BLOCK, consts=WEIGHTS)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    path = save(model, tmp_path)
    assert len(check_model(path)) == 1
    assert load_model(path, input_shapes=[[1, 4, 6, 7]]).shapes["x"] == (6, 7, 4)


# --- damaged files --------------------------------------------------------------------------


def one_line(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        load_model(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
    return caught.value.message


def test_missing_and_empty_files(tmp_path: Path) -> None:
    assert "No such file" in one_line(tmp_path / "none.onnx")
    empty = tmp_path / "empty.onnx"
    empty.touch()
    assert "empty" in one_line(empty)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "random.onnx"
    path.write_bytes(np.random.default_rng(seed).bytes(3000))
    one_line(path)


def test_truncated(block: Path) -> None:
    """Cut anywhere, the file is refused in one line, or what is left is a whole model."""
    data = block.read_bytes()
    messages = []
    for size in range(1, len(data), 7):
        block.write_bytes(data[:size])
        try:
            load_model(block)
        except (FileError, UnsupportedModelError) as error:
            messages.append(error.message)
    assert len(messages) > 10
    assert not any("\n" in message for message in messages)


def test_truncated_real_size(tmp_path: Path) -> None:
    path = save(tiny_resnet(), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    one_line(path)


def test_missing_initializer(tmp_path: Path) -> None:
    path = save(net(BLOCK), tmp_path)
    assert "node 'n0' (Conv) reads 'w'" in one_line(path)


def test_missing_output(tmp_path: Path) -> None:
    model = net(BLOCK, consts=WEIGHTS)
    model.graph.output[0].name = "nothing"
    assert "nothing makes the output 'nothing'" in one_line(save(model, tmp_path))


def test_a_tensor_made_twice(tmp_path: Path) -> None:
    path = save(net([("Relu", "x", "y", {}), ("Tanh", "x", "y", {})]), tmp_path)
    assert "exists already" in one_line(path)


def test_impossible_attributes(tmp_path: Path) -> None:
    attrs = {"kernel_shape": [2, 2], "strides": [0, 0]}
    path = save(net([("MaxPool", "x", "y", attrs)]), tmp_path)
    try:
        load_model(path)
    except (FileError, UnsupportedModelError) as error:
        message = error.message
    assert "n0" in message


def test_loop(tmp_path: Path) -> None:
    path = save(net([("Add", "x b", "a", {}), ("Relu", "a", "b", {})], output="b"), tmp_path)
    assert "loop" in one_line(path)


def test_damaged_initializer(tmp_path: Path) -> None:
    model = net(BLOCK, consts=WEIGHTS)
    model.graph.initializer[0].raw_data = b"\0" * 10
    assert "'w' is damaged" in one_line(save(model, tmp_path))


def test_constants_that_are_not_finite(tmp_path: Path) -> None:
    weights = WEIGHTS["w"].copy()
    weights[0, 1, 2, 0] = np.nan
    message = one_line(save(net(BLOCK, consts={"w": weights}), tmp_path))
    assert "'n0': weights has values that are not finite" in message


def test_reading_the_package_is_cheap() -> None:
    """Neither onnx nor onnxruntime is imported before it is needed."""
    code = (
        "import sys, r329fast.graph, r329fast.graph.load, r329fast.graph.export.float_session;"
        "assert not {'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the session ----------------------------------------------------------------------------


def test_session_arguments(block: Path) -> None:
    graph = load_model(block)
    session = FloatSession(graph, ["n3", "x", "n3"])
    x = random(2, 6, 7, 4)
    tensors = session.run({"x": x})
    assert list(tensors) == ["n3", "x"]
    np.testing.assert_array_equal(tensors["x"], x)
    with pytest.raises(KeyError):
        FloatSession(graph, ["nothing"])
    for wrong in (random(2, 4, 6, 7), random(6, 7, 4), {"z": x}):
        with pytest.raises(DataError):
            session.run(wrong)


def test_size(block: Path) -> None:
    graph = load_model(block)
    assert layer_macs(graph.layers[1], graph) == 6 * 7 * 4 * 4 * 9
    assert layer_params(graph.layers[1]) == 4 * 4 * 9 + 4
    assert sum(layer_macs(layer, graph) for layer in graph.layers[3:]) == 0
