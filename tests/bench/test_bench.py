"""The benchmark room: what it builds is right; nothing here fails by being slow."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.qdq import follows_the_float_network

from r329fast.bench import compare_engines as compare
from r329fast.bench import engine_trial, engines, memory
from r329fast.bench import given_cores as cores_given
from r329fast.bench import interleaved as timing
from r329fast.bench.cases import Case, make_case
from r329fast.bench.models import MODELS
from r329fast.bench.qdq import VARIANTS, quantized, to_qdq
from r329fast.cli import main as cli
from r329fast.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"resnet20_cifar": 16}


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case("resnet20_cifar", 16)


def small_case(name: str) -> Case:
    return make_case(name, SMALL.get(name, 64))


# --- models


def test_vgg16_at_32() -> None:
    """The smallest VGG-16; its fully connected layers see one pixel then (33 million weights)."""
    small = make_case("vgg16", 32)
    full = 15.47e9 - 512 * 49 * 4096 - 4096 * 4096 - 4096 * 1000  # convolutions at 224
    dense = 512 * 4096 + 4096 * 4096 + 4096 * 1000
    assert small.macs == pytest.approx(full / 49 + dense, rel=0.01)


def test_models_are_the_same_every_time() -> None:
    build = MODELS["resnet20_cifar"].build
    assert build(16).SerializeToString() == build(16).SerializeToString()


# --- QDQ


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["resnet20_cifar", "resnet18_v2", "squeezenet", "mobilenet_v2"])
def test_qdq_follows_the_float_network(name: str, variant: str) -> None:
    follows_the_float_network(small_case(name), variant)


def test_quantized_ranges() -> None:
    unsigned = quantized((0.0, 2.55), "u8")
    assert (unsigned.zero.dtype, int(unsigned.zero)) == (np.uint8, 0)
    assert float(unsigned.scale) == pytest.approx(0.01)
    assert unsigned.saturates_at_zero
    assert quantized((0.0, 1.0), "s8").saturates_at_zero
    assert not quantized((-1.0, 1.0), "s8").saturates_at_zero
    mixed = quantized((-1.27, 0.5), "mixed")
    assert (mixed.zero.dtype, int(mixed.zero)) == (np.int8, 0)
    x = np.array([-9.0, -1.27, 0.0, 0.5], np.float32)
    np.testing.assert_array_equal(mixed.integers(x), [-128, -127, 0, 50])
    assert quantized((0.0, 0.0), "u8").scale > 0


def test_qdq_refuses_what_it_does_not_know(case: Case) -> None:
    with pytest.raises(UsageError, match="variant 'u4', allowed u8"):
        to_qdq(case.graph, case.ranges, "u4")


# --- timing


def test_interleave_takes_turns() -> None:
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "ab"}
    timings = timing.interleave(runs, 2, min_turn=0.0, step=lambda: order.append("|"))
    assert "".join(order) == "ab" + "a|b|" * 2
    assert [len(t.rounds) for t in timings.values()] == [2, 2]


@pytest.mark.parametrize(
    ("stands", "worst"),
    [
        ([2.0, 1.1, 1.8, 1.3, 1.9], 1.8),  # enough good ones in the end
        ([2.0, 1.1, 1.8, 1.3, 1.0, 1.0], 1.3),  # else the best
    ],
)
def test_rounds_without_their_cores_are_measured_again(stands: list[float], worst: float) -> None:
    asked = iter([value for stand in stands for value in (2.0, stand)])
    timings = timing.interleave({"a": lambda: None}, 3, 0.0, gauge=lambda: next(asked), enough=1.7)
    assert next(asked, None) is None  # as many rounds as it takes, and no more
    assert len(timings["a"].rounds) == 3
    assert timings["a"].gauged == worst


def test_a_round_waits_for_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(timing.time, "sleep", waited.append)
    asked = iter([1.0, 1.2, 2.0, 1.9, 1.0, 1.1, 1.8, *[1.0] * 4])
    timings = timing.interleave(
        {"a": lambda: None}, 2, 0.0, gauge=lambda: next(asked), enough=1.7, patience=3.0
    )
    assert len(waited) == 3  # two for the first round, then one
    assert timings["a"].gauged == 1.1


def test_cores_that_threads_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores_given, "cores", lambda: 2)
    assert cores_given.given_cores(1) == 1.0
    assert 0 < cores_given.given_cores(2) < 4
    entry = {"model": "net", "batch": 1, "threads": 2, "given_cores": 1.04}
    assert "2 threads had 1.0 cores" in compare.cores_note(entry)
    assert compare.cores_note({**entry, "given_cores": 1.9}) == ""
    monkeypatch.setattr(compare, "cores", lambda: 2)
    assert (
        compare.cores_note({**entry, "threads": 3, "given_cores": 1.9}) == ""
    )  # there are no more
    assert compare.cores_note({**entry, "threads": 1, "given_cores": None}) == ""


def test_ratio_is_of_rounds() -> None:
    a, b = timing.RoundTimes((2.0, 20.0, 4.0)), timing.RoundTimes((1.0, 10.0, 1.0))
    assert timing.ratio(a, b) == 2.0
    assert (a.median, a.best) == (4.0, 2.0)
    assert (
        timing.cpu_ratio(timing.RoundTimes((1.0,), (3.0,)), timing.RoundTimes((9.0,), (1.5,)))
        == 2.0
    )
    assert a.quartiles == (3.0, 12.0)
    assert timing.RoundTimes((5.0,)).quartiles == (5.0, 5.0)


def test_turn_counts_a_long_run_once_and_repeats_a_short_one() -> None:
    calls: list[int] = []
    assert timing.turn(lambda: calls.append(1), min_turn=0.0) >= (0, 0)
    assert calls == [1]
    calls.clear()
    assert timing.turn(lambda: calls.append(1), min_turn=10.0) >= (0, 0)
    assert 2 <= len(calls) <= 201  # the first, and as many as it may repeat


def test_fastest() -> None:
    import time

    assert timing.fastest([lambda: time.sleep(0.02), lambda: None]) == 1
    assert timing.fastest([lambda: 1 / 0]) == 0  # one alone needs no race


# --- the record


def test_bench_without_peers() -> None:
    record = compare.bench(["resnet20_cifar"], threads=(1, 2), batch=3, rounds=1, size=16)
    assert record["missing"] == {}
    assert record["machine"]["cores"] >= 1
    assert [result["threads"] for result in record["results"]] == [1, 2]
    for result in record["results"]:
        (entry,) = result["engines"]
        assert entry["engine"] == "r329fast"
        assert entry["times_ours"] == 1.0
        assert entry["images_per_second"] == pytest.approx(1e3 / entry["ms_per_image"])
        rate = result["gmac"] * entry["images_per_second"]
        assert entry["gmac_per_second"] == pytest.approx(rate)
        assert "ratio" not in result


def test_an_engine_that_ends_the_process_is_named(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO ends the process on one form of DenseNet-121; here every engine does."""
    monkeypatch.setattr(engine_trial, "_RUN", "import os, signal; os.kill(os.getpid(), 11)")
    failed: dict[str, str] = {}
    assert engines.peers(replace(case, trials={}), "OpenVINO int8", 1, 1, failed) == []
    assert failed["OpenVINO int8 (u8)"] == "ends the process (SIGSEGV)"


def test_an_engine_that_hangs_is_named(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_trial, "_RUN", "import time; time.sleep(60)")
    monkeypatch.setattr(engine_trial, "SECONDS", 1)
    assert engine_trial.survives("", b"", np.zeros(1)) == "no answer within 1 s"


def test_bench_with_peers() -> None:
    record = compare.bench(["resnet20_cifar"], batch=2, rounds=1, with_peers=True, size=16)
    (result,) = record["results"]
    found = [entry["engine"] for entry in result["engines"]]
    assert found == ["r329fast", *(f for f in engines.PEERS if f not in record["missing"])]
    assert result["faster_int8_peer"] in engines.INT8_PEERS
    assert result["ratio"] > 0
    assert all(entry["correlation"] > 0.9 for entry in result["engines"])


def test_a_missing_peer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else real(name)
    )
    record = compare.bench(["resnet20_cifar"], batch=2, rounds=1, with_peers=True, size=16)
    assert record["missing"] == {"OpenVINO int8": "openvino is not installed"}
    assert record["results"][0]["faster_int8_peer"] == "onnxruntime int8"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ({"models": ["resnet81"]}, "model 'resnet81', allowed resnet18_v2"),
        ({"models": ["vgg16"], "threads": (0,)}, "threads: found 0"),
        ({"models": ["vgg16"], "batch": 0}, "batch: found 0"),
        ({"models": ["vgg16"], "rounds": 0}, "rounds: found 0"),
        ({"models": ["vgg16"], "size": 0}, "size: found 0"),
    ],
)
def test_bench_refuses(argv: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare.bench(**argv)  # type: ignore[arg-type]


# --- memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peak_memory(case: Case) -> None:
    figures = memory.peak_memory(case.program, 2)
    assert figures["peak_mb"] > figures["import_mb"] > 0
    assert figures["above_import_mb"] == pytest.approx(figures["peak_mb"] - figures["import_mb"])
    assert figures["input_mb"] == pytest.approx(2 * 16 * 16 * 3 / 1e6)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peak_memory_tells_why_it_failed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(memory.MemoryFiguresError, match="threads 0"):
        memory.peak_memory(case.program, 2, threads=0)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    with pytest.raises(memory.MemoryFiguresError, match="not there"):
        memory.peak_memory(case.program, 2)


# --- command and scripts

QUICK = ["bench", "--models", "resnet20_cifar", "--size", "16", "--batch", "2", "--rounds", "1"]


def test_command_prints_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, "--threads", "1", "--peers"]) == 0
    out = capsys.readouterr().out
    assert "resnet20_cifar 16" in out
    assert "batch 2, threads 1" in out
    assert "onnxruntime float" in out
    assert "against " in out


def test_command_gives_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [result["threads"] for result in record["results"]] == sorted({1, compare.cores()})
    assert set(record) == {"machine", "rounds", "missing", "results", "summary"}


def test_command_names_the_nearest_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--models", "resnet20cifar"]) == 2
    assert "did you mean 'resnet20_cifar'?" in capsys.readouterr().err


def script(monkeypatch: pytest.MonkeyPatch, name: str, *argv: object) -> None:
    path = ROOT / "benchmarks" / name
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, argv)])
    runpy.run_path(str(path), run_name="__main__")


def test_peers_shows_an_earlier_record(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record = compare.bench(["resnet20_cifar"], batch=2, rounds=1, with_peers=True, size=16)
    record["missing"] = {"x": "not installed"}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    script(monkeypatch, "peers.py", "--show", path)
    out = capsys.readouterr().out
    assert "left out: x (not installed)" in out
    assert "| network | must | full batch, 1 thread |" in out
    assert "| resnet20_cifar | 1.2 | " in out


@pytest.mark.slow
def test_scaling_over_size_and_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "record.json"
    argv = ("size", "threads", "--model", "resnet20_cifar", "--rounds", 1, "--out", path)
    script(monkeypatch, "scaling.py", *argv)
    assert "resnet20_cifar by size" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert [row["size"] for row in record["size"]] == [16, 32, 64, 96]
    assert all(row["images_per_second"] > 0 for row in record["threads"])
