"""Help as wide as the terminal, with the form that its text has."""

from __future__ import annotations

import argparse

import pytest

from r329fast.cli import main as cli
from r329fast.cli.help_format import HelpFormatter

_PARTS = {"aipu": ("inspect", "load", "diff"), "cfg": ("new", "check")}
_COMMANDS = [
    words
    for name in cli.available()
    for words in ((name,), *((name, part) for part in _PARTS.get(name, ())))
]


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("words", _COMMANDS, ids=" ".join)
def test_no_line_is_wider_than_the_terminal(
    run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = run(*words, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= width


def _shown(text: str, width: int) -> list[str]:
    parser = argparse.ArgumentParser(
        prog="p", description=text, add_help=False, usage="-",
        formatter_class=lambda prog: HelpFormatter(prog, width=width + 2),
    )  # fmt: skip
    return parser.format_help().split("\n\n", 1)[1].splitlines()


def test_paragraphs_are_filled_and_lists_stay_lists() -> None:
    text = (
        "One paragraph that the source\nbreaks here.\n"
        "\n"
        "A list:\n"
        "  one    the first, which goes on\n"
        "         behind its gap\n"
        "  --two  the second"
    )
    assert _shown(text, 80) == [
        "One paragraph that the source breaks here.",
        "",
        "A list:",
        "  one    the first, which goes on behind its gap",
        "  --two  the second",
    ]
    assert _shown(text, 24) == [
        "One paragraph that the",
        "source breaks here.",
        "",
        "A list:",
        "  one    the first, which",
        "         goes on behind",
        "         its gap",
        "  --two  the second",
    ]


def test_words_that_are_too_long_stay_whole() -> None:
    assert _shown("see ~/.local/share/a-very-long-name/of-a-file", 20) == [
        "see", "~/.local/share/a-very-long-name/of-a-file"
    ]  # fmt: skip
