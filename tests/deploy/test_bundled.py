"""The bundled image set and network: counts, sizes, accuracy, and that drawing is repeatable."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from r329fast.deploy import bundled

COUNTS = {"val": 500, "calib": 100}
DRAW = Path(__file__).resolve().parents[2] / "dataset" / "draw.py"


def load_draw() -> ModuleType:
    """dataset/draw.py as a module; it is a program beside the package, not part of it."""
    if not DRAW.is_file():
        pytest.skip("the drawing program is not part of this tree")
    spec = importlib.util.spec_from_file_location("bundled_draw", DRAW)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def read(stream: str) -> tuple[list[str], NDArray[np.uint8], NDArray[np.int64]]:
    """Names, images uint8 RGB [n, 64, 64, 3] and classes int64 [n] of an archive."""
    names, images, labels = [], [], []
    with zipfile.ZipFile(bundled.path(f"{stream}.zip")) as archive:
        text = archive.read("label.txt").decode("ascii")
        assert "\r" not in text
        assert text.endswith("\n")
        for line in text.splitlines():
            name, label = line.split(" ")
            data = np.frombuffer(archive.read(f"img/{name}"), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
            assert image is not None, name
            assert image.shape == (64, 64, 3), name
            names.append(name)
            images.append(image[:, :, ::-1])
            labels.append(int(label))
        assert len(archive.namelist()) == len(names) + 1
    return names, np.stack(images).astype(np.uint8), np.array(labels, np.int64)


@pytest.mark.parametrize("stream", ["val", "calib"])
def test_archive_is_complete_and_balanced(stream: str) -> None:
    names, images, labels = read(stream)
    assert len(set(names)) == len(names) == COUNTS[stream]
    assert images.shape == (COUNTS[stream], 64, 64, 3)
    assert np.bincount(labels, minlength=10).tolist() == [COUNTS[stream] // 10] * 10


@pytest.mark.parametrize("stream", ["val", "calib"])
def test_archive_entries_carry_no_date(stream: str) -> None:
    with zipfile.ZipFile(bundled.path(f"{stream}.zip")) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_streams_share_no_image() -> None:
    val, calib = read("val")[1], read("calib")[1]
    together = np.concatenate([val, calib]).reshape(600, -1)
    assert len(np.unique(together, axis=0)) == 600


def test_sizes() -> None:
    folder = bundled.path("net.onnx").parent
    total = sum(f.stat().st_size for f in folder.iterdir() if f.is_file())
    assert total < 1_500_000
    assert bundled.path("net.onnx").stat().st_size < 1_000_000


def test_class_names() -> None:
    names = bundled.path("classes.txt").read_text(encoding="ascii").splitlines()
    assert len(names) == len(set(names)) == 10
    assert names == load_draw().CLASSES


def test_missing_file_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        bundled.path("absent.bin")


def test_float_accuracy() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    recipe = json.loads(bundled.path("preprocess.json").read_text(encoding="ascii"))
    assert recipe["size"] == [64, 64]
    assert recipe["order"] == "RGB"
    _, images, labels = read("val")
    x = (images.astype(np.float32) - np.array(recipe["sub"], np.float32)) / np.array(
        recipe["div"], np.float32
    )
    session = onnxruntime.InferenceSession(
        str(bundled.path("net.onnx")), providers=["CPUExecutionProvider"]
    )
    feed = {"input": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}
    (logits,) = session.run(["logits"], feed)
    assert logits.shape == (500, 10)
    top1 = float((logits.argmax(1) == labels).mean())
    assert 0.85 <= top1 <= 0.98


def test_network_layout() -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(bundled.path("net.onnx")))
    assert [o.version for o in model.opset_import] == [13]
    kinds = [n.op_type for n in model.graph.node]
    assert kinds.count("Conv") == kinds.count("BatchNormalization") > 0
    assert kinds[-3:] == ["GlobalAveragePool", "Flatten", "Gemm"]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "N"
    assert [d.dim_value for d in dims[1:]] == [3, 64, 64]


def test_drawing_is_repeatable_and_matches_the_archive() -> None:
    draw = load_draw()
    _, stored, labels = read("calib")
    first = [draw.draw_image("calib", i) for i in range(12)]
    again = [draw.draw_image("calib", i) for i in reversed(range(12))][::-1]
    for i, ((image, label), (other, _)) in enumerate(zip(first, again, strict=True)):
        assert image.dtype == np.uint8
        assert image.shape == (64, 64, 3)
        assert np.array_equal(image, other)  # whatever the order: no shared random state
        assert label == labels[i]
        # JPEG halves the colour resolution and drops noise: 3 to 11 grey levels on the average
        # for such saturated edges.  The nearest wrong image of the archive is farther than 18.
        distances = np.abs(stored.astype(np.int32) - image.astype(np.int32)).mean(axis=(1, 2, 3))
        assert int(distances.argmin()) == i
        assert distances[i] < 12.0
    assert not np.array_equal(first[0][0], draw.draw_image("val", 0)[0])
