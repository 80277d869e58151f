"""The aipu.bin reader, and scheme aqt2021 against the parameters of a real build."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.aipu_canonical import canonical
from support.aipu_networks import small_program
from support.aipu_writer import write_aipu

from r329fast.calibration.ranges import Ranges
from r329fast.errors import FileError, UnsupportedModelError
from r329fast.quantization.aqt2021 import (
    concat_params,
    eltwise_add_params,
    fit_bias,
    mean_params,
    signed_scale,
)
from r329fast.quantization.fixed_point import MAX_MULTIPLIER
from r329fast.vendor import memory
from r329fast.vendor.aipu.constants import job_constants
from r329fast.vendor.aipu.container import AipuBin, parse_aipu_bin, read_aipu_bin
from r329fast.vendor.aipu.descriptor import TILE_CHANNELS, WEIGHT_BUFFER_BYTES, Descriptor
from r329fast.vendor.aipu.entries import Entry, layer_block, read_entries

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


def nodes(binary: AipuBin, op: str) -> list[Entry]:
    """Steps of one op; "job": all on the fixed-function unit."""
    return [e for e in read_entries(binary) if e.op == op or (op == "job" and e.descriptors)]


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
    assert len(binary.links) == 55
    found = Counter(entry.op for entry in read_entries(binary))
    jobs = {"conv": 35, "depthwise": 17, "fc": 1}
    assert found == {**jobs, "concat": 10, "mean": 2, "slice": 20, "constant": 20}


@pytest.mark.shared
def test_section_sizes_follow_the_rules(binary: AipuBin) -> None:
    desc = data = 0
    for node in nodes(binary, "job"):
        tiles, first = len(node.descriptors), node.descriptors[0]
        inputs, outputs = first.tensor_channels
        desc += memory.descriptor_bytes(tiles)
        if node.op == "depthwise":
            assert tiles == memory.depthwise_tiles(outputs)
            data += memory.depthwise_data_bytes(outputs, 3 * 3)
        elif node.op == "fc":
            data += memory.fully_connected_data_bytes(*first.tile_channels)
        else:
            window = first.kernel[0] * first.kernel[1]
            data += memory.convolution_data_bytes(outputs, window * inputs * outputs)
    # TensorFlow's begin vectors: 20 constants of 16 bytes, the last one without padding
    data += 20 * memory.DATA_ALIGN - (memory.DATA_ALIGN - 16)
    assert binary.section_bytes["ro"] == memory.ro_bytes(len(read_entries(binary)))
    assert binary.section_bytes["desc"] == desc
    assert binary.section_bytes["data"] == data
    assert binary.stack_bytes == memory.STACK_BYTES


@pytest.mark.shared
def test_eltwise_parameters_equal(binary: AipuBin, ranges: Ranges) -> None:
    fused = [node for node in nodes(binary, "job") if node.descriptors[0].eltwise]
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
    for node in nodes(binary, "job"):
        first = node.descriptors[0]
        assert first.signed_output is not first.relu
        if not first.per_channel:
            assert 128 <= first.mult <= 255
            continue
        depthwise += 1
        scales = channel_constants(binary, node, 39, "<u2").tolist()
        for value in scales:  # 8 significant bits, shifted left (or, where tiny, cut right)
            assert value % (1 << max(0, value.bit_length() - 8)) == 0
        largest = max(scales)
        assert (MAX_MULTIPLIER + 1) // 2 <= largest <= MAX_MULTIPLIER
        assert largest & 0x7F == 0  # 8 bits shifted left by 7
    assert depthwise == 17


@pytest.mark.shared
def test_weights_reach_127(binary: AipuBin) -> None:
    """Once per layer, and once per channel in depthwise layers."""
    for node in nodes(binary, "job"):
        weights = np.abs(job_constants(binary, node).weights.astype(int))
        spread = weights.reshape(len(weights), -1).max(axis=1)
        assert set(spread) == {127} if node.op == "depthwise" else spread.max() == 127


@pytest.mark.shared
def test_bias_shift_is_the_smallest_that_fits(binary: AipuBin) -> None:
    """Dead channels included: layers 2, 35 and 41 have 5, 8 and 3 for them."""
    shifts = {}
    for node in nodes(binary, "job"):
        constants = job_constants(binary, node)
        _, shift = fit_bias(constants.bias.astype(np.int64), 16)
        assert shift == node.descriptors[0].bias_shift
        if (constants.mult == 0).any():
            live = np.where(constants.mult == 0, 0, constants.bias.astype(np.int64))
            shifts[node.index] = shift, fit_bias(live, 16)[1]
    assert {key: shifts[key] for key in (2, 35, 41)} == {2: (5, 1), 35: (8, 0), 41: (3, 1)}


@pytest.mark.shared
@pytest.mark.parametrize("name", ["aipu_mobilenet6.bin", "aipu_onnx.bin"])
def test_words_of_the_descriptors(folder: Path, name: str) -> None:
    """The fields that are read agree with each other in every layer."""
    binary = read_aipu_bin(folder / name)
    for node in nodes(binary, "job"):
        assert node.output is not None
        x, y = node.inputs[0], node.output
        for tile in node.descriptors:
            assert tile.strange() == ""
            assert tile.signed_input == (x.dtype == "int8")
            assert tile.signed_output == (y.dtype == "int8")
            if node.op == "fc":
                continue
            top, left, bottom, right = tile.pads
            height, width, channels = x.shape
            assert tile.padded_input == (height + top + bottom, width + left + right)
            assert (*tile.output_size, tile.tensor_channels[1]) == y.shape
            assert tile.tensor_channels[0] == channels
            inside, outside = tile.tile_channels
            assert tile.taps == tile.kernel[0] * tile.kernel[1] * inside
            blocks = -(-outside // 16)
            a_pass = min(blocks, WEIGHT_BUFFER_BYTES // (16 * tile.taps))
            assert tile.passes == -(-blocks // a_pass)
        block = layer_block(binary, node)
        assert block[0] == 1
        assert 68 in block[2:5]


def channel_constants(binary: AipuBin, node: Entry, word: int, dtype: str) -> np.ndarray:
    """One vector over all tiles of a depthwise layer."""
    addresses = [tile.word(word) for tile in node.descriptors]
    return np.concatenate([binary.constants(at, dtype, TILE_CHANNELS) for at in addresses])


# --- a small file made here -------------------------------------------------------------------


def small_file() -> bytes:
    return write_aipu(canonical(small_program()))


def test_small_file() -> None:
    binary = parse_aipu_bin(small_file())
    entries = read_entries(binary)
    assert [entry.op for entry in entries][:4] == ["conv", "depthwise", "conv", "slice"]
    (concat,) = (entry for entry in entries if entry.op == "concat")
    assert concat.rescaled
    assert all(shift == 8 for _, shift in concat.pairs)
    assert len([operand for e in entries for operand in e.inputs if operand.in_sram]) > 2
    end = binary.data_base + len(binary.data)
    with pytest.raises(FileError, match="outside the Data section"):
        binary.constants(end, "i1", 1)


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
    with pytest.raises(UnsupportedModelError, match=r"graph version \(0, 5\)"):
        parse_aipu_bin(bytes(version))
    target = bytearray(blob)
    target[16:20] = struct.pack("<I", 0x000204B0)
    with pytest.raises(UnsupportedModelError, match="target 0x000204b0"):
        parse_aipu_bin(bytes(target))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        read_aipu_bin(tmp_path / "none.bin")
