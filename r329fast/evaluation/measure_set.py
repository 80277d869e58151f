"""`measure`: a metric with targets of its own over an image set, int8 and float."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from r329fast.base.arguments import with_arguments
from r329fast.base.files import write_json
from r329fast.base.machine import cores
from r329fast.evaluation.evaluate_set import ModelLike, carried_out, plan_of, prepared_model
from r329fast.evaluation.metrics import Metric
from r329fast.evaluation.options import EvaluationOptions
from r329fast.evaluation.result import Timing

MEASURE_FILE = "measure.json"


@dataclass
class Measurement:
    """Figures of a metric.

    figures: setting -> figures, see the metric; floats: those of the float network. headline: the
    figure that is compared. saturated: setting -> input values cut. skipped: (file, why).
    """

    metric: str
    headline: str
    better: str
    figures: dict[str, dict[str, Any]]
    floats: dict[str, Any] | None
    images: int
    saturated: dict[str, int]
    skipped: list[tuple[str, str]]
    timing: Timing
    files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def best(self) -> str:
        """The setting with the best headline; the first of equals."""
        sign = 1 if self.better == "higher" else -1
        return max(self.figures, key=lambda name: sign * float(self.figures[name][self.headline]))

    def as_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "headline": self.headline,
            "best": self.best,
            "images": self.images,
            "settings": self.figures,
            "float": self.floats,
            "saturated_values": self.saturated,
            "skipped": [{"file": name, "reason": why} for name, why in self.skipped],
            "images_per_second": self.timing.images_per_second,
            "seconds": self.timing.seconds,
            "files": [str(path) for path in self.files],
        }

    def __repr__(self) -> str:
        value = self.figures[self.best][self.headline]
        return f"<Measurement of {self.images} images: {self.metric} {self.headline} {value:.4f}>"


def measure(
    model: ModelLike,
    images: str | Path | Any,
    targets: str | Path,
    metric: Metric | str,
    options: EvaluationOptions | None = None,
    **changes: Any,
) -> Measurement:
    """A metric of a network's outputs against targets of its own: masks, boxes, numbers.

    targets: the file or folder that the metric reads. metric: see `choose_metric`. model, images,
    options: as in `evaluate`; several outputs are allowed where the metric takes them. Resume,
    caches, several settings and clusters work alike. Raises what `evaluate` raises, and
    UsageError for a metric of class numbers.
    """
    begun = time.perf_counter()
    changes = {**changes, "metric": metric, "targets": targets}
    options = with_arguments(options or EvaluationOptions(), changes, "measure", ())
    threads = options.execution.threads or cores()
    model = prepared_model(model, options, threads)
    plan, _, doubts = plan_of(model, images, None, options)
    chosen = plan.job.metric
    assert chosen is not None  # the parameter is
    with ExitStack() as stack:
        folder, header, run = carried_out(stack, model, plan, options, begun)
        records = run.records()
        figures, floats = run.measured(records)
        names = [item.name for item in model.variants]
        result = Measurement(
            chosen.name,
            chosen.headline,
            chosen.better,
            dict(zip(names, figures, strict=True)),
            floats,
            len(plan.source) - len(records.bad),
            dict(zip(names, records.saturated, strict=True)),
            [(plan.source.names[image], why) for image, why in sorted(records.bad.items())],
            run.timing,
            warnings=[*model.warnings, *doubts],
        )
        if options.record.out is not None:
            kept = {**result.as_json(), "identity": header, "targets": str(targets)}
            result.files.append(write_json(folder / MEASURE_FILE, kept))
    return result
