"""Passes over the layers: norms folded, activations fused, padding and shuffles recognised.

What the vendor's 2021 tool does: a norm goes into the convolution before it, an activation into
the convolution, fully connected or eltwise layer before it; a norm that stands alone keeps its
activation as a layer of its own. A fused layer keeps the name of the layer that computes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.clip import clip_act, clip_bounds
from r329fast.graph.ir import (
    ActivationAttrs,
    BatchNormAttrs,
    ChannelShuffleAttrs,
    ConvAttrs,
    ConvTransposeAttrs,
    CropAttrs,
    EltwiseAttrs,
    FullyConnectedAttrs,
    Layer,
    MatMulAttrs,
    PadAttrs,
    ReshapeAttrs,
    TransposeAttrs,
)


@dataclass
class Draft:
    """A graph in the making.

    renamed: tensor that a fusion removed -> tensor that replaced it; changed: tensors that hold
    other values than before, because something behind them was folded into their layer.
    made: tensor -> its layer; uses: how often a tensor is read, being a graph output counts as
    well. Both follow every change, so that a pass takes time in proportion to the layers; layers
    that were removed stay in `layers` until `sweep`.
    """

    layers: list[Layer]
    shapes: dict[str, tuple[int, ...]]
    outputs: list[str]
    renamed: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._removed: set[int] = set()
        self.made = {name: layer for layer in self.layers for name in layer.outputs}
        self.uses: Counter[str] = Counter(self.outputs)
        self._readers: dict[str, list[Layer]] = {}
        self._places: dict[str, list[int]] = {}
        for layer in self.layers:
            self._reads(layer)
        for place, name in enumerate(self.outputs):
            self._places.setdefault(name, []).append(place)

    def _reads(self, layer: Layer) -> None:
        self.uses.update(layer.inputs)
        for name in layer.inputs:
            self._readers.setdefault(name, []).append(layer)

    def feed(self, layer: Layer, inputs: tuple[str, ...]) -> None:
        """Let `layer` read other tensors."""
        self.uses.subtract(layer.inputs)
        layer.inputs = inputs
        self._reads(layer)

    def absorb(self, layer: Layer, into: Layer) -> None:
        """Drop `layer`, whose work `into` (its producer) now does as well."""
        self.remove(layer)
        self.redirect(layer.outputs[0], into.outputs[0])

    def remove(self, layer: Layer) -> None:
        """Drop `layer`; whoever read it must already read something else, or soon does."""
        self._removed.add(id(layer))
        self.uses.subtract(layer.inputs)
        for name in layer.outputs:
            self.made.pop(name, None)

    def redirect(self, old: str, new: str) -> None:
        """Let every reader of tensor `old` read `new`."""
        for layer in self._readers.pop(old, []):
            if old in layer.inputs and id(layer) not in self._removed:
                self.feed(layer, tuple(new if name == old else name for name in layer.inputs))
        for place in self._places.pop(old, []):
            self.outputs[place] = new
            self._places.setdefault(new, []).append(place)
            self.uses.subtract([old])
            self.uses.update([new])
        self.renamed[old] = new

    def sweep(self) -> None:
        """Take the removed layers off the list."""
        self.layers = [layer for layer in self.layers if id(layer) not in self._removed]
        self._removed.clear()


def fuse(draft: Draft) -> None:
    """All passes, in the order in which each finds what the one before made."""
    drop_unused(draft)
    with np.errstate(all="ignore"):  # what is not finite in the end is reported by layer
        for first in (fold_norms, merge_factors, fold_zero_pads, fold_input_norms):
            first(draft)
            draft.sweep()
    for then in (join_clips, fuse_activations, find_channel_shuffles):
        then(draft)
        draft.sweep()
    with np.errstate(all="ignore"):
        settle_norms(draft)
    drop_unused(draft)
    check_consts(draft.layers)


def drop_unused(draft: Draft) -> None:
    """Remove layers that no output depends on; inputs stay."""
    wanted = set(draft.outputs)
    for layer in reversed(draft.layers):
        if layer.is_input or any(name in wanted for name in layer.outputs):
            wanted.update(layer.inputs)
        else:
            draft.remove(layer)
    draft.sweep()


def _sole_source(draft: Draft, layer: Layer) -> Layer | None:
    """The one-output layer of which `layer` is the only reader, and which is all it reads."""
    if len(layer.inputs) != 1 or draft.uses[layer.inputs[0]] != 1:
        return None
    producer = draft.made.get(layer.inputs[0])
    return producer if producer is not None and len(producer.outputs) == 1 else None


# --- norms ----------------------------------------------------------------------------------


def fold_norms(draft: Draft) -> None:
    """Fold a BatchNorm into the linear layer or norm before it, float32 as the vendor's parser.

    w' = w * s; b' = (b - mean) * s + beta, every step rounded to float32.
    """
    for layer in draft.layers:
        producer = _sole_source(draft, layer) if isinstance(layer.attrs, BatchNormAttrs) else None
        if producer is None:
            continue
        maker, between = _behind_reshapes(draft, producer)
        scale, mean, shift = (layer.consts[key] for key in ("scale", "mean", "shift"))
        if maker.facts.linear and maker.act.kind == "NONE":
            weights = maker.consts["weights"]
            maker.consts["weights"] = _scaled(maker, weights, scale)
            maker.consts["bias"] = (maker.consts["bias"] - mean) * scale + shift
        elif isinstance(maker.attrs, BatchNormAttrs):
            maker.consts["shift"] = (maker.consts["shift"] - mean) * scale + shift
            maker.consts["scale"] = maker.consts["scale"] * scale
        else:
            continue
        draft.absorb(layer, producer)
        draft.changed.update(between)


def _scaled(layer: Layer, weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Weights times a factor per output channel."""
    if not isinstance(layer.attrs, ConvTransposeAttrs):
        return np.asarray(weights * scale.reshape(-1, *(1,) * (weights.ndim - 1)))
    # (O/group, kh, kw, I): output channels of a group belong to the group's input channels
    groups, outs = layer.attrs.group, len(weights)
    apart = weights.reshape(*weights.shape[:3], groups, -1)
    factors = scale.reshape(groups, outs).T[:, None, None, :, None]
    return np.ascontiguousarray((apart * factors).reshape(weights.shape))


def _behind_reshapes(draft: Draft, layer: Layer) -> tuple[Layer, list[str]]:
    """(what feeds a row of reshapes that ends with `layer`, the tensors on the way), as far as
    the channels stay the last axis and nothing else reads them."""
    made, uses = draft.made, draft.uses
    passed: list[str] = []
    while isinstance(layer.attrs, ReshapeAttrs):
        source = layer.inputs[0]
        before, after = draft.shapes[source], draft.shapes[layer.outputs[0]]
        if before[-1:] != after[-1:] or uses[source] != 1 or source not in made:
            break
        layer = made[source]
        passed.append(source)
    return layer, passed


def merge_factors(draft: Draft) -> None:
    """Merge a constant factor into the MatMul before it; a Crop, which crops nothing, stays.

    As the vendor does (spec B.22): one value above zero for all elements, behind layers that only
    change the shape. The product and what lies between then hold the values with the factor.
    """
    for layer in draft.layers:
        producer = _sole_source(draft, layer) if isinstance(layer.attrs, BatchNormAttrs) else None
        if producer is None:
            continue
        scale, mean, shift = (layer.consts[key] for key in ("scale", "mean", "shift"))
        factor = float(scale[0])
        if factor <= 0 or np.any(scale != scale[0]) or np.any(shift - mean * scale):
            continue
        between = []
        while isinstance(producer.attrs, ReshapeAttrs) and draft.uses[producer.inputs[0]] == 1:
            between.append(producer.outputs[0])
            if producer.inputs[0] not in draft.made:
                break
            producer = draft.made[producer.inputs[0]]
        attrs = producer.attrs
        if not isinstance(attrs, MatMulAttrs) or attrs.multiplier != 1.0 or factor == 1.0:
            continue
        producer.attrs = replace(attrs, multiplier=factor)
        layer.type, layer.attrs, layer.consts = "Crop", CropAttrs(), {}
        draft.changed.update((producer.outputs[0], *between))


def fold_input_norms(draft: Draft) -> None:
    """Fold a norm right behind a graph input into the convolution that alone reads it.

    With y = s*x + t in front of it, a convolution has the weights w*s and the bias b + sum(w*t);
    the zeros it pads with are -t/s before the norm, which "pad_values" holds.
    """
    for layer in draft.layers:
        attrs = layer.attrs
        if not isinstance(attrs, ConvAttrs):
            continue
        norm = draft.made.get(layer.inputs[0])
        if norm is None or not isinstance(norm.attrs, BatchNormAttrs):
            continue
        source = draft.made[norm.inputs[0]]
        if not source.is_input or draft.uses[layer.inputs[0]] != 1:
            continue
        scale = norm.consts["scale"].astype(np.float64)
        shift = norm.consts["shift"] - norm.consts["mean"] * scale
        if any(attrs.pads) and not np.all(scale):
            continue  # a border of zeros could not be distinguished from the image
        weights = layer.consts["weights"]
        outputs, _, _, inputs = weights.shape
        # input channel of weight (o, .., i): groups follow one another
        first = np.arange(outputs) // (outputs // attrs.group) * inputs
        index = first[:, None] + np.arange(inputs)
        bias = layer.consts["bias"] + np.einsum(
            "ohwi,oi->o", weights.astype(np.float64), shift[index]
        )
        layer.consts["weights"] = (weights * scale[index][:, None, None, :]).astype(np.float32)
        layer.consts["bias"] = bias.astype(np.float32)
        if any(attrs.pads) and np.any(shift):
            layer.consts["pad_values"] = (-shift / scale).astype(np.float32)
        draft.feed(layer, norm.inputs)
        draft.remove(norm)


def settle_norms(draft: Draft) -> None:
    """Turn the norms that are left into y = x * weights + bias."""
    for layer in draft.layers:
        if isinstance(layer.attrs, BatchNormAttrs) and "scale" in layer.consts:
            scale, mean, shift = (layer.consts[key] for key in ("scale", "mean", "shift"))
            layer.consts = {"weights": scale, "bias": (0 - mean) * scale + shift}


# --- padding, activations -------------------------------------------------------------------


def fold_zero_pads(draft: Draft) -> None:
    """Fold a Pad that adds zeros around H and W into the convolution that alone reads it."""
    for layer in draft.layers:
        attrs = layer.attrs
        if not isinstance(attrs, ConvAttrs):
            continue
        pad = draft.made.get(layer.inputs[0])
        what = pad.attrs if pad is not None else None
        if pad is None or not isinstance(what, PadAttrs) or draft.uses[layer.inputs[0]] != 1:
            continue
        if what.mode != "CONSTANT" or what.value != 0 or any(what.pads[2]):
            continue
        (top, bottom), (left, right), _ = what.pads
        more = (top, left, bottom, right)
        pads = tuple(a + b for a, b in zip(attrs.pads, more, strict=True))
        layer.attrs = replace(attrs, pads=(pads[0], pads[1], pads[2], pads[3]))
        draft.feed(layer, pad.inputs)
        draft.remove(pad)


def join_clips(draft: Draft) -> None:
    """Make one activation of two that clip, one behind the other (ReLU6 as Max and Min)."""
    for layer in draft.layers:
        first = _sole_source(draft, layer) if isinstance(layer.attrs, ActivationAttrs) else None
        if first is None:
            continue
        bounds = [clip_bounds(other.act) for other in (first, layer)]
        if not isinstance(first.attrs, ActivationAttrs) or None in bounds:
            continue
        (low, high), (floor, ceiling) = ((0.0, 0.0) if b is None else b for b in bounds)
        if max(low, floor) <= min(high, ceiling):
            first.attrs = ActivationAttrs(clip_act(max(low, floor), min(high, ceiling)))
            draft.absorb(layer, first)


# Layers that may carry the activation behind them.
_CARRIERS = (ConvAttrs, ConvTransposeAttrs, FullyConnectedAttrs, EltwiseAttrs)


def fuse_activations(draft: Draft) -> None:
    """Let convolution, fully connected and eltwise layers carry the activation behind them."""
    for layer in draft.layers:
        if not isinstance(layer.attrs, ActivationAttrs):
            continue
        act = layer.attrs.act
        producer = _sole_source(draft, layer)
        if producer is None or not ACTIVATIONS[act.kind].fusable:
            continue
        attrs = producer.attrs
        if not isinstance(attrs, _CARRIERS) or attrs.act.kind != "NONE":
            continue
        producer.attrs = replace(attrs, act=act)
        producer.consts.update(layer.consts)
        draft.absorb(layer, producer)


# --- channel shuffle ------------------------------------------------------------------------


def find_channel_shuffles(draft: Draft) -> None:
    """[.., C] -> [.., g, C/g] -> swap -> [.., C] is a ChannelShuffle; it keeps the last name."""
    for last in draft.layers:
        if not isinstance(last.attrs, ReshapeAttrs):
            continue
        made, uses = draft.made, draft.uses
        swap = made.get(last.inputs[0])
        if swap is None or not isinstance(swap.attrs, TransposeAttrs):
            continue
        if uses[last.inputs[0]] != 1:
            continue
        first = made.get(swap.inputs[0])
        if first is None or not isinstance(first.attrs, ReshapeAttrs):
            continue
        if uses[swap.inputs[0]] != 1:
            continue
        shape = draft.shapes[first.inputs[0]]
        split = first.attrs.shape
        rank = len(split)
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        if last.attrs.shape == shape and split[:-2] == shape[:-1] and swap.attrs.perm == swapped:
            last.type, last.attrs = "ChannelShuffle", ChannelShuffleAttrs(split[-2])
            last.parts = first.name, (swap.parts or (swap.name,))[0]
            draft.feed(last, first.inputs)
            draft.remove(swap)
            draft.remove(first)


def check_consts(layers: list[Layer]) -> None:
    """Constants leave as contiguous, finite float32 arrays; ValueError for a layer's NaN."""
    for layer in layers:
        for key, value in layer.consts.items():
            if not np.all(np.isfinite(value)):
                raise ValueError(f"layer {layer.name!r}: {key} has values that are not finite")
            layer.consts[key] = np.ascontiguousarray(value, dtype=np.float32)
