"""`report` of what an old deployment left, without the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.aipu_canonical import canonical
from support.aipu_networks import small_program
from support.aipu_writer import write_aipu

from r329fast.cli.main import main
from r329fast.errors import DataError, FileError
from r329fast.report.html import page
from r329fast.report.load import load_run
from r329fast.report.vendor_folder import is_vendor_folder
from r329fast.vendor import graph_json, profile_data
from r329fast.vendor.nodes import perf_node_count


def facts(record: dict) -> dict[str, str]:  # type: ignore[type-arg]
    return {title: text for title, text, _ in record["facts"]}


@pytest.mark.shared
def test_a_whole_folder(shared: Path, tmp_path: Path) -> None:
    folder = shared / "artefacts" / "resnet18_seed"
    record = load_run(folder)
    assert record["model"] == "densnet"
    assert len(record["layers"]) == 43
    conv = record["layers"][1]
    assert (conv["name"], conv["op"]) == ("resnetv22_conv0_fwd", "Convolution")
    assert conv["range_high"] == pytest.approx(2.6064663)
    fused = next(row for row in record["layers"] if "Eltwise" in row["op"])
    assert fused["op"] == "Convolution + Eltwise"
    assert record["totals"]["ops_count"] == 3_635_672_932
    found = facts(record)
    assert found["RO section (log.txt)"] == f"{0x2B00:,} bytes"
    assert found["output_scale of resnetv22_dense0_fwd"] == "8.488549"
    assert found["profile_data.bin"].startswith("41 records, all zero")
    assert "resnetv22_conv0_fwd" in page([record])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rows", "ranged"),
    [
        ("vgg16", 22, 22),
        ("shufflenet", 111, 111),
        ("resnet50_caffe2", 60, 60),
        ("gesture_z1", 106, 0),
    ],
)
def test_every_folder_makes_a_page(shared: Path, name: str, rows: int, ranged: int) -> None:
    record = load_run(shared / "artefacts" / name)
    assert len(record["layers"]) == rows
    assert sum("range_low" in row for row in record["layers"]) == ranged
    assert len(page([record])) > 10_000
    if name == "shufflenet":
        (text,) = (text for title, text in facts(record).items() if "output.bin" in title)
        assert text.startswith("659 (127)")


@pytest.mark.shared
def test_any_of_the_files_alone(shared: Path, tmp_path: Path) -> None:
    folder = shared / "artefacts" / "resnet18_seed"
    for name in ("graph.json", "profile_data.bin", "log.txt", "max_min"):
        alone = tmp_path / name.replace(".", "_")
        alone.mkdir()
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, alone / name)
        else:
            shutil.copyfile(source, alone / name)
        record = load_run(alone)
        assert record["facts"], name
        assert page([record])


def test_a_binary_alone_and_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = canonical(small_program(1))
    file = tmp_path / "network.bin"
    file.write_bytes(write_aipu(program))
    record = load_run(file)
    assert {row["name"] for row in record["layers"]} == {layer.name for layer in program.layers}
    assert record["totals"]["macs"] > 0
    assert facts(record)["steps in the binary"] == "12"
    (tmp_path / "graph.json").write_text(graph_json(program))
    (tmp_path / "profile_data.bin").write_bytes(profile_data(perf_node_count(program)))
    (tmp_path / "output.bin").write_bytes(bytes([1, 250, 7]))
    assert main(["report", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (pairs,) = told["runs"].values()
    assert pairs["output.bin, 3 bytes, best classes as int8 (exact)"].startswith("2 (7), 0 (1)")
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    assert not is_vendor_folder(tmp_path)
    with pytest.raises(FileError, match="nor files of the vendor's tool"):
        load_run(tmp_path)
    (tmp_path / "graph.json").write_text('{"nodes": 3}')
    with pytest.raises(DataError, match="found no list of nodes"):
        load_run(tmp_path)
    (tmp_path / "graph.json").write_text("{")
    with pytest.raises((DataError, FileError)):
        load_run(tmp_path)
    (tmp_path / "graph.json").unlink()
    (tmp_path / "profile_data.bin").write_bytes(b"\0" * 5)
    with pytest.raises(FileError, match="a header has 24"):
        load_run(tmp_path)
