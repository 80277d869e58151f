"""What commands write: plain lines, tables, one JSON object, progress, warnings."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_LEAD = re.compile(r" *(?:\d+\. |-> )?")
_NUMBER = re.compile(r"[-+]?[0-9][0-9,]*(\.[0-9]+)?([eE][-+]?[0-9]+)? ?([%kMGT]|us|dB)?")
_GAP = 3  # blanks between two columns
_NAME = 30  # columns that a name may ask for before numbers go into another table
_WIDTH = 80  # columns of a terminal that does not say how many it has
_NARROWEST = 40  # columns that sentences get at least
_UNBOUNDED = 100_000  # columns of a table in a pipe: as many as it needs


class Console:
    """Where a command's words go.

    With `json` the one object given to `result` is all that stdout gets; lines, tables and
    warnings go to stderr. `verbose` counts the -v flags. rich is imported on first use, so that
    short commands start fast; it honours NO_COLOR and COLUMNS.
    """

    def __init__(self, json: bool = False, verbose: int = 0) -> None:
        self.json = json
        self.verbose = verbose

    @property
    def stream(self) -> TextIO:
        """The stream for people; looked up late, because tests and pipes replace it."""
        return sys.stderr if self.json else sys.stdout

    def print(self, text: str = "") -> None:
        """One or more lines, as they are."""
        self.stream.write(text + "\n")
        self.stream.flush()

    def wrapped(self, text: str, indent: str = "") -> None:
        """A line, folded between words to a terminal's width; in a pipe it stays one line."""
        width = self._width()
        if width is None:
            self.print(indent + text)
            return
        self.print(_folded(text, width, indent + "  ", indent))

    def _width(self) -> int | None:
        """Columns of the terminal, or as COLUMNS says; None in a pipe, where nothing is cut."""
        if self.stream.isatty() or os.environ.get("COLUMNS", "").isdigit():
            return shutil.get_terminal_size().columns
        return None

    def detail(self, text: str) -> None:
        """A line that only -v shows."""
        if self.verbose:
            self.print(text)

    def warn(self, text: str) -> None:
        """A warning on stderr, which changes no exit code."""
        say(f"r329fast: warning: {' '.join(text.split())}")

    @property
    def width(self) -> int:
        """Columns that a table may take: the terminal's; in a pipe as many as it needs."""
        return self._width() or _UNBOUNDED

    def paragraphs(self, lines: Iterable[str]) -> None:
        """Sentences folded between words to a terminal's width; in a pipe each stays one line.

        What is folded stands under the line's first word, after its number or arrow.
        """
        if self._width() is None:
            self.print("\n".join(lines))
            return
        for line in lines:
            indent = " " * len(_LEAD.match(line)[0])  # type: ignore[index]  # matches ""
            self.print(_folded(line, self.width, indent))

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = ""
    ) -> None:
        """A table as wide as it needs to be, at most as the terminal; in a pipe names stay whole.

        Columns of numbers stand right and never wrap; the others fold where room is short, and
        so do heads of numbers, between words. Names in front of more numbers than there is room
        for stand in several tables, one under the other.
        """
        from rich import box
        from rich.table import Table

        cells = [[_cell(row[index]) for row in rows] for index in range(len(columns))]
        numeric = [
            bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(columns))
        ]
        widest = [max(map(len, [name, *cells[i]])) for i, name in enumerate(columns)]
        narrow = sum(widest) + _GAP * len(widest) > self.width
        heads = [
            _folded_head(name, cells[i]) if numeric[i] and narrow else name
            for i, name in enumerate(columns)
        ]
        for part in _parts(heads, cells, numeric, self.width):
            table = Table(
                box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False
            )
            for index in part:
                table.add_column(
                    heads[index],
                    justify="right" if numeric[index] else "left",
                    no_wrap=numeric[index],
                    overflow="fold",
                )
            for line in zip(*(cells[index] for index in part), strict=True):
                table.add_row(*line)
            self._rich(self.stream, self.width).print(table)

    def result(self, value: Mapping[str, Any]) -> None:
        """The command's result as one JSON object on stdout; nothing without --json."""
        if self.json:
            sys.stdout.write(_json_text(value) + "\n")
            sys.stdout.flush()

    def error(self, line: str, value: Mapping[str, Any]) -> None:
        """How a command ends that failed: a line on stderr, or an object on stdout."""
        if self.json:
            self.result(value)
        else:
            say(line)

    @contextmanager
    def progress(self, total: int | None, label: str) -> Iterator[Callable[..., None]]:
        """Gives a function that advances the bar (by 1); shown only where stderr is a terminal."""
        if not sys.stderr.isatty():
            yield lambda step=1: None
            return
        from rich.progress import Progress

        with Progress(console=self._rich(sys.stderr), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda step=1: bar.advance(task, step)

    def _rich(self, stream: TextIO, width: int | None = None) -> RichConsole:
        from rich.console import Console as RichConsole

        return RichConsole(file=stream, width=width, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Lines on stderr, each folded between words to a terminal's width; in a pipe each is one."""
    width = _columns(sys.stderr)
    for line in text.split("\n"):
        sys.stderr.write((_folded(line, width, "  ") if width else line) + "\n")
    sys.stderr.flush()


def _columns(stream: TextIO) -> int | None:
    """Columns of the terminal behind a stream, COLUMNS first; None where there is none."""
    if not stream.isatty():
        return None
    if os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    try:  # not stdout's, which may be a pipe
        return os.get_terminal_size(stream.fileno()).columns or _WIDTH
    except (OSError, ValueError):
        return _WIDTH


def _folded(line: str, width: int, hanging: str, indent: str = "") -> str:
    """A line folded between words. hanging: the indent of the lines that follow."""
    return textwrap.fill(
        line,
        max(width, _NARROWEST),
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _is_number(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, str):
        return not value or _NUMBER.fullmatch(value) is not None
    # numpy scalars are numbers too, without importing numpy to ask
    return not isinstance(value, bool) and hasattr(value, "__float__")


def _parts(
    heads: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool], width: int
) -> list[list[int]]:
    """Which columns stand together: all, or the first with as many numbers as there is room for."""
    whole = list(range(len(heads)))
    if len(heads) < 3 or numeric[0] or not all(numeric[1:]):
        return [whole]
    sizes = [
        max([len(line) for line in head.split("\n")] + [len(cell) for cell in column])
        for head, column in zip(heads, cells, strict=True)
    ]
    name = min(sizes[0], _NAME) + _GAP
    parts, room = [[0]], width - name
    for index in whole[1:]:
        if sizes[index] + _GAP > room and len(parts[-1]) > 1:
            parts.append([0])
            room = width - name
        parts[-1].append(index)
        room -= sizes[index] + _GAP
    return parts


def _folded_head(name: str, cells: Sequence[str]) -> str:
    """The head of a column of numbers, folded between words to about the width of its cells."""
    widest = max([len(cell) for cell in cells] + [len(word) for word in name.split()], default=1)
    return "\n".join(textwrap.wrap(name, widest, break_on_hyphens=False)) or name


def _cell(value: object) -> str:
    """A value as a table shows it; integers are complete, floats have six digits."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json_text(value: Mapping[str, Any]) -> str:
    """JSON as its standard has it: null in place of NaN and infinity, which it lacks."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except ValueError:
        text = json.dumps(value, default=_plain)
        return json.dumps(json.loads(text, parse_constant=lambda word: None))


def _plain(value: Any) -> Any:
    """What JSON has no word for: numpy scalars and arrays as numbers and lists, else text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    return str(value)
