"""WebDataset: tars in which `KEY.jpg` and `KEY.cls` (or `KEY.json`) are one image and its label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from r329fast.base.limits import IMAGE, RECORD, TEXT, Limit
from r329fast.base.reading import decoded, parse_json
from r329fast.errors import DataError, FileError
from r329fast.images.parts import Part, part_kind
from r329fast.images.stores import Store

IsImage = Callable[[PurePosixPath], bool]
_FIELDS = ("label", "cls", "class", "target")


class ShardSet:
    """A store of the images of shards. `shards`: name of a tar ("" for one alone) -> its files."""

    def __init__(self, where: Path, shards: Mapping[str, Store], is_image: IsImage) -> None:
        self._where, self._shards = where, dict(shards)
        self._files = {name: frozenset(store.names) for name, store in self._shards.items()}
        self._images = {
            name: [file for file in store.names if is_image(PurePosixPath(file))]
            for name, store in self._shards.items()
        }
        self._kind = {name: part_kind(PurePosixPath(name or where).name) for name in self._shards}
        self.kinds = tuple(dict.fromkeys(self._kind.values()))
        self.names = [
            _joined(shard, file) for shard, files in self._images.items() for file in files
        ]

    def part(self, kind: str) -> Part:
        names: list[str] = []
        labels: list[str] = []
        for shard, files in self._images.items():
            if self._kind[shard] == kind:
                names += [_joined(shard, file) for file in files]
                labels += [self._label(shard, file) for file in files]
        return Part(names, labels)

    def _label(self, shard: str, file: str) -> str:
        store, there = self._shards[shard], self._files[shard]
        key, name = _key(file), _joined(shard, file)
        where = f"the label of {name} in {self._where}"
        if f"{key}.cls" in there:
            label = decoded(store.read(f"{key}.cls", TEXT), where).strip()
        elif f"{key}.json" in there:
            value = parse_json(store.read(f"{key}.json", RECORD), where)
            fields = value if isinstance(value, dict) else {}
            label = next((str(fields[field]) for field in _FIELDS if field in fields), "")
        else:
            label = ""
        if not label:
            raise DataError(f"{name} in {self._where}: found no label, allowed {key}.cls or .json")
        return label

    def read(self, name: str, limit: Limit = IMAGE) -> bytes:
        shard, file = _split(name)
        if file not in self._files.get(shard, ()):
            raise FileError(f"{self._where}: {name!r} is missing", path=str(self._where))
        return self._shards[shard].read(file, limit)

    def stamp(self, name: str) -> str:
        shard, file = _split(name)
        return self._shards[shard].stamp(file)

    def close(self) -> None:
        for store in self._shards.values():
            store.close()


def _joined(shard: str, file: str) -> str:
    return f"{shard}!{file}" if shard else file


def _key(file: str) -> str:
    """A sample's name: up to the first dot of the last part."""
    folder, slash, last = file.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _split(name: str) -> tuple[str, str]:
    shard, mark, file = name.partition("!")
    return (shard, file) if mark else ("", name)


def has_samples(names: Sequence[str]) -> bool:
    """Whether files are samples of a shard: some have labels of their own."""
    keys = {_key(name) for name in names if name.endswith((".cls", ".json"))}
    return any(_key(name) in keys for name in names if not name.endswith((".cls", ".json")))


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a shard."""
    return name.lower().endswith((".tar", ".tar.gz", ".tgz"))
