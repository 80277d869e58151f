"""Image sets in the forms that people have: each gives what the folder of the same images gives."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from support.image_forms import (
    COUNT,
    FORMS,
    LABELS,
    PIXELS,
    WANTED,
    Maker,
    add,
    hub_folder,
    keras,
    one_shard,
    parquet,
    png,
    records,
    rows,
    shards,
)

from r329fast.errors import DataError, FileError
from r329fast.images.class_folders import Naming
from r329fast.images.sets import ImageSet


@pytest.mark.parametrize("make", FORMS, ids=lambda make: make.__name__)
def test_forms(make: Maker, tmp_path: Path) -> None:
    with ImageSet(make(tmp_path)) as images:
        assert rows(images) == WANTED
        assert len(set(images.members)) == COUNT
        assert len({images.store.stamp(member) for member in images.members}) >= 1
        with pytest.raises(FileError, match="missing"):
            images.store.read("nobody[3]")
    parts = ("shards", "hub_folder", "cifar10_binary", "cifar100_binary", "cifar10_pickle", "keras")
    assert ("--split chooses" in images.note) == (make.__name__ in parts)


@pytest.mark.parametrize("make", [shards, hub_folder, keras], ids=lambda make: make.__name__)
def test_the_training_part(make: Maker, tmp_path: Path) -> None:
    with ImageSet(make(tmp_path), naming=Naming(split="train")) as images:
        assert rows(images) == WANTED[:2]


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist(zipped: bool, tmp_path: Path) -> None:
    ending = ".gz" if zipped else ""
    pack = gzip.compress if zipped else bytes
    grey = PIXELS[..., 0]
    head = b"\0\0\x08\x03" + np.array(grey.shape, ">u4").tobytes()
    images_file = tmp_path / f"t10k-images-idx3-ubyte{ending}"
    images_file.write_bytes(pack(head + grey.tobytes()))
    answers = b"\0\0\x08\x01" + np.array([COUNT], ">u4").tobytes() + bytes(LABELS.tolist())
    (tmp_path / f"t10k-labels-idx1-ubyte{ending}").write_bytes(pack(answers))
    for path in (tmp_path, images_file):
        with ImageSet(path) as images:
            assert images.labels.tolist() == LABELS.tolist()
            for index, (_, image) in enumerate(images):
                assert np.array_equal(image, np.repeat(grey[index, ..., None], 3, axis=2))
    images_file.write_bytes(pack(head + grey.tobytes()[:-1]))
    with pytest.raises(FileError, match="its sizes are"):
        ImageSet(tmp_path)


@pytest.mark.parametrize("label", [".cls", "a/.cls", "..cls", "a/b.c/.json"])
def test_a_shard_with_a_label_that_has_no_name(label: str, tmp_path: Path) -> None:
    """Such a file is no sample's label; it was an internal error."""
    path = one_shard(tmp_path)
    with ImageSet(path) as images:
        before = images.labels.tolist()
    with tarfile.open(path, "a") as archive:
        add(archive, label, b"1")
    with ImageSet(path) as images:
        assert images.labels.tolist() == before


def hidden_labels(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"image": [{"bytes": png(0), "path": ""}], "label": [-1]}
    pq.write_table(pa.table(columns), folder / "test.parquet")
    return folder / "test.parquet"


def no_columns(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"]}), folder / "x.parquet")
    return folder / "x.parquet"


def torn_parquet(folder: Path) -> Path:
    path = parquet(folder)
    path.write_bytes(path.read_bytes()[:-50])
    return path


def no_label(folder: Path) -> Path:
    path = one_shard(folder)
    with tarfile.open(path, "a") as archive:
        add(archive, "odd.png", png(0))
    return path


def torn_records(folder: Path) -> Path:
    (folder / "test_batch.bin").write_bytes(records(False)[:-1])
    return folder


def evil_pickle(folder: Path) -> Path:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('ran')",)

    (folder / "test_batch").write_bytes(pickle.dumps(Evil()))
    return folder


def no_batch(folder: Path) -> Path:
    (folder / "test_batch").write_bytes(pickle.dumps({"data": [1], "labels": [1]}))
    return folder


def floats(folder: Path) -> Path:
    np.savez(folder / "x.npz", images=PIXELS.astype(np.float32), labels=LABELS)
    return folder / "x.npz"


def other_count(folder: Path) -> Path:
    np.savez(folder / "x.npz", images=PIXELS, labels=LABELS[:-1])
    return folder / "x.npz"


def other_names(folder: Path) -> Path:
    np.savez(folder / "x.npz", weights=PIXELS)
    return folder / "x.npz"


def unlabelled(folder: Path) -> Path:
    np.save(folder / "pixels.npy", PIXELS)
    return folder / "pixels.npy"


BAD: list[tuple[Maker, str]] = [
    (hidden_labels, "found label -1, allowed class numbers from 0"),
    (no_columns, "found the columns text, allowed: image and label"),
    (torn_parquet, "not a parquet file"),
    (no_label, r"odd\.png in .* found no label, allowed odd\.cls or \.json"),
    (torn_records, "allowed records of 3,073"),
    (evil_pickle, "not a CIFAR batch"),
    (no_batch, "not a CIFAR batch"),
    (floats, r"found float32 \[200, 32, 32, 3\], allowed uint8 pixels"),
    (other_count, "found 199 labels for 200 images"),
    (other_names, "found weights, allowed: images and labels"),
    (unlabelled, "found images without labels"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_bad_forms(make: Maker, message: str, tmp_path: Path) -> None:
    with pytest.raises((FileError, DataError), match=message):
        ImageSet(make(tmp_path))
