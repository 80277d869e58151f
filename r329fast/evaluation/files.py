"""Names of the files in an evaluation's folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def earlier_results(folder: Path, written: Iterable[Path]) -> list[str]:
    """Names of the tables in a folder that another run left there."""
    own = {path.name for path in written}
    found = [path.name for kind in ("csv", "parquet") for path in folder.glob(f"results*.{kind}")]
    return sorted(set(found) - own)


def results_stem(setting: str | None) -> str:
    """Name, without ending, of the table of one setting of a sweep; None: of the only one."""
    return "results" if setting is None else f"results-{setting.replace(' ', '-')}"
