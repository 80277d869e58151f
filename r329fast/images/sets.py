"""Labelled image sets in a folder, a zip or a tar, read one image at a time."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType

import numpy as np
import numpy.typing as npt

from r329fast.base.limits import IMAGE, PIXELS, TEXT
from r329fast.base.reading import decoded, is_folder, is_there, read_bytes, read_text
from r329fast.errors import DataError, FileError, nearest
from r329fast.images.class_folders import Naming, class_tree, folder_numbers
from r329fast.images.declared_size import declared_pixels
from r329fast.images.opencv import LIMITED, cv2
from r329fast.images.stores import Store, open_store

Pixels = npt.NDArray[np.uint8]
LABEL_FILE = "label.txt"
# in a tree of class folders, where no label file lists the images
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".dib", ".gif", ".hdr", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".ras", ".sr", ".tif", ".tiff", ".webp"),
)


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

    `path` is a folder, zip or tar. `labels` is a label file on disk or, failing that, one inside
    the set (default: the `label.txt` inside); its lines are `filename label`, where the label is
    the last word, so that file names may hold spaces. A name is looked up as given, then from the
    label file's own folder, then by its last part anywhere in the set. `limit` keeps the first
    images only, or with `spread` as many, evenly spaced.

    Without a label file, a tree with one folder for every class will do. A folder's class is the
    number that `naming` gives it, its name where all are numbers, or its place in the alphabet
    where all classes have a folder. Of a tree with parts (train, val) one is used; `note` says so.
    Where `naming` says that classes are not needed, images alone will do: their labels are 0.

    Iteration gives (name, uint8 [height, width, 3] BGR), decoding one image at a time. `names` is
    a tuple, `labels` an int64 array [N], `members` the names inside the set. Raises FileError for
    a path that cannot be opened, and DataError with the line number for unknown names, duplicates
    and labels that are no number.
    """

    _store: Store | None = None

    def __init__(
        self,
        path: Path | str,
        labels: Path | str | None = None,
        limit: int | None = None,
        naming: Naming | None = None,
        spread: bool = False,
    ) -> None:
        self.path = Path(path)
        self._store = store = open_store(self.path)
        naming = naming or Naming()
        tree: dict[str, list[str]] = {}
        self.note = ""
        if labels is None and not _has_label_file(store.names):
            tree, self.note = class_tree(store.names, _is_image, naming, self.path)
        if tree:
            entries = _tree_entries(tree, folder_numbers(tree, naming, self.path))
            members = [name for _, name, _ in entries]
        elif not naming.needed and labels is None and not _has_label_file(store.names):
            members = [name for name in store.names if _is_image(PurePosixPath(name))]
            entries = [(line, name, 0) for line, name in enumerate(members, 1)]
        else:
            where, text, folder = self._label_text(store, labels)
            entries = _parse_labels(where, text)
            members = _resolve(where, entries, _Members(store.names), folder, self.path)
        kept = _kept(len(entries), limit, spread)
        self.members = tuple(members[index] for index in kept)
        self.names = tuple(entries[index][1] for index in kept)
        self.labels = np.array([entries[index][2] for index in kept], dtype=np.int64)

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
        names = [name for name in store.names if _clean(name)]
        same = [name for name in names if name == wanted]
        same = same or [name for name in names if PurePosixPath(name).name == wanted]
        if len(same) > 1:
            raise DataError(f"{self.path} has several {wanted}: {', '.join(sorted(same)[:5])}")
        if not same:
            where = f"label file not found: {wanted}" if labels else f"no {LABEL_FILE}"
            raise FileError(
                f"{where} in {self.path}; name one whose lines are 'filename label'",
                path=str(self.path),
            )
        where = f"{self.path}/{same[0]}"
        return where, decoded(store.read(same[0], TEXT), where), PurePosixPath(same[0]).parent


def _kept(count: int, limit: int | None, spread: bool) -> Sequence[int]:
    """The places of the images that are kept, of `count`."""
    if limit is None or limit >= count:
        return range(count)
    return [number * count // limit for number in range(limit)] if spread else range(limit)


def _has_label_file(names: list[str]) -> bool:
    return any(_clean(name) and PurePosixPath(name).name == LABEL_FILE for name in names)


def _is_image(path: PurePosixPath) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS and _clean(str(path))


def _clean(name: str) -> bool:
    """Not one of the files that desktop systems add."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" not in parts and not parts[-1].startswith("._")


def _parse_labels(where: str, text: str) -> list[tuple[int, str, int]]:
    """(line number, name, label) of every line that is not blank."""
    entries = []
    # not splitlines: a file name may hold the odd characters at which that splits
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if not line.strip():
            continue
        words = line.strip().rsplit(maxsplit=1)
        if len(words) != 2:
            raise DataError(
                f"{where}, line {number}: found {line.strip()!r}, allowed 'filename label'",
                line=number,
            )
        name, label = words
        if not (label.isascii() and label.isdigit()) or len(label) > 18:
            raise DataError(
                f"{where}, line {number}: found label {label!r}, allowed: a class number from 0",
                line=number,
            )
        entries.append((number, name.rstrip(), int(label)))
    if not entries:
        raise DataError(f"{where}: found no image, allowed: lines 'filename label'")
    return entries


def _tree_entries(
    tree: dict[str, list[str]], numbers: Mapping[str, int]
) -> list[tuple[int, str, int]]:
    """The images of a tree as label lines: by class folder, then by name."""
    listed = [(name, numbers[folder]) for folder in sorted(tree) for name in sorted(tree[folder])]
    return [(line, name, label) for line, (name, label) in enumerate(listed, 1)]


class _Members:
    """Looks names up: whole paths first, then last parts, in whichever form accents are."""

    def __init__(self, names: list[str]) -> None:
        self.whole = {str(PurePosixPath(name)): name for name in names if _clean(name)}
        self.last: dict[str, list[str]] = {}
        for path, name in self.whole.items():
            self.last.setdefault(_composed(PurePosixPath(path).name), []).append(name)

    def find(self, name: str, folder: PurePosixPath) -> list[str]:
        wanted = PurePosixPath(name.replace("\\", "/"))
        for path in (str(wanted), str(folder / wanted)):
            if path in self.whole:
                return [self.whole[path]]
        return self.last.get(_composed(wanted.name), [])


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _resolve(
    where: str,
    entries: list[tuple[int, str, int]],
    members: _Members,
    folder: PurePosixPath,
    path: Path,
) -> list[str]:
    """The member of the set that each line means; every one only once."""
    seen: dict[str, int] = {}
    for number, name, _ in entries:
        found = members.find(name, folder)
        if not found:
            hint = nearest(PurePosixPath(name).name, members.last)
            raise DataError(
                f"{where}, line {number}: found {name!r}, which is not in {path}{hint}",
                line=number,
            )
        if len(found) > 1:
            raise DataError(
                f"{where}, line {number}: {name!r} is there {len(found)} times "
                f"({', '.join(sorted(found)[:3])}), allowed: a path that names one",
                line=number,
            )
        if found[0] in seen:
            raise DataError(
                f"{where}, line {number}: {name!r} is there already, line {seen[found[0]]}",
                line=number,
            )
        seen[found[0]] = number
    return list(seen)
