"""Layers that move integers: input, joins, cuts, reshapes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from r329fast.graph.layers.facts import (
    Attrs,
    LayerType,
    moving,
    nothing,
)


@dataclass(frozen=True)
class InputAttrs(Attrs):
    """A graph input; no parameters."""


@dataclass(frozen=True)
class ConcatAttrs(Attrs):
    axis: int


@dataclass(frozen=True)
class ReshapeAttrs(Attrs):
    """shape: the per-image shape afterwards (also what Flatten, Squeeze, Unsqueeze become)."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class TransposeAttrs(Attrs):
    """perm over per-image axes."""

    perm: tuple[int, ...]


@dataclass(frozen=True)
class SliceAttrs(Attrs):
    """begin (inclusive), end (exclusive), strides (positive), one for each per-image axis."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class SplitAttrs(Attrs):
    axis: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class PadAttrs(Attrs):
    """pads: (before, after) for each per-image axis; mode CONSTANT, REFLECT, EDGE or SYMMETRIC."""

    pads: tuple[tuple[int, int], ...]
    mode: str = "CONSTANT"
    value: float = 0.0


@dataclass(frozen=True)
class ChannelShuffleAttrs(Attrs):
    """[.., C] -> [.., group, C/group] -> swap -> [.., C]."""

    group: int


@dataclass(frozen=True)
class ConstantAttrs(Attrs):
    """A tensor that is the same for every image: the layer constant "value", float32."""


@dataclass(frozen=True)
class TileAttrs(Attrs):
    """repeats: one for each per-image axis."""

    repeats: tuple[int, ...]


@dataclass(frozen=True)
class CropAttrs(Attrs):
    """What is left of a Mul that went into the MatMul before it: nothing is cropped."""


@dataclass(frozen=True)
class GatherAttrs(Attrs):
    """Slices `indices` of `axis`; the indices stand in the layer constant "indices" (n,)."""

    axis: int


@dataclass(frozen=True)
class DepthToSpaceAttrs(Attrs):
    """Channels to blocks of `block` rows and columns; inverse 1: blocks to channels.

    mode: where the block's place stands in the channels: DCR [row, column, channel] or
    CRD [channel, row, column].
    """

    block: int
    mode: str = "DCR"
    inverse: int = 0


TYPES = {
    "Input": LayerType(InputAttrs, nothing, bare=True, free_range=False),
    "Concat": LayerType(ConcatAttrs, nothing),
    "Reshape": replace(moving(ReshapeAttrs, "reshape"), bare=True),
    "Transpose": moving(TransposeAttrs, "transpose"),
    "Slice": moving(SliceAttrs, "slice"),
    "Split": moving(SplitAttrs),
    "Pad": moving(PadAttrs),
    "DepthToSpace": moving(DepthToSpaceAttrs, "depth_to_space"),
    "SpaceToDepth": moving(DepthToSpaceAttrs, "depth_to_space"),
    "ChannelShuffle": moving(ChannelShuffleAttrs, "channel_shuffle"),
    "Constant": LayerType(ConstantAttrs, nothing, bare=True, free_range=False),
    "Tile": moving(TileAttrs, "tile"),
    "Crop": moving(CropAttrs, "reshape"),
    "Gather": moving(GatherAttrs),
}
