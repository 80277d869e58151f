"""Memory of a tuning is bounded: samples go to a file, walks take fewer images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r329fast.deploy import bundled
from r329fast.errors import FileError
from r329fast.graph import load_model
from r329fast.tuning import weights
from r329fast.tuning.float_side import run_float
from r329fast.tuning.state import split
from r329fast.tuning.store import Store
from r329fast.tuning.weights import walked_images

NET = str(bundled.path("net.onnx"))


def test_what_has_no_room_in_memory_is_the_same(tmp_path: Path) -> None:
    graph = load_model(NET)
    x = np.random.default_rng(1).normal(size=(6, *graph.shapes[graph.inputs[0]]))
    x = x.astype(np.float32)
    near = run_float(graph, x, 0)
    store = Store(tmp_path / "new", in_memory=100_000)
    far = run_float(graph, x, 0, store=store)
    assert (tmp_path / "new").is_dir()
    assert not list((tmp_path / "new").iterdir())  # the file has no name
    assert set(near.values) == set(far.values)
    assert set(near.sums) == set(far.sums)
    for first, second in ((near.values, far.values), (near.sums, far.sums)):
        assert len(first) == len(set(first))
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
    store.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = Store(tmp_path / "file" / "folder", in_memory=0)
    store.reserve(("values", "a"), (4, 3))
    with pytest.raises(FileError, match="cannot create folder"):
        store.write(("values", "a"), 0, np.zeros((4, 3), np.float32))


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, in_memory=0)
    store.reserve(("values", "a"), (1 << 20, 3))

    class Full:
        def seek(self, place: int) -> None: ...

        def write(self, data: memoryview) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_file", Full())
    with pytest.raises(FileError, match=r"12 MB of float values .*: No space left on device"):
        store.write(("values", "a"), 0, np.zeros((4, 3), np.float32))


@pytest.mark.parametrize("room", [2, 10, 30, 39, 1000])
def test_fewer_images_walk_where_maps_are_large(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, parts = load_model(NET), split(48)
    each = weights.image_bytes(graph)
    monkeypatch.setattr(weights, "WALK_BYTES", room * each)
    rows = walked_images(graph, parts)
    used = parts.fitted | parts.judging
    assert len(rows) == min(room, used.sum())
    assert used[rows].all()
    assert parts.fitted[rows].any()
    assert parts.judging[rows].any()
    assert np.array_equal(rows, np.unique(rows))


def test_what_is_spilled_reads_as_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {("sums", str(i)): rng.normal(size=(4, i + 1)).astype(np.float32) for i in range(3)}
    store = Store(tmp_path, 4 * 4 * 3)  # the first two have room
    for key, array in arrays.items():
        store.reserve(key, array.shape)
    for key, array in arrays.items():
        store.write(key, 0, array)
    for _ in range(2):
        store.spill()
        for key, array in arrays.items():
            np.testing.assert_array_equal(store[key], array)
        assert set(store) == set(arrays)
