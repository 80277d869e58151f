"""Chunks on the workers of a Dask scheduler.

The job (programs, recipe, float graph) goes to every worker once, as a worker plugin: the
scheduler keeps it and hands it to workers that join later, too. A task holds names of files (or
their bytes) and true classes, and gives the same payload as the local run. The scheduler does the
chunks of a worker that dies elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import pickle
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r329fast.base.reading import read_json
from r329fast.errors import FileError, R329Error, UsageError
from r329fast.evaluation.job import ChunkPlan
from r329fast.evaluation.options import Execution
from r329fast.evaluation.result import Timing
from r329fast.evaluation.sources import Source

if TYPE_CHECKING:
    from distributed import Client, Future

_CONNECT_SECONDS = 20
_IN_FLIGHT = 3  # chunks per worker thread: one at work, the others on their way
_MAX_DEATHS = 20  # chunks given up by the scheduler that are handed in again


def cluster_chunks(
    plan: ChunkPlan, todo: Sequence[int], execution: Execution, timing: Timing
) -> Iterator[tuple[int, bytes]]:
    """(number, payload) of the chunks `todo`, in the order in which they are done.

    execution: where the scheduler is, threads of a worker (all its cores where absent), and
    whether to send the bytes of the files instead of their names. timing is filled in on the way.
    Raises FileError where the scheduler cannot be reached, UsageError where workers are missing,
    differ, or do not see the images.
    """
    with _silenced():
        yield from _chunks(plan, todo, execution, timing)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without what Dask logs, tracebacks among it: all that matters becomes a typed error."""
    with contextlib.suppress(ImportError):
        import distributed  # noqa: F401 (makes its loggers)
    roots = ("distributed", "tornado", "asyncio")
    found = [logging.getLogger(root) for root in roots]
    found += [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and name.startswith(tuple(f"{r}." for r in roots))
    ]
    before = [logger.disabled for logger in found]
    try:
        for logger in found:
            logger.disabled = True
        yield
    finally:
        for logger, disabled in zip(found, before, strict=True):
            logger.disabled = disabled


def _chunks(
    plan: ChunkPlan, todo: Sequence[int], execution: Execution, timing: Timing
) -> Iterator[tuple[int, bytes]]:
    start = time.perf_counter()
    client, ours = _connect(execution)
    try:
        ship = execution.ship_images or plan.source.held
        timing.workers = _check_workers(client, plan.source, ship)
        data = pickle.dumps(plan.job)
        from r329fast.evaluation.cluster_worker import JobPlugin

        key = hashlib.sha256(data).hexdigest()[:16]
        plugin = JobPlugin(key, data, execution.threads or 0)
        client.register_plugin(plugin, name=plugin.name)
        timing.warm_up += time.perf_counter() - start
        timing.bytes_sent += len(data) * timing.workers
        try:
            yield from _collect(client, key, plan, todo, ship, timing)
        finally:
            # workers that are gone cannot answer, and need not
            with contextlib.suppress(Exception):
                client.unregister_worker_plugin(plugin.name)
    finally:
        if ours:
            client.close()


def _collect(
    client: Client, key: str, plan: ChunkPlan, todo: Sequence[int], ship: bool, timing: Timing
) -> Iterator[tuple[int, bytes]]:
    """Keep a bounded number of chunks on their way."""
    from distributed import KilledWorker, as_completed

    from r329fast.evaluation.cluster_worker import run_chunk

    numbers: dict[object, int] = {}

    def submit(number: int) -> Future[Any]:
        keys = plan.keys(number)
        classes = plan.classes[plan.rows(number)]
        if ship:
            shipped = [plan.source.reader.ship(item) for item in keys]
            timing.bytes_sent += sum(map(len, shipped))
            keys = shipped
        else:
            timing.bytes_sent += len(pickle.dumps(keys))
        targets = plan.targets_of(number)
        future = client.submit(
            run_chunk, key, number, keys, classes, targets, pure=False, retries=2
        )
        numbers[future.key] = number
        return future

    left = iter(todo)
    window = max(_IN_FLIGHT * sum(client.nthreads().values()), 2)
    first = [submit(number) for number in itertools.islice(left, window)]
    pending = as_completed(first, loop=client.loop)
    deaths = 0
    for future in pending:
        try:
            number, payload, spent = future.result()
        except R329Error:
            raise
        except KilledWorker as error:
            deaths += 1
            if deaths > _MAX_DEATHS:
                raise UsageError(f"workers die again and again: {error}") from error
            pending.add(submit(numbers.pop(future.key)))
            continue
        except Exception as error:
            raise UsageError(
                f"a chunk failed on the cluster: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        del numbers[future.key]
        following = next(left, None)
        if following is not None:
            pending.add(submit(following))
        timing.add(spent)
        yield number, payload


def _connect(execution: Execution) -> tuple[Client, bool]:
    """(a client of the scheduler that is named, whether it is ours to close)."""
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(
            "a scheduler needs Dask (pip install 'r329fast[dask]')", option="scheduler"
        ) from None
    given = execution.client
    if given is not None:
        if not isinstance(given, Client) or given.asynchronous or given.status != "running":
            raise UsageError(
                f"client: found {str(given)[:80]}, allowed: a connected distributed.Client that is "
                "not asynchronous",
                option="client",
            )
        return given, False
    address = execution.scheduler or ""
    if execution.scheduler_file is not None:
        address = _address_in(execution.scheduler_file)
    try:
        return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False), True
    except (OSError, ValueError, TimeoutError) as error:
        text = " ".join(str(error).split())[:200]
        raise FileError(f"cannot reach the scheduler {address}: {text}") from error


def _address_in(path: str | Path) -> str:
    """The address in a file that a scheduler wrote; Dask would wait for one that is not there."""
    content = read_json(path)
    address = content.get("address") if isinstance(content, dict) else None
    if not isinstance(address, str) or not address:
        raise FileError(
            f"{path}: found no address, allowed: a file of `dask scheduler --scheduler-file`",
            path=str(path),
        )
    return address


def _check_workers(client: Client, source: Source, ship: bool) -> int:
    """The number of workers, when all of them can do the job."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError:
        raise UsageError("the scheduler has no workers: start some, see docs/cluster.md") from None
    try:
        from r329fast.evaluation.cluster_worker import sees, versions

        found = client.run(versions)
    except Exception as error:
        raise UsageError(
            f"a worker cannot run r329fast ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}): install the same release there"
        ) from error
    own = versions()
    for worker, theirs in found.items():
        for name, version in own.items():
            if theirs.get(name) != version:
                raise UsageError(
                    f"worker {worker} has {name} {theirs.get(name)}, this machine has {version}: "
                    "equal results need equal versions"
                )
    if not ship:
        for worker, there in client.run(sees, source.path).items():
            if not there:
                raise UsageError(
                    f"worker {worker} does not see {source.path}: --ship-images sends the files"
                )
    return len(found)
