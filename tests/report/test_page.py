"""The page in a headless Chromium: no error, no request, and everything on it works."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import chromium, console_errors, requests, set_width
from support.profiled import bundled_case, bundled_record

from r329fast.profile.profiling import Wanted
from r329fast.report.html import MAX_BYTES, page

RED_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHx"
    "gljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
)
WIDTHS = (1280, 768, 390)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """A whole profile of the bundled network, with a hostile name and an image."""
    wanted = Wanted(host_time=True, sensitivity=True, sensitivity_images=3)
    result = bundled_record(6, wanted, "</script><script>alert(1)</script>")
    result["suggestions"] = [
        {
            "kind": "range",
            "layer": bundled_case().program.layers[2].name,
            "cause": "few values reach <its> ends",
            "action": "narrow the range",
            "setting": "max_min: x = 0 to 1",
            "before": {"snr": 20.0, "agreement": 0.5, "top1": None},
            "after": {"snr": 22.0, "agreement": 0.75, "top1": None},
            "gain_db": 2.0,
        }
    ]
    result["evaluation"] = {
        "figures": [("top-1 int8", "91.00%")],
        "worst": [{"name": "a.png", "text": "class 3, int8 gives 5", "thumbnail": RED_DOT}],
    }
    return result


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def opened(record: dict[str, Any], session: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page of one record, opened from a file."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    text = page([record])
    assert len(text.encode()) < MAX_BYTES
    path.write_text(text)
    set_width(session, 1280, 900)
    session.get(path.as_uri())
    return session


def rows(session: Any, column: int = 0) -> list[str]:
    """Texts of one column of the layer table, as they stand."""
    found: list[str] = session.execute_script(
        "return [...document.querySelectorAll('#layers tbody tr')].map("
        "row => row.children[arguments[0]].textContent)",
        column,
    )
    return found


def heads(session: Any) -> list[str]:
    found: list[str] = session.execute_script(
        "return [...document.querySelectorAll('#layers thead th')].map(th => th.dataset.key)"
    )
    return found


def choose(session: Any, element: str, value: str) -> None:
    session.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('change'))",
        element,
        value,
    )


def filter_by(session: Any, text: str) -> None:
    session.execute_script(
        "const f = document.getElementById('filter'); f.value = arguments[0];"
        "f.dispatchEvent(new Event('input'))",
        text,
    )


def click(session: Any, css: str) -> None:
    session.execute_script(
        "document.querySelector(arguments[0]).dispatchEvent("
        "new MouseEvent('click', {bubbles: true}))",
        css,
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_loads_alone_and_fits(opened: Any, width: int) -> None:
    """No error on the console, nothing asked of any server, no sideways scrolling."""
    set_width(opened, width, 844)
    console_errors(opened), requests(opened)
    opened.refresh()
    assert console_errors(opened) == []
    assert requests(opened) == []
    inner = opened.execute_script("return document.documentElement.scrollWidth")
    assert inner <= width
    set_width(opened, 1280, 900)
    opened.refresh()


def test_every_section_has_content(opened: Any, record: dict[str, Any]) -> None:
    sizes = opened.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('section[id]')].map("
        "s => [s.id, s.hidden ? -1 : s.offsetHeight]))"
    )
    assert sizes.pop("sec-compare") == -1
    assert sizes.pop("sec-settings") == -1  # one evaluation, no sweep
    assert min(sizes.values()) > 60, sizes
    charts = ("cost-chart", "time-chart", "error-chart", "sensitivity-chart", "roofline-chart")
    for chart in charts:
        count = opened.execute_script(
            f"return document.querySelectorAll('#{chart} svg [data-layer]').length"
        )
        assert count >= 10, chart
    assert "<script>alert" in opened.find_element("id", "about").text  # shown, not run
    assert opened.find_elements("css selector", "#images-box img[src^='data:image/png']")
    # every figure on a card is marked with its source
    cards = opened.execute_script(
        "return [...document.querySelectorAll('.card')].map(c => c.querySelectorAll('.tag').length)"
    )
    assert len(cards) >= 10
    assert set(cards) == {1}


def test_sorting(opened: Any, record: dict[str, Any]) -> None:
    click(opened, "#in-order")
    names = [layer["name"] for layer in record["layers"]]
    assert rows(opened) == names
    click(opened, "#layers th[data-key='macs']")
    macs = {layer["name"]: layer["macs"] for layer in record["layers"]}
    falling = [macs[name] for name in rows(opened)]
    assert falling == sorted(macs.values(), reverse=True)
    assert falling != list(macs.values())
    click(opened, "#layers th[data-key='macs']")
    assert [macs[name] for name in rows(opened)] == sorted(macs.values())
    head = opened.find_element("css selector", "#layers th[data-key='macs']")
    assert head.get_attribute("aria-sort") == "ascending"
    click(opened, "#layers th[data-key='snr_single']")
    values = {layer["name"]: layer.get("snr_single") for layer in record["layers"]}
    order = [values[name] for name in rows(opened)]
    assert order[-1] is None  # what has no value stands last
    assert order[:-1] == sorted((v for v in order if v is not None), reverse=True)
    click(opened, "#in-order")
    assert rows(opened) == names


def test_filtering(opened: Any, record: dict[str, Any]) -> None:
    filter_by(opened, "eltwise")
    wanted = [layer["name"] for layer in record["layers"] if layer["op"] == "Eltwise"]
    assert rows(opened) == wanted
    foot = opened.execute_script("return document.querySelector('#layers tfoot td').textContent")
    assert foot == f"{len(wanted)} layers"
    filter_by(opened, "layer2 conv1")
    assert rows(opened) == [
        layer["name"] for layer in record["layers"]
        if "layer2" in layer["name"] and "conv1" in layer["name"]
    ]  # fmt: skip
    filter_by(opened, "no such layer")
    assert rows(opened) == []
    filter_by(opened, "")
    assert len(rows(opened)) == len(record["layers"])


def test_columns_by_group(opened: Any, record: dict[str, Any]) -> None:
    assert "acc_max" not in heads(opened)
    choose(opened, "group", "data")
    assert {"acc_min", "acc_max", "zeros", "headroom_bits"} <= set(heads(opened))
    assert "cycles" not in heads(opened)
    choose(opened, "group", "all")
    assert len(heads(opened)) == len(set().union(*record["layers"]))
    choose(opened, "group", "main")


@pytest.mark.parametrize(
    "place", ["#layers tr", "#network-box .node", "#cost-chart .hit", "#roofline-chart .dot"]
)
def test_selection_from_everywhere(opened: Any, record: dict[str, Any], place: str) -> None:
    """A click anywhere chooses the layer; table, drawing and details follow."""
    layer = next(item for item in record["layers"] if item["macs"] and item["ddr_write"])
    other = record["sensitivity_order"][-1]
    click(opened, f'#layers tr[data-layer="{other}"]')
    assert opened.find_element("id", "chosen").text == other
    click(opened, f'{place}[data-layer="{layer["name"]}"]')
    assert opened.find_element("id", "chosen").text == layer["name"]
    marked = opened.execute_script(
        "return [...document.querySelectorAll('#layers tr.selected, .node.selected')].map("
        "n => n.dataset.layer)"
    )
    assert marked == [layer["name"]] * 2
    bars = opened.execute_script(
        "return document.querySelectorAll('#details-box svg rect.first').length"
    )
    assert bars == len(record["histograms"][layer["name"]]["integers"])
    assert opened.find_elements("css selector", "#details-box svg path.line2")
    assert f"{layer['macs']:,}" in opened.find_element("id", "details-box").text


def test_colour_of_the_drawing(opened: Any, record: dict[str, Any]) -> None:
    def fills() -> list[str]:
        found: list[str] = opened.execute_script(
            "return [...document.querySelectorAll('#network-box .node rect')].map("
            "r => getComputedStyle(r).fill)"
        )
        return found

    choose(opened, "network-key", "macs")
    by_macs = fills()
    assert len(by_macs) == len(record["layers"])
    assert len(set(by_macs)) > 3
    choose(opened, "network-key", "snr_single")
    assert fills() != by_macs
    legend = opened.find_element("id", "network-legend").text
    assert "dB" in legend
    assert "exact" in legend
    edges = opened.execute_script("return document.querySelectorAll('#network-box .edge').length")
    assert edges == len(record["network"]["edges"])


def test_charts_follow_their_choice(opened: Any) -> None:
    def path() -> str:
        found: str = opened.execute_script(
            "return document.querySelector('#error-chart .line1').getAttribute('d')"
        )
        return found

    before = path()
    choose(opened, "error-key", "max")
    assert path() != before
    choose(opened, "error-key", "snr")
    assert path() == before
    bars = "return document.querySelectorAll('#sensitivity-chart rect.first').length"
    count = opened.execute_script(bars)
    choose(opened, "sensitivity-key", "without_snr")
    assert opened.execute_script(bars) == count > 10


def test_theme(opened: Any) -> None:
    def look() -> tuple[str, str]:
        colour = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
        name = opened.execute_script("return document.documentElement.dataset.theme")
        return name, colour

    first = look()
    click(opened, "#theme")
    second = look()
    assert {first[0], second[0]} == {"light", "dark"}
    assert first[1] != second[1]
    click(opened, "#theme")
    assert look() == first


def test_prints(opened: Any) -> None:
    """Light, on few pages, without the controls."""
    import base64

    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = opened.execute_script(
        "return getComputedStyle(document.getElementById('theme')).display"
    )
    tools = opened.execute_script(
        "return getComputedStyle(document.querySelector('section .tools')).display"
    )
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown
    assert tools == "none"
    pdf = base64.b64decode(opened.print_page())
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") <= 30


def test_two_records_side_by_side(record: dict[str, Any], session: Any, tmp_path: Path) -> None:
    other = copy.deepcopy(record)
    name = record["layers"][3]["name"]
    other["layers"][3]["snr_entire"] += 7.5
    other["scheme"] = "compass42"
    path = tmp_path / "both.html"
    path.write_text(page([record, other], ["before", "after"]))
    session.get(path.as_uri())
    assert console_errors(session) == []
    assert requests(session) == []
    facts = session.find_element("id", "compare-facts").text
    assert "aqt2021" in facts
    assert "compass42" in facts
    first = session.execute_script(
        "return document.querySelector('#compare-facts tbody tr').className"
    )
    assert first == "differs"  # what differs stands in front
    told = session.find_element("id", "compared-box").text
    assert told == "The runs do not differ in what they both hold."  # not in their own errors
    cells = session.execute_script(
        "return [...document.querySelectorAll('#compare-box tbody tr')].map("
        "row => [row.dataset.layer, row.lastChild.textContent, row.lastChild.className])"
    )
    changed = [cell for cell in cells if cell[2]]
    assert changed == [[name, "+7.5", "up bar"]]
    assert cells[0] == changed[0]  # the largest difference first
    choose(session, "compare-order", "layers")
    order = session.execute_script(
        "return [...document.querySelectorAll('#compare-box tbody tr')].map(r => r.dataset.layer)"
    )
    assert order == [layer["name"] for layer in record["layers"]]
    choose(session, "compare-key", "macs")
    assert not session.execute_script("return document.querySelectorAll('#compare-box .up').length")
    click(session, "#runs button:nth-child(2)")
    assert "compass42" in session.find_element("id", "about").text
    assert console_errors(session) == []


def test_a_run_without_layers(session: Any, tmp_path: Path) -> None:
    """What `report` shows of an evaluation or a plain run."""
    run = {
        "model": "net", "layers": [], "totals": {}, "images": 500,
        "facts": [("seconds", "3", "measured")],
        "evaluation": {"figures": [("top-1 int8", "91.00%")], "worst": []},
    }  # fmt: skip
    path = tmp_path / "run.html"
    path.write_text(page([run]))
    session.get(path.as_uri())
    assert console_errors(session) == []
    assert "91.00%" in session.find_element("id", "cards").text
    hidden = session.execute_script("return document.getElementById('sec-table').hidden")
    assert hidden


def test_all_settings_of_a_sweep(session: Any, tmp_path: Path) -> None:
    """The table of a sweep: every setting, the one that the page is about marked."""
    part = {
        "setting": "two", "figures": [("top-1 int8", "91.00%")],
        "worst": [{"name": "a.png", "text": "class 3", "thumbnail": RED_DOT}],
        "settings": {
            "columns": ["setting", "top-1"], "rows": [["one", "90.00%"], ["two", "91.00%"]],
        },
    }  # fmt: skip
    run = {"model": "net", "layers": [], "totals": {}, "images": 500, "evaluation": part}
    path = tmp_path / "sweep.html"
    path.write_text(page([run]))
    for width in WIDTHS:
        set_width(session, width, 844)
        session.get(path.as_uri())
        assert console_errors(session) == []
        assert session.execute_script("return document.documentElement.scrollWidth") <= width
    cells = session.execute_script(
        "return [...document.querySelectorAll('#settings-box tbody tr')].map("
        "row => [row.className, ...[...row.children].map(cell => cell.textContent)])"
    )
    assert cells == [["", "one", "90.00%"], ["selected", "two", "91.00%"]]
    assert "two" in session.find_element("id", "settings-note").text
    assert "two" in session.find_element("id", "images-note").text
    set_width(session, 1280, 900)
