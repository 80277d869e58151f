"""The working folder that the tests of `run` share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r329fast.cfg import new_cfg
from r329fast.deploy import bundled
from r329fast.deploy.pipeline import input_quantizer
from r329fast.images.dataset import write_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a cfg for the bundled network, ten calibration images, one input."""
    monkeypatch.chdir(tmp_path)
    preprocess = Preprocess.from_json(bundled.path("preprocess.json"))
    with ImageSet(bundled.path("calib.zip"), limit=10) as images:
        write_dataset("dataset", images, preprocess)
    new_cfg(
        bundled.path("net.onnx"), inputs=["input.bin"], outputs="out/output.bin", model_name="net"
    ).write("run.cfg")
    floats = np.load("dataset/dataset.npy")[:1]
    Path("input.bin").write_bytes(input_quantizer("run.cfg")(floats).tobytes())
    return tmp_path
