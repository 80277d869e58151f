"""Sound files of each form of image set with labels, and the call that reads them."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np

_PIXELS = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
_LABELS = np.array([0, 2, 1, 3])


def read(path: Path) -> None:
    """All that an evaluation does with a set before it is simulated."""
    from r329fast.images.class_folders import Naming
    from r329fast.images.sets import ImageSet

    needed = "idx" not in path.name  # its labels would be in a second file
    with ImageSet(path, naming=Naming(classes=4, needed=needed)) as images:
        for _ in images:
            pass


def sheets() -> list[bytes]:
    return [
        b"file,label\na.png,0\nb.jpg,1\n",
        b"id;wnid\na;n00000001\nb;n00000002\n",
        b"0\n1\n",
        b"ImageId,PredictionString\na,n00000001 1 2 3 4\nb,n00000002 1 2 3 4\n",
    ]


def cifar_batches() -> list[bytes]:
    rows = _PIXELS.transpose(0, 3, 1, 2).reshape(4, -1)
    value = {b"data": rows, b"labels": _LABELS.tolist()}
    return [pickle.dumps(value, protocol) for protocol in (0, 2, 4)]


def cifar_records() -> list[bytes]:
    rows = _PIXELS.transpose(0, 3, 1, 2).reshape(4, -1)
    return [np.concatenate([_LABELS[:, None], rows], axis=1).astype(np.uint8).tobytes()]


def digits() -> list[bytes]:
    head = b"\0\0\x08\x03" + np.array([4, 32, 32], ">u4").tobytes()
    return [gzip.compress(head + _PIXELS[..., 0].tobytes())]


def pixels() -> list[bytes]:
    stream = io.BytesIO()
    np.savez_compressed(stream, images=_PIXELS, labels=_LABELS)
    return [stream.getvalue()]


def tables() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fuzz.bases import pictures

    columns = {"image": [{"bytes": data, "path": "a"} for data in pictures()[:4]]}
    stream = io.BytesIO()
    pq.write_table(pa.table({**columns, "label": [0, 1, 2, 3]}), stream, row_group_size=2)
    return [stream.getvalue()]


def shards() -> list[bytes]:
    from fuzz.bases import pictures

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for index, data in enumerate(pictures()[:2]):
            for name, content in ((f"{index}.png", data), (f"{index}.cls", b"1")):
                item = tarfile.TarInfo(name)
                item.size = len(content)
                archive.addfile(item, io.BytesIO(content))
    return [stream.getvalue()]
