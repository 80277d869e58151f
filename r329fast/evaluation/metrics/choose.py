"""Which metric a name, a function or an object means."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r329fast.base.reading import reason
from r329fast.errors import DataError, R329Error, UsageError, nearest
from r329fast.evaluation.metrics.boxes import FORMS, CocoMap
from r329fast.evaluation.metrics.confusion import MeanIoU, PerClass
from r329fast.evaluation.metrics.metric import Metric, Outputs, State, joined
from r329fast.evaluation.metrics.regression import Regression

METRICS: dict[str, Callable[[], Metric]] = {
    "per_class": PerClass,
    "miou": MeanIoU,
    "coco_map": CocoMap,
    "regression": Regression,
}


@dataclass
class FunctionMetric(Metric):
    """A user's function(outputs, targets) -> numbers [n], or a dict of such; means are reported."""

    function: Callable[[Outputs, Sequence[Any]], Any]

    def __post_init__(self) -> None:
        self.name = self.headline = getattr(self.function, "__name__", "metric")

    def measure(self, outputs: Outputs, targets: Sequence[Any]) -> State:
        try:
            found = self.function(outputs, targets)
        except R329Error:
            raise
        except Exception as error:  # a user's code
            raise UsageError(
                f"metric {self.name}: the function failed ({type(error).__name__}: "
                f"{reason(error)}); it is called as f(outputs, targets)"
            ) from error
        table = found if isinstance(found, dict) else {self.name: found}
        try:
            state = {str(key): np.asarray(value, dtype=np.float64) for key, value in table.items()}
        except (TypeError, ValueError) as error:
            raise DataError(f"metric {self.name}: its result is no numbers ({error})") from error
        for key, value in state.items():
            if value.shape != (len(targets),):
                raise DataError(
                    f"metric {self.name}: {key!r} has the shape {list(value.shape)}, allowed a "
                    f"number for each of the {len(targets)} images"
                )
        return state

    def merge(self, states: Sequence[State]) -> dict[str, Any]:
        return {key: float(joined(states, key).mean()) for key in states[0]}


def choose_metric(wanted: Metric | Callable[..., Any] | str) -> Metric:
    """A bundled metric by name (`coco_map:yolov5` with its form), `module:name` of a user's, a
    function, or a metric as it is. Raises UsageError.
    """
    if isinstance(wanted, Metric):
        return wanted
    if not isinstance(wanted, str):
        return FunctionMetric(wanted)
    name, _, rest = wanted.partition(":")
    if name == "coco_map" and rest:
        if rest not in FORMS:
            raise UsageError(f"coco_map: found form {rest!r}, allowed {', '.join(FORMS)}")
        return CocoMap(rest)
    if wanted in METRICS:
        return METRICS[wanted]()
    if not rest:
        raise UsageError(
            f"found metric {wanted!r}, allowed {', '.join(METRICS)}, or module:function"
            f"{nearest(wanted, METRICS)}"
        )
    try:
        found = getattr(importlib.import_module(name), rest)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"metric {wanted!r}: {error} (looked for on sys.path)") from error
    if isinstance(found, type) and issubclass(found, Metric):
        return found()
    if isinstance(found, Metric) or callable(found):
        return choose_metric(found)
    raise UsageError(f"metric {wanted!r}: found no function and no Metric")
