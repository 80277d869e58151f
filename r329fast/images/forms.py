"""What an image set is, by its content: files, shards, parquet, or bare pixels."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from r329fast.base.reading import is_file, is_folder
from r329fast.images.label_files import LABEL_FILE
from r329fast.images.parquet_set import parquet_set
from r329fast.images.pixel_sets import npy_set, npz_set, pixel_set
from r329fast.images.shards import ShardSet, has_samples, is_shard
from r329fast.images.stores import Store, files_beside, open_store

# in a tree of class folders, where no label file lists the images
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".dib", ".gif", ".hdr", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".ras", ".sr", ".tif", ".tiff", ".webp"),
)


def is_image(path: PurePosixPath) -> bool:
    """Whether a file's name is that of an image."""
    return path.suffix.lower() in IMAGE_ENDINGS and is_clean(str(path))


def is_clean(name: str) -> bool:
    """Not one of the files that desktop systems add."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" not in parts and not parts[-1].startswith("._")


def has_label_file(names: list[str]) -> bool:
    """Whether the label file that is taken by default is among the names."""
    return any(is_clean(name) and PurePosixPath(name).name == LABEL_FILE for name in names)


def open_images(path: Path) -> Store:
    """The images of a set: a store, a LabelledStore where they come with labels.

    A folder, zip or tar of image files; shards (WebDataset); parquet files; CIFAR and MNIST files;
    `.npz` and uint8 `.npy`. Raises FileError and DataError.
    """
    if is_file(path):
        single = _single(path)
        if single is not None:
            return single
    store = open_store(path)
    try:
        return _recognised(store, path)
    except BaseException:
        store.close()
        raise


def _single(path: Path) -> Store | None:
    """A file that is a set of its own kind; None for archives."""
    ending = path.suffix.lower()
    if ending == ".npy":
        return npy_set(path)
    if ending == ".parquet":
        return parquet_set(path, [])
    found = npz_set(path)
    if found is not None or ending in (".zip", ".tar", ".tgz"):
        return found
    return pixel_set(files_beside(path), path, path.name)


def _recognised(store: Store, path: Path) -> Store:
    names = [name for name in store.names if is_clean(name)]
    if has_label_file(names):
        return store
    if has_samples(names):
        return ShardSet(path, {"": store}, is_image)
    if any(is_image(PurePosixPath(name)) for name in names):
        return store
    if is_folder(path):
        rows = parquet_set(path, names)
        if rows is not None:
            return rows
        shards = [name for name in names if is_shard(name)]
        if shards and len(shards) == len(names):
            return _sharded(path, shards)
    return pixel_set(store, path) or store


def _sharded(path: Path, names: list[str]) -> ShardSet:
    opened: dict[str, Store] = {}
    try:
        for name in names:
            opened[name] = open_store(path / name)
    except BaseException:
        for store in opened.values():
            store.close()
        raise
    return ShardSet(path, opened, is_image)
