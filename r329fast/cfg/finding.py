"""What is wrong with a cfg, one record per finding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One finding on a cfg. `severity` is error or warning; `key` may be empty."""

    severity: str
    section: str
    key: str
    message: str

    def __str__(self) -> str:
        place = f"[{self.section}] " if self.section else ""
        return f"{place}{self.key}: {self.message}" if self.key else f"{place}{self.message}"
