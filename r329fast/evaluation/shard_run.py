"""`evaluate_shard`: one part of an evaluation, into a folder of its own."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r329fast.base.arguments import with_arguments
from r329fast.base.files import write_json
from r329fast.base.machine import cores
from r329fast.base.reading import is_file
from r329fast.errors import UsageError
from r329fast.evaluation.chunk_log import ChunkLog
from r329fast.evaluation.chunk_run import ChunkRun
from r329fast.evaluation.evaluate_set import ModelLike, plan_of, prepared_model
from r329fast.evaluation.options import EvaluationOptions
from r329fast.evaluation.record import LOG_NAME, identity, open_log
from r329fast.evaluation.result import Timing
from r329fast.evaluation.shards import Shard

SHARD_FILE = "shard.json"


@dataclass(frozen=True)
class ShardRun:
    """What a shard did: chunks that are its own, their images, those done in this run."""

    shard: Shard
    folder: Path
    chunks: int
    images: int
    timing: Timing
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "shard": [self.shard.number, self.shard.of],
            "folder": str(self.folder),
            "chunks": self.chunks,
            "images": self.images,
            "images_this_run": self.timing.images,
            "images_per_second": self.timing.images_per_second,
            "seconds": self.timing.seconds,
        }


def evaluate_shard(
    model: ModelLike,
    images: str | Path,
    labels: str | Path | None = None,
    options: EvaluationOptions | None = None,
    *,
    shard: Shard | str,
    **changes: Any,
) -> ShardRun:
    """Do one shard of `evaluate`, whose arguments these are, into `out/shard-I-of-N`.

    shard: a `Shard` or its text, "3/16". What is there already of the same evaluation is kept, so
    that a shard that was killed is simply started again. `evaluate(.., merge=[out])` with equal
    arguments gives the result. Raises what `evaluate` raises.
    """
    begun = time.perf_counter()
    own = Shard.parse(shard) if isinstance(shard, str) else shard
    options = with_arguments(options or EvaluationOptions(), changes, "evaluate_shard", ("shard",))
    record, execution = options.record, options.execution
    if record.out is None or record.merge:
        raise UsageError("a shard needs `out`, the folder of the whole run, and merges nothing")
    threads = execution.threads or cores()
    model = prepared_model(model, options, threads)
    plan, _, doubts = plan_of(model, images, labels, options)
    folder = own.folder(Path(record.out))
    with ExitStack() as stack:
        log = stack.enter_context(_shard_log(folder, identity(model, plan), record.overwrite))
        timing = Timing(prepare=time.perf_counter() - begun + model.seconds, threads=threads)
        run = ChunkRun(model, plan, log, options, timing, own.takes)
        run.carry_out(threads)
        chunks = [number for number in range(plan.chunks) if own.takes(number)]
        found = ShardRun(
            own, folder, len(chunks), sum(map(plan.length, chunks)), timing,
            (*model.warnings, *doubts, *_empty(own, plan.chunks)),
        )  # fmt: skip
        write_json(folder / SHARD_FILE, found.as_json())
    return found


def _empty(shard: Shard, chunks: int) -> list[str]:
    """A word where a shard has nothing to do."""
    if shard.number <= chunks:
        return []
    number = "one chunk" if chunks == 1 else f"{chunks} chunks"
    return [
        f"shard {shard.number} of {shard.of} has no images: the set is {number}; fewer shards, or "
        "smaller chunks (--chunk), give each something to do"
    ]


def _shard_log(folder: Path, header: dict[str, Any], overwrite: bool) -> ChunkLog:
    """The log of a shard, with what is there of the same evaluation."""
    there = is_file(folder / LOG_NAME) and not overwrite
    return open_log(folder, header, resume=there, overwrite=overwrite)
