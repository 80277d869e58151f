"""Tables and sentences in a terminal of 80 columns."""

from __future__ import annotations

import os
import sys
import warnings

import pytest

from r329fast.cli.main import main
from r329fast.cli.output import Console
from r329fast.errors import R329Warning

NAMES = [f"aqt2021 half_even EXTREME per-channel number {number}" for number in range(3)]
HEADS = ["setting", "top-1", "top-5", "agrees with float", "mean rank", "lost", "gained",
         "tied images", "saturated images"]  # fmt: skip
ROWS = [[name, "86.00%", "99.00%", "100.00%", "1.27", 12, "1,234", 3, 24] for name in NAMES]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("narrow")
def test_many_numbers_stand_in_several_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """No line is too wide, no word of a head is cut, and every number is there."""
    Console().table(HEADS, ROWS)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    words = text.split()
    for head in HEADS[1:]:
        assert set(head.split()) <= set(words)
    assert words.count("setting") == 2
    for value in ("86.00%", "100.00%", "1.27", "1,234", "24"):
        assert words.count(value) == len(ROWS)


@pytest.mark.usefixtures("narrow")
def test_heads_of_numbers_fold_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    heads = ["file", "a long head of a number", "another long head of a number"]
    Console().table(heads, [["a" * 60, 1, 2]])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("long head" in line for line in lines)
    Console().table(heads, [["short", 1, 2]])
    assert "a long head of a number" in capsys.readouterr().out  # where there is room it stays


def test_in_a_pipe_nothing_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(HEADS, ROWS)
    Console().paragraphs(["1. " + "word " * 40])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["setting", *" ".join(HEADS[1:]).split()] for line in lines)
    assert lines[-1].count("word") == 40


@pytest.mark.usefixtures("narrow")
def test_sentences_go_on_below_their_first_word(capsys: pytest.CaptureFixture[str]) -> None:
    Console().paragraphs(["12. " + "word " * 30, "   -> " + "deed " * 30, "short"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("    word")
    arrow = next(index for index, line in enumerate(lines) if "->" in line)
    assert lines[arrow + 1].startswith("      deed")
    assert lines[-1] == "short"


@pytest.mark.parametrize(
    ("value", "right"),
    [("86.00%", True), ("+1.00", True), ("1,234", True), ("", True), (None, True), (3, True),
     ("3x3", False), ("79.4-89.3", False), ("name", False), (True, False)],
)  # fmt: skip
def test_texts_that_are_numbers_stand_right(
    value: object, right: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Console().table(["name", "a head that is wide"], [["x", value]])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(" x"))
    text = "" if value is None else str(value)
    at = len(" name   ") + (len("a head that is wide") - len(text) if right else 0)
    assert line.rstrip() == f" x      {text:>{at - 8 + len(text)}}".rstrip()


LONG = "calibrated on few images: " + "the range of layer conv1_0 covers little of it, " * 6
PATH = "/a/folder/with/a-long-name/" + "and-another/" * 9 + "file.bin"


@pytest.mark.parametrize("width", [20, 80, 160])
def test_warnings_fold_in_a_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between words, at the terminal's width; what follows is indented, paths stay whole."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((width, 24)))
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    Console().warn(f"{LONG}{PATH}")
    Console().error(f"r329fast: error: {LONG}", {})
    lines = capsys.readouterr().err.splitlines()
    assert PATH in " ".join(lines)
    assert max(len(line) for line in lines if PATH not in line) <= max(width, 40)
    firsts = [line for line in lines if not line.startswith("  ")]
    assert [line.split(":")[1] for line in firsts] == [" warning", " error"]
    assert " ".join(" ".join(lines).split()).count("covers little of it,") == 12


def test_a_terminal_that_does_not_say_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Console().warn(LONG)
    assert max(map(len, capsys.readouterr().err.splitlines())) <= 80


@pytest.mark.usefixtures("narrow")
def test_a_warning_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Console().warn(f"{LONG}\nand more")
    assert capsys.readouterr().err == f"r329fast: warning: {LONG}and more\n"


def test_warnings_of_the_library_are_shown_alike(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(args: object, out: Console) -> int:
        warnings.warn(f"{LONG}\nand more", R329Warning, stacklevel=2)
        return 0

    monkeypatch.setattr("r329fast.cli.info.execute", execute)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["info"]) == 0
    assert capsys.readouterr().err == f"r329fast: warning: {LONG}and more\n"
