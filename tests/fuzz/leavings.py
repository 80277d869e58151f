"""What runs leave behind and later commands read: records, logs, caches, steps, dumps, targets."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from support.evaluation_sets import RECIPE, calibration_set, image_zip, pictures_of, run_cfg
from support.pictures import png

from fuzz.commands import command, commands

_IMAGES = 7
_KEY = "0" * 64


class Evaluation:
    """A finished evaluation, whose log of chunks is bent and then resumed and merged."""

    def __init__(self, *metric: str) -> None:
        self.metric = metric
        self.folder = Path()

    def words(self, out: Path) -> list[str]:
        words = ["eval", "run.cfg", "--images", "val.zip", "--chunk", "4", "--threads", "1"]
        words += ["--backend", "reference", "--format", "csv", "--out", str(out), *self.metric]
        return [str(self.folder / word) if word.endswith((".cfg", ".zip")) else word
                for word in words]  # fmt: skip

    def base(self, folder: Path) -> list[bytes]:
        self.folder = folder
        run_cfg(folder)
        image_zip(folder / "val.zip", _IMAGES)
        commands(self.words(folder / "out"))
        return [(folder / "out" / "chunks.log").read_bytes()]

    def read(self, path: Path) -> None:
        words = self.words(path.parent / "whole")
        commands([*words, "--merge", path.parent], [*self.words(path.parent), "--resume"])


class Pixels:
    """The log of a pixel cache, with which chunks of images are found again."""

    folder = Path()

    def _cache(self, folder: Path) -> Any:
        from r329fast.evaluation.pixel_cache import PixelCache
        from r329fast.evaluation.sources import open_source

        return PixelCache(folder, open_source(self.folder / "val.zip", None, RECIPE), 4)

    def base(self, folder: Path) -> list[bytes]:
        self.folder = folder
        image_zip(folder / "val.zip", _IMAGES)
        cache = self._cache(folder / "cache")
        cache.store(0, pictures_of(4), {2: "not an image"})
        cache.store(1, pictures_of(3), {})
        cache.close()
        return [cache.log.path.read_bytes()]

    def read(self, path: Path) -> None:
        from contextlib import suppress

        from r329fast.evaluation.sources import BadImageError

        place = path.parent / "cache"
        first = self._cache(place)
        first.close()
        shutil.copy(path, first.log.path)
        cache = self._cache(place)
        try:
            for number in (0, 1):
                chunk = cache.open_chunk(number)
                for row in range(len(chunk.sums) if chunk is not None else 0):
                    # what is damaged is told by its checksum, and decoded anew
                    with suppress(BadImageError, KeyError):
                        chunk.load(row)
        finally:
            cache.close()


class Steps:
    """A step of tuning: its record or the state after it."""

    def __init__(self, ending: str) -> None:
        self.ending = ending

    def _start(self, folder: Path) -> Any:
        from support.evaluation_sets import small_net

        from r329fast.calibration import calibrate
        from r329fast.graph import load_model
        from r329fast.tuning.state import State

        graph = load_model(small_net(folder / "small.onnx", bias=1.0))
        return State(graph, calibrate(graph, calibration_set(), "aqt2021", "EXTREME"), "EXTREME")

    def base(self, folder: Path) -> list[bytes]:
        from r329fast.tuning.journal import Journal

        self.folder, self.state = folder, self._start(folder)
        record = {"step": "a", "accepted": True, "gain_db": 1.5, "gain_chosen_db": 1.0,
                  "method": "EXTREME", "layers": [{"name": "x", "gain": 1}]}  # fmt: skip
        Journal(folder, _KEY).write("a", record, self.state)
        return [(folder / ".tune" / f"a{self.ending}").read_bytes()]

    def read(self, path: Path) -> None:
        from r329fast.tuning.journal import Journal

        place = path.parent / ".tune"
        place.mkdir()
        for ending in (".json", ".npz"):
            from_here = path if ending == self.ending else self.folder / ".tune" / f"a{ending}"
            shutil.copy(from_here, place / f"a{ending}")
        found = Journal(path.parent, _KEY).read("a", self.state)
        if found is not None and found[1] is not None:
            found[1].program("aqt2021")


def dump_indexes() -> list[bytes]:
    return [b'{"conv/out": "0001_conv_out.npy", "b": "0002_b.bin"}']


def read_dump_index(path: Path) -> None:
    """Two dumps, one of which says by a bent index which file is which tensor."""
    for name in ("one", "two"):
        place = path.parent / name
        place.mkdir()
        np.save(place / "0001_conv_out.npy", np.arange(12, dtype=np.int8).reshape(1, 2, 2, 3))
        (place / "0002_b.bin").write_bytes(bytes(8))
    shutil.copy(path, path.parent / "one" / "index.json")
    (path.parent / "two" / "index.json").write_bytes(dump_indexes()[0])
    one, two = path.parent / "one", path.parent / "two"
    commands(["compare", one, two], ["compare", two, one, "--common"])


def result_records() -> list[bytes]:
    outputs = {"a": {"dtype": "int8", "shape": [4]}, "b": {"dtype": "int16", "shape": [2, 1]}}
    record = {"mode": "run", "images": 2, "outputs": outputs, "model_name": "m",
              "files": {"outputs": "output.bin", "record": "run.json"}}  # fmt: skip
    return [json.dumps(record).encode()]


def read_result_record(path: Path) -> None:
    (path.parent / "output.bin").write_bytes(bytes(range(16)))
    (path.parent / "empty").mkdir()
    (path.parent / "empty" / "output.bin").write_bytes(b"")
    shutil.copy(path, path.parent / "empty" / "run.json")
    command("compare", path.parent / "empty" / "output.bin")
    result, page = path.parent / "output.bin", path.parent / "out.html"
    commands(["compare", result], ["compare", result, result],
             ["report", path.parent, "--html", page])  # fmt: skip


def truths() -> list[bytes]:
    images = [{"id": k, "file_name": f"{k}.png", "width": 8, "height": 6} for k in (1, 2)]
    boxes = [
        {"id": k, "image_id": 1 + k % 2, "category_id": 3, "bbox": [1, 1, 4, 3], "area": 12,
         "iscrowd": 0}
        for k in (1, 2, 3)
    ]  # fmt: skip
    categories = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]
    return [json.dumps({"images": images, "annotations": boxes, "categories": categories}).encode()]


def read_truth(path: Path) -> None:
    from r329fast.evaluation.metrics import choose_metric

    boxes = np.array([[[1, 1, 5, 4, 0.9, 0], [0, 0, 3, 3, 0.5, 1]]] * 2, np.float32)
    _measured(choose_metric("coco_map:boxes"), path, {"boxes": boxes})


def number_sheets() -> list[bytes]:
    return [b"file,x,y\n1.png,0.5,1\n2.png,-1,2e3\n"]


def read_numbers(path: Path) -> None:
    from r329fast.evaluation.metrics import choose_metric

    _measured(choose_metric("regression"), path, {"y": np.ones((2, 1, 1, 2), np.float32)})


def masks() -> list[bytes]:
    import cv2

    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
    files = [cv2.imencode(".png", mask)[1].tobytes()]
    try:
        from PIL import Image
    except ImportError:
        return files
    image, stream = Image.fromarray(mask, "P"), io.BytesIO()
    image.putpalette(list(range(9)))
    image.save(stream, "PNG")
    return [*files, stream.getvalue()]


def read_mask(path: Path) -> None:
    from r329fast.evaluation.metrics import choose_metric

    scores = np.random.default_rng(2).random((1, 3, 4, 3), dtype=np.float32)
    _measured(choose_metric("miou"), path.parent, {"y": scores}, [path.name])


def _measured(metric: Any, path: Path, outputs: dict[str, np.ndarray], names: Any = None) -> None:
    names = names or ["1.png", "2.png"]
    targets = metric.load(path, names, (6, 8))
    if all(target is not None for target in targets):
        metric.merge([metric.measure(outputs, targets)])


def class_trees() -> list[bytes]:
    """Zips without a label file: folders of classes, alone and below parts."""
    result = []
    for top in ("", "set/val/"):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for place, image in enumerate(pictures_of(4)):
                archive.writestr(f"{top}n{place:08d}/{place}.png", png(image))
            if top:
                archive.writestr("set/train/n00000000/9.png", png(pictures_of(1)[0]))
        result.append(stream.getvalue())
    return result


def dev_kits() -> list[bytes]:
    """ILSVRC2012's kit with two classes, as tars; its meta.mat with and without compression."""
    from scipy.io import savemat

    rows = np.zeros(2, dtype=[("ILSVRC2012_ID", "f8"), ("WNID", "O")])
    rows["ILSVRC2012_ID"], rows["WNID"] = (1, 2), ("n00000002", "n00000001")
    kits = []
    for compressed in (False, True):
        meta, stream = io.BytesIO(), io.BytesIO()
        savemat(meta, {"synsets": rows}, do_compression=compressed)
        files = {
            "kit/data/meta.mat": meta.getvalue(),
            "kit/data/ILSVRC2012_validation_ground_truth.txt": b"1\n2\n",
        }
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        kits.append(stream.getvalue())
    return kits


def read_dev_kit(path: Path) -> None:
    from r329fast.images.devkit import devkit_entries

    devkit_entries(path, None)


def vendor_graphs() -> list[bytes]:
    nodes = [
        {"layer node name": "conv", "op_type": "Convolution", "ops_count": 9, "perf_node": 1},
        {"layer node name": "", "internal_nodes": [{"layer node name": "a", "op_type": "Relu"}]},
    ]
    graph = {"graph_name": "m", "platform target": "Z1_0701", "nodes": nodes}
    return [json.dumps(graph).encode()]


def read_vendor_folder(path: Path) -> None:
    (path.parent / "log.txt").write_text("BSS section : 0x1f Bytes\nTOTAL TIME: 1.5s\n")
    (path.parent / "profile_data.bin").write_bytes(bytes(200))
    (path.parent / "output.bin").write_bytes(bytes(range(10)))
    commands(["report", path.parent, "--html", path.parent / "out.html"])


def machines() -> list[bytes]:
    values = {"gmac": 100.0, "cache": 50.0, "memory": 10.0, "direct": [1.0, 1.0, 1.0],
              "winograd": [1.0, 0.5, 0], "budget": 4 << 20, "wake_us": 30.0}  # fmt: skip
    check = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return [json.dumps({"values": values, "sha256": check}).encode()]


def read_machine(path: Path) -> None:
    """What choices of speed make of it; the call of a child of its own, which ends with it."""
    from unittest import mock

    from r329fast.kernels.rates import known_rates
    from r329fast.kernels.runtime import measured

    file = measured.measured_file
    with (
        mock.patch.object(file, "__defaults__", (str(path.parent),)),
        mock.patch.object(measured, "say_once"),
        mock.patch.dict("os.environ", {measured.VARIABLE: "1"}),
    ):
        shutil.copy(path, file())
        measured.forget()
        try:
            found = measured.measured()
            known_rates()
            if found is not None:
                range(found.budget)
        finally:
            measured.forget()
