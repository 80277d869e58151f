"""The folder of one evaluation: its chunk log, whether it may go on, and what stands in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.reading import faults_of
from r329fast.errors import DataError, UsageError
from r329fast.evaluation.chunk_log import ChunkLog, unpack
from r329fast.evaluation.job import ChunkPlan
from r329fast.evaluation.sources import Source
from r329fast.evaluation.variants import Model
from r329fast.images.opencv import cv2
from r329fast.version import __version__

LOG_NAME = "chunks.log"
_COUNT = "number of images"


def identity(model: Model, plan: ChunkPlan) -> dict[str, Any]:
    """Everything that decides a result, under the names that a refusal uses."""
    job, source = plan.job, plan.source
    return {
        "r329fast": __version__,
        "model": [[item.name, item.program.hash()] for item in model.variants],
        "images": source.stamp,
        "labels": labels_hash(source, plan.classes),
        "preprocessing": {
            "recipe": source.recipe.as_json() if source.recipe else None,
            "reverse_rgb": job.reverse,
            "opencv": cv2.__version__,
        },
        "float baseline": float_identity(model) if job.float_graph is not None else None,
        "logits": job.logits,
        "metric": metric_identity(plan),
        "chunk size": plan.size,
        _COUNT: len(source),
        "chunks": plan.chunks,
    }


def metric_identity(plan: ChunkPlan) -> list[str] | None:
    """The metric and its targets; None without one, as in runs that know of none."""
    metric = plan.job.metric
    if metric is None:
        return None
    digest = hashlib.sha256()
    for target in plan.targets:
        digest.update(repr(target).encode())
        if isinstance(target, Path):
            status = target.stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    return [metric.identity(), digest.hexdigest()]


def float_identity(model: Model) -> list[str]:
    import onnxruntime

    return [model.float_id, str(onnxruntime.__version__)]


def labels_hash(source: Source, classes: np.ndarray) -> str:
    digest = hashlib.sha256("\n".join(source.names).encode())
    digest.update(classes.astype("<i8").tobytes())
    return digest.hexdigest()


def open_log(folder: Path, header: dict[str, Any], resume: bool, overwrite: bool) -> ChunkLog:
    """The chunk log of a folder; raises UsageError where it belongs to something else."""
    log = ChunkLog(folder / LOG_NAME, header)
    try:
        if resume:
            check_same(folder, log.header, header)
        elif log.done and not overwrite and len(log.done) < _chunks_of(log.header):
            raise UsageError(
                f"{folder} holds an evaluation that is not finished ({len(log.done)} of "
                f"{_chunks_of(log.header)} chunks): --resume goes on, --overwrite begins anew"
            )
        else:
            log.restart(header)
    except BaseException:
        log.close()
        raise
    return log


def _chunks_of(header: dict[str, Any]) -> int:
    """The chunks of the evaluation that a log is of; 0 where it does not say."""
    chunks = header.get("chunks")
    return chunks if isinstance(chunks, int) else 0


def check_same(
    folder: Path, found: dict[str, Any], header: dict[str, Any], action: str = "resume"
) -> None:
    """Raise UsageError where a log belongs to another evaluation than the header."""
    wanted = json.loads(json.dumps(header))
    differing = [name for name in wanted if found.get(name) != wanted[name] and name != _COUNT]
    count = found.get(_COUNT)
    counts = ""
    if isinstance(count, int) and count != wanted.get(_COUNT, count):
        # all else of the images follows from it
        differing = [name for name in differing if name not in ("images", "labels", "chunks")]
        differing.append(_COUNT)
        counts = f" ({count}, now {wanted[_COUNT]}: --limit, or a changed set)"
    # a different chunk count only follows from different images
    named = [name for name in differing if name != "chunks"] or differing
    if named:
        advice = " (--overwrite begins anew)" if action == "resume" else ""
        raise UsageError(
            f"cannot {action} {folder}: it was made with another {', another '.join(named)}"
            f"{counts}{advice}",
            differing=named,
        )


class Records:
    """The records of all images, from a complete log."""

    def __init__(self, log: ChunkLog, variants: int, plan: ChunkPlan) -> None:
        from r329fast.evaluation.score import SCORE

        count = len(plan.source)
        self.scores = [
            np.zeros(count, dtype=SCORE) for _ in range(variants if plan.job.scored else 0)
        ]
        self.states: list[list[dict[str, np.ndarray]]] = [[] for _ in range(variants)]
        self.float_states: list[dict[str, np.ndarray]] = []
        self.saturated = [0] * variants
        self.floats: np.ndarray | None = None
        self.bad: dict[int, str] = {}
        with faults_of(log.path, "a record of this evaluation", "; --overwrite begins anew"):
            self._read(log, plan)

    def _read(self, log: ChunkLog, plan: ChunkPlan) -> None:
        from r329fast.evaluation.score import FLOAT_SCORE, SCORE

        count = len(plan.source)
        seen = 0
        for number in log.done:
            payload = unpack(log.read(number))
            first = plan.rows(number).start
            for index, scores in enumerate(self.scores):
                part = _of_dtype(payload[f"score{index}"], SCORE)
                scores[first : first + len(part)] = part
            self._add_states(payload, plan)
            seen += plan.length(number)
            if "float" in payload:
                if self.floats is None:
                    self.floats = np.zeros(count, dtype=FLOAT_SCORE)
                part = _of_dtype(payload["float"], FLOAT_SCORE)
                self.floats[first : first + len(part)] = part
            for row, why in bad_rows(payload).items():
                self.bad[first + row] = why
        if seen != count:
            raise DataError(f"{log.path}: found {seen} images, expected {count}")

    def _add_states(self, payload: dict[str, np.ndarray], plan: ChunkPlan) -> None:
        """What a metric left of one chunk."""
        if plan.job.metric is None:
            return
        for index, states in enumerate(self.states):
            states.append(_below(payload, f"state{index}."))
            if not plan.job.scored:
                self.saturated[index] += int(payload[f"saturated{index}"].sum())
        found = _below(payload, "float.")
        self.float_states += [found] if found else []


def _of_dtype(array: np.ndarray, wanted: np.dtype) -> np.ndarray:
    """An array of a record, which has the fields that result files show."""
    if array.dtype != wanted or array.ndim != 1:
        raise ValueError(f"found {array.dtype} {list(array.shape)}")
    return array


def bad_rows(payload: dict[str, np.ndarray]) -> dict[int, str]:
    """Row in the chunk -> why the image could not be used."""
    return {int(row): why for row, why in json.loads(payload["bad"].tobytes()).items()}


def _below(payload: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries whose names begin with `prefix`, by the rest of their names."""
    return {key.removeprefix(prefix): payload[key] for key in payload if key.startswith(prefix)}
