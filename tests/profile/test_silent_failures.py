"""Networks whose integers are right and whose outputs are of no use: it is said, with the mend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import F, Step, net, random, save

from r329fast.calibration import calibrate
from r329fast.cfg import read_cfg
from r329fast.deploy.run_cfg import run_cfg
from r329fast.deploy.run_program import run_program
from r329fast.graph import load_model
from r329fast.profile import Wanted, collect
from r329fast.profile.images import ArrayImages
from r329fast.profile.silent_failures import OutputWatch, joined_failures
from r329fast.quantization import SCHEMES, quantize

SHAPE = (1, 4, 6, 7)
WEIGHTS = {"w": random(2, 4, 1, 1), "v": random(3, 4, 1, 1), "big": np.array(600, F)}
BOXES: list[Step] = [
    ("Conv", "x w", "c", {}),
    ("Mul", "c big", "boxes", {}),
    ("Conv", "x v", "d", {}),
    ("Sigmoid", "d", "scores", {}),
    ("Concat", "boxes scores", "y", {"axis": 1}),
]


def run(
    steps: list[Step],
    consts: dict[str, np.ndarray],
    folder: Path,
    scheme: str,
    data: np.ndarray,
    backend: str = "numba",
) -> list[str]:
    """The warnings of a run."""
    save(net(steps, SHAPE, consts), folder)
    np.save(folder / "data.npy", data)
    np.zeros(168, np.int8).tofile(folder / "input.bin")
    cfg = folder / "run.cfg"
    cfg.write_text(
        "[Common]\nmode = run\n[Parser]\nmodel_type = onnx\nmodel_name = m\n"
        f"input_model = {folder}/net.onnx\n[AutoQuantizationTool]\n"
        f"quantize_method = SYMMETRIC\ncalibration_data = {folder}/data.npy\n"
        f"[GBuilder]\ntarget = Z1_0701\ninputs = {folder}/input.bin\noutputs = out.bin\n"
    )
    result = run_cfg(cfg, out=folder, scheme=scheme, backend=backend)
    warnings = result.record["warnings"]
    assert isinstance(warnings, list)
    return [str(line) for line in warnings]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_boxes_and_scores_in_one_output(scheme: str, tmp_path: Path) -> None:
    data = random(20, 6, 7, 4)
    lines = run(BOXES, WEIGHTS, tmp_path, scheme, data)
    (line,) = (line for line in lines if line.startswith("Concat"))
    assert "all its integers are 0" in line
    assert "output = boxes, scores" in line
    # the mend by the same words
    parts = load_model(tmp_path / "net.onnx", outputs=["boxes", "scores"])
    program = quantize(parts, calibrate(parts, data, scheme), scheme)
    assert joined_failures(program) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mend_is_tried(scheme: str, tmp_path: Path) -> None:
    graph = load_model(save(net(BOXES, SHAPE, WEIGHTS), tmp_path))
    data = random(8, 6, 7, 4)
    ranges = calibrate(graph, data, scheme)
    program = quantize(graph, ranges, scheme)
    found = collect(
        program,
        graph=graph,
        ranges=ranges,
        images=ArrayImages(data),
        wanted=Wanted(host_time=False, suggestions=True),
    )
    assert [item.kind for item in found.failures][:1] == ["parts"]
    first = found.suggestions[0]
    assert first.setting == "[Parser] output = boxes, scores"
    assert (first.before["snr"] or 0) < 3 < 20 < (first.after["snr"] or 0)


def test_parts_alike_or_inside_are_not_called_so(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "a", {}),
        ("Conv", "x v", "b", {}),
        ("Concat", "a b", "y", {"axis": 1}),
    ]
    graph = load_model(save(net(steps, SHAPE, WEIGHTS), tmp_path))
    program = quantize(graph, calibrate(graph, random(4, 6, 7, 4), "compass42"), "compass42")
    assert joined_failures(program) == []
    inner: list[Step] = [*BOXES[:-1], ("Concat", "boxes scores", "j", {"axis": 1})]
    inner.append(("Conv", "j u", "y", {}))
    consts = {**WEIGHTS, "u": random(2, 5, 1, 1)}
    graph = load_model(save(net(inner, SHAPE, consts), tmp_path))
    program = quantize(graph, calibrate(graph, random(4, 6, 7, 4), "compass42"), "compass42")
    (found,) = joined_failures(program)
    assert found.parts == ()
    assert "ranges alike" in found.text


ZERO = {"w": random(2, 4, 1, 1, scale=0.01), "b": np.full(2, -9, F)}
CONSTANT = {"w": np.zeros((2, 4, 1, 1), F), "b": np.array([1, -2], F)}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("consts", "words"), [(ZERO, "is all zero"), (CONSTANT, "is the same for all")]
)
def test_dull_outputs(
    scheme: str, consts: dict[str, np.ndarray], words: str, tmp_path: Path
) -> None:
    steps: list[Step] = [("Conv", "x w b", "c", {}), ("Relu", "c", "y", {})]
    lines = run(steps, consts, tmp_path, scheme, random(20, 6, 7, 4))
    assert [words in line and "16 images" in line for line in lines] == [True]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_outputs_of_the_reference(scheme: str, tmp_path: Path) -> None:
    """It is too slow for the calibration images: the run's own are looked at, ranges given too."""
    steps: list[Step] = [("Conv", "x w b", "c", {}), ("Relu", "c", "y", {})]
    data = random(20, 6, 7, 4)
    (line,) = run(steps, ZERO, tmp_path, scheme, data, backend="reference")
    assert "is all zero over 1 image (the inputs of the run)" in line
    cfg = read_cfg(tmp_path / "run.cfg")
    assert cfg.quantization is not None
    cfg.quantization.ts_max_file, cfg.quantization.ts_min_file = (
        str(next((tmp_path / "max_min").glob(f"*{end}*.npy"))) for end in ("max", "min")
    )
    result = run_cfg(cfg, out=tmp_path / "again")
    assert any("(the inputs of the run)" in item for item in result.prepared.warnings)


def test_outputs_of_a_program(tmp_path: Path) -> None:
    steps: list[Step] = [("Conv", "x w b", "c", {}), ("Relu", "c", "y", {})]
    graph = load_model(save(net(steps, SHAPE, ZERO), tmp_path))
    quantize(graph, calibrate(graph, random(4, 6, 7, 4), "aqt2021"), "aqt2021").save(
        str(tmp_path / "m.r329")
    )
    np.zeros(168, np.int8).tofile(tmp_path / "input.bin")
    record = run_program(tmp_path / "m.r329", [tmp_path / "input.bin"], out=tmp_path)
    (line,) = record["warnings"]  # type: ignore[misc]
    assert "is all zero over 1 image (the inputs of the run)" in line


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_dull_calibration_data(value: float, tmp_path: Path) -> None:
    steps: list[Step] = [("Conv", "x w", "c", {}), ("Relu", "c", "y", {})]
    data = np.full((3, 6, 7, 4), value, F)
    lines = run(steps, {"w": random(2, 4, 1, 1)}, tmp_path, "aqt2021", data)
    assert any(f"all its calibration data is {value:g}" in line for line in lines)


def test_saturated(tmp_path: Path) -> None:
    for op, expected in (("Neg", ["saturated"]), ("Sigmoid", [])):
        graph = load_model(save(net([(op, "x", "y", {})], SHAPE), tmp_path))
        data = random(4, 6, 7, 4)
        program = quantize(graph, calibrate(graph, data / 100, "compass42"), "compass42")
        watch = OutputWatch(program)
        spec = program.tensors[program.outputs[0]]
        high = np.full((2, *spec.shape), spec.qmax, spec.dtype)
        high[:, 0] = 1 + np.arange(2)[:, None, None]
        watch.add({program.outputs[0]: high})
        assert [item.kind for item in watch.failures()] == expected
