"""A binary as a program: against an executor on a byte memory, its inverse, and damaged forms."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from support.aipu_canonical import canonical
from support.aipu_executor import Machine
from support.aipu_mutations import ending, mutations, try_all
from support.aipu_networks import small_program
from support.aipu_writer import write_aipu

from r329fast.errors import FileError, UnsupportedModelError
from r329fast.program.program import Program
from r329fast.reference import run_program
from r329fast.simulator.simulator import Simulator
from r329fast.vendor.aipu.container import AipuBin, parse_aipu_bin
from r329fast.vendor.aipu.dataflow import Dataflow, resolve
from r329fast.vendor.aipu.entries import read_entries
from r329fast.vendor.aipu.facts import facts_of
from r329fast.vendor.aipu.program import build_program, load_program_of, step_name

BINARIES = {"aipu_mobilenet6.bin": 85, "aipu_onnx.bin": 96}


@pytest.fixture(scope="module", params=list(BINARIES))
def path(shared: Path, request: pytest.FixtureRequest) -> Path:
    return shared / "artefacts" / "gesture_z1" / request.param


def flow_of(binary: AipuBin) -> Dataflow:
    return resolve(binary, read_entries(binary))


def feeds_of(program: Program, kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """One image: random bytes, all lowest, all highest, or a mixture of both ends."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for name in program.inputs:
        spec = program.tensors[name]
        low, high = spec.qmin, spec.qmax
        values = {
            "random": lambda s=spec, a=low, b=high: rng.integers(a, b + 1, s.shape),
            "lowest": lambda s=spec, a=low: np.full(s.shape, a),
            "highest": lambda s=spec, b=high: np.full(s.shape, b),
            "ends": lambda s=spec, a=low, b=high: rng.choice([a, b], s.shape),
        }[kind]()
        feeds[name] = values[None].astype(spec.dtype)
    return feeds


def assert_equal_layers(
    binary: AipuBin, program: Program, feeds: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> int:
    """Every step's bytes, and the network's outputs where the file says they lie at the end."""
    machine = Machine(binary)
    trace = machine.run([feeds[name] for name in program.inputs])
    flow = flow_of(binary)
    for entry in flow.steps:
        expected = found[step_name(entry)]
        written = trace[entry.index].view(expected.dtype)
        np.testing.assert_array_equal(written, expected.reshape(-1), step_name(entry))
    for (address, size, dtype), name in zip(machine.outputs, program.outputs, strict=True):
        expected = found[name].reshape(-1)
        np.testing.assert_array_equal(machine.array(address, (size,), dtype), expected, name)
    return len(flow.steps)


@pytest.mark.shared
def test_layers_edges_and_constants_are_read_at_once(path: Path) -> None:
    start = time.process_time()
    program = load_program_of(path)
    assert time.process_time() - start < 1
    flow = flow_of(parse_aipu_bin(path.read_bytes()))
    assert len(flow.steps) == BINARIES[path.name]
    assert sum(map(len, flow.sources)) == BINARIES[path.name] + 20  # 10 additions, 10 concats
    assert len(flow.outputs) == len(program.outputs) == len(program.inputs) == 11
    macs = 224 * 224 // 4 * 32 * 27  # the stem, as a check that weights are whole
    assert (
        program.ops[0 if "mobilenet6" in path.name else 2].consts["weights"].size * 112**2 == macs
    )


@pytest.mark.shared
@pytest.mark.parametrize(
    "kind",
    [
        "random",
        "ends",
        pytest.param("lowest", marks=pytest.mark.slow),
        pytest.param("highest", marks=pytest.mark.slow),
    ],
)
def test_loaded_program_equals_the_executor(path: Path, kind: str) -> None:
    binary = parse_aipu_bin(path.read_bytes())
    program = build_program(binary, "gesture")
    feeds = feeds_of(program, kind)
    found = Simulator(program).run(feeds, keep="all")
    assert assert_equal_layers(binary, program, feeds, found) == BINARIES[path.name]


@pytest.mark.parametrize("seed", range(8))
def test_small_networks_equal_the_executor(seed: int) -> None:
    binary = parse_aipu_bin(write_aipu(canonical(small_program(seed))))
    program = build_program(binary, "small")
    for kind in ("random", "ends"):
        feeds = feeds_of(program, kind, seed)
        assert_equal_layers(binary, program, feeds, run_program(program, feeds))


@pytest.mark.parametrize("seed", range(8))
def test_the_writer_is_the_reader_s_inverse(seed: int) -> None:
    program = canonical(small_program(seed))
    again = build_program(parse_aipu_bin(write_aipu(program)), "small")
    assert again.hash() == program.hash()


@pytest.mark.shared
def test_real_files_written_again_are_the_same_program(path: Path) -> None:
    program = load_program_of(path)
    again = build_program(parse_aipu_bin(write_aipu(program)), program.name)
    assert again.hash() == program.hash()


# --- what is not known, and what is broken ----------------------------------------------------


def bent(edits: dict[tuple[int, int], int]) -> AipuBin:
    """A small binary with words of its RO entries changed: (entry, word) -> value."""
    binary = parse_aipu_bin(write_aipu(canonical(small_program())))
    binary.ro = binary.ro.copy()
    for place, value in edits.items():
        binary.ro[place] = value
    return binary


def entry_of(op: str) -> int:
    binary = parse_aipu_bin(write_aipu(canonical(small_program())))
    return next(entry.index for entry in read_entries(binary) if entry.op == op)


@pytest.mark.parametrize(
    ("op", "word", "value", "message"),
    [
        ("concat", 63, 7, "a Concat of"),
        ("slice", 4, 3, "a Slice of"),
        ("mean", 6, 7, "a Mean of form 7"),
        ("mean", 5, 4, "over axis 3"),
    ],
)
def test_unknown_forms_are_named_with_their_words(
    op: str, word: int, value: int, message: str
) -> None:
    index = entry_of(op)
    binary = bent({(index, word): value})
    for call in (lambda: build_program(binary, "x"), lambda: facts_of(binary)):
        with pytest.raises(UnsupportedModelError, match=message) as caught:
            call()
        assert f"RO entry {index}" in caught.value.message
        assert "its words are" in caught.value.message
        assert "\n" not in caught.value.message


def test_an_op_that_no_binary_held_is_named_with_its_words() -> None:
    binary = parse_aipu_bin(write_aipu(canonical(small_program())))
    index = entry_of("mean")
    place = 64 * index + 8
    binary.patched[64 * index + 20] = binary.patched.pop(place)
    with pytest.raises(UnsupportedModelError, match=r"addresses at words \[7, 20\]"):
        build_program(binary, "x")


@pytest.mark.parametrize(
    ("word", "bits", "message"),
    [
        (37, 1 << 10, "sources of bias"),
        (54, 1 << 18, "ReLU and signedness"),
        (41, 1, "second multiplier"),
        (45, 1 << 8, "Eltwise"),
        (50, 2, "clamp"),
        (16, 1, "words 16, 17"),
    ],
)
def test_unknown_descriptors_are_named_with_their_words(word: int, bits: int, message: str) -> None:
    binary = parse_aipu_bin(write_aipu(canonical(small_program())))
    binary.desc = binary.desc.copy()
    binary.desc[word] ^= np.uint32(bits)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        build_program(binary, "x")
    assert "RO entry 1" in caught.value.message


def test_an_address_that_nothing_wrote() -> None:
    index = entry_of("slice")
    binary = bent({(index, 6): 0x20ABCDE0})
    with pytest.raises(FileError, match="which no step before it wrote"):
        build_program(binary, "x")


def test_damaged_files_end_with_one_line() -> None:
    blob = write_aipu(canonical(small_program(2)))
    codes = try_all(blob, 400, seed=1)
    assert codes[2] > 50
    assert codes[3] > 50
    assert ending(blob) == (0, "")


@pytest.mark.shared
def test_damaged_real_files_end_with_one_line(path: Path) -> None:
    assert sum(try_all(path.read_bytes(), 40, seed=2).values()) == 40


def test_mutations_are_repeatable() -> None:
    blob = write_aipu(canonical(small_program()))
    assert list(mutations(blob, 5, 3)) == list(mutations(blob, 5, 3))
    assert len(set(mutations(blob, 5, 3))) == 5
