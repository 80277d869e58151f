"""One self-contained HTML page of one record, or of several side by side; no library in it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from r329fast.errors import UsageError
from r329fast.report.columns import COLUMNS
from r329fast.report.comparison_findings import comparison_findings
from r329fast.report.facts import about_line, comparison_pairs
from r329fast.report.findings import findings

MAX_BYTES = 2_000_000
_SCRIPTS = (
    *("core.js", "findings.js", "charts.js", "memory.js", "layout.js", "network.js", "table.js"),
    *("sections.js", "details.js", "compare.js", "main.js"),
)
_SIGNIFICANT = 6  # digits of the numbers in the page; the JSON record has them all


def page(records: Sequence[Mapping[str, Any]], labels: Sequence[str] = ()) -> str:
    """The page's text, for one record or several side by side; labels: what to call them.

    Raises UsageError without a record.
    """
    if not records:
        raise UsageError("a report shows at least one run, found none")
    names = list(labels) or [str(record.get("model", "")) for record in records]
    runs = []
    for record in records:
        run = {"layers": [], "totals": {}, **record, "about": about_line(record)}
        run["pairs"] = comparison_pairs(record)
        run["findings"] = [item.as_json() for item in findings(run)]
        runs.append(_rounded(run))
    data = {
        "columns": [vars(column) for column in COLUMNS],
        "labels": names,
        "compared": [item.as_json() for item in comparison_findings(runs, names)],
        "runs": runs,
    }
    # "</" would end the script element, and "<!--" would start a comment in it
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    title = ", ".join(names) + " - r329fast"
    return _fill(
        _asset("page.html"),
        title=html.escape(title),
        css=_asset("report.css"),
        js="\n".join(_asset(name) for name in _SCRIPTS),
        data=text,
    )


def _asset(name: str) -> str:
    return resources.files(f"{__package__}.assets").joinpath(name).read_text(encoding="utf-8")


def _fill(template: str, **parts: str) -> str:
    """Replace each {{key}} once; what was put in is not looked at again."""
    result = []
    rest = template
    for key in ("title", "css", "data", "js"):
        before, _, rest = rest.partition("{{" + key + "}}")
        result += [before, parts[key]]
    return "".join(result) + rest


def _rounded(value: Any) -> Any:
    """Floats with fewer digits, infinities as null: JSON that every browser reads."""
    if isinstance(value, float):
        return float(f"{value:.{_SIGNIFICANT}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
