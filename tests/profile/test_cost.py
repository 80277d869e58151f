"""Hardware descriptions, the cost rules on layers worked out by hand, the filled vendor file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from support.profiled import bundled_case

from r329fast.errors import DataError, FileError, UsageError
from r329fast.profile.cost import estimate
from r329fast.profile.data_counters import count_data
from r329fast.profile.hardware import available, load_hardware
from r329fast.profile.hardware.describe import FIGURES
from r329fast.profile.vendor_fill import profile_data_of
from r329fast.program.program import LayerRecord, Op, Program, TensorSpec
from r329fast.vendor import graph_json, perf_node_count, profile_data
from r329fast.vendor.aipu import facts_of, load_aipu, read_aipu_bin
from r329fast.vendor.profile_data import FILLED_MARK, NodeRecord, read_profile_data


def one_layer(kind: str, height: int, channels: tuple[int, int], kernel: int) -> Program:
    """A program of an input and one convolution, stride 1, padded to the same size."""
    inputs, outputs = channels
    depthwise = kind == "DepthwiseConv"
    shape = (outputs, kernel, kernel, 1 if depthwise else inputs)
    op = Op(
        "conv2d",
        "c",
        ("x",),
        ("y",),
        {},
        {"weights": np.ones(shape, np.int8), "bias": np.zeros(outputs, np.int32)},
    )
    detail = {"kernel": (kernel, kernel), "group": inputs if depthwise else 1}
    return Program(
        "p",
        "aqt2021",
        {
            "x": TensorSpec("x", (height, height, inputs), "int8", 1.0),
            "y": TensorSpec("y", (height, height, outputs), "int8", 1.0),
        },
        [op],
        [
            LayerRecord("x", "Input", (), ("x",), (0, 0)),
            LayerRecord("c", kind, ("x",), ("y",), (0, 1), "NONE", detail),
        ],
        ("x",),
        ("y",),
    )


# --- descriptions -----------------------------------------------------------------------------


def test_shipped_descriptions_are_complete() -> None:
    assert available() == ["Z1", "Z1_0701"]
    hardware = load_hardware()
    assert set(hardware.figures) == set(FIGURES)
    assert (hardware["macs_per_cycle"], hardware["clock_mhz"]) == (128, 600)
    assert hardware["builder_clock_mhz"] == 800
    assert hardware["ddr_bytes"] == 256 << 20
    assert hardware.figures["macs_per_cycle"].status == "inferred"
    for figure in hardware.figures.values():
        assert figure.source
        assert figure.unit
        assert figure.file in available()
    assert hardware.figures["depthwise_block"].file == "Z1"
    with pytest.raises(DataError, match=r"macs_per_cycle.*missing"):
        load_hardware("Z1")


def test_own_description_inherits(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'inherits = "Z1_0701"\nabout = "mine"\n[figures]\nclock_mhz = 700\n'
        '[figures.sram_bytes]\nvalue = 1024\nsource = "the board\'s manual"\nstatus = "verified"\n'
    )
    (tmp_path / "child.toml").write_text('inherits = "mine.toml"\nfigures.macs_per_cycle = 256\n')
    child = load_hardware(tmp_path / "child.toml")
    assert (child["clock_mhz"], child["macs_per_cycle"], child["sram_bytes"]) == (700, 256, 1024)
    assert child["fc_output_step"] == 32
    assert child.figures["clock_mhz"].unit == "MHz"
    assert child.figures["clock_mhz"].source == "set in mine.toml"
    assert child.figures["sram_bytes"].status == "verified"
    assert child.figures["clock_mhz"].file == "mine"


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("figures.clock_mhz = 0", DataError, "clock_mhz: found 0, allowed a number from 0.001"),
        ("figures.clock = 1", DataError, "figures.clock: unknown"),
        ("figures.tile_columns = 1.5", DataError, "allowed a whole number from 1"),
        ('figures.clock_mhz = "fast"', DataError, "found value 'fast', allowed a number"),
        ('figures.clock_mhz = {value = 1, status = "sure"}', DataError, "found status 'sure'"),
        ("figures = 3", DataError, "found no table"),
        ("not toml", FileError, "not TOML"),
        ('inherits = "wrong.toml"', DataError, "inherits from itself"),
        ('inherits = "Z9"', UsageError, "hardware 'Z9', allowed Z1, Z1_0701"),
    ],
)
def test_wrong_descriptions(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    path = tmp_path / "wrong.toml"
    head = "" if text.startswith(("inherits", "not")) else 'inherits = "Z1_0701"\n'
    path.write_text(head + text)
    with pytest.raises(error, match=words.replace("[", r"\[")):
        load_hardware(path)


def test_unknown_names_get_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'Z1_0701'"):
        load_hardware("Z1_701")
    with pytest.raises(FileError, match="cannot read"):
        load_hardware(tmp_path / "absent.toml")


# --- the model --------------------------------------------------------------------------------


def test_convolution_by_hand() -> None:
    """3 input channels count as 4, 20 outputs as 32, 7 by 7 places as two tiles of 8 by 4."""
    cost = estimate(one_layer("Convolution", 7, (3, 20), 3), load_hardware())
    layer = cost.layers[1]
    assert layer.compute_cycles == -(-(8 * 8 * 32 * 4 * 9) // 128)
    assert layer.utilisation == pytest.approx(7 * 7 * 20 * 3 * 9 / 128 / layer.compute_cycles)
    assert layer.ddr_read == 7 * 7 * 3 + 20 * 27 + 4 * 20
    assert layer.ddr_write == 7 * 7 * 20
    per_cycle = 3200e6 * 0.6 / 600e6
    assert layer.memory_cycles == -(-(layer.ddr_read + layer.ddr_write) // per_cycle)
    assert layer.cycles == max(layer.compute_cycles, layer.memory_cycles) + 2000
    assert cost.cycles == layer.cycles  # the input costs nothing
    assert cost.milliseconds == pytest.approx(layer.cycles / 600e3)
    assert cost.frames_per_second == pytest.approx(600e6 / layer.cycles)


def test_depthwise_counts_dense_blocks() -> None:
    """One useful MAC in 16, and weights as the 16x16 blocks of the binaries."""
    cost = estimate(one_layer("DepthwiseConv", 8, (24, 24), 3), load_hardware())
    layer = cost.layers[1]
    assert layer.compute_cycles == 8 * 8 * 32 * 16 * 9 // 128
    assert layer.utilisation == pytest.approx(24 / 32 / 16)
    assert layer.ddr_read == 8 * 8 * 24 + 2 * 16 * 16 * 9 + 2 * 128 + 128


def test_bandwidth_and_clock_move_the_total() -> None:
    program = bundled_case().program
    cost = estimate(program, load_hardware())
    half, double, builder = (cost.sensitivity[label][1] for label in cost.sensitivity)
    assert list(cost.sensitivity) == [
        "half the bandwidth",
        "double the bandwidth",
        "the builder's 800 MHz",
    ]
    assert half > cost.milliseconds > double
    assert cost.milliseconds * 600 / 800 < builder < cost.milliseconds
    assert sum(cost.bound_cycles.values()) == cost.cycles
    for layer in cost.layers:
        assert 0 <= layer.utilisation <= 1
        assert layer.bound in ("compute", "memory", "overhead", "fused", "")


def test_fused_and_kept_tensors_make_no_traffic(tmp_path: Path) -> None:
    program = bundled_case().program
    (tmp_path / "none.toml").write_text('inherits = "Z1_0701"\nfigures.sram_bytes = 0\n')
    plain = estimate(program, load_hardware(tmp_path / "none.toml"))
    rows = {layer.name: layer for layer in plain.layers}
    added = [layer for layer in program.layers if layer.type == "Eltwise"]
    fused = [layer for layer in added if rows[layer.name].bound == "fused"]
    assert fused == added
    for layer in fused:
        assert rows[layer.name].cycles == 0
        writers = [item for item in program.layers if set(item.outputs) & set(layer.inputs)]
        assert min(rows[item.name].ddr_write for item in writers) == 0
    (tmp_path / "sram.toml").write_text('inherits = "Z1_0701"\nfigures.sram_bytes = 1048576\n')
    kept = estimate(program, load_hardware(tmp_path / "sram.toml"))
    assert kept.ddr_read + kept.ddr_write < plain.ddr_read + plain.ddr_write
    assert kept.milliseconds < plain.milliseconds
    # the image comes in and the logits go out, whatever the SRAM holds
    assert kept.ddr_write >= program.tensors[program.outputs[0]].elements


def test_weights_beyond_the_buffer_read_the_input_again() -> None:
    """72 KiB hold 2 of 8 blocks of 16 outputs with 3 x 3 x 256 weights each: four passes."""
    cost = estimate(one_layer("Convolution", 7, (256, 128), 3), load_hardware())
    layer = cost.layers[1]
    assert 73728 // (16 * 9 * 256) == 2
    assert layer.passes == 4
    assert layer.ddr_read == 4 * 7 * 7 * 256 + 128 * 9 * 256 + 4 * 128
    wide = estimate(one_layer("Convolution", 7, (1024, 32), 3), load_hardware()).layers[1]
    assert wide.passes == 2  # a block alone is larger than the buffer
    assert (
        estimate(one_layer("DepthwiseConv", 7, (512, 512), 3), load_hardware()).layers[1].passes
        == 1
    )


@pytest.mark.shared
@pytest.mark.parametrize("name", ["aipu_mobilenet6.bin", "aipu_onnx.bin"])
def test_passes_and_sram_of_real_binaries(shared: Path, name: str) -> None:
    """Passes are those of the descriptors; of 85 and 96 maps two are kept that lie in DDR."""
    path = shared / "artefacts" / "gesture_z1" / name
    facts = facts_of(read_aipu_bin(path))
    program = load_aipu(path)
    costs = {layer.name: layer for layer in estimate(program, load_hardware()).layers}
    wrong = []
    for step in facts["layers"]:
        made = step["name"]
        carrier = made.replace("add", "conv") if "eltwise" in step else made
        assert costs[carrier].passes == step.get("passes", 1)
        kept = costs[made].ddr_write == 0
        if kept != (step["writes"]["memory"] == "SRAM"):
            wrong.append(step["op"])
    assert wrong == ["depthwise", "conv"]


# --- profile_data.bin ---------------------------------------------------------------------------


def test_filled_profile_data() -> None:
    case = bundled_case()
    program = case.program
    cost = estimate(program, load_hardware())
    data = count_data(program, [program.quantize_input(case.x[:2])])
    content = profile_data_of(program, cost, data)
    empty = profile_data(perf_node_count(program))
    assert len(content) == len(empty)
    assert content[:8] == empty[:8]
    assert struct.unpack_from("<I", content, 8) == (FILLED_MARK,)
    assert not any(content[12:24])
    records = read_profile_data(content)
    assert records is not None
    assert len(records) == graph_json(program).count('"perf_node":true')
    assert sum(record.macs for record in records) == sum(
        counters.macs for counters in _counters(program)
    )
    assert sum(record.cycles for record in records) == cost.cycles
    assert sum(record.read_bytes for record in records) == cost.ddr_read
    assert read_profile_data(empty) is None


def _counters(program: Program) -> list:  # type: ignore[type-arg]
    from r329fast.program.counters import layer_counters

    return layer_counters(program)


def test_profile_words_saturate() -> None:
    record = NodeRecord(2**40, 1, 2, 3, 4, 5 << 32 | 6, 1_000_000)
    assert record.words() == (2**32 - 1, 1, 2, 3, 4, 6, 5, 1_000_000)
