"""Image sets in the forms that people have: each gives what the folder of the same images gives."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.image_forms import (
    CLASSES,
    COUNT,
    LABELS,
    PIXELS,
    WANTED,
    Maker,
    name,
    png,
    rows,
)

from r329fast.errors import DataError, FileError
from r329fast.images.class_folders import Naming
from r329fast.images.sets import ImageSet


def add(archive: tarfile.TarFile, member: str, data: bytes) -> None:
    item = tarfile.TarInfo(member)
    item.size = len(data)
    archive.addfile(item, io.BytesIO(data))


def shard(path: Path, indices: range, label: Callable[[int], tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for index in indices:
            add(archive, f"sample{index:04d}.png", png(index))
            ending, data = label(index)
            add(archive, f"sample{index:04d}.{ending}", data)
    return path


def cls(index: int) -> tuple[str, bytes]:
    return "cls", str(LABELS[index]).encode()


def one_shard(folder: Path) -> Path:
    return shard(folder / "val-000.tar", range(COUNT), cls)


def shards(folder: Path) -> Path:
    shard(folder / "val-000.tar", range(7), cls)
    shard(folder / "val-001.tar", range(7, COUNT), cls)
    shard(folder / "train-000.tar", range(2), cls)
    return folder


def shards_json(folder: Path) -> Path:
    def label(index: int) -> tuple[str, bytes]:
        return "json", json.dumps({"label": int(LABELS[index])}).encode()

    shard(folder / "a.tar", range(COUNT), label)
    return folder


def table(path: Path, indices: range, group: int) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": png(index), "path": name(index)} for index in indices]
    columns = {"image": images, "label": [int(LABELS[index]) for index in indices]}
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def parquet(folder: Path) -> Path:
    return table(folder / "data.parquet", range(COUNT), 5)


def hub_folder(folder: Path) -> Path:
    data = folder / "data"
    data.mkdir()
    table(data / "validation-00000-of-00002.parquet", range(8), 3)
    table(data / "validation-00001-of-00002.parquet", range(8, COUNT), 3)
    table(data / "train-00000-of-00001.parquet", range(2), 3)
    return folder


def records(fine: bool) -> bytes:
    planes = PIXELS.transpose(0, 3, 1, 2).reshape(COUNT, -1)
    head = [LABELS[:, None] * 0 + 9] if fine else []
    return np.concatenate([*head, LABELS[:, None], planes], axis=1).astype(np.uint8).tobytes()


def cifar10_binary(folder: Path) -> Path:
    path = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "cifar-10-batches-bin/batches.meta.txt", b"cat\ndog\n")
        add(archive, "cifar-10-batches-bin/data_batch_1.bin", records(False)[:3073])
        add(archive, "cifar-10-batches-bin/test_batch.bin", records(False))
    return path


def cifar100_binary(folder: Path) -> Path:
    (folder / "test.bin").write_bytes(records(True))
    (folder / "train.bin").write_bytes(records(True)[:3074])
    return folder


def batch(fine: bool, protocol: int) -> bytes:
    rows = PIXELS.transpose(0, 3, 1, 2).reshape(COUNT, -1)
    value = {
        b"data": rows,
        b"fine_labels" if fine else b"labels": LABELS.tolist(),
        b"coarse_labels": [9] * COUNT,
        b"filenames": [b"x"] * COUNT,
    }
    return pickle.dumps(value, protocol)


def cifar10_pickle(folder: Path) -> Path:
    (folder / "test_batch").write_bytes(batch(False, 2))
    (folder / "data_batch_1").write_bytes(batch(False, 2))
    return folder


def cifar100_pickle(folder: Path) -> Path:
    (folder / "test").write_bytes(batch(True, 4))
    (folder / "meta").write_bytes(b"x")
    return folder


def one_batch(folder: Path) -> Path:
    cifar10_pickle(folder)
    return folder / "test_batch"


def keras(folder: Path) -> Path:
    path = folder / "data.npz"
    np.savez(path, x_train=PIXELS[:2], y_train=LABELS[:2], x_test=PIXELS, y_test=LABELS[:, None])
    return path


def npz(folder: Path) -> Path:
    path = folder / "data.npz"
    one_hot = np.eye(CLASSES, dtype=np.float32)[LABELS]
    np.savez_compressed(path, images=PIXELS, labels=one_hot)
    return path


def npy(folder: Path) -> Path:
    np.save(folder / "pixels.npy", PIXELS)
    np.save(folder / "label.npy", LABELS)
    return folder / "pixels.npy"


FORMS: list[Maker] = [
    one_shard, shards, shards_json, parquet, hub_folder, cifar10_binary, cifar100_binary,
    cifar10_pickle, cifar100_pickle, one_batch, keras, npz, npy,
]  # fmt: skip


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
    (floats, r"found float32 \[12, 32, 32, 3\], allowed uint8 pixels"),
    (other_count, "found 11 labels for 12 images"),
    (other_names, "found weights, allowed: images and labels"),
    (unlabelled, "found images without labels"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_bad_forms(make: Maker, message: str, tmp_path: Path) -> None:
    with pytest.raises((FileError, DataError), match=message):
        ImageSet(make(tmp_path))
