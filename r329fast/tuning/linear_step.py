"""One convolution or fully connected layer of a walk: the candidates, and the best of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.ir import ConvAttrs, Layer, Weights
from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import real_multiplier
from r329fast.tuning.fit import (
    LIMIT,
    Aim,
    Moments,
    Problem,
    first_aim,
    fit_bias,
    fit_integers,
    moments,
)
from r329fast.tuning.float_side import FloatSide
from r329fast.tuning.patches import at_places, layer_inputs
from r329fast.tuning.walk import Lowered, Walk, with_consts


@dataclass(frozen=True)
class LinearView:
    """A lowered linear layer as numbers: real x = inputs / s_in, y = accumulator * scale.

    x: float32 [S, taps, Cin]; scale: float64 (O,), the real value of an accumulator step, its
    multiplier as it is; weight_scale, (O,): what the quantiser multiplies the weights by.
    """

    x: np.ndarray
    scale: np.ndarray
    input_scale: float
    weight_scale: np.ndarray
    low: float
    high: float
    op: Op


_TURNED = 64  # samples
_WIDE = 4096  # inputs
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)  # of the largest weight that is not cut off
_AT_LEAST = 0.01  # what an error in a channel counts, as a share of the mean


def cut_off(layer: Layer, spec: TensorSpec) -> tuple[float, float]:
    """Real values beyond which the output stays the same."""
    low = (spec.qmin + spec.zero_point) / spec.scale
    high = (spec.qmax + spec.zero_point) / spec.scale
    if layer.act.kind in ("RELU", "RELU6"):
        low = max(low, 0.0)
    elif layer.act.kind == "CLIP":
        low, high = max(low, layer.act.clip_min), min(high, layer.act.clip_max)
    elif ACTIVATIONS[layer.act.kind].epilogue != "NONE":
        low, high = -np.inf, np.inf  # a bent line: its sums are aimed at, nothing is cut off
    return low, high


def steps(lowered: Lowered) -> np.ndarray:
    """float64 (O,): the real value of an accumulator's step, by its multiplier as it is."""
    layer, consts = lowered.layer, lowered.ops[0].consts
    real = real_multiplier(consts["mult"], consts["shift"])
    scale = lowered.tensors[layer.outputs[0]].scale
    return np.broadcast_to(real / scale, (len(layer.consts["weights"]),))


def weight_steps(walk: Walk, index: int, lowered: Lowered) -> np.ndarray:
    """float64 (O,): what the quantiser multiplies the weights by."""
    layer = lowered.layer
    x_spec, y_spec = walk.specs[layer.inputs[0]], lowered.tensors[layer.outputs[0]]
    found = walk.scheme.linear(index, layer, x_spec, y_spec).weight_scale.astype(np.float64)
    return np.broadcast_to(found, (len(layer.consts["weights"]),))


def view(
    walk: Walk, index: int, lowered: Lowered, images: np.ndarray, places: np.ndarray
) -> LinearView:
    """Of the `images`, bool [N], at their places [N, P]: S samples."""
    layer, op = lowered.layer, lowered.ops[0]
    x_spec, y_spec = walk.specs[layer.inputs[0]], lowered.tensors[layer.outputs[0]]
    shape = walk.graph.shapes[layer.outputs[0]]
    width = shape[1] if len(shape) == 3 else 1
    pad: np.ndarray | float = 0.0
    if "pad_values" in op.consts:
        pad = op.consts["pad_values"].astype(np.float32) + x_spec.zero_point
    x = walk.values[layer.inputs[0]]
    rows = np.flatnonzero(images)
    return LinearView(
        layer_inputs(layer, x, rows, places[rows], width, x_spec.zero_point, pad),
        steps(lowered),
        x_spec.scale,
        weight_steps(walk, index, lowered),
        *cut_off(layer, y_spec),
        op,
    )


def grouped_inputs(layer: Layer, x: np.ndarray) -> np.ndarray:
    """float32 [G, S, K]: what each group of output channels reads, of x [S, taps, Cin]."""
    samples, taps, channels = x.shape
    groups = layer.params(ConvAttrs).group if isinstance(layer.attrs, ConvAttrs) else 1
    if layer.facts.weights is Weights.DEPTHWISE:
        groups = channels
    parts = x.reshape(samples, taps, groups, channels // groups).transpose(2, 0, 1, 3)
    if groups == 1:
        return parts.reshape(groups, samples, -1)
    result = np.empty(parts.shape, dtype=np.float32)
    for first in range(0, samples, _TURNED):  # what is turned at once stays in the cache
        result[:, first : first + _TURNED] = parts[:, first : first + _TURNED]
    return result.reshape(groups, samples, -1)


def layer_products(layer: Layer, x: np.ndarray, q: np.ndarray) -> np.ndarray:
    """float32 [S, O]: sums of x [S, taps, Cin] times the integers q, of the weights' shape."""
    samples, taps, channels = x.shape
    weights = q.astype(np.float32)
    if layer.facts.weights is Weights.DEPTHWISE and len(weights) == channels:
        columns = np.ascontiguousarray(weights.reshape(channels, taps).T)
        found = x[:, 0] * columns[0]
        for tap in range(1, taps):
            found += x[:, tap] * columns[tap]
        return found
    groups = grouped_inputs(layer, x)
    each = weights.reshape(len(groups), -1, groups.shape[-1])
    found = (groups @ each.transpose(0, 2, 1)).transpose(1, 0, 2)
    return np.ascontiguousarray(found).reshape(samples, -1)


def _safe(scale: np.ndarray) -> np.ndarray:
    """1 in place of 0, for channels that cannot reach the output: theirs are not written."""
    return np.where(scale == 0, 1.0, scale)


def grid_factor(ideal: np.ndarray, variance: np.ndarray, counted: np.ndarray) -> float:
    """How much coarser than now the grid of per-tensor weights is best: rounding against cutting.

    ideal: (O, K) in steps of the grid as it is; variance: (K,) of the inputs; counted: (O,), what
    an error in each output counts.
    """
    largest = float(np.abs(ideal).max())
    if largest == 0:
        return 1.0
    best, least = 1.0, np.inf
    for share in _SHARES:
        factor = share * largest / LIMIT
        q = np.clip(np.rint(ideal / factor), -LIMIT, LIMIT)
        loss = float(counted @ ((q * factor - ideal) ** 2 @ variance))
        if loss < least:
            best, least = factor, loss
    return best


def largest_kept(ideal: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """float64 (O,): where each row of weights is best cut off, on a grid of its own.

    ideal: (O, K), real; variance: (O, K) or (1, K) of the inputs.
    """
    largest = np.abs(ideal).max(axis=1)
    best, least = largest.copy(), np.full(len(ideal), np.inf)
    for share in _SHARES:
        step = np.maximum(share * largest / LIMIT, 1e-30)[:, None]
        q = np.clip(np.rint(ideal / step), -LIMIT, LIMIT)
        loss = ((q * step - ideal) ** 2 * variance).sum(axis=1)
        better = loss < least
        best[better], least[better] = share * largest[better], loss[better]
    return best


def counted_errors(arriving: np.ndarray | None, channels: int) -> np.ndarray:
    """float64 (C,) with a mean of 1: what a squared error in each channel counts.

    None counts nothing at all: the images that `arriving` comes from do not show everything.
    """
    if arriving is None or not arriving.any():
        return np.ones(channels)
    found = arriving / arriving.mean() + _AT_LEAST
    return np.asarray(found / found.mean())


def snapped(rescale: float) -> float:
    """The nearest multiplier of 8 bits over a power of two, so that nothing is lost in it."""
    shift = np.floor(np.log2(255 / rescale))
    return float(np.rint(rescale * 2**shift) / 2**shift)


class LinearStep:
    """Candidates for the layer at `index` of a walk.

    rows: int64 [N], the walk's images among the float side's; fitted, judging: bool [N], the
    images that weights are fitted to, and those that choose among candidates; arriving: float64
    (C,), what of an error in a channel arrives at the network's output (None: all count alike).
    """

    def __init__(
        self,
        walk: Walk,
        index: int,
        side: FloatSide,
        rows: np.ndarray,
        fitted: np.ndarray,
        judging: np.ndarray,
        arriving: np.ndarray | None = None,
        damping: float = 0.01,
    ) -> None:
        self.walk, self.index, self.side, self.rows = walk, index, side, rows
        self.fitted, self.judging = fitted, judging
        self.layer = walk.graph.layers[index]
        self.damping = damping
        self.counted = counted_errors(arriving, walk.graph.shapes[self.layer.outputs[0]][-1])
        self.places = side.places[self.layer.name][rows]
        self.base = walk.lower(index, self.layer)

    @cached_property
    def _expected(self) -> np.ndarray:
        """float32 [N, P, C]: the float layer's output at the places."""
        return self.side.values[self.layer.name][self.rows]

    @property
    def signal(self) -> float:
        """Of the float layer's output over the images that judge."""
        squares = self._expected[self.judging].astype(np.float64) ** 2
        return float((squares @ self.counted).sum())

    def judge(self, outputs: dict[str, np.ndarray], lowered: Lowered) -> tuple[float, float]:
        """Squared error at the places, each channel's as it counts: over the images fitted to,
        over those that judge."""
        name = self.layer.outputs[0]
        spec = lowered.tensors[name]
        error = spec.dequantize(at_places(outputs[name], self.places))
        error -= self._expected
        np.square(error, out=error)
        each = error.sum(axis=1, dtype=np.float64) @ self.counted
        return float(each[self.fitted].sum()), float(each[self.judging].sum())

    @cached_property
    def _seen(self) -> LinearView:
        return view(self.walk, self.index, self.base, self.fitted, self.places)

    @cached_property
    def _sums(self) -> np.ndarray:
        """float32 [S, O]: the float layer's sums on the images fitted to."""
        sums = self.side.sums[self.layer.name][self.rows[self.fitted]]
        return sums.reshape(-1, sums.shape[-1])

    def _problem(self) -> Problem:
        seen, weights = self._seen, self.layer.consts["weights"].astype(np.float64)
        _, grid = np.unique(seen.weight_scale, return_inverse=True)
        return Problem(
            grouped_inputs(self.layer, seen.x),
            self._sums,
            _safe(seen.scale),
            weights.reshape(len(weights), -1) / seen.input_scale,
            grid,
            seen.low,
            seen.high,
        )

    def bias_only(self) -> Lowered:
        """The weights as they are, every bias corrected."""
        seen, scale = self._seen, _safe(self._seen.scale)
        products = layer_products(self.layer, seen.x, seen.op.consts["weights"])
        products *= scale.astype(np.float32)
        start = self.layer.consts["bias"] / scale
        bias = fit_bias(products, self._sums, scale, start, seen.low, seen.high)
        return self._written(None, bias, seen.weight_scale, seen)

    def rounded(self, trusts: Sequence[float]) -> list[Lowered]:
        """Weights and biases fitted together, once for each trust (see `fit_integers`)."""
        if not self.layer.consts["weights"].any():
            return []
        seen, problem = self._seen, self._problem()
        found, weight_scale = moments(problem.x, self.damping), seen.weight_scale
        now = problem.products(problem.weights) + self.layer.consts["bias"]
        aim = first_aim(problem, found, now)
        if seen.op.consts["mult"].size == 1 and len(problem.x) == 1:
            problem, weight_scale = self._on_best_grid(problem, found, aim, seen)
        elif seen.op.consts["mult"].size == len(seen.scale) == len(problem.x):
            problem, seen = self._on_best_rows(problem, found, aim, seen)
            weight_scale = seen.weight_scale
        # several fits of a wide layer at once would take hundreds of MB more
        wide = problem.weights.shape[-1] >= _WIDE
        with ThreadPoolExecutor(1 if wide else self.walk.threads) as pool:
            fits = list(pool.map(partial(fit_integers, problem, found, aim), trusts))
        return [self._written(q, bias, weight_scale, seen) for q, bias in fits]

    def _on_best_grid(
        self, problem: Problem, found: Moments, aim: Aim, seen: LinearView
    ) -> tuple[Problem, np.ndarray]:
        """(the problem in steps of the grid that rounds its weights best, the weights' scale)."""
        ideal = aim.weights / problem.scale[:, None]
        variance = np.diag(found.gram[0]).astype(np.float64)
        factor = grid_factor(ideal, variance, self.counted)
        output = self.base.tensors[self.layer.outputs[0]].scale
        rescale = snapped(float(seen.scale[0]) * factor * output)
        count = len(seen.scale)
        weight_scale = np.full(count, output / (seen.input_scale * rescale))
        scale = np.full(count, rescale / output)
        return dataclasses.replace(problem, scale=scale), weight_scale

    def _on_best_rows(
        self, problem: Problem, found: Moments, aim: Aim, seen: LinearView
    ) -> tuple[Problem, LinearView]:
        """The same of depthwise layers, with a scale for each channel: the ideal weights' own.

        Wide layers keep the float weights' scales: with grids of their own a MobileNetV2 lost 0.5
        dB on halves of its calibration images, where luck alone can be as much.
        """
        shape = (len(problem.x), -1, problem.weights.shape[1])
        variance = np.einsum("gkk->gk", found.gram)[:, None].astype(np.float64)
        variance = np.broadcast_to(variance, aim.weights.reshape(shape).shape)
        most = largest_kept(aim.weights, variance.reshape(aim.weights.shape))[:, None]
        weights = np.clip(aim.weights, -most, most) * seen.input_scale
        old = self.layer.consts["weights"].reshape(weights.shape)
        fixed = (seen.scale == 0) | ~weights.any(axis=1)
        layer = with_consts(
            self.layer, np.where(fixed[:, None], old, weights), self.layer.consts["bias"]
        )
        lowered = self.walk.lower(self.index, layer)
        seen = dataclasses.replace(
            seen,
            scale=steps(lowered),
            weight_scale=weight_steps(self.walk, self.index, lowered),
            op=lowered.ops[0],
        )
        _, grid = np.unique(seen.weight_scale, return_inverse=True)
        return dataclasses.replace(problem, scale=_safe(seen.scale), grid=grid), seen

    def _written(
        self, q: np.ndarray | None, bias: np.ndarray, weight_scale: np.ndarray, seen: LinearView
    ) -> Lowered:
        """Integers as the float weights and biases that the quantiser makes them of."""
        column = weight_scale[:, None]
        weights = self.layer.consts["weights"] if q is None else q / column
        bias_scale = weight_scale * seen.input_scale
        wanted = np.where(np.isfinite(bias), np.rint(bias), 0)
        dead = np.broadcast_to(seen.op.consts["mult"] == 0, wanted.shape)
        if dead.any():
            wanted = np.where(dead, 0, wanted)
            old = self.layer.consts["weights"].reshape(len(bias), -1)
            weights = np.where(dead[:, None], old, np.reshape(weights, old.shape))
        lowered = self.walk.lower(self.index, with_consts(self.layer, weights, wanted / bias_scale))
        stored = lowered.ops[0].consts["bias"].astype(np.int64)
        lost = int(np.bitwise_or.reduce(stored))
        low_bits = (lost & -lost).bit_length() - 1 if lost else 0
        if low_bits > 0:  # the low bits are floored away: meet the nearest instead
            half = 1 << (low_bits - 1)
            shifted = np.where(dead, 0, wanted + half)
            lowered = self.walk.lower(
                self.index, with_consts(self.layer, weights, shifted / bias_scale)
            )
        return lowered
