"""What Python and notebooks show: one line, a table, frames of pandas and Arrow, the page."""

from __future__ import annotations

import builtins
import html
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.profiled import bundled_case

import r329fast
from r329fast.deploy import bundled
from r329fast.deploy.demo import run_demo
from r329fast.errors import FileError, UsageError
from r329fast.images.preprocess import Preprocess
from r329fast.profile.images import ArrayImages
from r329fast.profile.profiling import Wanted, collect
from r329fast.report.record import Record, in_notebook


@pytest.fixture(scope="module")
def found() -> Any:
    case = bundled_case()
    return collect(
        case.program,
        graph=case.graph,
        images=ArrayImages(case.x, case.labels, 2),
        wanted=Wanted(host_time=False),
    )


@pytest.fixture(scope="module")
def record(found: Any) -> Record:
    return Record.of(found)


@pytest.fixture(scope="module")
def evaluation() -> Any:
    return r329fast.evaluate(
        bundled_case().program,
        bundled.path("val.zip"),
        preprocess=Preprocess.from_json(bundled.path("preprocess.json")),
        limit=20,
        float_model=bundled.path("net.onnx"),
        float_baseline=True,
    )


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package look as if it were not installed."""

    def hide(name: str) -> None:
        real = builtins.__import__

        def guarded(wanted: str, *rest: Any, **more: Any) -> Any:
            if wanted.split(".")[0] == name:
                raise ImportError(name)
            return real(wanted, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", guarded)

    return hide


def test_completion_offers_every_name_without_loading() -> None:
    code = "import sys, r329fast; print(dir(r329fast)); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = done.stdout.splitlines()
    assert loaded == "False"
    assert set(r329fast.__all__) <= set(eval(names))
    assert {"Record", "evaluate", "load_model"} <= set(dir(r329fast))


def test_one_line_and_a_table_of_each(found: Any, record: Record, evaluation: Any) -> None:
    case = bundled_case()
    simulator = r329fast.Simulator(case.program)
    for item in (case.graph, case.ranges, case.program, simulator, found, record, evaluation):
        line, table = repr(item), item._repr_html_()
        assert line.startswith(f"<{type(item).__name__} ")
        assert "\n" not in line
        assert len(line) < 160
        assert table.count("<") == table.count(">")
        assert "<table>" in table or isinstance(item, Record)
    assert f"{len(case.program.layers)} layers" in repr(case.program)
    assert case.program.hash()[:8] in repr(case.program)
    assert "20 images" in repr(evaluation)


def test_results_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run_demo(tmp_path / "demo", threads=1)
    for item in (found.run, found.run.prepared):
        line, table = repr(item), item._repr_html_()
        assert line.startswith(f"<{type(item).__name__} ")
        assert "\n" not in line
        assert len(line) < 160
        assert "<table>" in table
    assert "int8[1, 10]" in repr(found.run)


def test_names_are_escaped() -> None:
    case = bundled_case()
    ranges = r329fast.Ranges({"<script>": (0.0, 1.0)})
    assert "<script>" not in ranges._repr_html_()
    assert "&lt;script&gt;" in ranges._repr_html_()
    assert repr(r329fast.Ranges({})) == "<Ranges of no tensors>"
    assert "more rows" not in case.ranges._repr_html_()
    many = r329fast.Ranges({f"t{i}": (0.0, 1.0) for i in range(100)})
    assert "40 more rows" in many._repr_html_()


def test_layer_table_as_frames(record: Record) -> None:
    pandas = pytest.importorskip("pandas")
    frame = record.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["name"]) == [layer["name"] for layer in record["layers"]]
    assert frame["macs"].sum() == record["totals"]["macs"]
    table = record.to_arrow()
    assert table.column_names == list(frame.columns)
    assert table["macs"].to_pylist() == list(frame["macs"])


def test_results_per_image_as_frames(evaluation: Any) -> None:
    table = evaluation.to_arrow()
    assert table.num_rows == 20
    ranks = np.array(table["rank"].to_pylist())
    assert (ranks == 1).mean() == pytest.approx(evaluation.best.accuracy.top1)
    assert table["top1"].to_pylist() == evaluation.scores[0]["top"][:, 0].tolist()
    assert set(table["status"].to_pylist()) == {"ok"}
    with pytest.raises(UsageError, match="found setting 'no such', allowed"):
        evaluation.to_arrow("no such")


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_missing_package_says_what_to_install(
    record: Record, without: Callable[[str], None], package: str
) -> None:
    without(package)
    call = record.to_pandas if package == "pandas" else record.to_arrow
    with pytest.raises(UsageError, match=f"needs {package}, which is not installed: pip install"):
        call()


def test_save_and_load(record: Record, tmp_path: Path) -> None:
    saved = record.save(tmp_path / "profile.json")
    assert Record.load(saved) == json.loads(json.dumps(record))
    assert Record.load(tmp_path)["hash"] == record["hash"]
    assert record.save(tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(FileError):
        Record.load(tmp_path / "nothing")


def test_show_opens_the_page(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    path = record.show(tmp_path / "page.html")
    assert opened == [path.as_uri()]
    assert path.read_text() == record.html()
    kept = record.show()
    assert kept.name == "report.html"
    assert str(record).startswith("1. ")
    assert record.findings()[0].text in record._repr_html_().replace("&#x27;", "'")


def test_show_inside_a_notebook(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that holds the page, its text escaped; the browser is left alone."""
    monkeypatch.setattr("r329fast.report.record.in_notebook", lambda: True)
    monkeypatch.setattr("webbrowser.open", lambda address: pytest.fail("opened a browser"))
    shown = record.show(tmp_path / "page.html")
    text = shown._repr_html_()
    assert text.startswith("<iframe srcdoc=")
    inner = text.split('srcdoc="')[1].split('"')[0]
    assert html.unescape(inner) == record.html() == (tmp_path / "page.html").read_text()


def test_a_script_is_no_notebook() -> None:
    assert not in_notebook()
