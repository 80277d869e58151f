"""A Dask cluster of processes on this machine gives the bytes of the local run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.evaluation_sets import RECIPE, image_zip, run_cfg

from r329fast.errors import FileError, UsageError
from r329fast.evaluation import evaluate

pytest.importorskip("distributed", reason="needs the extra dask")

ROOT = Path(__file__).resolve().parents[2]
COUNT = 400
OPTIONS = {
    "preprocess": RECIPE, "backend": "reference", "threads": 1, "chunk": 8,
    "file_format": "csv", "float_baseline": True,
}  # fmt: skip


class Cluster:
    """A scheduler and its workers as processes, reachable from this machine only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "OMP_NUM_THREADS": "1",
        }
        self.file = folder / "scheduler.json"
        local = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        self.local = [*local, "--scheduler-file", str(self.file)]
        self.processes = [self._start("scheduler", "--port", "0")]
        self.workers: list[subprocess.Popen[bytes]] = []
        for _ in range(300):
            if self.file.exists():
                break
            time.sleep(0.1)
        self.address = str(json.loads(self.file.read_text())["address"])
        assert self.address.startswith("tcp://127.0.0.1:")

    def _start(self, what: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *self.local, *more]
        with (self.folder / f"{what}.log").open("ab") as log:
            return subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )

    def add_worker(self) -> None:
        worker = self._start("worker", "--no-nanny", "--nthreads", "1")
        self.workers.append(worker)
        self.processes.append(worker)

    def wait_for(self, count: int) -> None:
        from distributed import Client

        with Client(self.address, timeout=30, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cluster")
    run_cfg(path)
    image_zip(path / "set.zip", COUNT)
    evaluate(path / "run.cfg", path / "set.zip", out=path / "local", **OPTIONS)
    return path


@pytest.mark.slow
def test_a_worker_killed_in_the_middle(folder: Path, cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.add_worker()
    cluster.wait_for(2)
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if done >= 80 and not killed:
            killed.append(done)
            cluster.workers[0].send_signal(signal.SIGKILL)
            cluster.workers[0].wait()
            cluster.add_worker()  # joins late, and gets the program too

    result = evaluate(
        folder / "run.cfg", folder / "set.zip", out=tmp_path / "out",
        scheduler=cluster.address, progress=kill_one, **OPTIONS,
    )  # fmt: skip
    assert killed
    assert killed[0] < COUNT
    assert result.timing.workers == 2
    assert result.timing.images == COUNT
    expected = (folder / "local" / "results.csv").read_bytes()
    assert (tmp_path / "out" / "results.csv").read_bytes() == expected


@pytest.mark.slow
def test_scheduler_file_and_client(folder: Path, cluster: Cluster, tmp_path: Path) -> None:
    """A file that the scheduler wrote; a client of the caller, which stays open."""
    from distributed import Client

    cluster.add_worker()
    cluster.wait_for(1)
    expected = (folder / "local" / "results.csv").read_bytes()
    evaluate(
        folder / "run.cfg", folder / "set.zip", out=tmp_path / "a",
        scheduler_file=cluster.file, **OPTIONS,
    )  # fmt: skip
    assert (tmp_path / "a" / "results.csv").read_bytes() == expected
    with Client(cluster.address, set_as_default=False) as client:
        for name in ("b", "c"):
            result = evaluate(
                folder / "run.cfg", folder / "set.zip", out=tmp_path / name, client=client,
                **OPTIONS,
            )  # fmt: skip
            assert (tmp_path / name / "results.csv").read_bytes() == expected
            assert result.timing.workers == 1
        assert client.status == "running"
    with pytest.raises(UsageError, match=r"allowed: a connected distributed\.Client"):
        evaluate(folder / "run.cfg", folder / "set.zip", client=client, **OPTIONS)


def test_what_names_no_scheduler(folder: Path, tmp_path: Path) -> None:
    base = {"model": folder / "run.cfg", "images": folder / "set.zip", **OPTIONS}
    with pytest.raises(UsageError, match="found 7, allowed: a connected"):
        evaluate(client=7, **base)
    with pytest.raises(UsageError, match="exclude each other"):
        evaluate(client=7, scheduler="tcp://127.0.0.1:1", **base)
    with pytest.raises(FileError, match=r"cannot read .*none\.json"):
        evaluate(scheduler_file=tmp_path / "none.json", **base)
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(FileError, match=r"odd\.json: found no address"):
        evaluate(scheduler_file=tmp_path / "odd.json", **base)


@pytest.mark.slow
def test_images_sent_to_workers_that_lack_them(
    folder: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_worker()
    # a relative path from here means nothing in the worker's folder
    monkeypatch.chdir(folder)
    options = {**OPTIONS, "scheduler": cluster.address}
    with pytest.raises(UsageError, match=r"does not see set\.zip: --ship-images"):
        evaluate("run.cfg", "set.zip", out=tmp_path / "out", **options)
    result = evaluate(
        "run.cfg", "set.zip", out=tmp_path / "out", ship_images=True, overwrite=True, **options
    )
    assert result.timing.bytes_sent > 400 * 100
    expected = (folder / "local" / "results.csv").read_bytes()
    assert (tmp_path / "out" / "results.csv").read_bytes() == expected


def test_no_scheduler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r329fast.evaluation.cluster._CONNECT_SECONDS", 1)
    with pytest.raises(FileError, match="cannot reach the scheduler"):
        evaluate(
            folder / "run.cfg", folder / "set.zip", scheduler="tcp://127.0.0.1:9", **OPTIONS
        )  # fmt: skip
    with pytest.raises(UsageError, match="the cache is for one machine"):
        evaluate(
            folder / "run.cfg", folder / "set.zip", scheduler="tcp://127.0.0.1:9",
            cache=folder / "cache", **OPTIONS,
        )  # fmt: skip


@pytest.mark.slow
def test_no_workers(folder: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r329fast.evaluation.cluster._CONNECT_SECONDS", 2)
    with pytest.raises(UsageError, match="has no workers"):
        evaluate(
            folder / "run.cfg", folder / "set.zip", scheduler=cluster.address, **OPTIONS
        )  # fmt: skip
