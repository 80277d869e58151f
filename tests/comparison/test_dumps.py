"""Dumps from elsewhere: names, orders, raw files, tolerances; planted faults in MobileNetV2."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.profiled import bundled_case, shared_case

from r329fast.cli.main import main
from r329fast.comparison.dumps import compare_dumps, read_dump, read_name_map, tensor_order
from r329fast.errors import DataError, FileError
from r329fast.program.program import Op, Program
from r329fast.simulator.simulator import Simulator

Run = Callable[..., dict]  # type: ignore[type-arg]


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with --json; the result has the exit code under "code"."""

    def run(*words: object) -> dict:  # type: ignore[type-arg]
        code = main(["compare", "--json", *map(str, words)])
        return {**json.loads(capsys.readouterr().out), "code": code}

    return run


def tensors_of(program: Program, q: np.ndarray) -> dict[str, np.ndarray]:
    with closing(Simulator(program)) as simulator:
        return simulator.run(q, keep=tensor_order(program))


def write_npy(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, array in tensors.items():
        np.save(folder / f"{name.replace('/', '_')}.npy", array)
    return folder


def test_folder_in_execution_order(tmp_path: Path, compare: Run) -> None:
    """File names sort otherwise: only the program knows that /stem comes before /layer1."""
    case = bundled_case()
    program = case.program
    program.save(str(tmp_path / "p.r329"))
    good = tensors_of(program, program.quantize_input(case.x[:1]))
    bad = {name: array.copy() for name, array in good.items()}
    for name in ("/stem/conv/Conv", "/layer1/block0/Add"):
        bad[name].reshape(-1)[5] ^= 1
    a, b = write_npy(tmp_path / "a", good), write_npy(tmp_path / "b", bad)
    found = compare(a, b, "--program", tmp_path / "p.r329")
    assert found["code"] == 1
    assert found["first_diverging"] == "/stem/conv/Conv"
    assert [layer["name"] for layer in found["layers"]] == tensor_order(program)
    assert found["histogram"] == {"1": 2}
    assert found["mismatches"] == 2
    assert compare(a, a, "--program", tmp_path / "p.r329")["code"] == 0


def test_tolerance_decides_the_exit_code(tmp_path: Path, compare: Run) -> None:
    values = np.arange(6, dtype=np.int8)
    off = values + np.array([0, 1, 0, 2, 0, 0], np.int8)
    a = write_npy(tmp_path / "a", {"one": values, "two": values})
    b = write_npy(tmp_path / "b", {"one": values + np.int8(1), "two": off})
    found = compare(a, b, "--max-off-by", 1)
    assert (found["code"], found["first_diverging"], found["first_beyond"]) == (1, "one", "two")
    assert found["histogram"] == {"1": 7, "2": 1}
    found = compare(a, b, "--max-off-by", 2)
    assert (found["code"], found["first_diverging"], found["first_beyond"]) == (0, "one", None)
    values.tofile(tmp_path / "x.bin")
    off.tofile(tmp_path / "y.bin")
    assert compare(tmp_path / "x.bin", tmp_path / "y.bin")["code"] == 1
    assert compare(tmp_path / "x.bin", tmp_path / "y.bin", "--max-off-by", 2)["code"] == 0
    assert compare(tmp_path / "x.bin", tmp_path / "y.bin", "--max-off-by", -1)["code"] == 2


def test_raw_files_under_other_names(tmp_path: Path, compare: Run) -> None:
    """A vendor's dump: flat .bin files with names of its own; uint8 layers by the program."""
    case = bundled_case()
    program = case.program
    program.save(str(tmp_path / "p.r329"))
    good = tensors_of(program, program.quantize_input(case.x[:2]))
    a = write_npy(tmp_path / "a", good)
    b = tmp_path / "b"
    b.mkdir()
    lines = ["# ours, theirs"]
    for number, (name, array) in enumerate(good.items()):
        array.tofile(b / f"op_{number}_out0.bin")
        lines.append(f"{name}, op_{number}_out0")
    (tmp_path / "map.txt").write_text("\n".join(lines))
    words = (a, b, "--map", tmp_path / "map.txt", "--program", tmp_path / "p.r329")
    assert compare(*words)["code"] == 0
    assert "uint8" in {spec.dtype for spec in program.tensors.values()}
    name = tensor_order(program)[7]
    changed = good[name].copy()
    changed.reshape(-1)[-1] ^= 64
    changed.tofile(b / "op_7_out0.bin")
    found = compare(*words)
    assert (found["code"], found["first_diverging"], found["max_abs_diff"]) == (1, name, 64)
    (b / "op_9_out0.bin").write_bytes(b"123")
    assert compare(*words)["code"] == 2


def test_missing_layers(tmp_path: Path, compare: Run) -> None:
    one = np.zeros(3, np.int8)
    a = write_npy(tmp_path / "a", {"conv": one, "pool": one, "fc": one})
    b = write_npy(tmp_path / "b", {"conv": one, "fc": one})
    found = compare(a, b)
    assert found["code"] == 2
    assert "'pool' is not in the second run" in found["error"]["message"]
    found = compare(a, b, "--common")
    assert (found["code"], found["only_in_one"]) == (0, ["pool"])
    c = write_npy(tmp_path / "c", {"other": one})
    assert "no tensor name in common" in compare(a, c, "--common")["error"]["message"]


def test_index_gives_names_and_order(tmp_path: Path) -> None:
    """What `run --dump` writes: numbered files, and the true names in index.json."""
    folder = tmp_path / "d"
    folder.mkdir()
    names = ["z/first", "a/second"]
    for number, name in enumerate(names):
        np.save(folder / f"{number:04d}_{name.replace('/', '_')}.npy", np.full(2, number, np.int8))
    index = {name: f"{n:04d}_{name.replace('/', '_')}.npy" for n, name in enumerate(names)}
    (folder / "index.json").write_text(json.dumps(index))
    assert list(read_dump(folder)) == names
    (folder / "index.json").unlink()
    assert list(read_dump(folder, known=names)) == names
    assert list(read_dump(folder)) == ["0000_z_first", "0001_a_second"]


def test_name_maps(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_text('{"conv": "Conv_0"}')
    assert read_name_map(path) == {"conv": "Conv_0"}
    path.write_text("conv Conv_0\nfc with blanks, Gemm 1\n")
    with pytest.raises(DataError, match=r"name map: 'Conv_0' .for 'conv'. is not in the dump"):
        read_dump(
            write_npy(tmp_path / "x", {"Conv_1": np.zeros(1, np.int8)}), None, {"conv": "Conv_0"}
        )
    assert read_name_map(path) == {"conv": "Conv_0", "fc with blanks": "Gemm 1"}
    for text, words in (
        ("one two three", "line 1"),
        ("", "no names"),
        ('{"a": 1}', "object"),
        ("{", "JSON"),
    ):
        path.write_text(text)
        with pytest.raises((DataError, FileError), match=words):
            read_name_map(path)
    with pytest.raises(FileError, match="cannot read"):
        read_name_map(tmp_path / "absent")


def test_shapes_that_mean_the_same() -> None:
    x = np.arange(6, dtype=np.int8)
    result, _ = compare_dumps({"a": x.reshape(1, 2, 3)}, {"a": x.reshape(2, 3, 1)})
    assert result.mismatches == 0
    result, _ = compare_dumps({"a": x.reshape(2, 3)}, {"a": x})
    assert result.mismatches == 0
    with pytest.raises(DataError, match="tensor 'a': found shapes"):
        compare_dumps({"a": x.reshape(2, 3)}, {"a": x.reshape(3, 2)})


# --- planted faults -----------------------------------------------------------------------------

FAULTS = ("weight", "multiplier", "rounding")
_LAYERS = (2, 5, 9, 14, 20, 26, 33, 41, 52, 61)  # of MobileNetV2, all with weights


def plant(program: Program, name: str, fault: str, values: np.ndarray) -> Program:
    """The program with one constant of one layer changed, in its most active channel.

    values: the layer's integers in the good run; a fault in a channel that is always 0 would
    change no integer, and so be none.
    """
    layer = next(item for item in program.layers if item.name == name)
    ops = list(program.ops)
    index = next(i for i in range(*layer.ops) if "weights" in ops[i].consts)
    op = ops[index]
    consts, attrs = dict(op.consts), dict(op.attrs)
    wide = values.reshape(-1, values.shape[-1]).astype(np.int64)
    channel = int(np.abs(wide).sum(axis=0).argmax())
    if fault == "weight":
        weights = consts["weights"].copy()
        row = weights[channel].reshape(-1)  # a view
        place = int(np.abs(row.astype(np.int64)).argmax())
        row[place] = -(int(row[place]) // 2)
        consts["weights"] = weights
    elif fault == "multiplier":
        mult = consts["mult"].copy()
        mult[channel % mult.size] += max(1, int(mult[channel % mult.size]) // 32)
        consts["mult"] = mult
    else:
        attrs["rounding"] = "floor"
    ops[index] = Op(op.kind, op.layer, op.inputs, op.outputs, attrs, consts)
    return dataclasses.replace(program, ops=ops)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_named(shared: Path, fault: str) -> None:
    """Ten different layers of MobileNetV2, each fault of which is found where it was made."""
    case = shared_case(shared / "data", "mobilenet_v2_1.0_224", 16)
    program = case.program
    q = program.quantize_input(case.x[:1])
    good = tensors_of(program, q)
    order = tensor_order(program)
    named = []
    for index in _LAYERS:
        name = program.layers[index].name
        bad = tensors_of(plant(program, name, fault, good[program.layers[index].outputs[0]]), q)
        result, odd = compare_dumps(good, bad)
        assert not odd
        assert result.first_diverging == program.layers[index].outputs[0], (name, fault)
        # nothing before it, and something in it
        before = order[: order.index(result.first_diverging)]
        assert all(result.layers[item].equal for item in before)
        named.append(result.first_diverging)
    assert len(set(named)) == 10


def test_counters_of_a_run_are_no_tensor(tmp_path: Path) -> None:
    (tmp_path / "output.bin").write_bytes(b"\x01\x02")
    (tmp_path / "profile_data.bin").write_bytes(b"\x00" * 64)
    assert list(read_dump(tmp_path)) == ["output"]
