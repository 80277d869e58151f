"""`tune` with what it cannot work with: one line that says what was found and what is allowed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.evaluation_sets import calibration_set, small_net

import r329fast
from r329fast.cfg.new import new_cfg
from r329fast.cli.main import main
from r329fast.errors import DataError, R329Error, UsageError

_X = calibration_set()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_net(tmp_path / "small.onnx", bias=1.0)


@pytest.mark.parametrize(
    ("dataset", "error", "text"),
    [
        (_X[:, :, :, :2], DataError, "the network's input needs [N, 6, 8, 3]"),
        (_X.transpose(0, 3, 1, 2), DataError, "channels first (NCHW)"),
        (_X[0], DataError, "found 3 dimensions"),
        (_X[:0], DataError, "found no images"),
        ((_X * 0).astype(np.uint8), DataError, "found dtype uint8, allowed float32"),
        (np.where(_X > 0, np.float32(np.nan), _X), DataError, "found NaN in image"),
        ([1.0, 2.0], UsageError, "dataset is a list, allowed: a float32 array [N, 6, 8, 3]"),
    ],
)
def test_arrays_are_checked_as_files_are(
    dataset: Any, error: type[R329Error], text: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(error) as found:
        r329fast.tune(model, tmp_path / "out", dataset=dataset)
    assert text in str(found.value)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_a_cfg_without_images_says_what_to_give(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.cfg"
    lines = new_cfg(model, model_name="small").to_text().splitlines()
    ready = ["ts_max_file = max.npy", "ts_min_file = min.npy"]  # ranges without their images
    found = [ready if "calibration_data" in line else [line] for line in lines]
    path.write_text("\n".join(line for part in found for line in part))
    with pytest.raises(UsageError, match="calibration_data") as raised:
        r329fast.tune(path, tmp_path / "out")
    assert "--images" in str(raised.value)


def test_what_a_reader_may_mistake_is_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One or two images, copies, a network that was tuned before, more than one output."""
    few, many, out = tmp_path / "few.npy", tmp_path / "many.npy", tmp_path / "out"
    np.save(few, _X[:1])
    np.save(many, _X)
    words = ["--allow", "bias", "--out", str(out)]
    assert main(["tune", str(model), "--images", str(few), *words]) == 0
    said = capsys.readouterr()
    assert "warning: 1 calibration image cannot both choose and confirm" in said.err
    assert "1 calibration image: 1 fit" in said.out
    np.save(few, np.repeat(_X[:1], 10, axis=0))
    assert main(["tune", str(model), "--images", str(few), *words]) == 0
    said = capsys.readouterr()
    assert "warning: 2 of the 2 images that confirm steps are copies of images that" in said.err
    assert main(["tune", str(model), "--images", str(many), *words]) == 0
    assert "warning" not in capsys.readouterr().err
    assert (out / "tuned.onnx").exists()
    again = ["tune", str(out / "tuned.cfg"), "--images", str(many), *words]
    assert main(again) == 0
    said = capsys.readouterr().err
    assert "has been tuned before" in said
    assert "tuned.cfg are not used: with images given, ranges are calibrated anew (EXTREME)" in said
    two = two_outputs(tmp_path / "two.onnx")
    assert main(["tune", str(two), "--images", str(many), *words]) == 0
    assert "judged by the first output 'logits' alone" in capsys.readouterr().err
    record = json.loads((out / "tune.json").read_text())
    assert len(record["notes"]) == 1
    assert "judged by the first output" in (out / "tune.html").read_text()


def two_outputs(path: Path) -> Path:
    """`small_net` with its averages as a second output."""
    net = onnx.load(str(small_net(path, bias=1.0)))
    net.graph.output.append(onnx.helper.make_tensor_value_info("pooled", 1, ["N", 3, 1, 1]))
    onnx.save(net, str(path))
    return path


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"allow": None}, "allow: found None, allowed a tuple of"),
        ({"allow": (1,)}, "allow: found 1, allowed settings"),
        ({"threads": "2"}, "threads: found '2', allowed a whole number"),
        ({"threads": 1.5}, "threads: found 1.5, allowed a whole number"),
        ({"limit": 2.5}, "limit: found 2.5, allowed a whole number"),
        ({"seed": "3"}, "seed: found '3', allowed a whole number"),
        ({"budget": "5"}, "budget: found '5', allowed 0 (no end) and more"),
        ({"budget": math.inf}, "budget: found inf, allowed 0 (no end) and more"),  # no JSON
        ({"budget": -1}, "budget: found -1, allowed 0 (no end) and more"),
    ],
)
def test_options_of_other_types(options: dict[str, Any], text: str, model: Path) -> None:
    with pytest.raises(UsageError) as found:
        r329fast.tune(model, model.parent / "out", dataset=_X, **options)
    assert text in str(found.value)
