"""`r329fast completion`: a script that completes commands, options and file names in a shell."""

from __future__ import annotations

import argparse
from pathlib import Path

from r329fast.cli.options.targets import file_to_write, folder_to_write
from r329fast.cli.output import Console

NAME = "completion"
HELP = "a script with which bash or zsh complete commands and options"
SHELLS = ("bash", "zsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print the script. It goes to a file where the shell looks for it:\n"
        "  bash  ~/.local/share/bash-completion/completions/r329fast\n"
        "  zsh   _r329fast in a folder of $fpath"
    )
    parser.add_argument("shell", choices=SHELLS)


def execute(args: argparse.Namespace, out: Console) -> int:
    import shtab

    from r329fast.cli.main import whole_parser

    parser = whole_parser()
    _complete_files(parser, shtab.FILE)
    script = shtab.complete(parser, shell=args.shell)
    if not out.json:
        out.print(script.rstrip("\n"))
    out.result({"shell": args.shell, "script": script})
    return 0


def _complete_files(parser: argparse.ArgumentParser, complete: object) -> None:
    """Mark what takes a path, in a parser and in those of its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in dict.fromkeys(action.choices.values()):
                _complete_files(sub, complete)
        elif action.type in (Path, file_to_write, folder_to_write) or "FILE" in str(action.metavar):
            action.complete = complete  # type: ignore[attr-defined]
