"""tools/zoo.py without torch: its names, and records of networks that a test writes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.graph_nets import Step, net, random, save

TOOL = Path(__file__).resolve().parents[2] / "tools" / "zoo.py"


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo_tool", TOOL)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoo_tool"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("group", "count"), [("torchvision", 28), ("timm", 53)])
def test_names(group: str, count: int) -> None:
    words = [sys.executable, str(TOOL), "--list", "--only", f"{group}.*"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == count


def test_records(tmp_path: Path) -> None:
    zoo = tool()
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Relu", "c", "r", {}),
        ("Flatten", "r", "y", {}),
    ]
    good = save(net(steps, (1, 4, 6, 7), {"w": random(3, 4, 3, 3)}), tmp_path)
    case = zoo.Case("shipped.good", ("shipped",), lambda exporter, folder: good)
    record = zoo.tried(case, "shipped", tmp_path, ["aqt2021"])
    assert record["loads"]
    assert record["float_error"] <= record["largest_inside"] <= 1e-5
    assert record["aqt2021"]["differ"] == 0 < record["aqt2021"]["tensors"]
    assert zoo.right(record)
    bad = save(net([("Hardmax", "x", "y", {})]), tmp_path)
    case = zoo.Case("shipped.bad", ("shipped",), lambda exporter, folder: bad)
    refused = zoo.tried(case, "shipped", tmp_path, [])
    assert not refused["loads"]
    assert "Hardmax" in zoo.line(refused)
    assert not zoo.right(refused)
    assert "1 of 2 load, 1 agree" in zoo.summary([record, refused])
    record["aqt2021"]["differ"] = 1
    assert not zoo.right(record)
    record["float_error"] = np.nan
    assert not zoo.right(record)
