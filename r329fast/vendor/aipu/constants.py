"""Weights, biases and multipliers of a fixed-function job, out of their stored forms.

Convolution weights are row-major (O, kh, kw, I); a depthwise tile holds [16 o][kh][kw][16 i] of
which only o == i counts; fully connected weights are [I][O padded to 32]. Biases are int16 with
one left shift per layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r329fast.errors import UnsupportedModelError
from r329fast.vendor.aipu.container import AipuBin
from r329fast.vendor.aipu.descriptor import FC_TILE_OUTPUTS, TILE_CHANNELS, Descriptor
from r329fast.vendor.aipu.entries import Entry

_LARGEST_BIAS_SHIFT = 16  # int16 to int32


@dataclass(frozen=True)
class JobConstants:
    """weights int8: (O, kh, kw, I), depthwise (C, kh, kw, 1), fully connected (O, I); bias int32
    (O,), shifted to its place; mult, shift int32: (1,), or (O,) per channel.
    """

    weights: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32]
    mult: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int32]


def job_constants(binary: AipuBin, entry: Entry) -> JobConstants:
    """Constants of a conv, depthwise or fc step; raises FileError and UnsupportedModelError."""
    if entry.op == "depthwise":
        return _depthwise(binary, entry)
    if entry.op == "fc":
        return _fully_connected(binary, entry)
    return _convolution(binary, entry)


def _unsupported(entry: Entry, words: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{entry.where}: {words}")


def _bias(binary: AipuBin, entry: Entry, tile: Descriptor, count: int) -> npt.NDArray[np.int32]:
    stored = binary.constants(tile.word(38), "<i2", count)
    if tile.bias_shift > _LARGEST_BIAS_SHIFT:
        raise _unsupported(entry, f"biases shifted by {tile.bias_shift} (word 37), at most 16")
    return (stored.astype(np.int64) << tile.bias_shift).astype(np.int32)


def _convolution(binary: AipuBin, entry: Entry) -> JobConstants:
    (tile,) = entry.descriptors
    channels = entry.inputs[0].shape[-1]
    outputs = entry.made.shape[-1]
    kernel = tile.kernel
    if tile.tile_channels != (channels, outputs) or tile.per_channel or 0 in kernel:
        raise _unsupported(
            entry,
            f"a convolution from {channels} to {outputs} channels whose descriptor has "
            f"{tile.tile_channels}, kernel {kernel}, multipliers "
            f"{'per channel' if tile.per_channel else 'per layer'} (words 23, 24, 37)",
        )
    count = outputs * kernel[0] * kernel[1] * channels
    weights = binary.constants(tile.word(6), "i1", count).reshape(outputs, *kernel, channels)
    return JobConstants(
        weights.copy(),
        _bias(binary, entry, tile, outputs),
        np.array([tile.mult], np.int32),
        np.array([tile.shift], np.int32),
    )


def _depthwise(binary: AipuBin, entry: Entry) -> JobConstants:
    first = entry.descriptors[0]
    channels, kernel = entry.inputs[0].shape[-1], first.kernel
    tiles = channels // TILE_CHANNELS
    alike = all(
        (tile.tile_channels, tile.kernel, tile.shift, tile.bias_shift, tile.per_channel)
        == ((TILE_CHANNELS, TILE_CHANNELS), kernel, first.shift, first.bias_shift, True)
        for tile in entry.descriptors
    )
    if channels % TILE_CHANNELS:
        raise _unsupported(
            entry,
            f"a depthwise layer of {channels} channels (word 11): the builder pads to multiples "
            f"of {TILE_CHANNELS}, how a part of a tile is written is not known",
        )
    if len(entry.descriptors) != tiles or not alike or 0 in kernel:
        raise _unsupported(
            entry,
            f"a depthwise layer of {channels} channels in {len(entry.descriptors)} tiles of "
            f"{first.tile_channels} channels that differ (words 23, 24, 37)",
        )
    for number, tile in enumerate(entry.descriptors):
        step = number * TILE_CHANNELS
        for at in (4, 5):
            if tile.word(at) != first.word(at) + step:
                raise _unsupported(entry, f"depthwise tile {number} lies at {tile.word(at):#x}")
    block = TILE_CHANNELS * kernel[0] * kernel[1] * TILE_CHANNELS
    stored = np.stack(
        [binary.constants(tile.word(6), "i1", block) for tile in entry.descriptors]
    ).reshape(tiles, TILE_CHANNELS, *kernel, TILE_CHANNELS)
    diagonal = np.arange(TILE_CHANNELS)
    weights = stored[:, diagonal, :, :, diagonal]  # [16, tiles, kh, kw]
    if np.count_nonzero(stored) != np.count_nonzero(weights):
        raise _unsupported(entry, "depthwise weights beside the diagonal (a grouped convolution?)")
    weights = weights.transpose(1, 0, 2, 3).reshape(-1, *kernel, 1)
    biases = [_bias(binary, entry, tile, TILE_CHANNELS) for tile in entry.descriptors]
    mults = [binary.constants(tile.word(39), "<u2", TILE_CHANNELS) for tile in entry.descriptors]
    return JobConstants(
        np.ascontiguousarray(weights),
        np.concatenate(biases),
        np.concatenate(mults).astype(np.int32),
        np.full(channels, first.shift, np.int32),
    )


def _fully_connected(binary: AipuBin, entry: Entry) -> JobConstants:
    tile = entry.descriptors[0]
    inputs, outputs = entry.inputs[0].size, entry.made.size
    if len(entry.descriptors) != 1 or tile.tile_channels != (inputs, FC_TILE_OUTPUTS):
        raise _unsupported(
            entry,
            f"a fully connected layer from {inputs} to {outputs} in {len(entry.descriptors)} "
            f"tiles of {tile.tile_channels} (word 23): only up to {FC_TILE_OUTPUTS} outputs in "
            "one tile are known",
        )
    if outputs > FC_TILE_OUTPUTS or tile.per_channel:
        raise _unsupported(entry, f"a fully connected layer of {outputs} outputs in one tile")
    stored = binary.constants(tile.word(6), "i1", inputs * FC_TILE_OUTPUTS)
    weights = np.ascontiguousarray(stored.reshape(inputs, FC_TILE_OUTPUTS)[:, :outputs].T)
    return JobConstants(
        weights,
        _bias(binary, entry, tile, outputs),
        np.array([tile.mult], np.int32),
        np.array([tile.shift], np.int32),
    )
