"""What is wrong with a model, one record per finding."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Issue:
    """One reason why a model cannot be taken.

    op: ONNX operator (or "Input", "model"); layer: the node's name; reason: what was found and
    what is allowed; advice: what to do about it.
    """

    op: str
    layer: str
    reason: str
    advice: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.layer} ({self.op}): {self.reason}; {self.advice}"


class Unsupported(Exception):  # noqa: N818  (caught inside this package, never seen outside)
    """Raised by an importer for a form that it cannot lower."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


class Unknown(Exception):  # noqa: N818
    """Raised when a node reads what an unsupported node should have made."""
