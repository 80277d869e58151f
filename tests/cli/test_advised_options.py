"""Every option that a message names is there, in each command that may show the message."""

from __future__ import annotations

import re

import pytest
from support.advised import PACKAGE, missing, options_of, texts

from r329fast.cli.main import COMMANDS

MODELS = ("aipu", "cfg", "check", "eval", "profile", "quantize", "run", "try", "tune")
CFGS = ("eval", "profile", "quantize", "run", "try", "tune")
IMAGES = ("dataset", *CFGS)
# Which commands show what a file of a room says, the longest path first.
SHOWN_BY = {
    "cfg/": MODELS,
    "comparison/": ("compare",),
    "deploy/run_program.py": ("run",),
    "deploy/": CFGS,
    "evaluation/": ("eval",),
    "graph/onnx/foreign.py": None,  # commands of other tools
    "graph/": MODELS,
    "images/": IMAGES,
    "profile/": CFGS,
    "report/load.py": ("report",),
    "report/": (),  # each names its command
    "tuning/": ("tune",),
    "vendor/": ("aipu",),
}


def shown_by(name: str) -> tuple[str, ...] | None:
    """The commands that may show a text of a file of the package; None for texts of other tools."""
    if name.startswith("cli/options/"):
        module = name[4:-3].replace("/", ".")
        users = [
            path.stem.removesuffix("_")
            for path in (PACKAGE / "cli").glob("*.py")
            if re.search(rf"from r329fast\.cli\.{module} import", path.read_text(encoding="utf-8"))
        ]
        return tuple(user for user in users if user in COMMANDS)
    if name.startswith("cli/"):
        command = name[4:-3].removesuffix("_")
        return (command,) if command in COMMANDS else {"eval_tables": ("eval",)}.get(command, ())
    return next((SHOWN_BY[key] for key in SHOWN_BY if name.startswith(key)), ())


def test_messages_name_options_that_are_there() -> None:
    found, seen = [], 0
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for line, text in texts(path):
            commands = shown_by(name)
            if commands is not None:
                seen += 1
                found += [f"{name}:{line}: {item}" for item in sorted(missing(text, commands))]
    assert seen > 60
    assert found == []


@pytest.mark.parametrize(
    ("text", "commands", "expected"),
    [
        ("give --size 3 or --nosize", ("input",), {"input --nosize"}),
        ("see eval RUN.cfg --images SET --suggest; or --top", ("compare",), {"eval --suggest"}),
        ("`profile --suggest` and (--dump)", ("run", "eval"), {"eval --dump"}),
        ("python -m x --strange, and --out", ("run",), set()),
    ],
)
def test_what_counts_as_missing(text: str, commands: tuple[str, ...], expected: set[str]) -> None:
    assert missing(text, commands) == expected


def test_options_of_subcommands_count() -> None:
    assert {"--input-shape", "--out", "--json"} <= options_of("cfg")
