"""The page of a tuning at three widths, with long names: nothing overflows, nothing is cut."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import CUT_OFF, chromium, console_errors, requests, set_width

import r329fast
from r329fast.deploy import bundled
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.report.tuning_page import tuning_page

WIDTHS = (1280, 768, 390)
PREFIX = "model/features/12/conv_block/depthwise_separable/"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a run with every kind of step."""
    recipe = Preprocess.from_json(bundled.path("preprocess.json"))
    with ImageSet(bundled.path("calib.zip"), None, 24) as images:
        x = np.stack([recipe.apply(images.image(index)) for index in range(len(images))])
    out = tmp_path_factory.mktemp("tuned")
    return r329fast.tune(str(bundled.path("net.onnx")), out, dataset=x).record


def renamed(record: dict[str, Any]) -> dict[str, Any]:
    """Layers and tensors with names as frameworks make them."""
    new: dict[str, Any] = copy.deepcopy(record)
    new["model"] = f"a_folder_of_a_user/{PREFIX}a_network_with_a_long_name.onnx"
    for step in new["steps"]:
        for layer in step.get("layers") or ():
            layer["layer"] = PREFIX + layer["layer"]
        for item in step.get("ranges") or ():
            item["tensor"] = PREFIX + item["tensor"]
        for kind in ("factors", "shifts"):
            if step.get(kind):
                step[kind] = {PREFIX + name: pair for name, pair in step[kind].items()}
    return new


def all_kept(record: dict[str, Any]) -> dict[str, Any]:
    """Every step shows what it changed."""
    new: dict[str, Any] = copy.deepcopy(record)
    for step in new["steps"]:
        step["accepted"] = step["gain_db"] is not None
    return new


def uneven(record: dict[str, Any]) -> dict[str, Any]:
    """Shares of three digits, which are just too long for half of a phone's width."""
    new: dict[str, Any] = copy.deepcopy(record)
    for side in ("before", "after"):
        for word in ("chosen", "confirmed"):
            new[side][word]["agreement"] = 0.979
    return new


def nothing_begun(record: dict[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = copy.deepcopy(record)
    new["gained"] = False
    for step in new["steps"]:
        for key in set(step) - {"step", "method"}:
            del step[key]
        step |= {"accepted": False, "gain_db": None, "begun": False}
    return new


def test_nothing_overflows(
    record: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "page.html"
    with chromium(tmp_path_factory.mktemp("chromium")) as session:
        for change in (renamed, uneven, lambda found: renamed(all_kept(found)), nothing_begun):
            path.write_text(tuning_page(change(record)))
            for width in WIDTHS:
                set_width(session, width, 844)
                session.get("about:blank")
                session.get(path.as_uri())
                across = session.execute_script("return document.documentElement.scrollWidth")
                assert across <= width, (change, width)
                assert session.execute_script(CUT_OFF) == [], (change, width)
        assert console_errors(session) == []
        assert requests(session) == []
