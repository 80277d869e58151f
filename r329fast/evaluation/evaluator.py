"""One chunk of images through every program and the float network, to a payload of records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r329fast.evaluation.baseline import Baseline, together
from r329fast.evaluation.chunk_log import pack
from r329fast.evaluation.decode_ahead import Chunk, Decoder
from r329fast.evaluation.encode import Encoder, Normaliser, check_input
from r329fast.evaluation.job import Job
from r329fast.evaluation.metrics.metric import Metric, Outputs
from r329fast.evaluation.score import blank, score, score_float
from r329fast.evaluation.several import SeveralEncoder, encoder_key
from r329fast.evaluation.wall_time import Seconds, Span, WallTime
from r329fast.simulator.simulator import Pending, Simulator


@dataclass
class Running:
    """A chunk on its way through the simulators and the float network.

    floats: its float records, where they are known or asked for. seconds: known when finished.
    """

    chunk: Chunk
    classes: np.ndarray
    simulated: list[Pending]
    floats: np.ndarray | list[Future[Outputs]] | None
    spans: tuple[Span, Span]
    targets: Sequence[Any] = ()
    seconds: Seconds = field(default_factory=Seconds)


@dataclass
class Evaluator:
    """Simulators, decoder and float session of one process. Raises DataError for a wrong size.

    Chunks overlap: all work of a chunk stands in the queue of one pool behind that of the chunk
    before, so that no thread idles while another does the last block.
    """

    job: Job
    threads: int

    def __post_init__(self) -> None:
        job = self.job
        for program in job.programs:
            check_input(job.reader.shape, program, job.scored)
        normaliser = Normaliser(job.recipe, job.reverse)
        encoders: dict[object, int] = {}
        self._encoders: list[Encoder] = []
        self._encoder_of: list[int] = []
        for program in job.programs:
            spec, same = program.tensors[program.inputs[0]], encoder_key(program)
            if same not in encoders:
                encoders[same] = len(self._encoders)
                several = len(program.inputs) > 1
                self._encoders.append(
                    SeveralEncoder(program) if several else Encoder(spec, normaliser)
                )
            self._encoder_of.append(encoders[same])
        self.simulators = [Simulator(p, job.backend, self.threads) for p in job.programs]
        graph = job.float_graph
        self.baseline = Baseline(graph, normaliser, job.scored) if graph is not None else None
        size = job.chunk_images()
        self.decoder = Decoder(job.reader, self._encoders, size, self.threads, graph is not None)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="simulate")
        self._time = WallTime()

    @property
    def classes(self) -> int:
        """Number of classes: values of the output."""
        program = self.job.programs[0]
        return program.tensors[program.outputs[0]].elements

    def warm_up(self) -> None:
        """Compile the kernels and bind the buffers, on zeros."""
        for index, simulator in enumerate(self.simulators):
            program = simulator.program
            specs = [program.tensors[name] for name in program.inputs]
            count = self.threads if self.job.backend == "numba" else 0
            zeros = {spec.name: np.zeros((count, *spec.shape), spec.dtype) for spec in specs}
            simulator.submit(zeros, pool=self._pool).result()
            image = np.zeros(self.job.reader.shape, dtype=self.job.reader.dtype)
            encoder = self._encoders[self._encoder_of[index]]
            encoder.into(image, encoder.buffer(1, image.shape)[0])

    def start(
        self,
        chunk: Chunk,
        classes: np.ndarray,
        floats: np.ndarray | None = None,
        targets: Sequence[Any] = (),
    ) -> Running:
        """Begin to simulate a chunk; its buffers stay as they are until it is finished.

        classes: int64 [n], the true ones. floats: float records that are known already. targets:
        of the job's metric.
        """
        simulated = [
            simulator.submit(self._encoders[which].feeds(chunk.inputs[which]), pool=self._pool)
            for simulator, which in zip(self.simulators, self._encoder_of, strict=True)
        ]
        first = self._time.start([future for item in simulated for future in item.futures])
        parts: np.ndarray | list[Future[Outputs]] | None = floats
        if floats is None and self.baseline is not None:
            parts = self.baseline.submit(chunk.pixels, self._pool)
        second = self._time.start(parts if isinstance(parts, list) else [])
        return Running(chunk, classes, simulated, parts, (first, second), targets)

    def finish(self, running: Running) -> bytes:
        """Wait and score; the payload holds `bad`, and of every program K `scoreK` and `logitsK`.

        A metric adds `stateK.NAME`; without classes `saturatedK` takes the place of `scoreK`. Of
        the float network come `float` and `float.NAME`.
        """
        chunk, classes, job = running.chunk, running.classes, self.job
        bad = np.array(sorted(chunk.bad), dtype=np.int64)
        arrays: dict[str, np.ndarray] = {}
        for index, item in enumerate(running.simulated):
            outputs, saturated = item.result(), chunk.saturated[self._encoder_of[index]]
            if job.scored:
                (logits,) = outputs.values()
                logits = logits.reshape(len(classes), -1)
                records = score(logits, classes, saturated)
                blank(records, bad)
                arrays[f"score{index}"] = records
                if job.logits:
                    arrays[f"logits{index}"] = logits
            else:
                arrays[f"saturated{index}"] = saturated.copy()
            if job.metric is not None:
                tensors = job.programs[index].tensors
                reals = {name: tensors[name].dequantize(value) for name, value in outputs.items()}
                arrays |= self._measured(job.metric, running, reals, f"state{index}.")
        floats = running.floats
        if isinstance(floats, list):
            found = together([part.result() for part in floats])
            if job.metric is not None:
                arrays |= self._measured(job.metric, running, found, "float.")
            floats = None
            if job.scored:
                (values,) = found.values()
                floats = score_float(values.reshape(len(classes), -1), classes)
                blank(floats, bad)
        if floats is not None:
            arrays["float"] = floats
        words = json.dumps({str(row): chunk.bad[row] for row in sorted(chunk.bad)})
        arrays["bad"] = np.frombuffer(words.encode(), dtype=np.uint8)
        simulated, float_run = (self._time.seconds(span) for span in running.spans)
        running.seconds = Seconds(simulated, float_run, chunk.seconds)
        return pack(arrays)

    def _measured(
        self, metric: Metric, running: Running, outputs: Outputs, prefix: str
    ) -> dict[str, np.ndarray]:
        """The state of the job's metric, of the images that could be read."""
        bad = running.chunk.bad
        good = [row for row in range(len(running.classes)) if row not in bad]
        state = metric.measure(
            {name: value[good] for name, value in outputs.items()},
            [running.targets[row] for row in good],
        )
        return {f"{prefix}{key}": np.asarray(value) for key, value in state.items()}

    def idle(self, since: float) -> float:
        """Seconds from `since` (of time.perf_counter) to now with nothing to simulate."""
        return self._time.idle(since)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.decoder.close()
        self.job.reader.close()
        for simulator in self.simulators:
            simulator.close()
