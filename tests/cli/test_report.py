"""`r329fast report`: records of profile, run and eval as pages; two side by side; wrong uses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.profiled import bundled_record

from r329fast.cli.main import main
from r329fast.errors import UsageError
from r329fast.profile.profiling import Wanted
from r329fast.report.columns import COLUMNS
from r329fast.report.csv_file import layers_csv
from r329fast.report.evaluation_run import evaluation_part
from r329fast.report.html import page
from r329fast.report.outputs import write_record


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return bundled_record(2, Wanted(host_time=False))


def embedded(text: str) -> dict[str, Any]:
    """The JSON inside a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def report(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main(["report", "--json", *map(str, words)])
    return code, json.loads(capsys.readouterr().out)


def evaluation(folder: Path) -> Path:
    """A folder as `eval --out` leaves it, and the images that it was run on."""
    images = folder / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(1)
    lines = []
    for index in range(4):
        cv2.imwrite(str(images / f"{index}.png"), rng.integers(0, 255, (40, 300, 3), np.uint8))
        lines.append(f"{index}.png {index}")
    (images / "label.txt").write_text("\n".join(lines))
    fields = ["image", "file", "label", "status", "rank", "top1", "float_rank", "float_top1"]
    table = [
        [0, "0.png", 0, "ok", 1, 0, 1, 0],
        [1, "1.png", 1, "ok", 3, 7, 1, 1],
        [2, "2.png", 2, "ok", 9, 8, 1, 2],
        [3, "3.png", 3, "ok", 20, 6, 5, 4],  # float has it wrong too
    ]
    with open(folder / "results.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([fields, *table])
    run = {
        "r329fast": "0.1.0", "model": "net.r329", "images": 4, "top1": 0.25, "top5": 0.5,
        "float_top1": 0.75, "float_top5": 1.0, "agreement": 0.25, "seconds": 2.0,
        "images_per_second": 2.0,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    return images


# --- pages ---------------------------------------------------------------------------------------


def test_page_is_self_contained(record: dict[str, Any]) -> None:
    text = page([record])
    assert len(text.encode()) < 2_000_000
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
    assert "@import" not in text
    assert "{{" not in text.split('id="data"')[0]
    data = embedded(text)
    assert [column["key"] for column in data["columns"]] == [column.key for column in COLUMNS]
    assert [layer["macs"] for layer in data["runs"][0]["layers"]] == [
        layer["macs"] for layer in record["layers"]
    ]


def test_page_survives_odd_text(record: dict[str, Any]) -> None:
    odd = {**record, "model": "</script><b>{{js}} <!-- &", "source": "\u2028"}
    text = page([odd])
    assert embedded(text)["runs"][0]["model"] == odd["model"]
    assert text.count("</script>") == 2
    assert "<title>&lt;/script&gt;&lt;b&gt;" in text


def test_infinities_and_nan_become_null(record: dict[str, Any]) -> None:
    layers = [{**record["layers"][1], "snr_entire": float("inf"), "snr_single": float("nan")}]
    found = embedded(page([{**record, "layers": layers}]))["runs"][0]["layers"][0]
    assert found["snr_entire"] is found["snr_single"] is None


def test_any_number_of_runs(record: dict[str, Any]) -> None:
    assert len(embedded(page([record] * 7))["runs"]) == 7
    with pytest.raises(UsageError, match="at least one run"):
        page([])


def test_csv_text(record: dict[str, Any]) -> None:
    lines = layers_csv([{"name": 'a,"b"', "macs": 3, "acc_min": None, "zeros": 0.5}]).split("\n")
    assert lines == ["name,macs,zeros,acc_min", '"a,""b""",3,0.5,', ""]


# --- the command ---------------------------------------------------------------------------------


def test_profile_folder(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path / "run" / "profile.json", record)
    code, found = report(capsys, tmp_path / "run", "--csv", tmp_path / "layers.csv")
    assert code == 0
    assert found["files"]["html"] == str(tmp_path / "run" / "report.html")
    assert found["runs"]["run"]["MACs (exact)"] == f"{record['totals']['macs']:,}"
    assert (tmp_path / "layers.csv").read_text() == layers_csv(record["layers"])


def test_two_profiles(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path / "a" / "profile.json", record)
    write_record(tmp_path / "b" / "profile.json", {**record, "scheme": "compass42"})
    target = tmp_path / "both.html"
    code, found = report(capsys, tmp_path / "a", tmp_path / "b", "--html", target)
    assert code == 0
    assert [found["runs"][name]["scheme"] for name in "ab"] == ["aqt2021", "compass42"]
    data = embedded(target.read_text())
    assert data["labels"] == ["a", "b"]
    assert len(data["runs"]) == 2


def test_evaluation_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The worst images: float right, int8 rank lowest first; pictures from where it is told."""
    images = evaluation(tmp_path / "eval")
    plain = evaluation_part(tmp_path / "eval")
    assert [item["name"] for item in plain["worst"]] == ["2.png", "1.png"]
    assert plain["worst"][0]["thumbnail"] == ""
    assert ("top-1 int8", "25.00%") in plain["figures"]
    code, found = report(capsys, tmp_path / "eval", "--images", images)
    assert code == 0
    assert found["runs"]["eval"]["top-1 float (exact)"] == "75.00%"
    data = embedded((tmp_path / "eval" / "report.html").read_text())
    worst = data["runs"][0]["evaluation"]["worst"]
    assert all(item["thumbnail"].startswith("data:image/jpeg;base64,") for item in worst)
    assert "int8 gives 8" in worst[0]["text"]


def sweep(folder: Path, best: int) -> list[str]:
    """A sweep of three settings over the set of `evaluation`; each loses another image."""
    evaluation(folder)
    (folder / "results.csv").unlink()
    names = ["b half_even", "c floor", "a half_up"]
    rows = []
    for index, name in enumerate(names):
        top1 = 0.75 if index == best else 0.25
        rows.append({"name": name, "images": 4, "top1": top1, "top5": 1.0, "scheme": f"s{index}"})
        fields = ["image", "file", "label", "status", "rank", "top1", "float_rank"]
        lost = [
            [image, f"{image}.png", image, "ok", 5 if image == index else 1, 9, 1]
            for image in range(4)
        ]
        with open(folder / f"results-{name.replace(' ', '-')}.csv", "w", newline="") as stream:
            csv.writer(stream).writerows([fields, *lost])
    run = json.loads((folder / "run.json").read_text())
    identity = {"model": [[name, f"hash of {name}"] for name in names]}
    run |= {**rows[best], "settings": rows, "identity": identity}
    (folder / "run.json").write_text(json.dumps(run))
    return names


@pytest.mark.parametrize("best", [0, 1, 2])
@pytest.mark.parametrize("chosen", [None, 0, 1, 2])
def test_a_page_shows_one_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], best: int, chosen: int | None
) -> None:
    """Headline, name, scheme and worst images are of one setting; the table has all of them."""
    names = sweep(tmp_path / "sweep", best)
    words = [] if chosen is None else ["--setting", names[chosen]]
    shown = best if chosen is None else chosen
    code, found = report(capsys, tmp_path / "sweep", *words)
    assert code == 0
    top1 = "75.00%" if shown == best else "25.00%"
    pairs = found["runs"]["sweep"]
    assert (pairs["setting"], pairs["scheme"]) == (names[shown], f"s{shown}")
    assert pairs["top-1 int8 (exact)"] == top1
    part = embedded((tmp_path / "sweep" / "report.html").read_text())["runs"][0]["evaluation"]
    assert part["setting"] == names[shown]
    assert dict(part["figures"])["top-1 int8"] == top1
    assert [item["name"] for item in part["worst"]] == [f"{shown}.png"]
    assert [row[0] for row in part["settings"]["rows"]] == names
    assert [row[1] for row in part["settings"]["rows"]].count("75.00%") == 1


def test_two_settings_of_one_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sweep(tmp_path / "sweep", 1)
    words = [word for name in names[:2] for word in ("--setting", name)]
    code, found = report(capsys, tmp_path / "sweep", tmp_path / "sweep", *words)
    assert code == 0
    assert [pairs["setting"] for pairs in found["runs"].values()] == names[:2]
    code, found = report(capsys, tmp_path / "sweep", *words)
    assert code == 2
    assert "one for each" in found["error"]["message"]


def test_an_unknown_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "sweep", 1)
    code, found = report(capsys, tmp_path / "sweep", "--setting", "c flor")
    assert code == 2
    assert "'b half_even', 'c floor', 'a half_up'" in found["error"]["message"]
    assert "did you mean 'c floor'" in found["error"]["message"]


def test_the_setting_of_a_profile(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a profile stands the setting that made its program, not the best."""
    names = sweep(tmp_path / "sweep", 1)
    write_record(tmp_path / "sweep" / "profile.json", {**record, "hash": f"hash of {names[2]}"})
    code, found = report(capsys, tmp_path / "sweep")
    assert code == 0
    assert found["runs"]["sweep"]["setting"] == names[2]
    part = evaluation_part(tmp_path / "sweep", program_hash=f"hash of {names[2]}")
    assert [item["name"] for item in part["worst"]] == ["2.png"]


def test_profile_beside_an_evaluation(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation(tmp_path / "eval")
    write_record(tmp_path / "eval" / "profile.json", record)
    code, _ = report(capsys, tmp_path / "eval")
    assert code == 0
    run = embedded((tmp_path / "eval" / "report.html").read_text())["runs"][0]
    assert len(run["layers"]) == len(record["layers"])
    assert len(run["evaluation"]["worst"]) == 2


def test_plain_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = {
        "r329fast": "0.1.0", "model": "/m/net.onnx", "model_name": "net", "scheme": "aqt2021",
        "options": {"rounding": "floor"}, "outputs": {"y": {}}, "output_scale": {"y": 8.5},
        "macs": 1234, "seconds": {"all": 1.5}, "images": 1, "mode": "run",
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run))
    code, found = report(capsys, tmp_path)
    assert code == 0
    pairs = found["runs"][tmp_path.name]
    assert pairs["output_scale of y (exact)"] == "8.5"
    assert pairs["seconds (measured)"] == "1.5"
    assert pairs["option rounding"] == "floor"
    code, found = report(capsys, tmp_path, "--csv", tmp_path / "x.csv")
    assert code == 2
    assert "has no layers" in found["error"]["message"]


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("run.json", "{", "not JSON"),
        ("run.json", "[]", "found no JSON object"),
        ("run.json", "{}", "not a run of this program"),
        ("profile.json", '{"model": "m", "layers": []}', "found no totals"),
        ("profile.json", '{"model": "m", "layers": [], "totals": {}, "version": 7}', "version 7"),
        ("other.json", "{}", "found neither profile.json nor run.json"),
    ],
)
def test_wrong_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, part: str
) -> None:
    (tmp_path / name).write_text(text)
    code, found = report(capsys, tmp_path)
    assert code == 2
    assert part in found["error"]["message"]
    assert not (tmp_path / "report.html").exists()


def test_three_runs_of_one_name(
    record: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each run keeps a label of its own; findings of each are in the JSON."""
    folders = [tmp_path / name / "out" for name in "abc"]
    for folder in folders:
        write_record(folder / "profile.json", record)
    code, found = report(capsys, *folders)
    assert code == 0
    assert len(found["runs"]) == len(found["findings"]) == 3
    shown = embedded(Path(found["files"]["html"]).read_text(encoding="utf-8"))
    assert shown["labels"] == list(found["runs"])
    sentences = next(iter(found["findings"].values()))
    assert shown["runs"][0]["findings"] == sentences
    assert sentences[0]["kind"] == "accuracy"
    monkeypatch.setenv("COLUMNS", "80")
    code = main(["report", *map(str, folders)])
    text = capsys.readouterr().out
    assert text.startswith("The runs side by side\n1. The runs do not differ")
    assert "\nWhat to look at in out (1)\n1. " in text
    assert max(map(len, text.splitlines())) <= max(80, len(found["files"]["html"]) + 6)


def test_class_names_of_the_worst_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation(tmp_path)
    names = tmp_path / "classes.txt"
    names.write_text("\n".join(f"name{number}, other" for number in range(10)))
    code, found = report(capsys, tmp_path, "--classes", names)
    assert code == 0
    shown = embedded(Path(found["files"]["html"]).read_text(encoding="utf-8"))["runs"][0]
    texts = [item["text"] for item in shown["evaluation"]["worst"]]
    assert (
        texts[0] == "class 2 name2, int8 gives 8 name8 (true class has rank 9), float gives 2 name2"
    )
    accuracy = found["findings"][tmp_path.name][0]
    assert accuracy["text"] == "int8 loses 50.0 points of 75.0 %: its top-1 is 25.0 % of 4 images."
