"""The aipu.bin reader, and scheme aqt2021 against the parameters of a real build."""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from r329fast.calibration.ranges import Ranges
from r329fast.errors import FileError
from r329fast.quantization.aqt2021 import (
    concat_params,
    eltwise_add_params,
    fit_bias,
    mean_params,
    signed_scale,
)
from r329fast.quantization.fixed_point import MAX_MULTIPLIER
from r329fast.vendor import memory
from r329fast.vendor.aiff import TILE_CHANNELS, Descriptor
from r329fast.vendor.aipu_bin import AipuBin, PerfNode, parse_aipu_bin, read_aipu_bin

# The gesture network is a MobileNetV2 whose ten residual blocks shift a part of their input in
# time: concat(state, slice of x) feeds the block, and x itself is added at its end. Per block:
# the tensor x and the number of the batch norm (folded into the projection) that x is added to.
BLOCKS = (
    ("BatchNorm_5", 8),
    ("BatchNorm_11", 14),
    ("Add_1", 17),
    ("BatchNorm_20", 23),
    ("Add_3", 26),
    ("Add_4", 29),
    ("BatchNorm_32", 35),
    ("Add_6", 38),
    ("BatchNorm_41", 44),
    ("Add_8", 47),
)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "artefacts" / "gesture_z1"


@pytest.fixture(scope="module")
def binary(folder: Path) -> AipuBin:
    return read_aipu_bin(folder / "aipu_mobilenet6.bin")


@pytest.fixture(scope="module")
def ranges(folder: Path) -> Ranges:
    return Ranges.load_max_min(folder / "max_dict3.npy", folder / "min_dict3.npy")


def nodes(binary: AipuBin, op: str) -> list[PerfNode]:
    return [node for node in binary.nodes if node.op == op]


def scale(ranges: Ranges, layer: str) -> float:
    """Scale of a signed tensor; a batch norm's entry is that of the fused convolution."""
    name = f"{layer}/FusedBatchNormV3_0" if layer.startswith("BatchNorm") else f"{layer}_0"
    return signed_scale(*ranges[name])


def numbered(word: str, index: int) -> str:
    """TensorFlow's names: Add, Add_1, Add_2, ..."""
    return f"{word}_{index}" if index else word


@pytest.mark.shared
def test_sections_are_read_to_their_ends(binary: AipuBin) -> None:
    assert binary.header.version == (0, 4)
    assert binary.header.build == (2, 0, 175)
    assert binary.links == 55
    found = Counter(node.op for node in binary.nodes)
    assert found == {"aiff": 53, "concat": 10, "mean": 2, "slice": 20, "constant": 20}


@pytest.mark.shared
def test_section_sizes_follow_the_rules(binary: AipuBin) -> None:
    desc = data = 0
    for node in nodes(binary, "aiff"):
        tiles, first = len(node.descriptors), node.descriptors[0]
        inputs, outputs = first.channels
        if first.per_channel:
            assert tiles == memory.depthwise_tiles(outputs)
            desc += memory.descriptor_bytes(tiles)
            data += memory.depthwise_data_bytes(outputs, 3 * 3)
        elif first.fully_connected:
            desc += memory.descriptor_bytes(tiles)
            data += memory.fully_connected_data_bytes(inputs, outputs)
        else:
            window = 3 * 3 if inputs == 3 else 1  # all but the first are 1x1
            desc += memory.descriptor_bytes(tiles)
            data += memory.convolution_data_bytes(outputs, window * inputs * outputs)
    # TensorFlow's begin vectors: 20 constants of 16 bytes, the last one without padding
    data += 20 * memory.DATA_ALIGN - (memory.DATA_ALIGN - 16)
    assert binary.section_bytes["ro"] == memory.ro_bytes(len(binary.nodes))
    assert binary.section_bytes["desc"] == desc
    assert binary.section_bytes["data"] == data
    assert binary.stack_bytes == memory.STACK_BYTES


@pytest.mark.shared
def test_eltwise_parameters_equal(binary: AipuBin, ranges: Ranges) -> None:
    fused = [node for node in nodes(binary, "aiff") if node.descriptors[0].eltwise]
    assert len(fused) == len(BLOCKS)
    for index, (node, (x, norm)) in enumerate(zip(fused, BLOCKS, strict=True)):
        scales, mult, shift = eltwise_add_params(
            scale(ranges, f"BatchNorm_{norm}"),
            scale(ranges, x),
            scale(ranges, numbered("Add", index)),
        )
        found = node.descriptors[0].eltwise
        assert found is not None
        assert (found.k_conv, found.k_other) == tuple(scales)
        assert (found.mult, found.shift) == (mult, shift)


@pytest.mark.shared
def test_concat_parameters_equal(binary: AipuBin, ranges: Ranges) -> None:
    """The file holds the formula's pair for equal scales too (255 / 2**8).

    It also holds a flag that is off where all inputs have the output's scale.
    """
    concats = nodes(binary, "concat")
    assert len(concats) == len(BLOCKS)
    for index, (node, (x, _)) in enumerate(zip(concats, BLOCKS, strict=True)):
        output = scale(ranges, numbered("concat", index))
        inputs = [scale(ranges, f"x_input{index}"), scale(ranges, x)]
        expected = []
        for source in inputs:
            same = source == output
            expected.append((255, 8) if same else concat_params(source, output))
        assert node.pairs == tuple(expected)
        assert node.rescaled == any(source != output for source in inputs)


@pytest.mark.shared
def test_mean_parameters_equal(binary: AipuBin) -> None:
    means = nodes(binary, "mean")
    assert len(means) == 2
    for node in means:
        assert node.pairs == (mean_params(7),)
    # Dimension numbers count N, H, W, C from 1: the model's own two layers take W, then H.
    assert [int(node.words[5]) for node in means] == [3, 2]


@pytest.mark.shared
def test_multipliers_have_the_scheme_s_form(binary: AipuBin) -> None:
    """8-bit M for a layer; per channel one shift that lets the largest M fill 15 bits."""
    depthwise = 0
    for node in nodes(binary, "aiff"):
        first = node.descriptors[0]
        assert first.signed_output is not first.relu
        if not first.per_channel:
            assert 128 <= first.mult <= 255
            continue
        depthwise += 1
        scales = channel_constants(binary, node, "multiplier_address", "<u2").tolist()
        for value in scales:  # 8 significant bits, shifted left (or, where tiny, cut right)
            assert value % (1 << max(0, value.bit_length() - 8)) == 0
        largest = max(scales)
        assert (MAX_MULTIPLIER + 1) // 2 <= largest <= MAX_MULTIPLIER
        assert largest & 0x7F == 0  # 8 bits shifted left by 7
    assert depthwise == 17


@pytest.mark.shared
def test_weights_reach_127(binary: AipuBin) -> None:
    """Once a layer, and once a channel in depthwise layers."""
    for node in nodes(binary, "aiff"):
        first = node.descriptors[0]
        inputs, outputs = first.channels
        if first.per_channel:
            for tile in node.descriptors:
                block = binary.constants(tile.weights_address, "i1", 16 * 3 * 3 * 16)
                spread = np.abs(block.astype(int)).reshape(16, 9, 16).max(axis=1)
                assert np.array_equal(spread, np.diag(np.full(16, 127)))
        else:
            count = inputs * outputs * (9 if inputs == 3 else 1)
            weights = binary.constants(first.weights_address, "i1", count)
            assert np.abs(weights.astype(int)).max() == 127


@pytest.mark.shared
def test_bias_shift_is_the_smallest_that_fits(binary: AipuBin) -> None:
    shifts = Counter()
    for node in nodes(binary, "aiff"):
        first = node.descriptors[0]
        if first.per_channel:
            stored = channel_constants(binary, node, "bias_address", "<i2")
        else:
            stored = binary.constants(first.bias_address, "<i2", first.channels[1])
        full = stored.astype(np.int64) << first.bias_shift
        _, shift = fit_bias(full, 16)
        assert shift == first.bias_shift
        shifts[shift] += 1
    assert sum(shifts.values()) == 53


def channel_constants(binary: AipuBin, node: PerfNode, field: str, dtype: str) -> np.ndarray:
    """One vector over all tiles of a depthwise layer."""
    addresses = [getattr(tile, field) for tile in node.descriptors]
    return np.concatenate([binary.constants(at, dtype, TILE_CHANNELS) for at in addresses])


# --- a small file made here -------------------------------------------------------------------


def small_file() -> bytes:
    """One AIFF layer, one concat of two inputs, one working buffer; no linked list."""
    ro = np.zeros((4, 64), np.uint32)
    ro[1, 6] = 0x10000000 + ro.nbytes
    ro[2, [2, 5, 61]] = 200 << 16 | 8 << 8, 255 << 16 | 8 << 8, 2 << 16 | 1
    desc = np.zeros(128, np.uint32)
    desc[[37, 40]] = 17 << 15 | 3 << 5 | 1 << 24, 181 << 16
    patched = [2 * 256 + 4 * word for word in (1, 4, 60)]
    bss = [0x40400, 16, 1, 1]
    bss += [0, 4, 128, 1, 0, 4, 3, 0, 3, 0, 1, 4, 1, 1, 0xFFFFFFFF, 0]
    bss += [64, 128, 1, 0, 64, 3, 0, 3, 2, 1, 8, 8, 1, 0xFFFFFFFF, len(patched), *patched]
    parts = [bytes(16), ro.tobytes(), desc.tobytes(), bytes([1, 2, 255, 4])]
    parts += [struct.pack(f"<{len(bss)}I", *bss), b""]
    spans, offset = [], 0x68
    for part in parts:
        spans += [offset, len(part)]
        offset += len(part)
    header = [0x000102BD, 4 << 24, 175 << 16 | 2, 0x68, offset, 0, 0, 0, *spans, 0, 0]
    return b"AIPU BIN".ljust(16, b"\0") + struct.pack("<22I", *header) + b"".join(parts)


def test_small_file() -> None:
    binary = parse_aipu_bin(small_file())
    layer, concat = binary.nodes
    assert (layer.op, concat.op) == ("aiff", "concat")
    (descriptor,) = layer.descriptors
    assert (descriptor.mult, descriptor.shift, descriptor.bias_shift) == (181, 17, 3)
    assert descriptor.signed_output
    assert descriptor.eltwise is None
    assert concat.pairs == ((200, 8), (255, 8))
    assert concat.rescaled
    assert binary.constants(0x20040400, "i1", 4).tolist() == [1, 2, -1, 4]
    assert [buffer.size for buffer in binary.buffers()] == [4, 64]
    with pytest.raises(FileError, match="outside the Data section"):
        binary.constants(0x20040404, "i1", 1)


def test_descriptor_with_an_addition() -> None:
    words = np.zeros(68, np.uint32)
    words[[48, 53, 54, 58]] = 349, 238, 0x11, 256 << 16
    found = Descriptor(words).eltwise
    assert found is not None
    assert (found.k_conv, found.k_other, found.mult, found.shift) == (349, 256, 238, 17)


@pytest.mark.parametrize("cut", [0, 7, 0x67, 0x68, 500, -1])
def test_truncated_file_is_one_clear_error(cut: int) -> None:
    with pytest.raises(FileError):
        parse_aipu_bin(small_file()[:cut])


def test_damaged_words_are_clear_errors() -> None:
    blob = bytearray(small_file())
    with pytest.raises(FileError, match="AIPU BIN"):
        parse_aipu_bin(b"X" + bytes(blob[1:]))
    version = bytearray(blob)
    version[23] = 5
    with pytest.raises(FileError, match="graph version"):
        parse_aipu_bin(bytes(version))
    rng = np.random.default_rng(0)
    for _ in range(300):
        random = bytearray(blob)
        random[int(rng.integers(16, len(blob)))] = int(rng.integers(256))
        with contextlib.suppress(FileError):  # the only exception that may be raised
            parse_aipu_bin(bytes(random))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        read_aipu_bin(tmp_path / "none.bin")
