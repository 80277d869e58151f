"""Figures, sources, encoding, sweeps and caches of `evaluate`."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.evaluation_sets import (
    CLASSES,
    RECIPE,
    calibration_set,
    image_zip,
    pictures_of,
    run_cfg,
    small_net,
    small_program,
)
from support.pictures import png

from r329fast.errors import DataError, FileError, UsageError
from r329fast.evaluation import evaluate
from r329fast.evaluation.decode_ahead import chunk_size
from r329fast.evaluation.encode import Encoder, Normaliser
from r329fast.graph import FloatSession, load_model
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.program.program import Program
from r329fast.simulator.simulator import Simulator

COUNT = 50
OPTIONS = {"preprocess": RECIPE, "backend": "reference", "threads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("eval")
    run_cfg(path)
    image_zip(path / "set.zip", COUNT)
    return path


@pytest.fixture(scope="module")
def program(folder: Path) -> Program:
    return small_program(folder)


# --- the numbers are those of the plain way


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16"])
def test_tables_give_the_numbers_of_whole_images(
    program: Program, dtype: str, order: str, reverse: bool
) -> None:
    recipe = Preprocess((8, 6), order, (100.5, 116.28, 103.53), (20.0, 57.12, 7.0), 1.0)
    image = pictures_of(1, 9)[0]
    values = recipe.apply(image)
    if reverse:
        values = values[..., ::-1]
    normaliser = Normaliser(recipe, reverse)
    pixels = np.ascontiguousarray(recipe.fit(image))
    assert np.array_equal(normaliser(pixels[None])[0], values)
    name, info = program.inputs[0], np.iinfo(dtype)
    scale = program.tensors[name].scale * 2.0 ** (info.bits - 8)
    spec = replace(
        program.tensors[name], dtype=dtype, scale=scale, qmin=int(info.min), qmax=int(info.max)
    )
    program = replace(program, tensors={**program.tensors, name: spec})
    out = np.zeros(spec.shape, spec.dtype)
    cut = Encoder(spec, normaliser).into(pixels, out)
    assert np.array_equal(out, program.quantize_input(values[None])[0])
    real = np.rint(values * np.float32(spec.scale) - np.float32(spec.zero_point))
    assert cut == ((real < spec.qmin) | (real > spec.qmax)).sum() > 0
    plain = Encoder(spec, Normaliser(None))
    again = np.zeros_like(out)
    assert plain.into(np.ascontiguousarray(values), again) == cut
    assert np.array_equal(again, out)


@pytest.mark.parametrize("chunk", [7, None])
def test_results_are_those_of_a_plain_loop(folder: Path, tmp_path: Path, chunk: int | None) -> None:
    result = evaluate(
        folder / "run.cfg", folder / "set.zip", float_baseline=True, out=tmp_path, chunk=chunk,
        file_format="csv", logits=True, **OPTIONS,
    )  # fmt: skip
    from r329fast.deploy.pipeline import prepare

    program = prepare(folder / "run.cfg").program
    with ImageSet(folder / "set.zip") as images:
        data = np.stack([RECIPE.apply(image) for _, image in images])
        labels, names = images.labels, images.names
    codes = Simulator(program, "reference").run(program.quantize_input(data))[program.outputs[0]]
    floats = FloatSession(load_model(folder / "small.onnx")).run(data)
    (real,) = floats.values()
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == list(names)
    assert [int(row["label"]) for row in rows] == labels.tolist()
    assert [list(map(int, row["logits"].split())) for row in rows] == codes.tolist()
    assert [int(row["top1"]) for row in rows] == codes.argmax(1).tolist()
    assert [int(row["float_top1"]) for row in rows] == real.argmax(1).tolist()
    assert result.best.accuracy.top1 == (codes.argmax(1) == labels).mean()
    assert result.float_accuracy is not None
    assert result.float_accuracy.top1 == (real.argmax(1) == labels).mean()
    assert result.best.against is not None
    assert result.best.against.agreement == (codes.argmax(1) == real.argmax(1)).mean()
    ranks = [sorted(-row).index(-row[label]) + 1 for row, label in zip(real, labels, strict=True)]
    assert result.float_accuracy.mean_rank == pytest.approx(np.mean(ranks))
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["images"] == COUNT
    assert record["top1"] == result.best.accuracy.top1
    assert record["identity"]["preprocessing"]["opencv"] == cv2.__version__


def test_backends_threads_and_formats_agree(folder: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    base = {**OPTIONS, "float_baseline": True}
    evaluate(folder / "run.cfg", folder / "set.zip", out=tmp_path / "a", **base)
    evaluate(
        folder / "run.cfg", folder / "set.zip", out=tmp_path / "b",
        **{**base, "backend": "numba", "threads": 3, "chunk": 7},
    )  # fmt: skip
    evaluate(folder / "run.cfg", folder / "set.zip", out=tmp_path / "c", file_format="csv", **base)
    first = pq.read_table(tmp_path / "a" / "results.parquet")
    assert first.equals(pq.read_table(tmp_path / "b" / "results.parquet"))
    with (tmp_path / "c" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [str(value) for value in first["float_rank"].to_pylist()] == [
        row["float_rank"] for row in rows
    ]
    assert first.column_names == list(rows[0])


def test_without_pyarrow_there_is_a_csv_and_a_word(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    result = evaluate(folder / "run.cfg", folder / "set.zip", out=tmp_path, **OPTIONS)
    assert (tmp_path / "results.csv").is_file()
    assert any("pyarrow is not installed" in line for line in result.warnings)
    with pytest.raises(UsageError, match="pyarrow"):
        evaluate(
            folder / "run.cfg", folder / "set.zip", out=tmp_path, file_format="parquet",
            overwrite=True, **OPTIONS,
        )  # fmt: skip


# --- sources


def test_class_tree(folder: Path, program: Program, tmp_path: Path) -> None:
    images = pictures_of(6, 3)
    for index, place in enumerate(["b/x", "b/y", "a/deep/z", "c/w", "c/v", "c/u"]):
        file = tmp_path / "set" / "val" / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(images[index]))
    (tmp_path / "set" / "val" / "a" / "notes.md").write_text("no image")
    with pytest.raises(DataError, match="found 3 class folders, the network has 10 classes"):
        evaluate(program, tmp_path / "set", **OPTIONS)
    numbers = {"a": 9, "b": 4, "c": 0, "d": 1}
    result = evaluate(program, tmp_path / "set", class_folders=numbers, **OPTIONS)
    assert result.names == (
        "val/a/deep/z.png", "val/b/x.png", "val/b/y.png", "val/c/u.png", "val/c/v.png",
        "val/c/w.png",
    )  # fmt: skip
    assert result.classes.tolist() == [9, 4, 4, 0, 0, 0]
    with pytest.raises(DataError, match="found class folder 'c', which is not among the 2"):
        evaluate(program, tmp_path / "set", class_folders={"a": 1, "b": 2}, **OPTIONS)


def test_arrays(folder: Path, program: Program, tmp_path: Path) -> None:
    data = calibration_set()
    np.save(tmp_path / "dataset.npy", data)
    labels = np.arange(20) % CLASSES
    np.save(tmp_path / "label.npy", labels)
    result = evaluate(program, tmp_path, **OPTIONS)
    codes = Simulator(program, "reference").run(program.quantize_input(data))[program.outputs[0]]
    assert result.best.accuracy.top1 == (codes.argmax(1) == labels).mean()
    assert result.names[3] == "dataset.npy[3]"
    again = evaluate(program, tmp_path / "dataset.npy", tmp_path / "label.npy", limit=5, **OPTIONS)
    assert again.best.accuracy.images == 5
    data[4, 0, 0, 0] = np.nan
    np.save(tmp_path / "dataset.npy", data)
    with pytest.raises(DataError, match=r"dataset\.npy\[4\].*NaN"):
        evaluate(program, tmp_path, **OPTIONS)
    assert len(evaluate(program, tmp_path, skip_bad=True, **OPTIONS).skipped) == 1
    np.save(tmp_path / "dataset.npy", data.astype(np.float64))
    with pytest.raises(DataError, match="float64"):
        evaluate(program, tmp_path, **OPTIONS)
    np.save(tmp_path / "dataset.npy", data[:, :3])
    with pytest.raises(DataError, match="6 x 8 x 3"):
        evaluate(program, tmp_path, **OPTIONS)


def test_label_offset_and_reversed_channels(folder: Path, tmp_path: Path) -> None:
    cfg = run_cfg(tmp_path, label_id_offset=-1, reverse_rgb=True)
    with pytest.raises(DataError, match=r"label 0 of 'i\d+\.png' \(with label_id_offset -1\)"):
        evaluate(cfg, folder / "set.zip", **OPTIONS)
    result = evaluate(cfg, folder / "set.zip", label_offset=0, **OPTIONS)
    turned = Preprocess((8, 6), "BGR", (128.0,) * 3, (64.0,) * 3, 1.0)
    plain = evaluate(
        folder / "run.cfg", folder / "set.zip", **{**OPTIONS, "preprocess": turned}
    )  # fmt: skip
    assert np.array_equal(result.scores[0], plain.scores[0])
    same = evaluate(folder / "run.cfg", folder / "set.zip", **OPTIONS)
    assert not np.array_equal(result.scores[0], same.scores[0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("i00000.png 1\nnone.png 2\n", r"line 2: found 'none\.png', which is not in"),
        ("i00000.png 1\ni00000.png 2\n", "line 2: 'i00000.png' is there already, line 1"),
        ("i00000.png 10\n", "the network has classes 0 to 9; 1 of 1 labels"),
        ("i00000.png -1\n", "found label '-1'"),
    ],
)
def test_label_files_with_mistakes(
    folder: Path, program: Program, tmp_path: Path, labels: str, message: str
) -> None:
    (tmp_path / "l.txt").write_text(labels)
    with pytest.raises(DataError, match=message):
        evaluate(program, folder / "set.zip", tmp_path / "l.txt", **OPTIONS)


def test_label_files_of_other_systems(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a picture (1).png").write_bytes(png(pictures_of(1)[0]))
    (tmp_path / "b.png").write_bytes(png(pictures_of(1)[0]))
    (tmp_path / "label.txt").write_bytes(b"\r\n  a picture (1).png \t 3\r\n\r\nb.png 4")
    result = evaluate(program, tmp_path, **OPTIONS)
    assert result.names == ("a picture (1).png", "b.png")
    assert result.classes.tolist() == [3, 4]


# --- sweeps and caches


def test_sweep_is_the_single_runs_side_by_side(folder: Path, tmp_path: Path) -> None:
    grid = {
        "schemes": ["aqt2021", "compass42"],
        "methods": ["MEAN", "extrema", "3std"],
        "roundings": ["half_even", "floor"],
        "per_channel": [False, True],
    }
    result = evaluate(
        folder / "run.cfg", folder / "set.zip", out=tmp_path / "all", **grid, **OPTIONS
    )
    assert len(result.variants) == (1 + 2) * 2 * 2
    assert len({item.name for item in result.variants}) == 12
    assert len(list((tmp_path / "all").glob("results-*.parquet"))) == 12
    for index in (0, 5, 11):
        settings = result.variants[index].settings
        alone = evaluate(
            folder / "run.cfg", folder / "set.zip", schemes=[settings["scheme"]],
            methods=[settings["method"]], roundings=[settings["rounding"]],
            per_channel=[settings["per_channel"]], **OPTIONS,
        )  # fmt: skip
        assert np.array_equal(alone.scores[0], result.scores[index])
    best = max(item.accuracy.top1 for item in result.variants)
    assert result.best.accuracy.top1 == best


def test_sweep_settings_that_do_not_go_together(folder: Path, program: Program) -> None:
    for grid, message in (
        ({"schemes": ["aqt2021"], "methods": ["3std"]}, "method '3std' is none of aqt2021"),
        ({"schemes": ["aqt2021", "compass42"], "methods": ["MEAN"]}, "no method given for scheme"),
        ({"roundings": ["half_evn"]}, "did you mean 'half_even'"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate(folder / "run.cfg", folder / "set.zip", **grid, **OPTIONS)
    with pytest.raises(UsageError, match="quantised already"):
        evaluate(program, folder / "set.zip", roundings=["floor"], **OPTIONS)
    with pytest.raises(UsageError, match="no float network"):
        evaluate(program, folder / "set.zip", float_baseline=True, **OPTIONS)


def test_float_model_of_a_program(folder: Path, program: Program) -> None:
    result = evaluate(
        program, folder / "set.zip", float_baseline=True, float_model=folder / "small.onnx",
        **OPTIONS,
    )  # fmt: skip
    other = evaluate(folder / "run.cfg", folder / "set.zip", float_baseline=True, **OPTIONS)
    assert result.float_accuracy == other.float_accuracy


def test_caches_spare_decoding_and_the_float_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**OPTIONS, "cache": tmp_path / "cache", "chunk": 16, "float_baseline": True}
    first = evaluate(folder / "run.cfg", folder / "set.zip", **options)
    assert first.timing.cached_chunks == 0

    def no_decoding(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("r329fast.evaluation.sources.ImageReader.load", no_decoding)
        patch.setattr("r329fast.evaluation.baseline.Baseline.submit", no_decoding)
        second = evaluate(folder / "run.cfg", folder / "set.zip", **options)
    assert second.timing.cached_chunks == 4
    assert np.array_equal(first.scores[0], second.scores[0])
    assert first.float_accuracy == second.float_accuracy
    # one damaged byte: that image is decoded again
    (pixels,) = (tmp_path / "cache").glob("pixels-*/pixels.bin")
    data = bytearray(pixels.read_bytes())
    data[5000] ^= 255
    pixels.write_bytes(bytes(data))
    third = evaluate(folder / "run.cfg", folder / "set.zip", **options)
    assert np.array_equal(first.scores[0], third.scores[0])
    # another recipe of normalisation shares the pixels, another size does not
    other = Preprocess((8, 6), sub=(1.0,) * 3, div=(2.0,) * 3, scale=1.0)
    again = evaluate(folder / "run.cfg", folder / "set.zip", **{**options, "preprocess": other})
    assert again.timing.cached_chunks == 4
    cropped = Preprocess((8, 6), resize="crop", shorter=12)
    new = evaluate(folder / "run.cfg", folder / "set.zip", **{**options, "preprocess": cropped})
    assert new.timing.cached_chunks == 0


def test_chunks_grow_with_small_images() -> None:
    assert chunk_size(32 * 32 * 3) == 512
    assert chunk_size(224 * 224 * 3) == 64
    assert chunk_size(1 << 30) == 16


def test_wrong_sizes_and_missing_sets(program: Program, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="image set not found"):
        evaluate(program, tmp_path / "nowhere", **OPTIONS)
    wrong = Preprocess((9, 9))
    with pytest.raises(DataError, match="9 x 9 x 3"):
        evaluate(program, folder / "set.zip", **{**OPTIONS, "preprocess": wrong})
    assert small_net(tmp_path / "n.onnx").is_file()
