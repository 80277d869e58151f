"""What README and docs/ tell the reader to type is there: command lines, options, variables."""

from __future__ import annotations

import importlib
import keyword
import re
import shlex
from pathlib import Path

import pytest
from support.advised import options_of

from r329fast.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
VARIABLE = re.compile(r"R329FAST_[A-Z][A-Z0-9_]*[A-Z0-9]")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# Options of other programs that documents show, and of scripts in this repository.
OTHERS = {
    "--port", "--nthreads", "--nworkers", "--host", "--dashboard-address",  # dask
    "--parsable", "--array", "--wrap", "--dependency",  # sbatch
    "--strict", "--run",  # mkdocs, twine, tools/notebooks.py
}  # fmt: skip


def command_lines() -> list[tuple[str, str]]:
    """(document, line) of every `r329fast ..` in code, in blocks and inside a sentence."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"```sh\n(.*?)```|((?:^    [^\n]+\n)+)", text, re.DOTALL | re.M):
            for line in "".join(block).splitlines():
                for part in re.split(r"&&|\|", line.partition(" #")[0].strip()):
                    match = re.match(r"(?:\S*/)?r329fast (.+)", part.strip())
                    if match:
                        found.append((document.name, match[1].strip()))
        inline = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for words in re.findall(r"`r329fast ([^`]+)`", inline):
            abbreviated = "..." in words or " " not in words
            if words.split()[0] in COMMANDS and not abbreviated:
                found.append((document.name, " ".join(words.split())))
    return found


def test_there_are_command_lines() -> None:
    assert len(command_lines()) > 60


@pytest.mark.parametrize(("document", "line"), command_lines())
def test_command_lines_parse(
    document: str,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every option and argument is one that the command takes; nothing is run."""
    words = [word for word in shlex.split(line) if word not in ("...", "..", "[--per-channel]")]
    module = f"r329fast.cli.{words[0]}{'_' if keyword.iskeyword(words[0]) else ''}"
    monkeypatch.setattr(importlib.import_module(module), "execute", lambda args, out: 0)
    code = main(words)
    assert code == 0, f"{document}: {capsys.readouterr().err}"


def scripts() -> str:
    """The text of the scripts in the repository, which have options of their own."""
    files = [
        path
        for folder in ("tools", "benchmarks", "dataset")
        for path in (ROOT / folder).glob("*.py")
    ]
    files.append(ROOT / "tests" / "support" / "aipu_mutations.py")
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_options_exist() -> None:
    known = OTHERS.union(*map(options_of, COMMANDS)) | set(
        re.findall(r'"(--[a-z0-9-]+)"', scripts())
    )
    missing = [
        f"{document.name}: {option}"
        for document in DOCUMENTS
        for option in OPTION.findall(document.read_text(encoding="utf-8"))
        if option not in known
    ]
    assert missing == []


def test_variables_of_the_environment() -> None:
    """What documents name is read by the code, and what the package reads is documented."""
    package = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "r329fast").rglob("*.py")
    )
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    documents = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    named, read = set(VARIABLE.findall(documents)), set(VARIABLE.findall(package))
    assert len(read) > 15
    assert read - named == set()
    assert named - read - set(VARIABLE.findall(tests + scripts())) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_place_in_the_documents(command: str) -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in DOCUMENTS if path.name != "CONTRIBUTING.md"
    )
    assert re.search(rf"r329fast {command}\b|`{command}\b", text)
