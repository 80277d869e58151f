"""One chunk of images through every program and the float network, to a payload of records."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field

import numpy as np

from r329fast.errors import DataError, UsageError
from r329fast.evaluation.baseline import Baseline
from r329fast.evaluation.chunk_log import pack
from r329fast.evaluation.encode import Encoder, Normaliser, check_input
from r329fast.evaluation.feed import Chunk, Decoder, chunk_size
from r329fast.evaluation.score import blank, score, score_float
from r329fast.evaluation.sources import Reader
from r329fast.graph.ir import Graph
from r329fast.images import Preprocess
from r329fast.program.program import Program
from r329fast.simulator import Simulator


@dataclass(frozen=True)
class Job:
    """All that is needed to evaluate a chunk anywhere; plain data that goes to other machines.

    float_graph: None without a baseline. logits: keep the integers of every class. chunk: images
    of a chunk, None lets their size decide.
    """

    programs: tuple[Program, ...]
    reader: Reader
    recipe: Preprocess | None
    reverse: bool = False
    float_graph: Graph | None = None
    logits: bool = False
    backend: str = "numba"
    chunk: int | None = None

    def chunk_images(self) -> int:
        """Images of a chunk."""
        if self.chunk is not None:
            return self.chunk
        item = int(np.prod(self.reader.shape)) * np.dtype(self.reader.dtype).itemsize
        return chunk_size(item)


@dataclass
class Seconds:
    """Where the time went: of the simulator, the float network and of all decoding threads."""

    simulate: float = 0.0
    float_run: float = 0.0
    decode: float = 0.0


@dataclass
class Engine:
    """Simulators, decoder and float session of one process. Raises DataError for a wrong size."""

    job: Job
    threads: int
    seconds: Seconds = field(default_factory=Seconds)

    def __post_init__(self) -> None:
        job = self.job
        for program in job.programs:
            if len(program.inputs) != 1 or len(program.outputs) != 1:
                raise UsageError(
                    f"{program.name} has {len(program.inputs)} inputs and {len(program.outputs)} "
                    "outputs, eval needs one of each (cut the graph with the cfg's output)"
                )
            check_input(job.reader.shape, program.tensors[program.inputs[0]])
        normaliser = Normaliser(job.recipe, job.reverse)
        encoders: dict[object, int] = {}
        self._encoders: list[Encoder] = []
        self._encoder_of: list[int] = []
        for program in job.programs:
            spec = program.tensors[program.inputs[0]]
            same = (spec.dtype, spec.scale, spec.zero_point, spec.qmin, spec.qmax)
            if same not in encoders:
                encoders[same] = len(self._encoders)
                self._encoders.append(Encoder(spec, normaliser))
            self._encoder_of.append(encoders[same])
        self.simulators = [Simulator(p, job.backend, self.threads) for p in job.programs]
        self.decoder = Decoder(job.reader, self._encoders, job.chunk_images(), self.threads)
        self.baseline = None
        if job.float_graph is not None:
            self.baseline = Baseline(job.float_graph, normaliser, self.threads)

    @property
    def classes(self) -> int:
        """Number of classes: values of the output."""
        program = self.job.programs[0]
        return program.tensors[program.outputs[0]].elements

    def warm_up(self) -> None:
        """Compile the kernels and bind the buffers, on zeros."""
        for simulator in self.simulators:
            program = simulator.program
            spec = program.tensors[program.inputs[0]]
            count = self.threads if self.job.backend == "numba" else 0
            simulator.run(np.zeros((count, *spec.shape), dtype=spec.dtype))

    def run(self, chunk: Chunk, classes: np.ndarray, floats: np.ndarray | None = None) -> bytes:
        """Simulate and score a chunk; the payload holds `scoreK`, `float`, `logitsK` and `bad`.

        classes: int64 [n], the true ones. floats: float records that are known already.
        """
        bad = np.array(sorted(chunk.bad), dtype=np.int64)
        self.seconds.decode += chunk.seconds
        arrays: dict[str, np.ndarray] = {}
        for index, simulator in enumerate(self.simulators):
            start = time.perf_counter()
            which = self._encoder_of[index]
            (logits,) = simulator.run(chunk.inputs[which]).values()
            self.seconds.simulate += time.perf_counter() - start
            logits = logits.reshape(len(classes), -1)
            records = score(logits, classes, chunk.saturated[which])
            blank(records, bad)
            arrays[f"score{index}"] = records
            if self.job.logits:
                arrays[f"logits{index}"] = logits
        if floats is None and self.baseline is not None:
            start = time.perf_counter()
            floats = score_float(self.baseline.logits(chunk.pixels), classes)
            blank(floats, bad)
            self.seconds.float_run += time.perf_counter() - start
        if floats is not None:
            arrays["float"] = floats
        words = json.dumps({str(row): chunk.bad[row] for row in sorted(chunk.bad)})
        arrays["bad"] = np.frombuffer(words.encode(), dtype=np.uint8)
        return pack(arrays)

    def close(self) -> None:
        self.decoder.close()
        self.job.reader.close()
        for simulator in self.simulators:
            simulator.close()
        if self.baseline is not None:
            self.baseline.close()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def true_classes(
    labels: np.ndarray, offset: int, classes: int, names: tuple[str, ...]
) -> np.ndarray:
    """Labels as class numbers of the network, int64 [N]; raises DataError out of range."""
    found = labels + offset
    wrong = np.flatnonzero((found < 0) | (found >= classes))
    if len(wrong):
        first = int(wrong[0])
        shift = f" (with label_id_offset {offset})" if offset else ""
        raise DataError(
            f"label {int(labels[first])} of {names[first]!r}{shift}: the network has classes 0 to "
            f"{classes - 1}; {len(wrong)} of {len(labels)} labels are out of range",
            image=names[first],
        )
    return np.asarray(found, dtype=np.int64)
