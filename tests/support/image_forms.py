"""The same twelve images for every form of image set, and what each form has to give."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from r329fast.images.class_folders import Naming
from r329fast.images.sets import ImageSet

COUNT, CLASSES = 200, 4
RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)  # RGB
LABELS = (np.arange(COUNT) * 3 + 1) % CLASSES
WNIDS = [f"n{7654321 - 1000 * place:08d}" for place in range(CLASSES)]
NAMING = Naming(numbers={wnid: place for place, wnid in enumerate(WNIDS)}, classes=CLASSES)
Maker = Callable[[Path], Path]


@cache
def png(index: int) -> bytes:
    return cv2.imencode(".png", PIXELS[index, ..., ::-1])[1].tobytes()


def name(index: int) -> str:
    return f"ILSVRC2012_val_{index + 1:08d}.png"


def make_files(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for index in range(COUNT):
        (folder / name(index)).write_bytes(png(index))
    return folder


def rows(images: ImageSet) -> list[tuple[bytes, int]]:
    pixels = [image[..., ::-1].tobytes() for _, image in images]
    return list(zip(pixels, images.labels.tolist(), strict=True))


WANTED = [(PIXELS[index].tobytes(), int(LABELS[index])) for index in range(COUNT)]


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
