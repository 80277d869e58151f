"""Labelled image sets, read one image at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from r329fast.base.limits import IMAGE, PIXELS, TEXT
from r329fast.base.reading import decoded, is_folder, is_there, read_bytes, read_text
from r329fast.errors import DataError, FileError
from r329fast.images.class_folders import Naming, alphabet_note, class_tree, folder_numbers
from r329fast.images.declared_size import declared_pixels
from r329fast.images.devkit import devkit_entries
from r329fast.images.forms import has_label_file, is_clean, is_image, open_images
from r329fast.images.label_files import LABEL_FILE, Entry, Labels, number_labels, parse_labels
from r329fast.images.members import Members, resolve
from r329fast.images.opencv import LIMITED, cv2
from r329fast.images.parts import LabelledStore, choose_part
from r329fast.images.sequences import Sequences, is_sequence
from r329fast.images.stores import Store

Pixels = npt.NDArray[np.uint8]


def decode(source: bytes | Path | str, name: str = "") -> Pixels:
    """Decode an image file or its bytes: uint8 [height, width, 3], BGR as cv2.imread gives.

    A JPEG that is cut off is filled up in grey, as imread does.

    Raises FileError for a file that cannot be opened and DataError, with the name, for one that
    is no image.
    """
    if isinstance(source, bytes):
        data = source
    else:
        name = name or str(source)
        data = read_bytes(source, IMAGE)
    image = _imdecode(data, name)
    if image is None and data.startswith(b"\xff\xd8\xff"):
        # imread hands out end markers where a file ends early; imdecode gives up
        image = _imdecode(data + b"\xff\xd9" * (1 << 15), name)
    if image is None:
        raise DataError(f"cannot decode {name or 'image'}: not an image that OpenCV reads")
    return np.asarray(image, dtype=np.uint8)


def _imdecode(data: bytes, name: str) -> Pixels | None:
    if not data:
        return None
    if not LIMITED and declared_pixels(data) > PIXELS.get() * 1_000_000:
        text = f"cannot decode {name or 'image'}: too many pixels, {PIXELS.advice()}"
        raise DataError(text, limit=PIXELS.variable)
    try:
        return cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            text = f"cannot decode {name or 'image'}: too many pixels, {PIXELS.advice()}"
            raise DataError(text, limit=PIXELS.variable) from error
        return None


class ImageSet:
    """Images and their labels, in the order of the label file.

    `path` is a folder, zip or tar of image files, or one of the forms of `open_images`; or the
    images themselves, in the forms of `Sequences`. `labels` is a label file on disk or, failing
    that, one inside the set (default: the `label.txt` inside), in the forms of `label_files`, or
    ILSVRC2012's development kit. A name is looked up as given, then from the label file's own
    folder, then by its last part anywhere in the set, then without its ending. `limit` keeps the
    first images only, or with `spread` as many, evenly spaced.

    Without a label file, a tree with one folder for every class will do. A folder's class is the
    number that `naming` gives it, its name where all are numbers, or its place in the alphabet
    where all classes have a folder. Of a set with parts (train, val) one is used; `note` says so.
    Where `naming` says that classes are not needed, images alone will do: their labels are 0.

    Iteration gives (name, uint8 [height, width, 3] BGR), decoding one image at a time. `names` is
    a tuple, `labels` an int64 array [N], `members` the names inside the set. Raises FileError for
    a path that cannot be opened, and DataError with the line number for unknown names, duplicates
    and labels that are no number.
    """

    _store: Store | None = None

    def __init__(
        self,
        path: Path | str | Any,
        labels: Path | str | None = None,
        limit: int | None = None,
        naming: Naming | None = None,
        spread: bool = False,
    ) -> None:
        held = is_sequence(path)
        self.path = Path("images in memory") if held else Path(path)
        self._store = store = Sequences(path) if held else open_images(self.path)
        naming = naming or Naming()
        self.note = ""
        if labels is not None or has_label_file(store.names):
            entries, members = self._listed(store, labels, naming)
        elif isinstance(store, LabelledStore):
            entries, members = self._parted(store, naming)
        else:
            entries, members = self._tree(store, naming)
        kept = _kept(len(entries), limit, spread)
        self.members = tuple(members[index] for index in kept)
        self.names = tuple(entries[index].name for index in kept)
        self.labels = np.array([entries[index].label for index in kept], dtype=np.int64)

    def _parted(self, store: LabelledStore, naming: Naming) -> tuple[list[Labels], list[str]]:
        """The images of one part of a set that knows its labels."""
        part, self.note = choose_part(store, naming, self.path)
        members = list(part.names)
        known = part.labels if part.labels is not None else ["0"] * len(members)
        entries = [Entry(line, *item) for line, item in enumerate(zip(members, known, strict=True))]
        self._remark(alphabet_note(known, naming))
        return number_labels(str(self.path), entries, naming), members

    def _tree(self, store: Store, naming: Naming) -> tuple[list[Labels], list[str]]:
        """The images of class folders; all images where classes are not needed."""
        tree, self.note = class_tree(store.names, is_image, naming, self.path)
        if tree:
            numbers = folder_numbers(tree, naming, self.path)
            self._remark(alphabet_note(tree, naming))
            listed = [(name, numbers[key]) for key in sorted(tree) for name in sorted(tree[key])]
        elif naming.needed:
            raise _no_labels(self.path, None)
        else:
            listed = [(name, 0) for name in store.names if is_image(PurePosixPath(name))]
            if not listed:
                raise DataError(f"{self.path}: found no image")
        entries = [Labels(line, name, label) for line, (name, label) in enumerate(listed, 1)]
        return entries, [name for name, _ in listed]

    def _listed(
        self, store: Store, labels: Path | str | None, naming: Naming
    ) -> tuple[list[Labels], list[str]]:
        """The images that a label file names."""
        kit = devkit_entries(Path(labels), naming.numbers) if labels is not None else None
        where, folder = str(labels), PurePosixPath()
        if kit is None:
            where, text, folder = self._label_text(store, labels)
            entries = parse_labels(where, text)
        else:
            entries = kit
        if not entries[0].name:
            entries = self._in_order(store, where, entries)
        numbered = number_labels(where, entries, naming)
        self._remark(alphabet_note((entry.label for entry in entries), naming))
        return numbered, resolve(where, numbered, Members(store.names), folder, self.path)

    def _remark(self, text: str) -> None:
        """Add a word to the note."""
        self.note = "; ".join(part for part in (self.note, text) if part)

    def _in_order(self, store: Store, where: str, entries: list[Entry]) -> list[Entry]:
        """Bare class numbers with the names of the images, in their order."""
        known = isinstance(store, LabelledStore)
        names = [name for name in store.names if known or is_image(PurePosixPath(name))]
        names = names if known else sorted(names)
        if len(names) != len(entries):
            raise DataError(
                f"{where}: found {len(entries)} numbers without names, {self.path} has "
                f"{len(names)} images; allowed: lines 'filename label'"
            )
        self.note = f"{where} has no names: its numbers are taken in the order of the image names"
        return [
            Entry(entry.line, name, entry.label) for entry, name in zip(entries, names, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[str, Pixels]]:
        for index, name in enumerate(self.names):
            yield name, self.image(index)

    def close(self) -> None:
        """Close the archive; images cannot be read afterwards."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> ImageSet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    @property
    def store(self) -> Store:
        """The files themselves, by the names in `members`; raises DataError when closed."""
        if self._store is None:
            raise DataError(f"image set {self.path} is closed")
        return self._store

    def read(self, index: int) -> bytes:
        """The bytes of one image file; safe to call from several threads."""
        return self.store.read(self.members[index])

    def image(self, index: int) -> Pixels:
        """One decoded image: uint8 [height, width, 3], BGR."""
        return decode(self.read(index), f"{self.members[index]} in {self.path}")

    def _label_text(
        self, store: Store, labels: Path | str | None
    ) -> tuple[str, str, PurePosixPath]:
        """Where the label file is (for messages), its text, and its folder inside the set."""
        if labels is not None and not is_folder(labels) and is_there(labels):
            return str(labels), read_text(labels), PurePosixPath()
        wanted = str(labels) if labels is not None else LABEL_FILE
        names = [name for name in store.names if is_clean(name)]
        same = [name for name in names if name == wanted]
        same = same or [name for name in names if PurePosixPath(name).name == wanted]
        if len(same) > 1:
            raise DataError(f"{self.path} has several {wanted}: {', '.join(sorted(same)[:5])}")
        if not same:
            raise _no_labels(self.path, labels)
        where = f"{self.path}/{same[0]}"
        return where, decoded(store.read(same[0], TEXT), where), PurePosixPath(same[0]).parent


def _no_labels(path: Path, labels: Path | str | None) -> FileError:
    where = f"label file not found: {labels}" if labels else f"no {LABEL_FILE}"
    text = f"{where} in {path}; name one whose lines are 'filename label'"
    return FileError(text, path=str(path))


def _kept(count: int, limit: int | None, spread: bool) -> Sequence[int]:
    """The places of the images that are kept, of `count`."""
    if limit is None or limit >= count:
        return range(count)
    return [number * count // limit for number in range(limit)] if spread else range(limit)
