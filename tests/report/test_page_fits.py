"""Every kind of page at three widths, light and dark: nothing overflows, nothing is cut."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import CUT_OFF, chromium, console_errors, requests, set_width
from support.profiled import Case, bundled_case, shared_case

from r329fast.profile.images import ArrayImages
from r329fast.profile.profiling import Wanted, collect
from r329fast.profile.record import layer_rows, make_record
from r329fast.report.columns import totals
from r329fast.report.html import page

WIDTHS = (1280, 768, 390)
RED_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHx"
    "gljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
)
LONG = "ILSVRC2012_val_00031337_with_a_very_long_name_that_no_column_has_room_for.JPEG"
CLASS = "Appenzeller_or_Greater_Swiss_Mountain_dog_and_other_long_words"


def profiled(case: Case, **more: Any) -> dict[str, Any]:
    found = collect(
        case.program,
        graph=case.graph,
        images=ArrayImages(case.x, case.labels, 2),
        wanted=Wanted(host_time=False),
    )
    return {**make_record(found, totals(layer_rows(found))), **more}


def evaluation(setting: str = "aqt2021 half_even EXTREME per-channel") -> dict[str, Any]:
    """A sweep with the names that ImageNet's validation set and its classes have."""
    text = f"class 231 {CLASS}, int8 gives 17 {CLASS} (true class has rank 999)"
    columns = ["setting", "top-1", "top-5", "agrees", "mean rank", "lost", "gained", "tied"]
    row = ["67.50%", "88.12%", "91.00%", "12.31", "1,234", "1,001", "12,345"]
    names = [setting, "compass42 half_away extrema per-tensor", "aqt2021 half_even MEAN"]
    return {
        "setting": setting,
        "figures": [("top-1 int8", "65.50%"), ("images evaluated", "50,000")],
        "accuracy": {"images": 50000, "top1": 0.655, "float_top1": 0.675, "saturated_images": 9000},
        "worst": [{"name": LONG, "text": text, "thumbnail": RED_DOT}] * 5,
        "settings": {"columns": columns, "rows": [[name, *row] for name in names]},
        "top1_by_setting": [[name, 0.6] for name in names],
    }


def pages() -> dict[str, Any]:
    return {
        "demo": lambda shared: [profiled(bundled_case(), evaluation=evaluation())],
        "MobileNetV2": lambda shared: [
            profiled(shared_case(shared / "data", "mobilenet_v2_1.0_224", 4))
        ],
        "sweep": lambda shared: [
            {"model": LONG, "layers": [], "totals": {}, "images": 50000, "evaluation": evaluation(),
             "facts": [("output_scale of a_tensor_of_a_long_name/Fold:0", "1.2345", "exact")]}
        ],
        "five runs": lambda shared: five(profiled(bundled_case())),
        "ILSVRC names": lambda shared: [renamed(profiled(bundled_case(), evaluation=evaluation()))],
    }  # fmt: skip


def five(record: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for number in range(5):
        other = copy.deepcopy(record)
        other["options"] = {**record["options"], "rounding": f"way{number}"}
        for layer in other["layers"]:
            if layer.get("snr_single") is not None:
                layer["snr_single"] += number
        found.append(other)
    return found


def renamed(record: dict[str, Any]) -> dict[str, Any]:
    """All layers with names as frameworks make them."""
    new = {
        layer["name"]: f"model/features/{index}/conv_block/depthwise_separable/{layer['name']}_Fold"
        for index, layer in enumerate(record["layers"])
    }

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {new.get(key, key): change(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [change(item) for item in value]
        return new.get(value, value) if isinstance(value, str) else value

    result: dict[str, Any] = change(record)
    return result


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.mark.shared
@pytest.mark.parametrize("name", list(pages()))
def test_nothing_overflows(name: str, session: Any, shared: Path, tmp_path: Path) -> None:
    """At each width and in both themes: no sideways scroll, nothing cut, no error, no request."""
    records = pages()[name](shared)
    labels = [f"a run with quite a long name, number {number}" for number in range(len(records))]
    path = tmp_path / "page.html"
    path.write_text(page(records, labels if len(records) > 1 else ()))
    console_errors(session), requests(session)
    for width in WIDTHS:
        set_width(session, width, 844)
        session.get("about:blank")
        session.get(path.as_uri())
        for theme in ("light", "dark"):
            session.execute_script("setTheme(arguments[0])", theme)
            if records[0]["layers"]:
                session.execute_script("select(run().layers[3].name)")
            across = session.execute_script("return document.documentElement.scrollWidth")
            assert across <= width, (width, theme)
            assert session.execute_script(CUT_OFF) == [], (width, theme)
    assert console_errors(session) == []
    assert requests(session) == []
