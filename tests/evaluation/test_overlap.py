"""Chunks that overlap: the same bytes as one after the other, in order, with bounded buffers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from support.evaluation_sets import RECIPE, image_zip, pictures_of, run_cfg
from support.pictures import png

from r329fast.errors import DataError
from r329fast.evaluation import evaluate, prepare_model
from r329fast.evaluation.chunk_log import ChunkLog, unpack
from r329fast.evaluation.decode_ahead import AHEAD, Chunk, Decoder
from r329fast.evaluation.evaluator import Evaluator, Running
from r329fast.evaluation.job import ChunkPlan, Job
from r329fast.evaluation.record import identity
from r329fast.evaluation.sources import ImageReader, open_source
from r329fast.evaluation.wall_time import WallTime
from r329fast.kernels.pixels import PAGE, checksum, page_sums

COUNT, CHUNK = 100, 8
OPTIONS = {"preprocess": RECIPE, "threads": 2, "chunk": CHUNK}
GRID = {"schemes": ["aqt2021", "compass42"], "float_baseline": True, "logits": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("overlap")
    run_cfg(path)
    image_zip(path / "set.zip", COUNT)
    return path


@pytest.fixture(scope="module")
def one_by_one(folder: Path) -> bytes:
    """The log of a run that finishes every chunk before it begins the next."""
    model = prepare_model(folder / "run.cfg", schemes=GRID["schemes"])
    source = open_source(folder / "set.zip", None, RECIPE)
    programs = tuple(item.program for item in model.variants)
    job = Job(programs, source.reader, RECIPE, False, model.graph, True, "reference", CHUNK)
    plan = ChunkPlan(job, source, source.labels)
    evaluator = Evaluator(job, 1)
    path = folder / "alone" / "chunks.log"
    with ChunkLog(path, identity(model, plan)) as log:
        for number in range(-(-COUNT // CHUNK)):
            rows = slice(number * CHUNK, (number + 1) * CHUNK)
            chunk, work = evaluator.decoder.start(number, source.keys[rows])
            evaluator.decoder.finish(chunk, work)
            log.append(number, evaluator.finish(evaluator.start(chunk, source.labels[rows])))
    evaluator.close()
    return path.read_bytes()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_log_is_that_of_one_chunk_at_a_time(
    folder: Path, one_by_one: bytes, tmp_path: Path, backend: str, threads: int
) -> None:
    options = {**OPTIONS, **GRID, "backend": backend, "threads": threads}
    for run in ("decoded", "cached"):
        evaluate(
            folder / "run.cfg", folder / "set.zip", out=tmp_path / run,
            cache=tmp_path / "cache", **options,
        )  # fmt: skip
        assert (tmp_path / run / "chunks.log").read_bytes() == one_by_one


def test_a_chunk_begins_before_the_last_one_ends(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    buffers: set[int] = set()
    start, finish = Evaluator.start, Evaluator.finish

    def started(evaluator: Evaluator, chunk: Chunk, *rest: np.ndarray) -> Running:
        steps.append(("start", chunk.number))
        buffers.add(chunk.inputs[0].ctypes.data)
        return start(evaluator, chunk, *rest)

    def finished(evaluator: Evaluator, running: Running) -> bytes:
        steps.append(("finish", running.chunk.number))
        return finish(evaluator, running)

    monkeypatch.setattr(Evaluator, "start", started)
    monkeypatch.setattr(Evaluator, "finish", finished)
    evaluate(folder / "run.cfg", folder / "set.zip", **OPTIONS)
    chunks = -(-COUNT // CHUNK)
    order = {step: place for place, step in enumerate(steps)}
    for number in range(chunks - 1):
        assert order["start", number + 1] < order["finish", number] < order["finish", number + 1]
        # never more than two, so that memory stays bounded
        if number + 2 < chunks:
            assert order["finish", number] < order["start", number + 2]
    # decoded ahead, two being simulated, and the last, which is smaller
    assert len(buffers) <= AHEAD + 3


def test_buffers_are_not_refilled_while_they_are_simulated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: set[int] = set()
    start, finish, fill = Evaluator.start, Evaluator.finish, Decoder.start

    def started(evaluator: Evaluator, chunk: Chunk, *rest: np.ndarray) -> Running:
        busy.add(chunk.inputs[0].ctypes.data)
        return start(evaluator, chunk, *rest)

    def finished(evaluator: Evaluator, running: Running) -> bytes:
        payload = finish(evaluator, running)
        busy.remove(running.chunk.inputs[0].ctypes.data)
        return payload

    def filled(*args: object, **options: object) -> tuple[Chunk, list[Future[float]]]:
        chunk, work = fill(*args, **options)
        assert chunk.inputs[0].ctypes.data not in busy
        return chunk, work

    monkeypatch.setattr(Evaluator, "start", started)
    monkeypatch.setattr(Evaluator, "finish", finished)
    monkeypatch.setattr(Decoder, "start", filled)
    evaluate(folder / "run.cfg", folder / "set.zip", **OPTIONS)
    assert not busy


def test_a_bad_image_stops_the_run_behind_the_chunks_before_it(
    folder: Path, tmp_path: Path
) -> None:
    names = [f"{index}.png" for index in range(20)]
    images = tmp_path / "set"
    images.mkdir()
    for name, image in zip(names, pictures_of(20), strict=True):
        (images / name).write_bytes(png(image))
    (images / "label.txt").write_text("".join(f"{name} 1\n" for name in names))
    (images / "13.png").write_bytes(b"no image")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"cannot use image 13\.png"):
        evaluate(folder / "run.cfg", images, out=out, **{**OPTIONS, "chunk": 4})
    with ChunkLog(out / "chunks.log", {}) as log:
        assert log.done == (0, 1, 2)
        assert len(unpack(log.read(2))["score0"]) == 4


@pytest.mark.parametrize("damage", ["bit", "hole", "swapped"])
def test_damaged_images_of_the_cache_are_decoded_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    options = {**OPTIONS, "cache": tmp_path / "cache"}
    first = evaluate(folder / "run.cfg", folder / "set.zip", **options)
    (path,) = (tmp_path / "cache").glob("pixels-*/pixels.bin")
    data = bytearray(path.read_bytes())
    size = len(data) // COUNT
    one, two = data[size * 17 : size * 18], data[size * 60 : size * 61]
    if damage == "bit":
        data[size * 17 + 5] ^= 16
        data[size * 60] ^= 1
    elif damage == "hole":
        data[size * 17 : size * 18] = data[size * 60 : size * 61] = bytes(size)
    else:
        data[size * 17 : size * 18], data[size * 60 : size * 61] = two, one
    path.write_bytes(bytes(data))
    loaded: list[object] = []
    load = ImageReader.load

    def counted(reader: ImageReader, key: object) -> np.ndarray:
        loaded.append(key)
        return load(reader, key)

    monkeypatch.setattr(ImageReader, "load", counted)
    again = evaluate(folder / "run.cfg", folder / "set.zip", **options)
    assert sorted(loaded) == ["img/i00017.png", "img/i00060.png"]
    assert np.array_equal(first.scores[0], again.scores[0])
    # what was mapped for reading was not written to
    assert path.read_bytes() == bytes(data)


def test_checksum_notices_what_disks_do() -> None:
    rng = np.random.default_rng(4)
    data = rng.integers(0, 256, 4 * PAGE + 77, dtype=np.uint8)
    data[7], data[8], data[PAGE + 5] = 1, 2, 0
    expected = checksum(data)
    assert checksum(data.copy()) == expected
    for place in (0, 9, PAGE - 1, PAGE, 2 * PAGE + 500, len(data) - 1):
        for bit in range(8):
            other = data.copy()
            other[place] ^= 1 << bit
            assert checksum(other) != expected
    for rows in ([slice(7, 8), slice(8, 9)], [slice(0, PAGE), slice(PAGE, 2 * PAGE)]):
        other = data.copy()
        other[rows[0]], other[rows[1]] = data[rows[1]], data[rows[0]]
        assert checksum(other) != expected
    for rows in (slice(PAGE, 2 * PAGE), slice(4 * PAGE, None)):
        other = data.copy()
        other[rows] = 0
        assert checksum(other) != expected
    assert checksum(data[:-1]) != expected
    # weighed exactly: nothing wraps at the highest values
    sums = np.empty(1, np.int32)
    weights = np.full(PAGE, 32767, np.int16)
    page_sums(np.full(PAGE, 255, np.uint8), weights, sums)
    assert sums[0] == 255 * 32767 * PAGE


def test_time_is_given_to_one_job_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("r329fast.evaluation.wall_time.time.perf_counter", lambda: now[0])
    clock, futures = WallTime(), [Future[None]() for _ in range(3)]
    first = clock.start(futures[:2])
    now[0] = 11.0
    second = clock.start(futures[2:])
    assert clock.idle(5.0) == 0.0
    now[0] = 13.0
    futures[0].set_result(None)
    futures[2].set_result(None)
    now[0] = 14.0
    futures[1].set_result(None)
    assert clock.seconds(first) == 4.0
    assert clock.seconds(second) == 0.0  # all of it beside the first
    now[0] = 20.0
    assert clock.idle(5.0) == 7.0
    assert clock.idle(18.0) == 2.0
    third = clock.start([])
    assert clock.seconds(third) == 0.0


def test_a_job_whose_end_is_not_noted_yet_is_waited_for() -> None:
    """A future wakes whoever waits for it before it calls back, which may take a moment."""
    clock, future, begun = WallTime(), Future[None](), time.perf_counter()
    future.add_done_callback(lambda done: time.sleep(0.05))
    span = clock.start([future])
    worker = threading.Thread(target=future.set_result, args=(None,))
    worker.start()
    future.result()
    assert 0.05 <= clock.seconds(span) <= time.perf_counter() - begun
    worker.join()


@pytest.mark.parametrize("threads", [1, 2])
def test_shares_are_parts_of_the_wall_time(folder: Path, threads: int) -> None:
    before = threading.active_count()
    options = {**OPTIONS, **GRID, "threads": threads}
    timing = evaluate(folder / "run.cfg", folder / "set.zip", **options).timing
    assert threading.active_count() <= before  # no pool is left open
    assert timing.simulate > 0
    # with two threads so small a float network may run wholly beside the simulator
    assert timing.float_run > 0 or threads == 2
    assert timing.simulate + timing.float_run + timing.wait <= timing.seconds
