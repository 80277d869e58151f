"""The sentences of a report: right figures, the layers that matter, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from r329fast.report.finding import Finding
from r329fast.report.findings import finding_lines, findings


def layer(name: str, op: str = "Convolution", **values: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "macs": 10, **values}


def record(layers: list[dict[str, Any]] | None = None, **values: Any) -> dict[str, Any]:
    return {"model": "net", "layers": layers or [], "totals": {}, **values}


def evaluation(setting: str = "one", **values: Any) -> dict[str, Any]:
    return {
        "setting": setting, "figures": [], "worst": [], "accuracy": values, "top1_by_setting": [],
    }  # fmt: skip


def found(kind: str, given: dict[str, Any]) -> Finding:
    (item,) = [item for item in findings(given) if item.kind == kind]
    return item


def kinds(given: dict[str, Any]) -> list[str]:
    return [item.kind for item in findings(given)]


# --- accuracy ------------------------------------------------------------------------------------


def test_what_int8_loses() -> None:
    """65.5 % of 2,000 against 67.5 %: two points, and McNemar says that it is no chance."""
    part = evaluation(
        images=2000, top1=0.655, float_top1=0.675, lost=70, gained=30, mcnemar_p=0.00008
    )
    item = found("accuracy", record(evaluation=part))
    assert item.text == (
        "int8 loses 2.0 points of 67.5 %: its top-1 is 65.5 % of 2,000 images; "
        "70 are lost and 30 gained."
    )
    assert item.loss
    assert "profile" in item.action


def test_a_loss_that_chance_explains() -> None:
    part = evaluation(images=1000, top1=0.649, float_top1=0.65, lost=5, gained=4, mcnemar_p=1.0)
    item = found("accuracy", record(evaluation=part))
    assert "which chance explains too (McNemar p = 1)" in item.text
    assert item.action.startswith("More images")


@pytest.mark.parametrize(
    ("floats", "words"),
    [(0.5, "loses nothing of 50.0 %"), (0.4, "gains 10.0 points over float's 40.0 %")],
)
def test_no_loss(floats: float, words: str) -> None:
    item = found("accuracy", record(evaluation=evaluation(images=500, top1=0.5, float_top1=floats)))
    assert words in item.text
    assert not item.loss


def test_few_images_say_little() -> None:
    item = found("accuracy", record(evaluation=evaluation(images=16, top1=0.5, float_top1=0.75)))
    assert item.action.startswith("16 images say little")


def test_without_labels_the_agreement() -> None:
    errors = {"images": 8, "agreement": 0.875, "top1": None, "float_top1": None,
              "output_snr": 21.04, "output_cosine": 0.99}  # fmt: skip
    item = found("accuracy", record([layer("a")], errors=errors))
    assert item.text == (
        "int8 and float agree on the top class in 87.5 % of eight images; the output SNR is 21.0 "
        "dB."
    )
    assert "--labels" in item.action


def test_without_images_it_says_so() -> None:
    item = found("accuracy", record([layer("a")]))
    assert item.text.startswith("Cost and memory only")
    assert "eval" in item.action


@pytest.mark.parametrize(
    ("cut", "words"), [(0.01, "The last layer cuts logits"), (0.0, ""), (None, "profile says")]
)
def test_ties_say_why(cut: float | None, words: str) -> None:
    """Only a last layer that cuts its logits is told to be widened."""
    rows = [layer("first", saturated_high=0.5), layer("last", saturated_high=cut)]
    part = evaluation(images=200, top1=0.5, tied_images=10)
    item = found("ties", record(rows if cut is not None else [], evaluation=part))
    assert item.action.startswith(words)
    assert bool(item.action) == (cut != 0.0)
    assert ("too coarse" in item.text) == (cut == 0.0)


def test_a_sweep_names_best_and_worst() -> None:
    part = {**evaluation("b", images=300, top1=0.5),
            "top1_by_setting": [["a", 0.6], ["b", 0.5], ["c", None]]}  # fmt: skip
    item = found("settings", record(evaluation=part))
    assert item.text == (
        "Of two settings, a has the best top-1 (60.0 %) and b the worst (50.0 %); the page shows b."
    )
    assert item.action == "Show the best: report --setting 'a'"
    part["setting"] = "a"
    assert not found("settings", record(evaluation=part)).action


def test_what_the_images_had() -> None:
    part = evaluation(images=200, top1=0.5, saturated_images=30, saturated_values=900,
                      tied_images=10, top1_shared=0.48, skipped=1)  # fmt: skip
    given = record(evaluation=part)
    assert found("inputs", given).text == (
        "The input was saturated in 15.0 % of 200 images (900 values)."
    )
    assert found("ties", given).text == (
        "Several classes share the first place in 5.0 % of the images; top-1 is 48.0 % if tied "
        "classes count alike."
    )
    assert found("skipped", given).text == "One image could not be used and is left out."
    clean = evaluation(images=200, top1=0.5, saturated_images=1, tied_images=1, skipped=0)
    assert kinds(record(evaluation=clean)) == ["accuracy"]


# --- layers --------------------------------------------------------------------------------------


def test_layers_by_their_share_of_the_error() -> None:
    """Noise powers 0.1, 0.01, 0.01: the first makes 83.3 % of their sum."""
    rows = [layer("a", only_snr=20.0), layer("b", only_snr=10.0), layer("c", only_snr=20.0)]
    item = found("layers", record(rows))
    assert item.text == (
        "One layer of 3 makes 83.3 % of the output's error, each quantised alone: b (10.0 dB)."
    )
    assert [part.layer for part in item.parts if not isinstance(part, str) and part.layer] == ["b"]


def test_layers_by_their_own_error() -> None:
    rows = [
        layer(name, snr_single=value) for name, value in zip("abcd", (40, 20, 39, 41), strict=True)
    ]
    rows.append(layer("moves", op="Reshape", macs=0, snr_single=1.0))
    item = found("layers", record(rows))
    assert item.text == (
        "One layer loses most, each taken alone: b (20.0 dB); half of the layers have more than "
        "39.5 dB."
    )
    alike = [layer(name, snr_single=value) for name, value in zip("abc", (40, 39, 41), strict=True)]
    assert not found("layers", record(alike)).loss


def test_saturation() -> None:
    rows = [
        layer("data", "Input", macs=0, saturated_low=0.01, saturated_high=0.002),
        layer("a", saturated_low=0.0, saturated_high=0.02),
        layer("b", saturated_low=0.0004, saturated_high=0.0),
    ]
    given = record(rows)
    assert found("input", given).text == "The input data was saturated in 1.2 % of its values."
    assert found("cut", given).text == (
        "One layer cuts off more than 0.05 % of the outputs, most of all a (2.0 %)."
    )


def test_the_best_suggestion() -> None:
    before = {"snr": 11.75, "agreement": 0.627, "top1": None}
    small = {"action": "small", "setting": "x = 1", "before": before,
             "after": {"snr": 12.0, "agreement": 0.63, "top1": None}}  # fmt: skip
    large = {"action": "per-channel weights", "setting": "y = 2", "before": before,
             "after": {"snr": 19.31, "agreement": 0.78, "top1": None}}  # fmt: skip
    item = found("suggestion", record([layer("a")], suggestions=[small, large]))
    assert item.text == (
        "What helps most: per-channel weights. It takes the output's SNR from 11.8 to 19.3 dB, and "
        "the agreement with float from 62.7 % to 78.0 %."
    )
    assert item.action == "In the cfg: y = 2"
    large["after"]["agreement"] = before["agreement"]
    text = found("suggestion", record([layer("a")], suggestions=[large])).text
    assert text.endswith(" 19.3 dB and leaves the agreement with float at 62.7 %.")


@pytest.mark.parametrize(
    ("kind", "key", "bad", "good"),
    [
        ("accumulator", "headroom_bits", 0, 5),
        ("biases", "biases_clipped", 2, 0),
        ("dead", "bits_lost_to_dead", 3, 0),
        ("multipliers", "multiplier_error", 0.02, 0.001),
    ],
)
def test_numbers_of_the_program(kind: str, key: str, bad: float, good: float) -> None:
    given = record([layer("a", **{key: bad}), layer("b", **{key: good}), layer("c")])
    item = found(kind, given)
    assert item.text.startswith("One layer ")
    assert [part.layer for part in item.parts if not isinstance(part, str)] == ["a"]
    assert kind not in kinds(record([layer("b", **{key: good})]))


def test_silent_failures_are_findings() -> None:
    """Each of them, in front of what is found by layers; its layer is a link."""
    texts = ["Concat 'join': 'a' reaches 640, 'b' only 1", "output 'out' is constant"]
    failures = [{"kind": "parts", "layer": "join", "text": texts[0], "parts": []},
                {"kind": "constant", "layer": "", "text": texts[1], "parts": []}]  # fmt: skip
    items = findings(record([layer("join", bits_lost_to_dead=3)], failures=failures))
    assert [item.kind for item in items] == ["failure", "failure", "accuracy", "dead"]
    assert items[0].text == texts[0] + "."
    assert [part.layer for part in items[0].parts if not isinstance(part, str)] == ["join"]
    assert items[1].text == "Output 'out' is constant."


# --- cost ----------------------------------------------------------------------------------------


def cost(**bound: int) -> dict[str, Any]:
    return {
        "cycles": sum(bound.values()), "milliseconds": 2.5, "bound_cycles": bound,
        "bound": max(bound, key=lambda name: bound[name]),
        "sensitivity": {"double the bandwidth": {"cycles": 1, "milliseconds": 1.75}},
    }  # fmt: skip


def test_what_the_time_waits_for() -> None:
    rows = [
        layer("a", bound="memory", cycles=400), layer("b", bound="memory", cycles=130),
        layer("c", bound="compute", cycles=470, utilisation=0.9),
    ]  # fmt: skip
    item = found("time", record(rows, cost=cost(memory=530, compute=470)))
    assert item.text == (
        "53.0 % of the estimated 2.50 ms per image waits for memory, 75.5 % of that in a (40.0 %)."
    )
    assert "1.75 ms (estimate)" in item.action


def test_an_idle_array() -> None:
    rows = [layer("dw", bound="compute", cycles=300, utilisation=0.05),
            layer("c", bound="compute", cycles=700, utilisation=0.9)]  # fmt: skip
    given = record(rows, cost=cost(compute=1000))
    assert found("array", given).text == (
        "One layer uses less than 10.0 % of the MAC array and takes 30.0 % of the estimated time, "
        "first of all dw (5.0 %)."
    )
    assert "is computing" in found("time", given).text


def test_marks_of_a_binary() -> None:
    facts = [("mind: conv1", "dead channels", "exact"), ("size", "3", "exact")]
    item = found("binary", record([layer("conv1")], facts=facts, kind="vendor"))
    assert item.text == "In the binary: conv1: dead channels."


# --- form ----------------------------------------------------------------------------------------


def test_json_has_sentence_and_links() -> None:
    given = record([layer("a", bits_lost_to_dead=3)])
    words = found("dead", given).as_json()
    joined = "".join(part if isinstance(part, str) else part["words"] for part in words["parts"])
    assert joined == words["text"]
    assert {"words": "a", "layer": "a"} in words["parts"]


def test_lines_for_a_terminal() -> None:
    items = [Finding("x", True, ("One.",), "do it"), Finding("y", False, ("Two.",))]
    assert finding_lines(items) == ["1. One.", "   -> do it", "2. Two."]


def test_no_more_than_five_names() -> None:
    rows = [layer(f"l{i}", only_snr=20.0) for i in range(40)]
    links = [part for part in found("layers", record(rows)).parts if not isinstance(part, str)]
    assert len([link for link in links if link.layer]) == 5


@pytest.mark.parametrize(
    ("scheme", "extremes", "words"),
    [
        ("aqt2021", False, "[AutoQuantizationTool] calibration_method = EXTREME"),
        ("compass42", None, "[Optimizer] calibration_strategy_for_activation = extrema"),
        ("compass42", True, "calibrate on more images"),
    ],
)
def test_a_cut_range_is_widened_by_the_key_of_the_scheme(
    scheme: str, extremes: bool | None, words: str
) -> None:
    rows = [layer("first", saturated_high=0.5)]
    item = found("cut", record(rows, scheme=scheme, ranges_at_extremes=extremes))
    assert words in item.action


def test_inputs_that_the_method_cuts_off_are_no_fault_of_the_preprocessing() -> None:
    part = evaluation(images=200, top1=0.5, saturated_images=100, saturated_values=9)
    for extremes, words in ((False, "Widen the range"), (None, "Give these images")):
        item = found("inputs", record([], evaluation=part, ranges_at_extremes=extremes))
        assert item.action.startswith(words)
