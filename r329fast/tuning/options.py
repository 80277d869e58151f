"""What a call of `tune` may say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from numbers import Real

from r329fast.base.arguments import Progress, at_least_one, at_least_zero
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
        at_least_zero(limit=self.limit, seed=self.seed)
        if isinstance(self.allow, str):
            words = tuple(word.strip() for word in self.allow.split(",") if word.strip())
            object.__setattr__(self, "allow", words)
        if not isinstance(self.allow, Iterable):
            raise UsageError(
                f"allow: found {self.allow!r}, allowed a tuple of {', '.join(KINDS)}",
                option="allow",
            )
        for kind in self.allow:
            if kind not in KINDS:
                raise UsageError(
                    f"allow: found {kind!r}, allowed {', '.join(KINDS)}{nearest(str(kind), KINDS)}",
                    option="allow",
                )
        if not isinstance(self.budget, Real) or not 0 <= self.budget < inf:  # nor NaN
            raise UsageError(
                f"budget: found {self.budget!r}, allowed 0 (no end) and more", option="budget"
            )
