"""What `evaluate` gives: figures, records, timing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.tabular import html_table, to_arrow, to_pandas
from r329fast.errors import UsageError, nearest
from r329fast.evaluation.summary import Accuracy, VariantResult
from r329fast.evaluation.wall_time import Seconds
from r329fast.images.preprocess import Preprocess


@dataclass
class Timing(Seconds):
    """Seconds of the wall clock; `decode` is the sum over decoding threads.

    images: done in this run, without those taken over by a resume. memory: (images done, resident
    megabytes), about 50 samples. cached_chunks: read from the pixel cache.
    """

    threads: int = 1
    prepare: float = 0.0
    warm_up: float = 0.0
    seconds: float = 0.0
    wait: float = 0.0
    images: int = 0
    cached_chunks: int = 0
    workers: int = 0
    bytes_sent: int = 0
    memory: list[tuple[int, float]] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds and self.images else 0.0

    def shares(self) -> dict[str, float]:
        """Of the wall time: simulating, float network, waiting for pixels, the rest.

        `decode` runs beside them: its part of the threads' time. On a cluster, simulate and float
        are parts of all workers' time.
        """
        if not self.seconds:
            return {}
        machines = max(self.workers, 1)
        whole = self.seconds * machines
        parts = {
            "simulate": self.simulate / whole,
            "float": self.float_run / whole,
            "wait": self.wait / whole,
        }
        return {
            **parts,
            "other": max(0.0, 1 - sum(parts.values())),
            "decode": self.decode / (whole * self.threads),
        }

    def sample_memory(self, done: int) -> None:
        """Note the resident set; every second sample goes when there are too many."""
        found = resident_mb()
        if found is None:
            return
        self.memory.append((done, found))
        if len(self.memory) > 100:
            del self.memory[1::2]


def resident_mb() -> float | None:
    """Resident memory of this process in megabytes; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


@dataclass
class Evaluation:
    """Result of an evaluation; the first of `variants` in `best` loses least.

    skipped: (file, why). scores: one record array (`score.SCORE`) per variant, one row per
    image. classes: true class numbers int64 [N]. metric: its name; metrics: its figures for each
    variant; float_metric: those of the float network.
    """

    variants: list[VariantResult]
    float_accuracy: Accuracy | None
    skipped: list[tuple[str, str]]
    timing: Timing
    names: tuple[str, ...]
    classes: np.ndarray
    scores: list[np.ndarray]
    recipe: Preprocess | None
    label_offset: int
    files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    metric: str = ""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    float_metric: dict[str, Any] | None = None

    @property
    def best(self) -> VariantResult:
        """The setting with the highest top-1, then top-5; the first of equals."""
        return max(self.variants, key=lambda item: (item.accuracy.top1, item.accuracy.top5))

    def missed(self, min_top1: float | None = None, max_drop: float | None = None) -> list[str]:
        """What the best setting does not reach, one line each."""
        lines, best = [], self.best
        if min_top1 is not None and best.accuracy.top1 < min_top1:
            lines.append(f"top-1 {best.accuracy.top1:.4f} is below {min_top1:g}")
        # a drop is a difference of counts: rounding must not decide at the limit
        if max_drop is not None and best.against and best.against.drop > max_drop + 1e-12:
            lines.append(f"top-1 drop {best.against.drop:.4f} is above {max_drop:g}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """The figures of the best setting, then of all; what `--json` and run.json hold."""
        best, floats, timing = self.best.as_json(), self.float_accuracy, self.timing
        return {
            **best,
            "float_top1": floats.top1 if floats else None,
            "float_top5": floats.top5 if floats else None,
            "float_mean_rank": floats.mean_rank if floats else None,
            "agreement": best.get("agreement"),
            "images_per_second": timing.images_per_second,
            "seconds": timing.seconds,
            "prepare_seconds": timing.prepare,
            "warm_up_seconds": timing.warm_up,
            "images_this_run": timing.images,
            "threads": timing.threads,
            "workers": timing.workers,
            "shares": timing.shares(),
            "decode_thread_seconds": timing.decode,
            "simulate_seconds": timing.simulate,
            "cached_chunks": timing.cached_chunks,
            "bytes_sent": timing.bytes_sent,
            "skipped": [{"file": name, "reason": why} for name, why in self.skipped],
            "label_offset": self.label_offset,
            "preprocess": self.recipe.as_json() if self.recipe else None,
            "settings": [item.as_json() for item in self.variants],
            **self._metric_json(),
            "files": [str(path) for path in self.files],
        }

    def _metric_json(self) -> dict[str, Any]:
        if not self.metric:
            return {}
        named = zip([item.name for item in self.variants], self.metrics, strict=True)
        return {"metric": self.metric, "metrics": dict(named), "float_metric": self.float_metric}

    def to_pandas(self, setting: str | None = None) -> Any:
        """A row per image of one setting (the best where absent) as a pandas DataFrame.

        Columns as in results.csv: file, label, status, rank, tied, saturated, top1 and value1 ..
        Raises UsageError without pandas and for a setting that is not there.
        """
        return to_pandas(self._rows(setting))

    def to_arrow(self, setting: str | None = None) -> Any:
        """The same as a pyarrow Table; UsageError without pyarrow."""
        return to_arrow(self._rows(setting))

    def _rows(self, setting: str | None) -> dict[str, list[Any]]:
        known = [item.name for item in self.variants]
        name = self.best.name if setting is None else setting
        if name not in known:
            raise UsageError(f"found setting {name!r}, allowed {known}{nearest(name, known)}")
        scores, bad = self.scores[known.index(name)], dict(self.skipped)
        columns: dict[str, list[Any]] = {
            "file": list(self.names),
            "label": self.classes.tolist(),
            "status": [bad.get(file, "ok") for file in self.names],
        }
        for key in ("rank", "tied", "saturated"):
            columns[key] = scores[key].tolist()
        for place in range(scores["top"].shape[1]):
            columns[f"top{place + 1}"] = scores["top"][:, place].tolist()
            columns[f"value{place + 1}"] = scores["value"][:, place].tolist()
        return columns

    def __repr__(self) -> str:
        best = self.best
        floats = "" if self.float_accuracy is None else f", float {self.float_accuracy.top1:.2%}"
        return (
            f"<Evaluation of {best.accuracy.images} images, {len(self.variants)} setting"
            f"{'s' * (len(self.variants) > 1)}: top-1 {best.accuracy.top1:.2%}{floats}>"
        )

    def _repr_html_(self) -> str:
        rows = [] if self.float_accuracy is None else [("float", self.float_accuracy)]
        rows += [(item.name, item.accuracy) for item in self.variants]
        texts = [[name, f"{a.top1:.2%}", f"{a.top5:.2%}", f"{a.mean_rank:.2f}"] for name, a in rows]
        return html_table(repr(self)[1:-1], ["setting", "top-1", "top-5", "mean rank"], texts)

    def __str__(self) -> str:
        lines = []
        if self.float_accuracy is not None:
            item = self.float_accuracy
            lines.append(f"float: top-1 {item.top1:.2%}, top-5 {item.top5:.2%}")
        for found in self.variants:
            item = found.accuracy
            lines.append(f"{found.name}: top-1 {item.top1:.2%}, top-5 {item.top5:.2%}")
        return "\n".join(lines)
