"""Tables that an earlier run left beside those of this one are named."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from r329fast.cfg import new_cfg
from r329fast.deploy import bundled
from r329fast.evaluation import evaluate
from r329fast.images.dataset import write_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet


def test_tables_of_another_run_are_named(tmp_path: Path) -> None:
    images = bundled.path("calib.zip")
    recipe = Preprocess.from_json(bundled.path("preprocess.json"))
    with ImageSet(images, None, 4) as some:
        write_dataset(tmp_path / "d", some, recipe)
    config = new_cfg(bundled.path("net.onnx"), calibration_data=str(tmp_path / "d" / "dataset.npy"))
    run = partial(evaluate, config, images, limit=4, out=tmp_path / "out", file_format="csv")
    first = run(roundings=["half_even", "floor"])
    assert not any("earlier run" in line for line in first.warnings)
    (line,) = (line for line in run().warnings if "earlier run" in line)
    assert "results-" in line
    assert " and 1 more: of an earlier run" in line
