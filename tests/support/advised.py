"""Options that a text of the product advises: of which command, and whether it has them."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from r329fast.cli.main import COMMANDS, whole_parser

PACKAGE = Path(__file__).resolve().parents[2] / "r329fast"
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_WORD = r"new|load|[A-Z][^\s;:,()]*|[^\s;:,()]*[/.][^\s;:,()]*"  # an argument, as texts have them
_NAMED = re.compile(  # `profile RUN.cfg --sensitivity --suggest`, up to the next stop
    rf"(?<![\w-])({'|'.join(COMMANDS)})\b((?: (?:{_WORD}))*(?: --[a-z][^;:()`]*))"
)
_FOREIGN = re.compile(r"(?:python -m|dask scheduler|pip install|tf2onnx)[^;:()`]*")
_GLOBAL = {"--json", "--verbose", "--version", "--help"}


@cache
def options_of(command: str) -> frozenset[str]:
    """The option strings of a command and of what is below it."""
    top = whole_parser()
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    waiting, found = [commands.choices[command]], set(_GLOBAL)
    while waiting:
        parser = waiting.pop()
        found |= set(parser._option_string_actions)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    return frozenset(found)


def missing(text: str, commands: tuple[str, ...]) -> set[str]:
    """`command --option` for what a text advises that is not there.

    Options behind a command's name are that command's, options of other tools are nobody's; all
    others must be in each of `commands`, which may show the text.
    """
    found = set()
    text = _FOREIGN.sub(" ", text)
    for match in _NAMED.finditer(text):
        for option in _OPTION.findall(match[2]):
            if option not in options_of(match[1]):
                found.add(f"{match[1]} {option}")
    for option in _OPTION.findall(_NAMED.sub(" ", text)):
        found |= {f"{name} {option}" for name in commands if option not in options_of(name)}
    return found


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string in a file that is a sentence with an option in it.

    Docstrings, and the arguments of `add_argument`, are none.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            skipped |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        text = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (getattr(part, "value", "X") for part in node.values)
            text = "".join(part if isinstance(part, str) else "X" for part in parts)
        if " " in text.strip() and _OPTION.search(text):
            yield node.lineno, text
