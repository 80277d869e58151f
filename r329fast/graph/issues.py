"""What is wrong with a model, one record per cause."""

from __future__ import annotations

from dataclasses import dataclass

# What a finding is about, which tells whether it may follow from another one further up:
FORM = "form"  # the node itself: its operator, its attributes
AXES = "axes"  # the axes of what it reads
VALUES = "values"  # what has to be known: constants, sizes


@dataclass(frozen=True)
class Issue:
    """One reason why a model cannot be taken.

    op: ONNX operator (or "Input", "model"); layer: the node's name; reason: what was found and
    what is allowed; advice: what to do about it, such that the model stays the same function.
    others: further nodes of the same kind with the same reason; behind: how many nodes follow in
    the graph, which are judged once the cause is gone. about: FORM, AXES or VALUES; rule: the
    reason without what was found.
    """

    op: str
    layer: str
    reason: str
    advice: str
    others: tuple[str, ...] = ()
    behind: int = 0
    about: str = FORM
    rule: str = ""

    def as_dict(self) -> dict[str, object]:
        return {
            "op": self.op,
            "layer": self.layer,
            "reason": self.reason,
            "advice": self.advice,
            "others": list(self.others),
            "behind": self.behind,
        }

    def where(self) -> str:
        """The node, how many more have the same fault, and how many follow from it."""
        more = f" and {len(self.others)} more" if self.others else ""
        ops = "op" if self.behind == 1 else "ops"
        behind = f", and {self.behind} {ops} behind it" if self.behind else ""
        return f"{self.layer} ({self.op}){more}{behind}"

    def __str__(self) -> str:
        return f"{self.where()}: {self.reason}; {self.advice}"


class Unsupported(Exception):  # noqa: N818  (caught inside this package, never seen outside)
    """Raised by an importer for a form that it cannot lower."""

    def __init__(self, reason: str, advice: str, about: str = AXES) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice
        self.about = about


class Unknown(Exception):  # noqa: N818
    """Raised when a node reads what an unsupported node should have made."""
