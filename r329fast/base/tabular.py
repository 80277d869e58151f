"""Tables for notebooks: HTML that needs nothing, pandas and Arrow where they are installed."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from r329fast.errors import UsageError

MOST_ROWS = 60  # of a table in a notebook; its end says how many there are


def html_table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[object]], most: int = MOST_ROWS
) -> str:
    """A table with a line above it, every text escaped; the first `most` rows."""
    line = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows[:most]
    )
    more = f"<p>.. {len(rows) - most} more rows</p>" if len(rows) > most else ""
    return (
        f"<p><b>{html.escape(title)}</b></p><table><thead><tr>{line}</tr></thead>"
        f"<tbody>{body}</tbody></table>{more}"
    )


def to_pandas(columns: Mapping[str, Sequence[Any]]) -> Any:
    """A pandas DataFrame of equally long columns; raises UsageError without pandas."""
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "to_pandas needs pandas, which is not installed: pip install 'r329fast[pandas]', or "
            "use to_arrow"
        ) from None
    return pandas.DataFrame(dict(columns))


def to_arrow(columns: Mapping[str, Sequence[Any]]) -> Any:
    """A pyarrow Table of equally long columns; raises UsageError without pyarrow."""
    try:
        import pyarrow
    except ImportError:
        raise UsageError(
            "to_arrow needs pyarrow, which is not installed: pip install 'r329fast[eval]'"
        ) from None
    return pyarrow.table({name: list(values) for name, values in columns.items()})
