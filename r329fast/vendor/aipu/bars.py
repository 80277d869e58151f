"""The memory map as lines of text: a line for each place, time from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SHADES = "█▓"  # maps that follow each other at one place are told apart


def bar_lines(memory: Sequence[Mapping[str, Any]], width: int = 64) -> list[str]:
    """One line for each memory and start address: the largest map there, and who lives when.

    memory: rows of `facts.memory_map`; every column stands for an equal part of the steps.
    """
    last = max((row["to"] for row in memory), default=0)
    width = max(1, min(width, last + 1))
    lines = []
    for name in ("DDR", "SRAM"):
        places: dict[str, list[Mapping[str, Any]]] = {}
        for row in memory:
            if row["memory"] == name:
                places.setdefault(row["address"], []).append(row)
        for address in sorted(places):
            rows = sorted(places[address], key=lambda row: row["from"])
            largest = max(row["bytes"] for row in rows)
            cells = [" "] * width
            for number, row in enumerate(rows):
                first = row["from"] * width // (last + 1)
                for cell in range(first, row["to"] * width // (last + 1) + 1):
                    cells[cell] = _SHADES[number % len(_SHADES)]
            lines.append(
                f"{name:<4} {address} {largest:>9,} B {len(rows):>3} maps |{''.join(cells)}|"
            )
    return lines


def live_peak(memory: Sequence[Mapping[str, Any]], name: str) -> int:
    """The most bytes of one memory that hold living maps at one time."""
    steps = sorted({row["from"] for row in memory})
    return max(
        (
            sum(
                row["bytes"]
                for row in memory
                if row["memory"] == name and row["from"] <= step <= row["to"]
            )
            for step in steps
        ),
        default=0,
    )
