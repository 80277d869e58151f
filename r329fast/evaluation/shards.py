"""Parts of an evaluation on machines that know nothing of each other, and their union.

A shard does every n-th chunk of the whole evaluation into a folder of its own. Whoever merges them
copies the chunks into one log, from which the results are written as if one run had done them all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from r329fast.base.reading import is_file, is_folder
from r329fast.errors import FileError, UsageError
from r329fast.evaluation.chunk_log import ChunkLog, header_of
from r329fast.evaluation.job import ChunkPlan
from r329fast.evaluation.record import LOG_NAME, check_same

_FOLDER = re.compile(r"shard-(\d+)-of-(\d+)")


@dataclass(frozen=True)
class Shard:
    """Number `number` of `of`, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`3/16`; raises UsageError."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        shard = cls(int(found[1]), int(found[2])) if found else None
        if shard is None or not 1 <= shard.number <= shard.of:
            raise UsageError(
                f"shard: found {text!r}, allowed: 1/N to N/N, such as 3/16", option="shard"
            )
        return shard

    def takes(self, chunk: int) -> bool:
        """Whether a chunk is this shard's: one of every `of`, so that all have as much to do."""
        return chunk % self.of == self.number - 1

    def folder(self, out: Path) -> Path:
        """Its own folder below that of the whole evaluation."""
        return out / f"shard-{self.number:0{len(str(self.of))}d}-of-{self.of}"


def merge_shards(log: ChunkLog, folders: Sequence[str | Path], plan: ChunkPlan) -> None:
    """Copy the chunks of shards, in their order, into the log of the whole evaluation.

    folders: of shards, or folders that hold such. Raises FileError for a folder without a shard,
    UsageError for shards of another evaluation and where some are missing.
    """
    places: dict[int, ChunkLog] = {}
    count = 0
    with ExitStack() as stack:
        for folder in _shard_folders(folders):
            check_same(folder, header_of(folder / LOG_NAME) or {}, log.header, "merge")
            part = stack.enter_context(ChunkLog(folder / LOG_NAME, {}))
            named = _FOLDER.fullmatch(folder.name)
            count = max(count, int(named[2]) if named else 0)
            for number in part.done:
                places.setdefault(number, part)
        missing = [number for number in range(plan.chunks) if number not in places]
        if missing:
            raise UsageError(f"cannot merge: {_missing(missing, plan, count)}", missing=missing)
        for number in range(plan.chunks):
            log.append(number, places[number].read(number))


def _missing(missing: Sequence[int], plan: ChunkPlan, count: int) -> str:
    """Which shards are not there, or not finished."""
    if not count:
        return f"{len(missing)} of {plan.chunks} chunks are missing, do them as a shard"
    shards = sorted({number % count + 1 for number in missing})
    named = ", ".join(map(str, shards[:20])) + (", .." if len(shards) > 20 else "")
    word = "shard" if len(shards) == 1 else "shards"
    return (
        f"{word} {named} of {count} {'is' if len(shards) == 1 else 'are'} missing or not finished "
        f"({len(missing)} of {plan.chunks} chunks): start them again"
    )


def _shard_folders(folders: Sequence[str | Path]) -> list[Path]:
    """The folders of shards among and inside those given, each once."""
    found: list[Path] = []
    for folder in map(Path, folders):
        inside = sorted(folder.glob("shard-*-of-*")) if is_folder(folder) else []
        inside = [path for path in inside if is_file(path / LOG_NAME)]
        if not inside and not is_file(folder / LOG_NAME):
            raise FileError(f"no shard in {folder}: found no {LOG_NAME}", path=str(folder))
        found += inside or [folder]
    return list(dict.fromkeys(found))
