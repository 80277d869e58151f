"""`tune` from beginning to end on the bundled network: files, integers, resume, no harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import r329fast
from r329fast.base.files import write_all
from r329fast.calibration import Ranges, calibrate
from r329fast.cfg.new import new_cfg
from r329fast.deploy import bundled
from r329fast.deploy.pipeline import cfg_options, load_graph, prepare
from r329fast.errors import UsageError
from r329fast.graph import load_model
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Layer
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.program import Program
from r329fast.quantization import Options, quantize
from r329fast.report.tuning_page import tuning_page
from r329fast.tuning import TuneResult
from r329fast.tuning.files import planned_files
from r329fast.tuning.linear_step import grouped_inputs, layer_products, view
from r329fast.tuning.patches import at_places, choose_places, is_fitted
from r329fast.tuning.state import State, output_score, split, stored_ranges
from r329fast.tuning.walk import Walk
from r329fast.tuning.weights import scheme_of
from r329fast.vendor import graph_json

NET = str(bundled.path("net.onnx"))
MANY = 100  # images: enough to tell a step that helps from one that does not
FILES = ("tuned.onnx", "tuned_max.npy", "tuned_min.npy", "tuned.cfg", "tune.json")


def _images(name: str, limit: int | None = None) -> np.ndarray:
    recipe = Preprocess.from_json(bundled.path("preprocess.json"))
    with ImageSet(bundled.path(name), None, limit) as images:
        return np.stack([recipe.apply(images.image(index)) for index in range(len(images))])


@pytest.fixture(scope="module")
def calibration() -> np.ndarray:
    return _images("calib.zip", 48)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    out = tmp_path_factory.mktemp("tuned")
    return r329fast.tune(NET, out, dataset=_images("calib.zip", MANY))


def _snr(program: Program, x: np.ndarray) -> float:
    graph = load_model(NET)
    expected = FloatSession(graph).run(x)[graph.outputs[0]]
    return output_score(program, x, expected, 1).snr


def _groups(layer: Layer, x: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each group of channels reads, float64 [G, S, K], and its weights [G, O, K]."""
    inputs = grouped_inputs(layer, x)
    return inputs.astype(np.float64), q.reshape(len(inputs), -1, inputs.shape[-1])


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
def test_what_a_step_sees_is_what_the_kernels_compute(calibration: np.ndarray, scheme: str) -> None:
    """Patches, weights and biases of every linear layer give the accumulators behind its output."""
    graph = load_model(NET)
    method = {"aqt2021": "EXTREME", "compass42": "mean"}[scheme]
    options = Options(quantize_method_for_activation="per_tensor_asymmetric")
    x = calibration[:4]
    ranges = calibrate(graph, x, scheme, method)
    walk = Walk(graph, ranges, scheme_of(scheme, options), x)
    checked = 0
    for index, layer in enumerate(graph):
        lowered = walk.lower(index, layer)
        outputs = walk.run(lowered)
        if is_fitted(layer):
            places = choose_places(graph, layer, len(x), 0)
            seen = view(walk, index, lowered, np.ones(len(x), dtype=bool), places)
            spec = lowered.tensors[layer.outputs[0]]
            q = seen.op.consts["weights"].astype(np.float64).reshape(len(seen.scale), -1)
            zero = walk.specs[layer.inputs[0]].zero_point
            bias = seen.op.consts["bias"] - zero * q.sum(axis=1)
            sums = np.concatenate(
                [x @ w.T for x, w in zip(*_groups(layer, seen.x, q), strict=True)], axis=1
            )
            sums += bias
            products = layer_products(layer, seen.x, seen.op.consts["weights"])
            np.testing.assert_allclose(products + bias, sums, rtol=1e-5, atol=1e-3)
            real = np.clip(sums * seen.scale, seen.low, seen.high)
            found = spec.dequantize(at_places(outputs[layer.outputs[0]], places))
            np.testing.assert_allclose(found.reshape(real.shape), real, atol=0.51 / spec.scale)
            checked += 1
        walk.take(index, lowered, outputs)
    assert checked > 2


def test_gain_on_images_that_it_never_saw(tuned: TuneResult) -> None:
    graph = load_model(NET)
    x = _images("val.zip", 200)
    base = quantize(graph, calibrate(graph, _images("calib.zip", MANY), "aqt2021", "EXTREME"))
    after = prepare(tuned.files["cfg"]).program
    assert tuned.gained
    assert _snr(after, x) > _snr(base, x) + 0.5


def test_files_give_the_promised_integers_and_the_same_graph(tuned: TuneResult) -> None:
    again = prepare(tuned.files["cfg"]).program
    assert again.hash() == tuned.record["program_hash"]
    ranges = Ranges.load_max_min(Path(tuned.files["max"]), Path(tuned.files["min"]))
    model = load_model(tuned.files["model"], name="net")
    assert quantize(model, ranges).hash() == tuned.record["program_hash"]
    before = load_model(NET)
    assert [layer.name for layer in before] == [layer.name for layer in model]
    base = quantize(before, ranges)
    assert graph_json(base) == graph_json(again)


@pytest.mark.parametrize(
    ("count", "scheme", "changes"),
    [
        (16, "aqt2021", {"allow": ("settings", "ranges", "equalise", "bias")}),
        (24, "compass42", {}),  # with all that comes behind the fit
    ],
)
def test_a_run_that_is_killed_again_and_again_gives_the_same_files(
    count: int, scheme: str, changes: dict[str, Any], calibration: np.ndarray, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    lines: list[str] = []
    heard: list[str] = []
    stop = [0]

    def told(line: str) -> None:
        heard.append(line)
        if len(heard) == stop[0]:
            raise KilledError

    first, second = tmp_path / "a", tmp_path / "b"
    options = {"dataset": calibration[:count], "scheme": scheme, "budget": 0.0, **changes}
    assert r329fast.tune(NET, first, told=lines.append, **options).gained
    for stop[0] in range(3, len(lines) + 1, 8):
        heard.clear()
        with pytest.raises(KilledError):
            r329fast.tune(NET, second, told=told, **options)
        assert list((second / ".tune").iterdir())
    heard.clear()
    stop[0] = 0
    r329fast.tune(NET, second, told=told, **options)
    assert heard == lines
    assert not (second / ".tune").exists()
    for name in FILES[:-1]:
        words = [
            (folder / name).read_bytes().replace(str(folder).encode(), b"OUT")
            for folder in (first, second)
        ]
        assert words[0] == words[1], name
    records = [json.loads((folder / FILES[-1]).read_text()) for folder in (first, second)]
    assert all(record.pop("time")["history"] for record in records)
    assert records[0] == records[1]


def test_nothing_allowed_leaves_only_the_record(calibration: np.ndarray, tmp_path: Path) -> None:
    result = r329fast.tune(NET, tmp_path, dataset=calibration, allow=())
    assert not result.gained
    assert [path.name for path in tmp_path.iterdir()] == ["tune.json"]
    assert "No step helped" in tuning_page(result.record)


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
def test_five_images_do_no_harm(tmp_path: Path, scheme: str) -> None:
    few, x = _images("calib.zip", 5), _images("val.zip", 200)
    graph = load_model(NET)
    method = {"aqt2021": "EXTREME", "compass42": "mean"}[scheme]
    base = quantize(graph, calibrate(graph, few, scheme, method), scheme)
    result = r329fast.tune(NET, tmp_path, dataset=few, scheme=scheme)
    assert result.record["images"] == {"all": 5, "fitted": 3, "judging": 1, "confirming": 1}
    if not result.gained:  # one image could not confirm any step
        assert not (tmp_path / "tuned.onnx").exists()
        return
    after = prepare(result.files["cfg"], scheme=scheme).program
    assert after.hash() == result.record["program_hash"]
    assert _snr(after, x) >= _snr(base, x)


def test_per_channel_weights(tmp_path: Path, calibration: np.ndarray) -> None:
    result = r329fast.tune(
        NET, tmp_path, dataset=calibration, per_channel=True, allow=("bias", "rounding")
    )
    assert result.gained
    again = prepare(result.files["cfg"]).program
    assert again.hash() == result.record["program_hash"]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
def test_a_cfg_keeps_its_scheme_and_settings(
    tmp_path: Path, calibration: np.ndarray, scheme: str, per_channel: bool
) -> None:
    """The tuned cfg alone gives the promised integers: nothing has to be said beside it."""
    config = new_cfg(NET, scheme=scheme)
    if config.optimizer is not None:
        config.optimizer.values["multiplier_bits"] = "10"
    graph = load_graph(config)
    options = cfg_options(config, per_channel=per_channel)
    method = {"aqt2021": "EXTREME", "compass42": "mean"}[scheme]
    ranges = stored_ranges(calibrate(graph, calibration[:8], scheme, method))
    state = State(graph, ranges, method, options)
    files, program = planned_files(state, scheme, config, tmp_path)
    write_all(files)
    again = prepare(tmp_path / "tuned.cfg")
    assert (again.scheme, again.method) == (scheme, "file")
    assert again.program.hash() == program.hash() == state.program(scheme).hash()
    other = quantize(graph, ranges, scheme, cfg_options(config, per_channel=not per_channel))
    assert other.hash() != program.hash()


def test_a_result_is_shown_in_a_line(tuned: TuneResult) -> None:
    assert repr(tuned).startswith("<TuneResult: output SNR ")
    assert repr(tuned).endswith("tuned.cfg>")
    assert len(repr(tuned)) < 200
    assert "nothing" in repr(TuneResult({"gained": False}, {}))


def test_the_page_names_every_layer(tuned: TuneResult) -> None:
    page = tuning_page(json.loads(Path(tuned.files["record"]).read_text()))
    fitted = [step for step in tuned.record["steps"] if step.get("layers")]
    assert fitted
    for layer in fitted[0]["layers"]:
        assert layer["layer"] in page


@pytest.mark.parametrize("count", [1, 2, 3, 5, 24, 100])
def test_no_image_both_chooses_and_confirms(count: int) -> None:
    parts = split(count)
    assert parts.fitted.any()
    assert parts.judging.any()
    assert parts.confirming.any()
    if count >= 3:
        together = parts.fitted.astype(int) + parts.judging + parts.confirming
        np.testing.assert_array_equal(together, 1)


def test_wrong_words_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'rounding'"):
        r329fast.tune(NET, tmp_path, dataset=np.zeros((1, 8, 8, 3), np.float32), allow=("roundin",))
    with pytest.raises(UsageError, match="needs calibration images"):
        r329fast.tune(NET, tmp_path)


def test_every_step_says_how_sure_its_gain_is(tuned: TuneResult) -> None:
    tried = [step for step in tuned.record["steps"] if step["gain_db"] is not None]
    assert tried
    for step in tried:
        low, high = step["gain_interval_db"]
        before, after = step["before"]["confirmed"]["snr"], step["after"]["confirmed"]["snr"]
        assert low <= after - before <= high
        low, high = step["agreement_interval_points"]
        assert -100 <= low <= high <= 100


def test_the_record_says_what_was_reached_when(tuned: TuneResult) -> None:
    time = tuned.record["time"]
    history = time["history"]
    steps = [step["step"] for step in tuned.record["steps"]]
    assert [moment["step"] for moment in history] == ["", *steps]
    seconds = [moment["seconds"] for moment in history]
    assert seconds == sorted(seconds)
    assert seconds[-1] <= time["wall"]
    assert history[0]["snr"] == tuned.record["before"]["confirmed"]["snr"]
    assert history[-1]["snr"] == tuned.record["after"]["confirmed"]["snr"]
    gains = [moment["snr"] - history[0]["snr"] for moment in history]
    most = next(
        m["seconds"] for m, gain in zip(history, gains, strict=True) if gain >= 0.8 * gains[-1]
    )
    assert time["seconds_to_most"] == most
    assert "Gain over time" in tuning_page(tuned.record)


def test_a_budget_ends_a_run_in_good_order(calibration: np.ndarray, tmp_path: Path) -> None:
    lines: list[str] = []
    result = r329fast.tune(NET, tmp_path, dataset=calibration[:8], budget=1e-9, told=lines.append)
    assert not result.gained
    assert all(not step["begun"] for step in result.record["steps"])
    assert len(lines) == 1 + len(result.record["steps"]) > 3
    assert lines[0].startswith("8 calibration images: 5 fit, 2 judge layers, 1 confirm steps; with")
    assert [path.name for path in tmp_path.iterdir()] == ["tune.json"]
    assert "not begun" in tuning_page(result.record)
