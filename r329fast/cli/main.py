"""Entry of the `r329fast` command: global flags, finding the command, errors to exit codes."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import importlib.util
import keyword
import os
import re
import sys
import traceback
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

from r329fast.base.reading import reason
from r329fast.cli.help_format import HelpFormatter
from r329fast.cli.options.preprocess import joined_sizes
from r329fast.cli.output import Console
from r329fast.errors import (
    MachineError,
    R329Error,
    R329Warning,
    UnsupportedModelError,
    UsageError,
    nearest,
)
from r329fast.version import __version__

# name -> help. The modules are imported only when their command runs, so that the overview is
# there at once; a module defines NAME, HELP, add_arguments(parser) and execute(args, out).
COMMANDS = {
    "demo": "all steps on a bundled model and images",
    "try": "from a model to a page: accuracy, cost and errors, without a cfg",
    "dataset": "a calibration set (dataset.npy, label.npy) from images",
    "input": "an input file (input.bin) from one image",
    "cfg": "make or check a vendor cfg",
    "run": "parse, calibrate, quantise and simulate what a cfg names",
    "quantize": "save the quantised program of a cfg",
    "eval": "accuracy on a whole image set, int8 and float",
    "compare": "top classes of a result file, or how two differ",
    "profile": "cost and error of every layer",
    "tune": "give back accuracy that int8 took: ranges, weights and biases",
    "aipu": "look into the vendor's aipu.bin, load it, compare it with a program",
    "report": "a page from the records of earlier runs, one or side by side",
    "bench": "speed of kernels and models",
    "check": "which ops of a model are supported",
    "info": "versions, CPU, kernel path, cache",
    "completion": "a script with which bash or zsh complete commands and options",
}
_GLOBAL_FLAGS = """global options, before or after the command:
  --json         one JSON object on stdout, everything else on stderr
  -v, --verbose  more messages; twice: tracebacks
  --version      print the version and end
"""


_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are typed errors. Subparsers get this class too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", HelpFormatter)
        kwargs.setdefault("epilog", _GLOBAL_FLAGS)
        super().__init__(*args, **kwargs)
        self._given: list[str] = []  # what is parsed

    def error(self, message: str) -> NoReturn:
        words = message.rsplit(": ", 1)
        hint = ""
        choice = _CHOICE.search(message)
        if message.startswith("unrecognized arguments"):
            hint = nearest(words[1].split()[0], self._options())
        elif choice:
            hint = nearest(choice[1], re.findall(r"[\w.-]+", choice[2]))
        else:  # a mistyped option hides behind a required one that is missing
            given = [word.partition("=")[0] for word in self._given if word[:2] == "--"]
            odd = [word for word in given if word not in self._options()]
            if odd:
                hint = f"; {odd[0]} is no option{nearest(odd[0], self._options())}"
        raise UsageError(f"{message}{hint} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(args or ())
        return super().parse_known_args(args, namespace)

    def _options(self) -> list[str]:
        """Its option strings and those of its subparsers."""
        names = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                names += [name for sub in action.choices.values() for name in sub._options()]
        return names


@dataclass
class _Globals:
    json: bool = False
    verbose: int = 0
    version: bool = False


def _split_globals(argv: list[str]) -> tuple[_Globals, list[str]]:
    """Take the global flags out, wherever they stand before a `--`."""
    flags, rest = _Globals(), []
    for index, word in enumerate(argv):
        if word == "--":
            rest += argv[index:]
            break
        if word == "--json":
            flags.json = True
        elif word == "--version":
            flags.version = True
        elif word == "--verbose":
            flags.verbose += 1
        elif len(word) > 1 and word[0] == "-" and set(word[1:]) == {"v"}:
            flags.verbose += len(word) - 1
        else:
            rest.append(word)
    return flags, rest


def available() -> dict[str, str]:
    """The commands whose modules are there, without importing them."""
    return {
        name: text
        for name, text in COMMANDS.items()
        if importlib.util.find_spec(_module(name)) is not None
    }


def _module(command: str) -> str:
    """The module of a command; a word of Python gets a `_`."""
    return f"r329fast.cli.{command}{'_' if keyword.iskeyword(command) else ''}"


def overview() -> str:
    lines = ["usage: r329fast COMMAND [options]", "", "commands:"]
    lines += [f"  {name:<11}{text}" for name, text in available().items()]
    lines += ["", "r329fast COMMAND --help lists the options of a command.", "", _GLOBAL_FLAGS]
    return "\n".join(lines)


def _load(name: str) -> ModuleType:
    commands = available()
    if name not in commands:
        raise UsageError(
            f"unknown command {name!r}, allowed {', '.join(commands)}{nearest(name, commands)}"
        )
    return importlib.import_module(_module(name))


def whole_parser() -> argparse.ArgumentParser:
    """One parser with all commands and global flags, for whoever describes the command line."""
    parser = _Parser(prog="r329fast")
    commands = parser.add_subparsers(dest="command")
    for name in available():
        command = _load(name)
        sub = commands.add_parser(name, help=command.HELP)
        command.add_arguments(sub)
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        sub.add_argument("-v", "--verbose", action="count", help="more messages")
    parser.add_argument("--version", action="store_true", help="print the version and end")
    return parser


def _dispatch(flags: _Globals, rest: list[str], out: Console) -> int:
    if flags.version:
        out.result({"version": __version__})
        if not out.json:
            out.print(f"r329fast {__version__}")
        return 0
    if not rest:
        if out.json:
            raise UsageError(f"no command, allowed {', '.join(available())}")
        out.print(overview())
        return UsageError.exit_code
    if rest[0] in ("-h", "--help"):
        out.print(overview())
        return 0
    if rest[0].startswith("-"):
        raise UsageError(
            f"unknown option {rest[0]!r}{nearest(rest[0], ('--json', '--verbose', '--version'))}"
        )
    command = _load(rest[0])
    parser = _Parser(prog=f"r329fast {command.NAME}", description=command.HELP)
    command.add_arguments(parser)
    args = parser.parse_args(joined_sizes(rest[1:]))
    return int(command.execute(args, out))


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; see the table of codes in the documentation."""
    _open_closed_streams()
    before = warnings.showwarning
    warnings.showwarning = _warner(before)
    try:
        return _main(argv)
    finally:
        warnings.showwarning = before


def _main(argv: list[str] | None) -> int:
    flags, rest = _split_globals(list(sys.argv[1:] if argv is None else argv))
    out = Console(json=flags.json, verbose=flags.verbose)
    try:
        code = _run(flags, rest, out)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # the reader has gone, which is its right; spare Python's own complaint at exit
        _drop_stdout()
        return 0
    except OSError as error:  # stdout itself: the disk behind it is full
        _drop_stdout()
        sys.stderr.write(f"r329fast: error: cannot write the output: {reason(error)}\n")
        return UsageError.exit_code


def _warner(other: Any) -> Any:
    """Shows our own warnings as `Console.warn` does; others as Python shows them."""

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, R329Warning):
            Console().warn(str(message))
        else:
            other(message, category, *place)

    return show


def _open_closed_streams() -> None:
    """A stream that the caller has closed takes what is written and drops it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _show_any_name() -> None:
    """Names that the streams' encoding lacks are shown escaped, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _quiet_libraries() -> None:
    """Image libraries write to file 2 by themselves what we say in one line, by way of -v.

    Python's stderr keeps a file of its own.
    """
    if any(word == "--verbose" or word.startswith("-v") for word in sys.argv[1:]):
        return
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    with contextlib.suppress(OSError, ValueError):
        own, nowhere = os.dup(sys.stderr.fileno()), os.open(os.devnull, os.O_WRONLY)
        encoding = sys.stderr.encoding
        sys.stderr = open(own, "w", buffering=1, encoding=encoding)  # noqa: SIM115
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _drop_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(flags: _Globals, rest: list[str], out: Console) -> int:
    """The command and its errors as exit codes; OSError only where stdout cannot be written."""
    try:
        return _dispatch(flags, rest, out)
    except R329Error as error:
        return _failed(out, error)
    except SystemExit as end:  # argparse after --help
        return end.code if isinstance(end.code, int) else 0
    except MemoryError as error:
        words = f" ({reason(error)})" if str(error) else ""
        return _failed(
            out, MachineError(f"not enough memory{words}; files written so far are kept")
        )
    except KeyboardInterrupt:
        text = "interrupted; files written so far are kept"
        out.error(f"r329fast: {text}", {"error": {"kind": "interrupted", "message": text}})
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.EINVAL and not error.filename:
            raise BrokenPipeError from error  # as Windows says it
        place = f"{error.filename}: " if error.filename else ""
        return _failed(out, MachineError(f"cannot read or write: {place}{reason(error)}"))
    except Exception as error:
        if out.verbose >= 2:
            traceback.print_exc()
        words = " ".join(str(error).split()) or "no message"
        text = f"internal error: {type(error).__name__}: {words}"
        out.error(
            f"r329fast: error: {text} (-v -v shows where)",
            {"error": {"kind": "internal", "message": text}},
        )
        return 4


def _failed(out: Console, error: R329Error) -> int:
    if out.verbose >= 2:
        traceback.print_exc()
    value = error.as_json()
    line = f"r329fast: error: {' '.join(error.message.split())}"
    if isinstance(error, UnsupportedModelError) and error.issues:
        inner = value["error"]
        if isinstance(inner, dict):
            inner.setdefault("issues", [_issue(item) for item in error.issues])
        if out.verbose:
            line += "".join(f"\n  {item}" for item in error.issues)
    out.error(line, value)
    return error.exit_code


def _issue(item: object) -> object:
    """An issue as JSON: its fields where it has some."""
    return vars(item) if hasattr(item, "__dict__") else str(item)


def run() -> NoReturn:
    """The console script."""
    _open_closed_streams()
    _quiet_libraries()
    _show_any_name()
    sys.exit(main())


if __name__ == "__main__":
    run()
