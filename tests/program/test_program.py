"""The op list as data: spec, hash, text, `.r329` file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zipfile

import numpy as np
import pytest
from support.programs import small_input, small_program

from r329fast.errors import DataError, FileError, ProgramError
from r329fast.program import Program
from r329fast.program.archive import VERSION
from r329fast.program.ops import OPS
from r329fast.program.storage import load_program
from r329fast.reference import run_program


def _changed(program: Program, index: int, **changes: object) -> Program:
    ops = list(program.ops)
    ops[index] = dataclasses.replace(ops[index], **changes)
    return dataclasses.replace(program, ops=ops)


def test_every_op_kind_says_what_it_means() -> None:
    assert all(spec.meaning.strip() for spec in OPS.values())


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
def test_round_trip_through_a_file(tmp_path, scheme: str) -> None:
    program = small_program(scheme)
    path = tmp_path / "small.r329"
    program.save(str(path))
    loaded = load_program(path)
    assert loaded.hash() == program.hash()
    assert str(loaded) == str(program)
    assert loaded.layers == program.layers
    assert loaded.options == program.options
    x = small_input(program)
    ours, theirs = run_program(program, {"x": x}), run_program(loaded, {"x": x})
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_same_program_same_bytes(tmp_path) -> None:
    for name in ("a.r329", "b.r329"):
        small_program().save(str(tmp_path / name))
    assert (tmp_path / "a.r329").read_bytes() == (tmp_path / "b.r329").read_bytes()


def test_any_changed_constant_changes_the_hash() -> None:
    program = small_program()
    seen = {program.hash()}
    for index, op in enumerate(program.ops):
        for name, array in op.consts.items():
            changed = array.copy()
            changed.flat[0] ^= 1
            seen.add(_changed(program, index, consts={**op.consts, name: changed}).hash())
    assert len(seen) == 1 + sum(len(op.consts) for op in program.ops)


@pytest.mark.parametrize("keep", [0, 10, 1000, -100, -1])
def test_truncated_file(tmp_path, keep: int) -> None:
    path = tmp_path / "small.r329"
    small_program().save(str(path))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileError, match=r"small\.r329"):
        load_program(path)


def test_flipped_bytes_never_pass(tmp_path) -> None:
    path = tmp_path / "small.r329"
    small_program().save(str(path))
    good = path.read_bytes()
    expected = load_program(path).hash()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(good), size=120):
        bad = bytearray(good)
        bad[position] ^= 0x55
        path.write_bytes(bytes(bad))
        # A byte of the zip's own padding or dates may change nothing that counts.
        with contextlib.suppress(FileError):
            assert load_program(path).hash() == expected


def test_newer_version_is_refused(tmp_path) -> None:
    path = tmp_path / "small.r329"
    small_program().save(str(path))
    newer = tmp_path / "newer.r329"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "header.json":
                data = json.dumps({**json.loads(data), "version": VERSION + 1}).encode()
            new.writestr(name, data)
    with pytest.raises(FileError, match=f"version {VERSION + 1}.*reads up to {VERSION}"):
        load_program(newer)


def test_missing_and_foreign_files(tmp_path) -> None:
    with pytest.raises(FileError, match="No such file"):
        load_program(tmp_path / "none.r329")
    foreign = tmp_path / "foreign.r329"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("header.json", "{}")
    with pytest.raises(FileError, match="not an r329fast program"):
        load_program(foreign)


def test_verify_names_op_and_rule() -> None:
    program = small_program()
    op = program.ops[0]
    cases = [
        ({"kind": "conv3d"}, "unknown kind"),
        ({"inputs": ("nowhere",)}, "before it is made"),
        ({"outputs": ("x",)}, "made twice"),
        ({"attrs": {**op.attrs, "rounding": "nearest"}}, "rounding is 'nearest'"),
        ({"attrs": {**op.attrs, "stride": (2, 2)}}, "output shape"),
        ({"attrs": {**op.attrs, "extra": 1}}, "attributes"),
        ({"consts": {**op.consts, "bias": op.consts["bias"][:-1]}}, "bias has shape"),
        ({"consts": {**op.consts, "mult": op.consts["mult"] * 0 - 1}}, "mult outside"),
        ({"consts": {**op.consts, "weights": op.consts["weights"].astype("int32")}}, "is int32"),
    ]
    for changes, message in cases:
        with pytest.raises(ProgramError, match=message) as caught:
            _changed(program, 0, **changes).verify()
        assert "op 0" in str(caught.value)


def test_quantize_input_checks_the_shape() -> None:
    program = small_program()
    with pytest.raises(DataError, match=r"found shape \(1, 3, 8, 8\), expected \[N, 8, 8, 3\]"):
        program.quantize_input(np.zeros((1, 3, 8, 8), dtype=np.float32))


def test_quantize_input_saturates_and_takes_nan_as_zero() -> None:
    program = small_program()
    x = np.zeros((1, 8, 8, 3), dtype=np.float32)
    x[0, 0, 0] = [np.nan, 1e9, -1e9]
    assert list(program.quantize_input(x)[0, 0, 0]) == [0, 127, -128]
