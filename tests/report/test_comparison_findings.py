"""Sentences about several runs: which is best in what, and the layer that changed most."""

from __future__ import annotations

from typing import Any

from r329fast.report.comparison_findings import comparison_findings


def run(snr: float, own: dict[str, float], top1: float | None = None, ms: float = 1.0) -> Any:
    return {
        "model": "net", "totals": {}, "errors": {"output_snr": snr, "top1": top1},
        "layers": [{"name": name, "op": "x", "snr_single": value} for name, value in own.items()],
        "cost": {"milliseconds": ms},
    }  # fmt: skip


def texts(runs: list[Any], labels: list[str]) -> list[str]:
    return [item.text for item in comparison_findings(runs, labels)]


def test_best_and_worst_of_each() -> None:
    runs = [
        run(20.0, {"a": 30.0, "b": 40.0}, 0.60, 2.0),
        run(25.0, {"a": 31.0, "b": 28.0}, 0.62, 2.5),
        run(22.0, {"a": 30.0, "c": 99.0}, None, 2.0),
    ]
    assert texts(runs, ["one", "two", "three"]) == [
        "two has the best top-1, 62.0 %: 2.0 points more than one (60.0 %).",
        "two is nearest to float: output SNR 25.0 dB, one is farthest with 20.0 dB.",
        "one takes the least time, 2.00 ms per image (estimate); two takes 2.50 ms.",
        "No layer's own error changes more than that of b: from 40.0 dB in one to 28.0 dB in two.",
    ]


def test_an_evaluation_counts_before_a_profile() -> None:
    first, second = run(20.0, {}, 0.5), run(20.0, {}, 0.5)
    first["evaluation"] = {"accuracy": {"top1": 0.70}}
    second["evaluation"] = {"accuracy": {"top1": 0.75}}
    assert texts([first, second], ["x", "y"]) == [
        "y has the best top-1, 75.0 %: 5.0 points more than x (70.0 %)."
    ]


def test_equal_runs_and_one_run() -> None:
    one = run(20.0, {"a": 30.0}, 0.5)
    assert texts([one, one], ["x", "y"]) == ["The runs do not differ in what they both hold."]
    assert texts([one], ["x"]) == []


def test_other_images_are_no_comparison() -> None:
    runs = [run(10, {}), run(10, {})]
    runs[0]["evaluation"] = {"accuracy": {"top1": 0.7, "images": 60}}
    runs[1]["errors"] |= {"top1": 0.75, "images": 100}
    (item,) = (item for item in comparison_findings(runs, ["a", "b"]) if "top-1" in item.text)
    assert item.loss
    assert "not the same images (a 60, b 100)" in item.action
    runs[1]["errors"]["images"] = 60
    (item,) = (item for item in comparison_findings(runs, ["a", "b"]) if "top-1" in item.text)
    assert item.action == ""
