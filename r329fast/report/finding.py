"""A finding: one sentence with links about a run, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r329fast.cfg.advice import extremes_setting

MOST_NAMES = 5  # layers that one sentence names


@dataclass(frozen=True)
class Link:
    """Words that lead somewhere on the page: to a layer, or to a section by its id."""

    words: str
    layer: str = ""
    section: str = ""


@dataclass(frozen=True)
class Finding:
    """kind: what it is about, once a page; loss: whether something is lost (else a fact);
    parts: the sentence; action: what to do, "" where nothing is to be done.
    """

    kind: str
    loss: bool
    parts: tuple[str | Link, ...]
    action: str = ""

    @property
    def text(self) -> str:
        """The sentence without its links."""
        return "".join(part if isinstance(part, str) else part.words for part in self.parts)

    def as_json(self) -> dict[str, Any]:
        """Plain data: a part is a text, or {"words", "layer"} or {"words", "section"}."""
        parts: list[Any] = []
        for part in self.parts:
            if isinstance(part, str):
                parts.append(part)
            elif part.layer:
                parts.append({"words": part.words, "layer": part.layer})
            else:
                parts.append({"words": part.words, "section": part.section})
        return {
            "kind": self.kind,
            "loss": self.loss,
            "text": self.text,
            "parts": parts,
            "action": self.action,
        }


def layer_links(
    rows: Sequence[Mapping[str, Any]], words: Sequence[str] = ()
) -> tuple[str | Link, ...]:
    """Links to layers as a list in words: "a (x), b (y) and c"; words: what stands behind each."""
    parts: list[str | Link] = []
    for index, row in enumerate(rows):
        if index:
            parts.append(" and " if index == len(rows) - 1 else ", ")
        parts.append(Link(str(row["name"]), layer=str(row["name"])))
        if words:
            parts.append(f" ({words[index]})")
    return tuple(parts)


def number_word(count: int, one: str, many: str = "") -> str:
    """A small number in words with its noun: "one layer", "five layers", "12 layers"."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    noun = one if count == 1 else many or one + "s"
    return f"{words[count] if count < len(words) else f'{count:,}'} {noun}"


def percent(share: float) -> str:
    """A fraction for a sentence: two digits where it is small, never "0 %" for what is not 0."""
    if share and abs(share) < 0.01:
        return f"{100 * share:.2g} %"
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of two fractions in percentage points."""
    value = f"{100 * difference:.1f}"
    return f"{value} point" if value == "1.0" else f"{value} points"


def sentence_start(text: str) -> str:
    """The text with a capital letter."""
    return text[:1].upper() + text[1:]


def widening(record: Mapping[str, Any]) -> str:
    """What to do where a range cuts off outputs, in the words of the record's scheme."""
    if record.get("ranges_at_extremes"):
        return "The ranges reach all that calibration saw: calibrate on more images like these"
    return f"Widen the range: in the cfg {extremes_setting(str(record.get('scheme', '')))}"
