"""Preprocessing and calibration sets."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.pictures import make_folder, picture

from r329fast.errors import DataError, FileError
from r329fast.images.dataset import (
    build_dataset,
    load_dataset,
    load_labels,
    raw_input,
    write_dataset,
)
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet, decode


def absurd_npy(path: Path, shape: tuple[int, ...]) -> Path:
    """A .npy whose header claims a shape that its 48 bytes do not have."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(48))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "set")


# --- preprocessing


def test_default_is_the_recipe_of_the_article() -> None:
    image = picture(3)
    result = Preprocess(size=(8, 6)).apply(image)
    assert result.dtype == np.float32
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    expected = (image[..., ::-1].astype(np.float32) / np.float32(255) - mean) / std
    assert np.array_equal(result, expected)
    assert Preprocess().apply(image).shape == (224, 224, 3)


def test_order_and_pixel_units() -> None:
    image = picture(4)
    recipe = Preprocess(size=(8, 6), order="BGR", scale=1, sub=(1, 2, 3), div=(1, 2, 4))
    expected = (image.astype(np.float64) - [1, 2, 3]) / [1, 2, 4]
    assert np.array_equal(recipe.apply(image), expected.astype(np.float32))


def test_crop_takes_the_centre() -> None:
    image = picture(5, 10, 21)
    plain = Preprocess(size=(6, 4), order="BGR", resize="crop", shorter=10)
    assert np.array_equal(plain.fit(image), image[3:7, 7:13])
    tall = Preprocess(size=(6, 4), order="BGR", resize="crop", shorter=10)
    assert np.array_equal(tall.fit(image.transpose(1, 0, 2)), image.transpose(1, 0, 2)[8:12, 2:8])
    halved = cv2.resize(image, (round(21 * 0.5), 5), interpolation=cv2.INTER_AREA)
    half = Preprocess(size=(5, 5), order="BGR", resize="crop", shorter=5)
    assert np.array_equal(half.fit(image), halved[:, 2:7])
    larger = Preprocess(size=(12, 30), order="BGR", resize="crop").fit(image)
    whole = cv2.resize(image, (63, 30), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(larger, whole[:, 25:37])


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = picture(6)
    recipe = Preprocess(size=(8, 6), resize="crop", shorter=9)
    assert np.array_equal(recipe.fit(image), image[..., ::-1])


@pytest.mark.parametrize("interpolation", ["linear", "area"])
def test_interpolation_when_stretching(interpolation: str) -> None:
    image = picture(7, 12, 16)
    method = cv2.INTER_AREA if interpolation == "area" else cv2.INTER_LINEAR
    recipe = Preprocess(size=(5, 5), order="BGR", interpolation=interpolation)
    assert np.array_equal(recipe.fit(image), cv2.resize(image, (5, 5), interpolation=method))
    wide = Preprocess(size=(20, 5), order="BGR", interpolation=interpolation)
    linear = cv2.resize(image, (20, 5), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(wide.fit(image), linear)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"order": "RBG"}, "order: found 'RBG', allowed RGB, BGR, did you mean"),
        ({"resize": "crob"}, "resize: found 'crob', allowed stretch, crop, did you mean 'crop'"),
        ({"interpolation": "cubic"}, "interpolation: found 'cubic'"),
        ({"size": (0, 3)}, "size: found"),
        ({"shorter": 200, "resize": "crop"}, "shorter side: found 200"),
        ({"sub": (1.0,)}, "sub: found"),
        ({"div": (1.0, 0.0, 1.0)}, "div, scale: found 0"),
        ({"sub": (0.0, float("nan"), 0.0)}, "sub: found .*allowed: finite float32 numbers"),
        ({"div": (1.0, 1.0, float("inf"))}, "div: found .*allowed: finite float32 numbers"),
        ({"scale": float("-inf")}, "scale: found -inf, allowed: finite float32 numbers"),
        ({"scale": 1e300}, r"scale: found 1e\+300, allowed: finite float32 numbers"),
        ({"sub": (10**400, 0.0, 0.0)}, r"sub: found \(1000.*\.\.\., allowed: finite"),
        ({"sub": (10**5000, 0.0, 0.0)}, r"sub: found a number with thousands of digits, allowed"),
        ({"div": (1e-300, 1.0, 1.0)}, "sub, div, scale: found .* make pixels beyond float32"),
        ({"div": (1e-38, 1.0, 1.0), "scale": 0.01}, "make pixels beyond float32"),
        ({"sub": (3e38, 0.0, 0.0), "scale": -1e-38}, "make pixels beyond float32"),
        (
            {"size": (32769, 3)},
            r"size: found \(32769, 3\), allowed: width and height from 1 to 327",
        ),
        ({"size": (3, 10**400)}, r"size: found \(3, 1000.*\.\.\., allowed"),
        ({"size": (3.5, 4)}, r"size: found \(3\.5, 4\)"),
        ({"size": (float("nan"), 4)}, "size: found"),
        ({"shorter": 32769, "resize": "crop"}, "shorter side: found 32769, .* to 32768"),
        ({"shorter": 224.5, "resize": "crop"}, "shorter side: found 224.5"),
    ],
)
def test_recipes_that_do_not_go_together(values: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Preprocess(**values)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message


def test_the_largest_size() -> None:
    assert Preprocess(size=(32768, 1)).fit(picture(1)).shape == (1, 32768, 3)
    with pytest.raises(DataError, match="size: found"):
        Preprocess().with_size(32769, 2)
    with pytest.raises(DataError, match="size: found"):
        raw_input(picture(1), (2, 40000))


def test_recipes_from_json(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    one = {"size": 32, "resize": None, "order": "BGR", "sub": [1, 2, 3], "div": [1, 1, 1]}
    path.write_text(json.dumps(one))
    recipe = Preprocess.from_json(path)
    assert recipe == Preprocess(
        (32, 32), "BGR", (1, 2, 3), (1, 1, 1), 1.0, "stretch", interpolation="area"
    )
    path.write_text(json.dumps(recipe.as_json()))
    assert Preprocess.from_json(path) == recipe
    path.write_text(json.dumps({"net": {**one, "resize": 40, "formula": "x-1"}, "other": one}))
    crop = Preprocess.from_json(path, "net")
    assert (crop.resize, crop.shorter) == ("crop", 40)
    assert crop.with_size(64, 64).shorter == 80
    with pytest.raises(DataError, match="the recipes of 2 models, choose one of net, other"):
        Preprocess.from_json(path)
    with pytest.raises(DataError, match=r"no recipe for 'nets', .*did you mean 'net'"):
        Preprocess.from_json(path, "nets")
    path.write_text(json.dumps(Preprocess().as_json()))
    assert Preprocess.from_json(path) == Preprocess(interpolation="linear")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("{", FileError, "not JSON"),
        ("[1]", DataError, "found no object"),
        ('{"size": 3, "sub": [0,0,0]}', DataError, "key 'div' is missing"),
        ('{"size": 3, "sub": [0,0,"a"], "div": [1,1,1]}', DataError, "wrong form"),
        ('{"size": 3, "sub": 1, "div": [1,1,1]}', DataError, "wrong form"),
        ('{"size": 3, "subb": [0,0,0], "div": [1,1,1]}', DataError, "unknown key 'subb', did you"),
        ('{"size": 3, "sub": [0,0,0], "div": [1,1,0]}', DataError, r"p\.json: preprocess div"),
        ('{"size": 3, "sub": [0,0,NaN], "div": [1,1,1]}', DataError, "sub: .*finite"),
        ('{"size": 3, "sub": [0,0,"inf"], "div": [1,1,1]}', DataError, "sub: .*finite"),
        ('{"size": 3, "sub": [0,0,0], "div": [1,1,1e999]}', DataError, "div: .*finite"),
        (f'{{"size": 3, "sub": [0,0,{10**400}], "div": [1,1,1]}}', DataError, "wrong form"),
        ('{"size": 40000, "sub": [0,0,0], "div": [1,1,1]}', DataError, "to 32768"),
        ("[" * 100_000, FileError, "not JSON"),
    ],
)
def test_json_with_mistakes(tmp_path: Path, text: str, kind: type, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(kind, match=message):
        Preprocess.from_json(path)


def test_raw_input_cuts_towards_zero() -> None:
    image = np.zeros((1, 4, 3), np.uint8)
    image[0, :, 2] = [0, 127, 128, 255]  # red, as decoded
    result = raw_input(image, (4, 1))
    assert result.dtype == np.int8
    assert result[0, :, 0].tolist() == [-127, 0, 0, 127]
    assert result[0, :, 2].tolist() == [-127] * 4


# --- calibration sets


def test_written_set_is_the_built_one(folder: Path, tmp_path: Path) -> None:
    recipe = Preprocess(size=(5, 4))
    seen: list[np.ndarray] = []
    with ImageSet(folder) as images:
        data, labels = build_dataset(images, recipe)
        paths = write_dataset(tmp_path / "new" / "out", images, recipe, seen.append)
    assert [path.name for path in paths] == ["dataset.npy", "label.npy"]
    stored = load_dataset(paths[0], (1, 4, 5, 3))
    assert stored.dtype == np.float32
    assert stored.shape == (3, 4, 5, 3)
    assert np.array_equal(stored, data)
    assert np.array_equal(load_labels(paths[1], 3), labels)
    assert labels.tolist() == [4, 7, 0]
    assert np.array_equal(np.stack(seen), data)
    names = sorted(path.name for path in paths[0].parent.iterdir())
    assert names == ["dataset.npy", "label.npy", "preprocess.json"]


def test_both_files_or_none(folder: Path, tmp_path: Path) -> None:
    (folder / "d.png").write_bytes(b"no image")
    out = tmp_path / "out"
    out.mkdir()
    (out / "dataset.npy").write_bytes(b"old")
    with ImageSet(folder) as images, pytest.raises(DataError, match=r"decode d\.png"):
        write_dataset(out, images, Preprocess(size=(4, 4)))
    assert [path.name for path in out.iterdir()] == ["dataset.npy"]
    assert (out / "dataset.npy").read_bytes() == b"old"


def test_folder_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    with ImageSet(folder) as images:
        with pytest.raises(FileError, match=r"cannot create folder .*d\.png/out"):
            write_dataset(folder / "d.png" / "out", images, Preprocess(size=(4, 4)))
        (tmp_path / "out" / "label.npy").mkdir(parents=True)
        with pytest.raises(FileError, match=r"label\.npy: it is a folder"):
            write_dataset(tmp_path / "out", images, Preprocess(size=(4, 4)))
    assert not (tmp_path / "out" / "dataset.npy").exists()


@pytest.mark.parametrize(
    ("array", "expected", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), None, r"found 3 dimensions \[4, 5, 3\], allowed 4"),
        (np.zeros((2, 4, 5, 3)), None, "found dtype float64, allowed float32"),
        (np.zeros((2, 4, 5, 3), np.uint8), None, "found dtype uint8"),
        (np.zeros((0, 4, 5, 3), np.float32), None, "found no images"),
        (np.zeros((2, 3, 4, 5), np.float32), None, r"channels first .*transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 3, 4, 5), np.float32), (1, 4, 5, 3), "channels first"),
        (np.zeros((2, 8, 4, 5), np.float32), (1, 4, 5, 8), "channels first"),
        (np.zeros((2, 4, 5, 3), np.float32), (1, 5, 5, 3), r"input needs \[N, 5, 5, 3\]"),
        (np.full((2, 4, 5, 3), np.nan, np.float32), None, "found NaN in image 0"),
        (np.full((2, 4, 5, 3), -np.inf, np.float32), None, "found infinity in image 0"),
        (np.zeros((2, 4, 5, 3), np.float32), (1, 60), "found 4 dimensions .*, allowed 2"),
    ],
)
def test_calibration_sets_with_mistakes(
    tmp_path: Path, array: np.ndarray, expected: tuple[int, ...] | None, message: str
) -> None:
    path = tmp_path / "dataset.npy"
    np.save(path, array)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(path, expected)
    assert caught.value.message.startswith(str(path))


def test_calibration_sets_that_are_right(tmp_path: Path) -> None:
    path = tmp_path / "dataset.npy"
    # three rows high: not to be taken for channels first when the network says so
    for shape, expected in (((2, 3, 4, 5), (1, 3, 4, 5)), ((2, 7), (1, 7)), ((1, 1, 1, 3), None)):
        np.save(path, np.ones(shape, np.float32))
        assert load_dataset(path, expected).shape == shape


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with pytest.raises(FileError, match="No such file"):
        load_dataset(path)
    for content in (b"", b"hello", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"not a whole \.npy array"):
            load_dataset(path)
    np.save(path, np.zeros((2, 4, 5, 3), np.float32))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileError, match=r"not a whole \.npy array"):
        load_dataset(path)
    np.save(path, np.array({"a": 1}), allow_pickle=True)
    with pytest.raises(FileError, match=r"not a whole \.npy array"):
        load_labels(path)
    np.savez(tmp_path / "z.npz", a=np.zeros(3))
    with pytest.raises(FileError, match=r"it is a \.npz"):
        load_labels(tmp_path / "z.npz")


@pytest.mark.parametrize(
    "shape",
    [(-1, 3), (-2, -6), (0, -1), (2**63, 2), (2**70,), (2**40, 2**40), (10**12, 3), (0, 2**70),
     (10**30, 10**30), (True, 3)],
)  # fmt: skip
def test_npy_with_absurd_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = absurd_npy(tmp_path / "a.npy", shape)
    for load in (load_dataset, load_labels):
        with pytest.raises(FileError, match=r"^cannot read .*a\.npy: not a whole \.npy array \("):
            load(path)


def test_npy_that_begins_like_a_zip(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(FileError, match=r"it is a \.npz, allowed one array"):
        load_labels(tmp_path / "a.npy")


def test_labels_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "label.npy"
    np.save(path, np.arange(3, dtype=np.int32))
    assert load_labels(path).dtype == np.int64
    with pytest.raises(DataError, match="found 3 labels, the dataset has 4 images"):
        load_labels(path, 4)
    np.save(path, np.zeros(3))
    with pytest.raises(DataError, match="found dtype float64, allowed int64"):
        load_labels(path)
    np.save(path, np.zeros((3, 1), np.int64))
    with pytest.raises(DataError, match=r"found shape \[3, 1\]"):
        load_labels(path)


# --- the real files


@pytest.mark.shared
def test_stored_calibration_set_is_reproduced(shared: Path, tmp_path: Path) -> None:
    seed = shared / "artefacts" / "resnet18_seed" / "dataset"
    with ImageSet(seed / "img", seed / "label.txt") as images:
        dataset, labels = write_dataset(tmp_path, images, Preprocess())
    stored = load_dataset(seed / "dataset.npy", (1, 224, 224, 3))
    assert np.array_equal(load_dataset(dataset), stored)
    assert np.array_equal(load_labels(labels), load_labels(seed / "label.npy", len(stored)))
    # and byte for byte, header included
    assert labels.read_bytes() == (seed / "label.npy").read_bytes()


@pytest.mark.shared
def test_stored_input_is_reproduced(shared: Path) -> None:
    seed = shared / "artefacts" / "resnet18_seed" / "dataset"
    image = decode(seed / "img" / "ILSVRC2012_val_00000003.JPEG")
    assert raw_input(image).tobytes() == (seed / "input.bin").read_bytes()


@pytest.mark.shared
@pytest.mark.parametrize(
    "model", ["resnet20_cifar10", "mobilenet_v2_1.0_224", "resnet18_224_bn", "squeezenet_v1.0_227"]
)
def test_preprocessing_of_the_golden_runs(shared: Path, model: str) -> None:
    """The vendor's runs say by hash which arrays went in."""
    with np.load(shared / "golden" / f"{model}.npz") as golden:
        meta = json.loads(str(golden["meta_json"]))
    wanted = meta["preprocess"]
    recipe = Preprocess.from_json(shared / "data" / "preprocess.json", model)
    for part, source in zip(("calib", "test"), meta["sources"], strict=True):
        archive, labels = source.split()
        with ImageSet(shared / "data" / archive, labels, len(meta[f"{part}_files"])) as images:
            assert list(images.names) == meta[f"{part}_files"]
            pixels = np.stack([recipe.fit(image) for _, image in images])
            if hashlib.sha256(pixels.tobytes()).hexdigest() != wanted[f"{part}_uint8_nhwc_sha256"]:
                pytest.skip(f"this JPEG decoder differs from that of cv2 {wanted['cv2']}")
            data, _ = build_dataset(images, recipe)
        flat = np.ascontiguousarray(data.transpose(0, 3, 1, 2))
        digest = hashlib.sha256(flat.tobytes()).hexdigest()
        assert digest == wanted[f"{part}_float32_nchw_sha256"]


def test_npy_header_is_numpys_own(folder: Path, tmp_path: Path) -> None:
    with ImageSet(folder) as images:
        data, _ = build_dataset(images, Preprocess(size=(3, 3)))
        path, _ = write_dataset(tmp_path, images, Preprocess(size=(3, 3)))
    plain = io.BytesIO()
    np.save(plain, data)
    assert path.read_bytes() == plain.getvalue()
