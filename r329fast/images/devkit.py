"""ILSVRC2012's development kit: the classes of the validation images, in the kit's own order.

The ground truth gives, image by image, a number of the kit; its `meta.mat` gives the WordNet id
of each number. Networks are trained on the ids in alphabetical order, which is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from r329fast.base.limits import TEXT
from r329fast.base.reading import decoded, faults_of, is_file, is_folder
from r329fast.errors import DataError, FileError
from r329fast.images.label_files import Entry
from r329fast.images.mat_file import struct_rows
from r329fast.images.stores import Store, files_beside, open_store

TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_CLASSES = 1000


def devkit_entries(path: Path, numbers: Mapping[str, int] | None) -> list[Entry] | None:
    """Image name (without its ending) and class number of every validation image.

    path: the kit as an archive or folder, or its ground truth with meta.mat beside it; None for
    other label files. numbers: WordNet id -> class; absent, the alphabetical order of the ids.
    Raises FileError, DataError.
    """
    if not (path.name == TRUTH or is_folder(path) or (is_file(path) and "devkit" in path.name)):
        return None
    store = files_beside(path) if path.name == TRUTH else open_store(path)
    try:
        truth, meta = _member(store, TRUTH), _member(store, _META)
        if truth is None and path.name != TRUTH:
            return None
        if truth is None or meta is None:
            raise DataError(
                f"{path}: its numbers are those of the development kit, which are not the "
                f"network's classes: give the kit itself (--labels ILSVRC2012_devkit_t12.tar.gz), "
                f"or put its {_META} beside the file"
            )
        words = decoded(store.read(truth, TEXT), path).split()
        ids = _word_net(store.read(meta, TEXT), path)
    finally:
        store.close()
    if not all(word.isascii() and word.isdigit() and int(word) in ids for word in words):
        raise FileError(f"{path}: found numbers beside 1 to {_CLASSES}", path=str(path))
    if numbers is None or not all(wnid in numbers for wnid in ids.values()):
        numbers = {wnid: place for place, wnid in enumerate(sorted(ids.values()))}
    return [
        Entry(line, f"ILSVRC2012_val_{line:08d}", str(numbers[ids[int(word)]]))
        for line, word in enumerate(words, 1)
    ]


def _member(store: Store, wanted: str) -> str | None:
    return next((name for name in store.names if PurePosixPath(name).name == wanted), None)


def _word_net(data: bytes, path: Path) -> dict[int, str]:
    """Number of the kit -> WordNet id, of the classes that have images."""
    with faults_of(path, "a development kit of ILSVRC2012", f" in its {_META}"):
        rows = struct_rows(data, "synsets", ("ILSVRC2012_ID", "WNID"), path)
        every = {int(number): str(wnid) for number, wnid in rows}
    ids = {number: wnid for number, wnid in every.items() if 1 <= number <= _CLASSES}
    if not ids or len(set(ids.values())) != len(ids):
        raise FileError(f"{path}: found no classes in its {_META}", path=str(path))
    return ids
