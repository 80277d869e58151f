"""Error of every layer against onnxruntime float, over many images in bounded memory.

"entire": the layer in the quantised network, all errors before it included. "single": the layer
alone quantised, its inputs being the float network's, quantised at their scales. Sums run over
all values of all images: cosine and signal-to-noise ratio are those of the joined vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph
from r329fast.profile import error_kernels as kernels
from r329fast.profile.data_counters import Advance, blocks, level_steps
from r329fast.profile.subprograms import SINGLE, isolated
from r329fast.program.program import Program, TensorSpec
from r329fast.simulator.simulator import Simulator

_BLOCK_BYTES = 48 << 20  # float32 values of a block, all tensors
BIN_STEPS = 4  # levels (of bytes: output steps) in a bin of the histograms
BINS_BEYOND = 16  # bins of the float histogram below and above the integers' range
SNR_LIMIT = 200.0  # dB; what an error of exactly zero is given as


def ratio_db(signal: float, noise: float) -> float:
    """Signal over noise in dB, within +-SNR_LIMIT."""
    if noise == 0:
        return SNR_LIMIT
    if signal == 0:
        return -SNR_LIMIT
    return float(np.clip(10 * np.log10(signal / noise), -SNR_LIMIT, SNR_LIMIT))


@dataclass
class ErrorSums:
    """Running sums over pairs of float and integer values (places: error_kernels)."""

    sums: np.ndarray = field(default_factory=lambda: np.zeros(kernels.SUMS))

    def add(self, x: np.ndarray, q: np.ndarray, spec: TensorSpec) -> None:
        """x: float32 [N, ...]; q: integers of `spec` of the same shape."""
        flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1)
        if spec.itemsize > 1:
            self._add_wide(flat.astype(np.float64), spec.dequantize(q).reshape(-1), spec.scale)
            return
        raw = np.ascontiguousarray(q).reshape(-1).view(np.uint8)
        kernels.error_sums(flat, raw, byte_values(spec), float(spec.scale), self.sums)

    def _add_wide(self, x: np.ndarray, values: np.ndarray, scale: float) -> None:
        """The same of integers of more than a byte, whose values are float32 (n,)."""
        steps = np.abs(values - x) * scale
        self.sums[kernels.DOT] += (x * values).sum()
        self.sums[kernels.FLOAT_SQUARE] += (x * x).sum()
        self.sums[kernels.INT_SQUARE] += np.square(values, dtype=np.float64).sum()
        self.sums[kernels.ERROR_SQUARE] += np.square(values - x).sum()
        self.sums[kernels.ABS_STEPS] += steps.sum()
        self.sums[kernels.MAX_STEPS] = max(self.sums[kernels.MAX_STEPS], steps.max(initial=0.0))
        self.sums[kernels.COUNT] += x.size

    @property
    def cosine(self) -> float:
        norm = self.sums[kernels.FLOAT_SQUARE] * self.sums[kernels.INT_SQUARE]
        if norm == 0:
            both = self.sums[kernels.FLOAT_SQUARE] == self.sums[kernels.INT_SQUARE]
            return 1.0 if both else 0.0
        return float(min(self.sums[kernels.DOT] / np.sqrt(norm), 1.0))

    @property
    def snr(self) -> float:
        """dB."""
        return ratio_db(self.sums[kernels.FLOAT_SQUARE], self.sums[kernels.ERROR_SQUARE])

    @property
    def max_steps(self) -> float:
        return float(self.sums[kernels.MAX_STEPS])

    @property
    def mean_steps(self) -> float:
        return float(self.sums[kernels.ABS_STEPS] / max(self.sums[kernels.COUNT], 1))


def byte_values(spec: TensorSpec) -> np.ndarray:
    """float32 (256,): the real value of each byte of the tensor's dtype."""
    return spec.dequantize(np.arange(256, dtype=np.uint8).view(spec.dtype))


@dataclass
class LayerError:
    """Errors of one layer, and its float values' histogram, int64 (BINS,).

    The histogram's bins are BIN_STEPS levels (`level_steps`) wide and begin BINS_BEYOND bins below
    the lowest integer of the dtype; its first and last bin hold all that lies beyond.
    """

    name: str
    entire: ErrorSums = field(default_factory=ErrorSums)
    single: ErrorSums = field(default_factory=ErrorSums)
    float_low: float = np.inf
    float_high: float = -np.inf
    histogram: np.ndarray = field(
        default_factory=lambda: np.zeros(256 // BIN_STEPS + 2 * BINS_BEYOND, dtype=np.int64)
    )


@dataclass
class ErrorAnalysis:
    """All layers but the inputs, in IR order; fractions over `images`.

    top1, float_top1: accuracies, None without labels; agreement: images whose largest output is
    the float network's. output: errors of the network's first output.
    """

    layers: dict[str, LayerError]
    images: int = 0
    agreement: float = 0.0
    top1: float | None = None
    float_top1: float | None = None
    output: ErrorSums = field(default_factory=ErrorSums)


@dataclass(frozen=True)
class LabelledBatch:
    """float32 [N, *input shape] (NHWC, as the float network takes it), and int64 [N] or None."""

    x: np.ndarray
    labels: np.ndarray | None = None


Batches = Iterable[LabelledBatch]


def float_block(graph: Graph) -> int:
    """Images whose float tensors may be in memory at once."""
    size = 4 * sum(int(np.prod(shape)) for shape in graph.shapes.values())
    return max(_BLOCK_BYTES // max(size, 1), 1)


def labelled_blocks(batches: Batches, size: int) -> Iterable[LabelledBatch]:
    """The same images in batches of at most `size`."""
    for batch in batches:
        for first, part in enumerate(blocks([batch.x], size)):
            start = first * size
            labels = None if batch.labels is None else batch.labels[start : start + size]
            yield LabelledBatch(part, labels)


def top_class(values: np.ndarray) -> np.ndarray:
    """int64 [N]: index of the largest value of each image, the first among equals."""
    return values.reshape(len(values), -1).argmax(axis=1)


def analyse_errors(
    graph: Graph,
    program: Program,
    batches: Batches,
    *,
    threads: int = 1,
    on_tensors: Callable[[dict[str, np.ndarray]], None] | None = None,
    advance: Advance | None = None,
) -> ErrorAnalysis:
    """Run float and integers side by side and compare layer by layer.

    graph: the float graph that `program` was made from, with one input. on_tensors is called with
    each block's integers by tensor name (so that counting needs no second run); advance(n) after
    each block of n images.
    """
    names = tuple(program.tensors)
    alone = isolated(program)
    result = ErrorAnalysis({})
    for layer in program.layers:
        if not layer.is_input:
            result.layers[layer.name] = LayerError(layer.name)
    agreed = right = float_right = 0
    labelled = True
    session = FloatSession(graph, keep="all", threads=threads)
    with (
        closing(Simulator(program, threads=threads)) as whole,
        closing(Simulator(alone, threads=threads)) as singles,
    ):
        for batch in labelled_blocks(batches, float_block(graph)):
            floats = {graph.inputs[0]: batch.x, **session.run(batch.x)}
            q = program.quantize_input(batch.x)
            entire = whole.run(q, keep=names)
            feeds = {name: program.quantize_input(floats[name], name) for name in alone.inputs}
            single = singles.run(feeds)
            _add_layers(program, result, floats, entire, single)
            if on_tensors is not None:
                on_tensors(entire)
            output = program.outputs[0]
            result.output.add(floats[output], entire[output], program.tensors[output])
            expected, found = top_class(floats[output]), top_class(entire[output])
            agreed += int((expected == found).sum())
            if batch.labels is None:
                labelled = False
            else:
                right += int((found == batch.labels).sum())
                float_right += int((expected == batch.labels).sum())
            result.images += len(batch.x)
            if advance is not None:
                advance(len(batch.x))
    count = max(result.images, 1)
    result.agreement = agreed / count
    if labelled and result.images:
        result.top1, result.float_top1 = right / count, float_right / count
    return result


def _add_layers(
    program: Program,
    result: ErrorAnalysis,
    floats: dict[str, np.ndarray],
    entire: dict[str, np.ndarray],
    single: dict[str, np.ndarray],
) -> None:
    for layer in program.layers:
        if layer.is_input:
            continue
        errors = result.layers[layer.name]
        for name in layer.outputs:
            spec = program.tensors[name]
            x = np.ascontiguousarray(floats[name])
            errors.entire.add(x, entire[name], spec)
            errors.single.add(x, single[SINGLE + name], spec)
            errors.float_low = min(errors.float_low, float(x.min()))
            errors.float_high = max(errors.float_high, float(x.max()))
            # real value of the dtype's lowest integer, in steps
            bin_steps = BIN_STEPS * level_steps(spec)
            lowest = spec.lowest + spec.zero_point
            start = float(lowest - BINS_BEYOND * bin_steps) - 0.5
            kernels.float_histogram(
                x.reshape(-1), float(spec.scale), start, float(bin_steps), errors.histogram
            )
