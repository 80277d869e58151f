"""What a call of `tune` may say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r329fast.base.arguments import Progress, at_least_one
from r329fast.errors import UsageError, nearest
from r329fast.graph.onnx.reader import InputShapes
from r329fast.images.preprocess import Preprocess

KINDS = ("settings", "ranges", "equalise", "bias", "rounding")
DEFAULT_SCHEME = "aqt2021"
BUDGET = 5.0  # minutes


@dataclass(frozen=True)
class TuneOptions:
    """allow: the kinds of change, of KINDS, also as one text with commas.

    scheme, rounding, method, per_channel: as in Settings.
    limit: at most so many of the calibration images (0: all); budget: minutes after which no
    further layer or step is begun (0: no end); a run that it cuts short may end elsewhere on
    another machine. recipe: how the images were prepared, where they are an array; the cfg that
    is left notes it. seed: of the places that stand for a map. inputs, outputs, input_shapes: as
    in `load_model`, for a model that comes alone. progress(done, total) counts layers.
    """

    allow: Sequence[str] = KINDS
    scheme: str | None = None
    rounding: str | None = None
    method: str | None = None
    per_channel: bool | None = None
    limit: int = 0
    budget: float = BUDGET
    seed: int = 0
    recipe: Preprocess | None = None
    inputs: Sequence[str] | None = None
    outputs: Sequence[str] | None = None
    input_shapes: InputShapes | None = None
    threads: int = 1
    progress: Progress | None = None

    def __post_init__(self) -> None:
        at_least_one(threads=self.threads)
        if isinstance(self.allow, str):
            words = tuple(word.strip() for word in self.allow.split(",") if word.strip())
            object.__setattr__(self, "allow", words)
        for kind in self.allow:
            if kind not in KINDS:
                raise UsageError(
                    f"allow: found {kind!r}, allowed {', '.join(KINDS)}{nearest(kind, KINDS)}",
                    option="allow",
                )
        for name in ("limit", "budget", "seed"):
            value = getattr(self, name)
            if not value >= 0:  # NaN is refused as well
                raise UsageError(f"{name}: found {value}, allowed 0 and more", option=name)
