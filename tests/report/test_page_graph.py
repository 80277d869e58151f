"""The drawn network, the chosen layer, findings and addresses, in a headless Chromium."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.browser import chromium, console_errors, requests, set_width
from support.profiled import bundled_record

from r329fast.profile.profiling import Wanted
from r329fast.report.findings import findings
from r329fast.report.html import page

_LAYOUT = """
const [nodes, edges] = arguments;
const g = layered(nodes.map((id, order) => ({ id, width: 196, height: 44, order })), edges);
return { place: g.place, paths: g.paths, width: g.width, height: g.height };
"""


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return bundled_record(2, Wanted(host_time=False))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def address(record: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page([record]))
    return path.as_uri()


@pytest.fixture
def opened(session: Any, address: str) -> Any:
    set_width(session, 1280, 900)
    session.get("about:blank")  # an address that differs by its end alone would not load anew
    session.get(address)
    return session


def press(session: Any, css: str) -> None:
    session.execute_script(
        "document.querySelector(arguments[0]).dispatchEvent("
        "new MouseEvent('click', {bubbles: true}))",
        css,
    )


def chosen(session: Any) -> str:
    text: str = session.find_element("id", "chosen").text
    return text


# --- layout --------------------------------------------------------------------------------------


def networks() -> list[tuple[list[str], list[list[str]]]]:
    """Chains with branches, skips of any length and several inputs, drawn at random."""
    found = []
    for seed in range(12):
        rng = random.Random(seed)
        names = [f"n{i}" for i in range(rng.randint(5, 60))]
        edges = []
        for i in range(1, len(names)):
            if rng.random() < 0.9:
                edges.append([names[i - 1 if rng.random() < 0.7 else rng.randrange(i)], names[i]])
            if rng.random() < 0.3:
                edges.append([names[rng.randrange(i)], names[i]])
        found.append((names, edges))
    return found


@pytest.mark.parametrize(("names", "edges"), networks())
def test_boxes_are_apart_and_edges_fall(
    session: Any, address: str, names: list[str], edges: list[list[str]]
) -> None:
    """No two boxes overlap, all lie inside, and every edge goes down to its reader."""
    session.get(address)
    found = session.execute_script(_LAYOUT, names, edges)
    boxes = [found["place"][name] for name in names]
    for i, a in enumerate(boxes):
        assert a["x"] >= 0
        assert a["x"] + a["width"] <= found["width"]
        assert a["y"] + a["height"] <= found["height"]
        for b in boxes[:i]:
            beside = a["x"] + a["width"] <= b["x"] + 0.1 or b["x"] + b["width"] <= a["x"] + 0.1
            above = a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]
            assert beside or above
    for start, end in edges:
        assert found["place"][start]["rank"] < found["place"][end]["rank"]
    drawn = {(path["from"], path["to"]) for path in found["paths"]}
    assert drawn == {(start, end) for start, end in edges}


def test_blocks_are_found_by_shape(session: Any, address: str) -> None:
    """A residual block is what stands between two layers that everything goes through."""
    session.get(address)
    names = ["in", "a", "b", "c", "add", "d", "e", "f"]
    edges = [["in", "a"], ["a", "b"], ["b", "c"], ["c", "add"], ["a", "add"], ["add", "d"],
             ["d", "e"], ["e", "f"]]  # fmt: skip
    found = session.execute_script("return blocksOf(...arguments)", names, edges)
    assert [(block["kind"], block["members"]) for block in found] == [
        ("block", ["b", "c", "add"]),
        ("chain", ["d", "e", "f"]),
    ]
    chain = [[a, b] for a, b in itertools.pairwise(names)]
    assert session.execute_script("return blocksOf(...arguments)", names, chain) == []


def test_blocks_fold_and_unfold(opened: Any, record: dict[str, Any]) -> None:
    def count(css: str) -> int:
        number: int = opened.execute_script(
            "return document.querySelectorAll(arguments[0]).length", f"#network-box {css}"
        )
        return number

    layers = len(record["layers"])
    assert count(".node[data-layer]") == layers
    frames = count(".frame")
    assert frames > 1
    press(opened, "#network-fold")
    assert count(".node[data-block]") == frames
    assert count(".node[data-layer]") < layers
    press(opened, "#network-box .node[data-block]")
    assert count(".node[data-block]") == frames - 1
    press(opened, "#network-fold")
    press(opened, "#network-fold")
    hidden = record["layers"][5]["name"]
    press(opened, f'#layers tr[data-layer="{hidden}"]')  # choosing a layer unfolds its block
    assert count(f'.node.selected[data-layer="{hidden}"]') == 1
    assert console_errors(opened) == []


def test_boxes_say_what_a_layer_is(opened: Any, record: dict[str, Any]) -> None:
    """Name, kernel, stride and output stand in the box; no text is wider than its box."""
    conv = next(layer for layer in record["layers"] if layer["op"] == "Convolution")
    kernel = "x".join(map(str, record["details"][conv["name"]]["attributes"]["kernel"]))
    text = opened.execute_script(
        "return document.querySelector(`.node[data-layer='${arguments[0]}']`).textContent",
        conv["name"],
    )
    assert kernel in text
    assert conv["shape"] in text
    wide = opened.execute_script(
        "return [...document.querySelectorAll('#network-box .node')].filter(n => {"
        "const b = n.querySelector('rect.body').getBoundingClientRect();"
        "return [...n.querySelectorAll('text')].some(t => {const r = t.getBoundingClientRect();"
        "return r.left < b.left - 1 || r.right > b.right + 1})}).length"
    )
    assert wide == 0


def test_zoom_and_fit(opened: Any) -> None:
    def size() -> tuple[float, float]:
        box = "document.getElementById('network-box')"
        width, height = opened.execute_script(
            f"const s = {box}.querySelector('svg'); return [s.clientWidth, s.clientHeight]"
        )
        return width, height

    first = size()
    press(opened, "#network-in")
    assert size()[0] > first[0]
    press(opened, "#network-fit")
    box = opened.execute_script(
        "const b = document.getElementById('network-box'); return [b.clientWidth, b.clientHeight]"
    )
    assert size()[0] <= box[0]
    assert size()[1] <= box[1]


# --- the chosen layer ----------------------------------------------------------------------------


def test_address_keeps_the_choice(opened: Any, address: str, record: dict[str, Any]) -> None:
    name = record["layers"][4]["name"]
    press(opened, f'#layers tr[data-layer="{name}"]')
    assert opened.current_url == f"{address}#layer={quote(name, safe='')}"
    other = record["layers"][7]["name"]
    opened.get("about:blank")
    opened.get(f"{address}#layer={quote(other, safe='')}")
    assert chosen(opened) == other
    opened.execute_script("location.hash = 'layer=' + encodeURIComponent(arguments[0])", name)
    opened.execute_async_script("setTimeout(arguments[0], 50)")
    assert chosen(opened) == name
    opened.execute_script("location.hash = 'layer=no%20such'")
    opened.execute_async_script("setTimeout(arguments[0], 50)")
    assert chosen(opened) == name
    assert console_errors(opened) == []


def test_previous_and_next(opened: Any, record: dict[str, Any]) -> None:
    names = [layer["name"] for layer in record["layers"]]
    press(opened, f'#layers tr[data-layer="{names[0]}"]')
    assert opened.execute_script("return document.querySelector('.step').disabled")
    press(opened, ".step:nth-child(2)")
    assert chosen(opened) == names[1]
    press(opened, ".step:nth-child(1)")
    assert chosen(opened) == names[0]


def test_what_is_told_of_a_layer(opened: Any, record: dict[str, Any]) -> None:
    conv = next(layer for layer in record["layers"] if layer["op"] == "Convolution")
    known = record["details"][conv["name"]]
    press(opened, f'#layers tr[data-layer="{conv["name"]}"]')
    text = opened.find_element("id", "attributes").text
    for word in ("kernel", "stride", "group", "M", "shift", "weights"):
        assert word in text
    assert str(known["multipliers"][0]["m"][0]) in text
    table = opened.find_element("css selector", ".tensors").text
    assert known["outputs"][0]["name"] in table
    bars = opened.execute_script(
        "return document.querySelectorAll('#weights-chart .channel').length"
    )
    assert bars == len(known["weights"]["low"]) > 1
    before = known["inputs"][0]["layer"]
    press(opened, f'.tensors a[href="#layer={quote(before, safe="")}"]')
    opened.execute_async_script("setTimeout(arguments[0], 50)")
    assert chosen(opened) == before


def test_memory_over_time(opened: Any, record: dict[str, Any]) -> None:
    boxes = opened.execute_script("return document.querySelectorAll('#memory-chart .life').length")
    assert boxes == len(record["memory"]["tensors"])
    note = opened.find_element("id", "memory-note").text
    assert f"{record['memory']['peak']:,}" in note


# --- findings and the table ----------------------------------------------------------------------


def test_findings_come_first_and_lead_to_layers(opened: Any, record: dict[str, Any]) -> None:
    sections = opened.execute_script(
        "return [...document.querySelectorAll('section')].filter(s => !s.hidden).map(s => s.id)"
    )
    assert sections[:2] == ["sec-findings", "sec-summary"]
    shown = opened.execute_script(
        "return [...document.querySelectorAll('.findings li > p:first-child')]"
        ".map(p => p.textContent)"
    )
    assert shown == [item.text for item in findings(record)]
    link = opened.execute_script(
        "const a = document.querySelector('.findings a[data-go]'); a.click(); return a.dataset.go"
    )
    opened.execute_async_script("setTimeout(arguments[0], 50)")
    assert chosen(opened) == link


def test_copy_and_download_hold_the_table(opened: Any, record: dict[str, Any]) -> None:
    text = opened.execute_script("return asText(tableValues(run()), ',')")
    lines = text.splitlines()
    assert len(lines) == len(record["layers"]) + 1
    assert lines[0].startswith("name,op,macs")
    assert lines[1].split(",")[0] == record["layers"][0]["name"]
    quoted = opened.execute_script("return asText([['=1+1', 'a,b', 'say \"x\"', -2]], ',')")
    assert quoted == '\'=1+1,"a,b","say ""x""",-2\n'
    opened.execute_script(
        "window.saved = null;"
        "URL.createObjectURL = blob => { blob.text().then(t => window.saved = t);"
        "return 'data:,' }; document.getElementById('download').click()"
    )
    opened.execute_async_script("setTimeout(arguments[0], 100)")
    assert opened.execute_script("return window.saved") == text
    assert console_errors(opened) == []
    assert requests(opened) == []


def test_bars_stand_for_values(opened: Any, record: dict[str, Any]) -> None:
    shares = opened.execute_script(
        "return [...document.querySelectorAll('#layers tbody tr')].map(row => ["
        "row.dataset.layer, row.children[2].style.getPropertyValue('--share')])"
    )
    macs = {layer["name"]: layer["macs"] for layer in record["layers"]}
    most = max(macs.values())
    for name, share in shares:
        assert float(share.rstrip("%")) == pytest.approx(100 * macs[name] / most, abs=0.06)


def test_record_is_json(record: dict[str, Any], tmp_path: Path) -> None:
    """Details and memory are plain data that a file holds and the page reads back."""
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(record, allow_nan=False))
    assert json.loads(path.read_text())["details"] == record["details"]
