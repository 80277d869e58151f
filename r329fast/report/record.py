"""A run's record as an object for Python and notebooks: the dict of its JSON, and its views."""

from __future__ import annotations

import html
import tempfile
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r329fast.base.tabular import to_arrow, to_pandas
from r329fast.report.columns import COLUMNS, totals
from r329fast.report.console import summary_lines
from r329fast.report.finding import Finding
from r329fast.report.findings import finding_lines, findings
from r329fast.report.html import page
from r329fast.report.load import load_run
from r329fast.report.outputs import write_html, write_record

if TYPE_CHECKING:
    from r329fast.profile.record import Findings


class Frame:
    """A page that a notebook shows inside itself."""

    def __init__(self, page: str) -> None:
        self.page = page

    def _repr_html_(self) -> str:
        style = "width:100%;height:820px;border:1px solid #ccc"
        return f'<iframe srcdoc="{html.escape(self.page)}" style="{style}"></iframe>'


class Record(dict[str, Any]):
    """What `profile`, `eval --out` or `run` found: a dict (docs/profiling.md has the keys).

    record = Record.of(collect(program, graph=graph, images=ArrayImages(x, labels)))
    record.findings()      # sentences: what to look at, and what to do
    record.to_pandas()     # the layer table
    record.show()          # the page
    """

    @classmethod
    def of(cls, found: Findings) -> Record:
        """The record of what `r329fast.profile.collect` found."""
        from r329fast.profile.record import layer_rows, make_record

        return cls(make_record(found, totals(layer_rows(found))))

    @classmethod
    def load(cls, path: str | Path, classes: Mapping[int, str] | None = None) -> Record:
        """The record in a folder that a command wrote, or in its JSON file.

        classes: names by class number, for the texts of an evaluation's images. Raises FileError
        where there is none, DataError for a file that is no record.
        """
        return cls(load_run(Path(path), classes=classes))

    def findings(self) -> list[Finding]:
        """What to look at first: the list that page and terminal show."""
        return findings(self)

    def to_pandas(self) -> Any:
        """The layer table as a pandas DataFrame, a column per key; UsageError without pandas."""
        return to_pandas(self._columns())

    def to_arrow(self) -> Any:
        """The layer table as a pyarrow Table; UsageError without pyarrow."""
        return to_arrow(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        rows = self["layers"]
        keys = [column.key for column in COLUMNS if any(column.key in row for row in rows)]
        return {key: [row.get(key) for row in rows] for key in keys}

    def html(self) -> str:
        """The page's text: one file that needs no network connection."""
        return page([self])

    def save(self, path: str | Path) -> Path:
        """Write the page (`.html`) or the record (any other name, as JSON); raises FileError."""
        path = Path(path)
        return write_html(path, self) if path.suffix == ".html" else write_record(path, self)

    def show(self, path: str | Path | None = None) -> Any:
        """The page: inside a notebook as a frame, else in the web browser.

        path: where the page is kept; a temporary file where absent. Returns the frame in a
        notebook, else the path of the page.
        """
        if in_notebook():
            if path is not None:
                self.save(path)
            return Frame(self.html())
        if path is None:
            path = Path(tempfile.mkdtemp(prefix="r329fast-")) / "report.html"
        written = write_html(Path(path), self)
        webbrowser.open(written.absolute().as_uri())
        return written

    def __repr__(self) -> str:
        kind = self.get("kind", "run")
        return f"<Record {kind} {self.get('model', '')!r}: {len(self['layers'])} layers>"

    def __str__(self) -> str:
        lines = finding_lines(self.findings())
        return "\n".join([*lines, *summary_lines(self)] if self.get("totals") else lines)

    def _repr_html_(self) -> str:
        items = "".join(
            f"<li>{html.escape(item.text)}"
            + (f"<br><i>{html.escape(item.action)}</i>" if item.action else "")
            + "</li>"
            for item in self.findings()
        )
        return f"<p><b>{html.escape(repr(self)[1:-1])}</b></p><ol>{items}</ol>"


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel (a plain IPython shell shows no frames)."""
    import sys

    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"
