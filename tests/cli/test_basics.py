"""The frame of the command line: flags, errors, exit codes, output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import r329fast
from r329fast.cli import main as cli
from r329fast.cli.output import Console
from r329fast.errors import DataError, UnsupportedModelError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Put a command in place of `dataset` that does what the test says."""

    def install(execute, add_arguments=lambda parser: None) -> None:
        module = types.ModuleType("r329fast.cli.dataset")
        vars(module).update(NAME="dataset", HELP="x", add_arguments=add_arguments, execute=execute)
        monkeypatch.setitem(sys.modules, "r329fast.cli.dataset", module)
        monkeypatch.setattr(cli, "available", lambda: {"dataset": "x"})

    return install


# --- the frame


def test_overview(run) -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for name in ("dataset", "input", "cfg", "compare"):
        assert f"\n  {name} " in out
    assert "--json" in out
    assert all(len(line) <= 80 for line in out.split("\n"))
    code, out, _ = run()
    assert code == 2
    assert out.startswith("usage: r329fast COMMAND")


@pytest.mark.parametrize("name", ["dataset", "input", "cfg", "compare"])
def test_help_of_commands(run, name: str) -> None:
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert f"usage: r329fast {name}" in out
    assert "--json" in out
    module = __import__(f"r329fast.cli.{name}", fromlist=["NAME"])
    assert name == module.NAME
    assert cli.COMMANDS[name] == module.HELP


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(run, shell: str) -> None:
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "")
    for word in ("eval", "--preprocess", "try", "half_even", "compass42", "--json"):
        assert word in out
    code, out, _ = run("completion", shell, "--json")
    assert json.loads(out)["shell"] == shell
    code, _, err = run("completion", "fish")
    assert code == 2
    assert "choose from" in err


def test_bash_completes(run, tmp_path: Path) -> None:
    """As bash asks: commands, options, choices."""
    (tmp_path / "c.bash").write_text(run("completion", "bash")[1])
    for words, wanted in (
        (["prof"], "profile"),
        (["eval", "--save-c"], "--save-cfg"),
        (["eval", "--order", "B"], "BGR"),
        (["cfg", "n"], "new"),
    ):
        script = (
            f"source {tmp_path}/c.bash; COMP_WORDS=(r329fast {' '.join(words)}); "
            f'COMP_CWORD={len(words)}; _shtab_r329fast; echo "${{COMPREPLY[@]}}"'
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [wanted]


def test_help_says_why_the_input_recipes_differ(run) -> None:
    text = " ".join(run("input", "--help")[1].split())
    assert "pixel - 127.5" in text
    assert "127 / max|dataset|" in text


def test_version_before_and_after(run) -> None:
    for argv in (["--version"], ["compare", "--version"], ["--version", "nonsense"]):
        code, out, _ = run(*argv)
        assert code == 0
        assert out == f"r329fast {r329fast.__version__}\n"
    assert json.loads(run("--version", "--json")[1]) == {"version": r329fast.__version__}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["compre"], "unknown command 'compre', allowed .*did you mean 'compare'"),
        (["--jsn"], "unknown option '--jsn', did you mean '--json'"),
        (["compare"], "required: A"),
        (
            ["compare", "a", "--clases", "x"],
            "unrecognized arguments: --clases x, did you mean '--cl",
        ),
        (["cfg", "new", "m", "--out", "o", "--outpts", "x"], "did you mean '--outputs'"),
        (["cfg"], "required: new|check"),
        (["cfg", "news"], "invalid choice"),
        (["compare", "a", "--top", "x"], "invalid int value: 'x'"),
        (["compare", "a", "--top", "0"], "--top: found 0, allowed at least 1"),
        (["compare", "/nonexistent/a.bin"], r"cannot read /nonexistent/a\.bin"),
    ],
)
def test_errors_are_one_line(run, argv: list[str], message: str) -> None:
    import re

    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("r329fast: error: ")
    assert err.count("\n") == 1
    assert re.search(message, err)
    code, out, err = run("--json", *argv)
    assert (code, err) == (2, "")
    error = json.loads(out)["error"]
    assert error["kind"] in ("usage", "file")
    assert re.search(message, error["message"])


def test_flags_on_either_side(run, command) -> None:
    seen = []
    command(lambda args, out: seen.append((out.json, out.verbose)) or 0)
    for argv in (
        ["--json", "-v", "dataset"],
        ["dataset", "-v", "--json"],
        ["-vv", "dataset", "--json", "--verbose"],
    ):
        assert run(*argv)[0] == 0
    assert seen == [(True, 1), (True, 1), (True, 3)]


def raising(error: BaseException):
    def execute(args: object, out: object) -> int:
        raise error

    return execute


@pytest.mark.parametrize(
    ("error", "code", "kind", "line"),
    [
        (DataError("bad\nset", layer="x"), 2, "data", "error: bad set"),
        (UnsupportedModelError("no Foo", ["Foo at a"]), 3, "unsupported", "error: no Foo"),
        (KeyboardInterrupt(), 130, "interrupted", "interrupted"),
        (ZeroDivisionError("x\ny"), 4, "internal", "internal error: ZeroDivisionError: x y"),
        (MemoryError(), 2, "machine", "error: not enough memory"),
        (OSError(28, "No space"), 2, "machine", "error: cannot read or write: No space"),
    ],
)
def test_exit_codes(run, command, error, code: int, kind: str, line: str) -> None:
    command(raising(error))
    found, out, err = run("dataset")
    assert (found, out) == (code, "")
    assert line in err
    assert err.count("\n") == 1
    found, out, err = run("dataset", "--json")
    assert (found, err) == (code, "")
    assert json.loads(out)["error"]["kind"] == kind
    found, out, err = run("dataset", "-v", "-v")
    assert ("Traceback" in err) == (code != 130)


def test_json_error_carries_details_and_issues(run, command) -> None:
    command(raising(UnsupportedModelError("no", [types.SimpleNamespace(op="Foo")], path=Path("x"))))
    error = json.loads(run("dataset", "--json")[1])["error"]
    assert error == {
        "kind": "unsupported",
        "message": "no",
        "path": "x",
        "issues": [{"op": "Foo"}],
    }


def test_broken_pipe_is_quiet(run, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    command(raising(BrokenPipeError()))
    assert run("dataset") == (0, "", "")


def test_reader_that_leaves_early() -> None:
    """The real thing: no traceback, no complaint at exit."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "r329fast.cli.main", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    os.close(write)
    assert process.stderr == b""
    assert process.returncode == 0


def test_overview_imports_nothing_heavy() -> None:
    code = (
        "import sys; from r329fast.cli.main import main; main(['--help']); "
        "print(sorted({'numba', 'onnxruntime', 'onnx', 'cv2', 'rich'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        check=True,
    )
    assert process.stdout.endswith("[]\n")


# --- output


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("colour", [True, False])
def test_tables_fit(monkeypatch, capsys, width: int, colour: bool) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR" if not colour else "IGNORED", "1")
    rows = [["layer_with_a_long_name/" * 4, 10**9, 0.5, None], ["[b]x[/b]", 2, 1.25, "y"]]
    Console().table(["name", "macs", "ms", "note"], rows, title="Layers")
    lines = capsys.readouterr().out.split("\n")
    assert max(len(line) for line in lines) <= width
    text = "\n".join(lines)
    assert "1000000000" in text
    assert "[b]x[/b]" in text
    assert "\x1b" not in text
    assert "Layers" in text


def test_json_keeps_stdout_for_the_object(capsys) -> None:
    out = Console(json=True)
    out.print("words")
    out.table(["a"], [[1]])
    out.warn("careful")
    out.result({"a": np.int64(3), "b": np.arange(2), "c": Path("x"), "d": np.float32(0.5)})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 3, "b": [0, 1], "c": "x", "d": 0.5}
    assert "words\n" in captured.err
    assert "r329fast: warning: careful\n" in captured.err


def test_json_has_no_nan(capsys) -> None:
    nan, inf = float("nan"), float("inf")
    value = {"a": nan, "b": [inf, {"c": -inf}], "d": np.float32("nan"), "e": np.array([1.5, inf])}
    Console(json=True).result({**value, "f": np.float64("inf"), "g": "NaN"})
    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None, "b": [None, {"c": None}], "d": None, "e": [1.5, None], "f": None, "g": "NaN",
    }  # fmt: skip


def test_text_mode_prints_no_object(capsys) -> None:
    out = Console(verbose=1)
    out.result({"a": 1})
    out.detail("more")
    Console().detail("less")
    with out.progress(3, "images") as advance:
        advance()
        advance(2)
    captured = capsys.readouterr()
    assert captured.out == "more\n"
    assert captured.err == ""


def test_progress_on_a_terminal(monkeypatch, capsys) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Console(json=True).progress(2, "images") as advance:
        advance()
        advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "images" in captured.err
