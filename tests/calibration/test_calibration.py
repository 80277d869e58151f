"""Calibration: the 2021 tool's MEAN, ranges files, bounded batches, bad data."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.programs import small_graph, small_ranges

from r329fast.calibration import Ranges, calibrate
from r329fast.calibration.calibrate import _RUN_BATCH
from r329fast.calibration.strategies import parse_strategy
from r329fast.errors import DataError, FileError, UsageError
from r329fast.graph import FloatSession, load_model


@pytest.fixture(scope="module")
def dataset() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(21, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def tensors(dataset: np.ndarray) -> dict[str, np.ndarray]:
    session = FloatSession(small_graph(), keep="all")
    return {"x": dataset, **session.run(dataset)}


def test_mean_is_the_halving_mean_of_the_2021_tool(dataset, tensors) -> None:
    ranges = calibrate(small_graph(), dataset, "aqt2021", "MEAN")
    for name, values in tensors.items():
        low = high = None
        for image in values:
            if low is None:
                low, high = image.min(), image.max()
            else:
                low, high = 0.5 * low + 0.5 * image.min(), 0.5 * high + 0.5 * image.max()
        np.testing.assert_allclose(ranges[name], (low, high), rtol=1e-6)


def test_extreme_and_extrema_are_global(dataset, tensors) -> None:
    for scheme, method in (("aqt2021", "EXTREME"), ("compass42", "extrema")):
        ranges = calibrate(small_graph(), dataset, scheme, method)
        for name, values in tensors.items():
            low, high = values.min(), values.max()
            if scheme == "compass42":
                low, high = min(low, 0), max(high, 0)
            np.testing.assert_allclose(ranges[name], (low, high), rtol=1e-6)


def test_every_layer_has_an_entry_in_ir_order(dataset) -> None:
    ranges = calibrate(small_graph(), dataset[:2])
    assert list(ranges.values) == [name for layer in small_graph() for name in layer.outputs]


def test_no_more_than_a_run_batch_is_read_at_once(dataset) -> None:
    class Watched(np.ndarray):
        largest = 0

        def __getitem__(self, key):
            part = super().__getitem__(key)
            Watched.largest = max(Watched.largest, len(part))
            return part

    calls = []
    watched = dataset.view(Watched)
    calibrate(small_graph(), watched, progress=lambda done, total: calls.append((done, total)))
    assert 0 < Watched.largest <= _RUN_BATCH
    assert calls == [(8, 21), (16, 21), (21, 21)]


def test_max_min_files_round_trip(tmp_path) -> None:
    ranges = small_ranges()
    paths = ranges.save_max_min(tmp_path / "max_min", "net")
    assert [path.name for path in paths] == ["net_max.npy", "net_min.npy"]
    stored = np.load(paths[0], allow_pickle=True)
    assert stored.shape == ()
    assert stored.item()["conv"].dtype == np.float32
    assert stored.item()["conv"].shape == (1,)
    loaded = Ranges.load_max_min(*paths)
    assert list(loaded.values) == list(ranges.values)
    for name, pair in ranges.values.items():
        np.testing.assert_array_equal(np.float32(pair), np.float32(loaded[name]))


@pytest.mark.shared
def test_vendor_dicts_are_read(shared) -> None:
    folder = shared / "artefacts" / "resnet18_seed" / "max_min"
    ranges = Ranges.load_max_min(folder / "densnet_max.npy", folder / "densnet_min.npy")
    assert len(ranges.values) == 51
    assert ranges["resnetv22_dense0_fwd"] == pytest.approx((-7.6187525, 14.961332))
    folder = shared / "artefacts" / "gesture_z1"
    assert "Mean_0" in Ranges.load_max_min(folder / "max_dict3.npy", folder / "min_dict3.npy")


@pytest.mark.shared
def test_mean_over_the_stored_dataset_gives_the_stored_input_range(shared) -> None:
    """The statistic itself, on the three real values that need no model (spec formats, 2)."""
    from r329fast.graph import ir

    seed = shared / "artefacts" / "resnet18_seed"
    layer = ir.Layer("data", "Input", ir.InputAttrs(), (), ("data",))
    graph = ir.Graph("seed", [layer], {"data": (224, 224, 3)}, ("data",))
    found = calibrate(graph, np.load(seed / "dataset" / "dataset.npy"), "aqt2021", "MEAN")
    stored = Ranges.load_max_min(
        seed / "max_min" / "densnet_max.npy", seed / "max_min" / "densnet_min.npy"
    )
    np.testing.assert_allclose(found["data"], stored["data"], rtol=0, atol=1e-6)


class _Evil:
    """Unpickling this would call a function."""

    def __reduce__(self):
        return print, ("called",)


def test_a_pickle_that_calls_functions_is_refused(tmp_path, capsys) -> None:
    boxed = np.empty((), dtype=object)
    boxed[()] = {"x": _Evil()}
    np.save(tmp_path / "evil.npy", boxed, allow_pickle=True)
    with pytest.raises(FileError, match="not allowed"):
        Ranges.load_max_min(tmp_path / "evil.npy", tmp_path / "evil.npy")
    assert "called" not in capsys.readouterr().out


def test_bad_max_min_files(tmp_path) -> None:
    good, _ = small_ranges().save_max_min(tmp_path, "net")
    with pytest.raises(FileError, match="No such file"):
        Ranges.load_max_min(good, tmp_path / "none.npy")
    (tmp_path / "short.npy").write_bytes(good.read_bytes()[:90])
    with pytest.raises(FileError, match=r"short\.npy"):
        Ranges.load_max_min(good, tmp_path / "short.npy")
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(FileError, match="holding a dict"):
        Ranges.load_max_min(good, tmp_path / "plain.npy")
    fewer = small_ranges()
    del fewer.values["conv"]
    _, other = fewer.save_max_min(tmp_path / "fewer", "net")
    with pytest.raises(FileError, match="'conv' is in only one"):
        Ranges.load_max_min(good, other)


@pytest.mark.parametrize(
    ("text", "word", "number"),
    [
        ("mean", "mean", 1),
        ("3std", "std", 3),
        ("10kld", "kld", 10),
        ("kld", "kld", 10),
        ("0.9percentile", "percentile", 0.9),
        ("aciq_laplace", "aciq_laplace", 1),
        ("0.8aciq_gauss", "aciq_gauss", 0.8),
        ("in_ir", "extrema", 1),
    ],
)
def test_strategies(text: str, word: str, number: float) -> None:
    strategy = parse_strategy(text)
    assert (strategy.word, strategy.number) == (word, number)


@pytest.mark.parametrize("text", ["", "std", "2mean", "median", "kld10", "weighted_scale_param[1]"])
def test_unknown_strategies(text: str) -> None:
    with pytest.raises(UsageError, match="calibration strategy"):
        parse_strategy(text)


def test_datasets_that_do_not_fit(dataset) -> None:
    graph = small_graph()
    with pytest.raises(DataError, match=r"expected float32 \(N, 8, 8, 3\)"):
        calibrate(graph, dataset.transpose(0, 3, 1, 2))
    with pytest.raises(DataError, match="found float64"):
        calibrate(graph, dataset.astype(np.float64))
    with pytest.raises(DataError, match="at least 1"):
        calibrate(graph, dataset[:0])
    bad = dataset.copy()
    bad[13, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="image 13 holds NaN"):
        calibrate(graph, bad)
    with pytest.raises(UsageError, match="calibration method 'mean', allowed MEAN, EXTREME"):
        calibrate(graph, dataset, "aqt2021", "mean")
    with pytest.raises(UsageError, match="scheme 'aqt'"):
        calibrate(graph, dataset, "aqt")


def test_a_strategy_may_differ_from_layer_to_layer(dataset) -> None:
    graph = small_graph()
    plain = calibrate(graph, dataset, "compass42", "mean")
    extrema = calibrate(graph, dataset, "compass42", "extrema")
    scoped = calibrate(graph, dataset, "compass42", "mean & <[Convolution]:extrema>")
    assert scoped["conv"] == extrema["conv"] != plain["conv"]
    assert scoped["dw"] == plain["dw"]


def test_the_form_of_aciq_follows_each_layers_own_method(dataset) -> None:
    method = "per_tensor_symmetric_full_range & <[Eltwise]:per_tensor_asymmetric>"
    found = calibrate(small_graph(), dataset, "compass42", "aciq_gauss", activation_method=method)
    assert found["dw"][0] == -found["dw"][1]
    assert found["add"][0] != -found["add"][1]


@pytest.mark.parametrize("pair", [(0.0, np.nan), (0.0, np.inf), (1.0, -5.0)])
def test_impossible_entries_of_ranges_files(tmp_path, pair) -> None:
    ranges = small_ranges()
    ranges.values["conv"] = pair
    paths = ranges.save_max_min(tmp_path, "net")
    with pytest.raises(FileError, match="entry 'conv'"):
        Ranges.load_max_min(*paths)


# NumPy itself complains while it throws away an array whose stored state was damaged.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_pickles_are_file_errors(tmp_path) -> None:
    good, _ = small_ranges().save_max_min(tmp_path, "net")
    data = good.read_bytes()
    rng = np.random.default_rng(1)
    for position in rng.integers(len(data) // 4, len(data), size=80):
        bad = bytearray(data)
        bad[position] ^= 0xFF
        (tmp_path / "bad.npy").write_bytes(bytes(bad))
        with contextlib.suppress(FileError):
            Ranges.load_max_min(tmp_path / "bad.npy", tmp_path / "bad.npy")


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"histc_bins": 0}, {"momentum": 1.5}])
def test_wrong_settings(dataset, setting: dict) -> None:
    with pytest.raises(UsageError, match="allowed at least 1"):
        calibrate(small_graph(), dataset, "compass42", "kld", **setting)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
def test_a_network_that_gives_nan_is_refused(scheme: str, tmp_path: Path) -> None:
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 3, 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, 3, 4])
    nodes = [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node("Log", ["t"], ["y"])]
    graph_def = helper.make_graph(nodes, "g", [info], [out])
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph_def, opset_imports=opsets, ir_version=8)
    onnx.save(model, str(tmp_path / "net.onnx"))
    graph = load_model(tmp_path / "net.onnx")
    images = np.random.default_rng(1).normal(size=(3, 3, 4, 2)).astype(np.float32)
    with pytest.raises(DataError, match=r"'y' \(Log .*gives NaN on the calibration set"):
        calibrate(graph, images, scheme)
