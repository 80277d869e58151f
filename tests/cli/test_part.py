"""The part of a model that a command takes: its ends, and sizes that its file leaves open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from support.evaluation_sets import image_zip
from support.graph_nets import Step, net, random

import r329fast
from r329fast.cfg import read_cfg
from r329fast.errors import UsageError
from r329fast.vendor.aipu.load import read_program

CONSTS = {"w": random(4, 3, 1, 1), "v": random(10, 4, 1, 1)}
STEPS: list[Step] = [
    ("Conv", "x w", "c", {}),
    ("GlobalAveragePool", "c", "p", {}),
    ("Conv", "p v", "d", {}),
]
SHAPE = ["--input-shape", "1,3,6,8"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with free rows and columns, the same with a head that is refused, images."""
    path = tmp_path_factory.mktemp("part")
    free = net([*STEPS, ("Flatten", "d", "y", {})], ("N", 3, "H", "W"), CONSTS)
    onnx.save(free, str(path / "free.onnx"))
    head: list[Step] = [*STEPS, ("Flatten", "d", "logits", {}), ("NonZero", "logits", "y", {})]
    onnx.save(net(head, (1, 3, 6, 8), CONSTS), str(path / "head.onnx"))
    image_zip(path / "val.zip", 12)
    return path


def words(command: str, model: Path, folder: Path, out: Path) -> list[object]:
    """A call of a command on a model that comes alone."""
    images = ["--images", folder / "val.zip"]
    return {
        "check": ["check", model],
        "cfg new": ["cfg", "new", model, "--out", out / "run.cfg"],
        "try": ["try", model, folder / "val.zip", "--limit", "4", "--out", out],
        "run": ["run", model, *images, "--out", out],
        "quantize": ["quantize", model, *images, "--out", out / "m.r329"],
        "eval": ["eval", model, *images],
        "profile": ["profile", model, *images, "--no-time"],
        "tune": ["tune", model, *images, "--allow", "settings", "--out", out],
    }[command]


COMMANDS = ("check", "cfg new", "try", "run", "quantize", "eval", "profile", "tune")


@pytest.mark.parametrize("command", COMMANDS)
def test_sizes_that_the_file_leaves_open(
    run: Run, folder: Path, tmp_path: Path, command: str
) -> None:
    """Refused with the option that mends it, and mended by it."""
    call = words(command, folder / "free.onnx", folder, tmp_path)
    code, out, err = run(*call)
    assert code in (2, 3)
    assert "--input-shape" in out + err
    code, _, err = run(*call, *SHAPE)
    assert code == 0, err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_head_that_is_refused(run: Run, folder: Path, tmp_path: Path, command: str) -> None:
    call = words(command, folder / "head.onnx", folder, tmp_path)
    code, out, err = run(*call)
    if command != "cfg new":  # reads names only
        assert code == 3
        assert "--output logits" in " ".join((out + err).split())
    code, _, err = run(*call, "--output", "logits")
    assert code == 0, err


def test_what_is_left_is_the_part(run: Run, folder: Path, tmp_path: Path) -> None:
    """Program, cfg and Python call are one network."""
    cfg, images = tmp_path / "run.cfg", folder / "val.zip"
    part = ["--input-shape", "x=[1, 3, 6, 8]", "--output", "c"]
    code, out, _ = run(
        "quantize", folder / "free.onnx", "--images", images, *part, "--save-cfg", cfg,
        "--out", tmp_path / "m.r329", "--json",
    )  # fmt: skip
    assert code == 0
    program = read_program(tmp_path / "m.r329")
    assert program.tensors[program.outputs[0]].shape == (6, 8, 4)
    parser = read_cfg(cfg).parser
    assert (parser.input, parser.input_shape, parser.output) == (("x",), ((1, 3, 6, 8),), ("c",))
    assert r329fast.prepare(cfg).program.hash() == json.loads(out)["hash"]
    trial = r329fast.try_model(
        folder / "free.onnx", out=tmp_path / "t", input_shapes=[[1, 3, 6, 8]], outputs=["c"]
    )
    assert trial.record["layers"][-1]["shape"] == "6x8x4"


def test_an_input_inside(run: Run, folder: Path, tmp_path: Path) -> None:
    call = ["run", folder / "free.onnx", "--input", "c", "--out", tmp_path]
    code, _, err = run(*call)
    assert code == 2
    assert "--input-shape" in err
    assert run(*call, "--input-shape", "1,4,6,8")[0] == 0
    assert len((tmp_path / "output.bin").read_bytes()) == 10


@pytest.mark.parametrize("option", [["--output", "c"], ["--input", "x"], SHAPE])
@pytest.mark.parametrize("command", ["run", "eval", "profile", "quantize", "tune"])
def test_a_cfg_and_a_program_have_their_own(
    run: Run, folder: Path, tmp_path: Path, command: str, option: list[str]
) -> None:
    for name in ("m.cfg", "m.r329"):
        (tmp_path / name).touch()
        code, _, err = run(*words(command, tmp_path / name, folder, tmp_path), *option)
        assert code == 2
        assert f"{option[0]} goes with a MODEL.onnx" in err
        assert f"key {option[0][2:].replace('-', '_')} in [Parser]" in err


def test_the_float_network_of_a_program(run: Run, folder: Path, tmp_path: Path) -> None:
    images, model = folder / "val.zip", folder / "free.onnx"
    program = tmp_path / "m.r329"
    assert run("quantize", model, "--images", images, *SHAPE, "--out", program)[0] == 0
    for call in (
        ["eval", program, "--images", images, "--float-model", model],
        ["profile", program, "--images", images, "--float", model, "--no-time"],
    ):
        code, _, err = run(*call)
        assert code == 3
        assert "--input-shape" in err
        code, _, err = run(*call, *SHAPE)
        assert code == 0, err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("1,a", "allowed [NAME=]1,3,224,224"),
        ("", "allowed [NAME=]1,3,224,224"),
        ("[1,3", "allowed [NAME=]1,3,224,224"),
        ("x=[1,3,6,8],[1]", "allowed [NAME=]1,3,224,224"),
        ("z=1,3,6,8", "no input"),
        ("[1,3,6,8],[1,3]", "2 "),
        ("1,3,6", "found"),
        ("1,3,0,8", "at least 1"),
    ],
)
def test_wrong_shapes_are_one_line(
    run: Run, folder: Path, tmp_path: Path, word: str, message: str
) -> None:
    call = ["run", folder / "free.onnx", "--out", tmp_path, f"--input-shape={word}"]
    code, _, err = run(*call)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_two_shapes_of_a_kind(run: Run, folder: Path) -> None:
    code, _, err = run("try", folder / "free.onnx", *SHAPE, "--input-shape", "x=1,3,6,8")
    assert code == 2
    assert "name all inputs or none" in err


def test_from_python_a_name_that_is_no_input(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no input") as caught:
        r329fast.try_model(folder / "free.onnx", out=tmp_path, input_shapes={"q": [1, 3, 6, 8]})
    assert isinstance(caught.value, UsageError) or caught.value.exit_code == 2  # type: ignore[attr-defined]
