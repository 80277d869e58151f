"""Names of the files in an evaluation's folder."""

from __future__ import annotations


def results_stem(setting: str | None) -> str:
    """Name, without ending, of the table of one setting of a sweep; None: of the only one."""
    return "results" if setting is None else f"results-{setting.replace(' ', '-')}"
