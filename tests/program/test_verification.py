"""`verify` leaves nothing open: kinds of lies in programs, each refused by its own rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support import kernel_cases
from support.programs import small_program

from r329fast.errors import ProgramError
from r329fast.program import Op, Program, TensorSpec
from r329fast.program.ops import OPS
from r329fast.program.ops.spec import Int, Ints
from r329fast.program.planner import plan
from r329fast.simulator import Simulator


def refused(program: Program, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        program.verify()
    with pytest.raises(ProgramError, match=message):
        Simulator(program)  # before any memory is touched


def case(kind: str, fits: Callable[[Program], bool] = lambda program: True) -> Program:
    """The first registry case of a kind that fits."""
    for seed in range(500):
        program = kernel_cases.CASES[kind](np.random.default_rng(seed))
        if fits(program):
            return program
    raise AssertionError(f"no case of {kind}")


def changed(program: Program, attrs: Any = None, consts: Any = None, **tensors: Any) -> Program:
    """The program with attributes, constants and fields of tensors (by name) changed."""
    op = program.ops[0]
    op = replace(op, attrs={**op.attrs, **(attrs or {})}, consts={**op.consts, **(consts or {})})
    known = dict(program.tensors)
    for name, fields in tensors.items():
        known[name] = replace(known[name], **fields)
    return replace(program, tensors=known, ops=[op])


def with_op(program: Program, **changes: Any) -> Program:
    return replace(program, ops=[replace(program.ops[0], **changes)])


def attributes() -> list[tuple[str, str]]:
    return [
        (kind, name)
        for kind, row in OPS.items()
        for name, rule in row.attrs.items()
        if isinstance(rule, (Int, Ints))
    ]


@pytest.mark.parametrize(("kind", "name"), attributes())
def test_every_number_has_a_range(kind: str, name: str) -> None:
    program, rule = case(kind), OPS[kind].attrs[name]
    assert isinstance(rule, (Int, Ints))
    assert -(1 << 31) <= rule.low <= rule.high < 1 << 31
    old: Any = program.ops[0].attrs[name]
    bad: Any
    for bad in (rule.low - 1, rule.high + 1, 1 << 63, 1 << 64, -(1 << 64), True, 1.0, "1", None):
        value = bad if isinstance(rule, Int) else (bad, *old[1:])
        if isinstance(rule, Int) or old:
            refused(changed(program, {name: value}), f"attribute {name}")
    other = (old,) if isinstance(rule, Int) else [*old]
    refused(changed(program, {name: other}), f"attribute {name}")


@pytest.mark.parametrize("kind", OPS)
def test_constants_of_another_form(kind: str) -> None:
    program = case(kind)
    for name, array in program.ops[0].consts.items():
        swapped = array.astype(array.dtype.newbyteorder())
        forms = [
            array.astype(np.float64),
            array.tolist(),
            array[::-1][:, None] if array.ndim else 1,
        ]
        if array.itemsize > 1:
            forms.append(swapped)
        for form in forms:
            refused(changed(program, consts={name: form}), name)
        if array.ndim:
            refused(
                changed(program, consts={name: array[:0].copy()}), f"{name}|output shape|do not fit"
            )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": (1 << 20, 1 << 20)}, "R329FAST_MAX_ACTIVATION_MB"),
        ({"shape": (1,) * 9}, "9 axes"),
        ({"shape": (0, 3)}, "positive integers"),
        ({"shape": (2.0, 3)}, "positive integers"),
        ({"shape": [2, 3]}, "positive integers"),
        ({"dtype": "int64"}, "dtype int64"),
        ({"dtype": ["int8"]}, "dtype"),
        ({"qmin": -129}, "range"),
        ({"qmin": 0.5}, "range"),
        ({"qmin": 5, "qmax": 4}, "range"),
        ({"zero_point": 1 << 40}, "zero point"),
        ({"zero_point": 0.5}, "zero point"),
        ({"scale": 0.0}, "scale"),
        ({"scale": 1e300}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": "1"}, "scale"),
        ({"name": "other"}, "not the tensor of that name"),
    ],
)
def test_tensor_fields(fields: dict[str, Any], message: str) -> None:
    refused(changed(case("transpose"), x=fields), message)


def test_the_limit_of_activations_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    program = small_program()
    big = TensorSpec("big", (1 << 10, 1 << 10, 2), "int8", 1.0)
    program.tensors["big"] = big
    monkeypatch.setenv("R329FAST_MAX_ACTIVATION_MB", "1")
    with pytest.raises(ProgramError, match="2,097,152 bytes per image, allowed 1 MB"):
        program.verify()
    monkeypatch.setenv("R329FAST_MAX_ACTIVATION_MB", "2")
    program.verify()


def test_ends_of_a_program() -> None:
    program = case("transpose")
    refused(replace(program, inputs=()), "inputs")
    refused(replace(program, outputs=()), "outputs")
    refused(replace(program, outputs=("y", "y")), "outputs")
    refused(replace(program, outputs=("z",)), "'z' is no tensor")
    refused(replace(program, inputs=("x", "z")), "'z' is no tensor")
    refused(with_op(program, inputs=["x"]), "names")
    refused(with_op(program, inputs=("x", "x")), "2 inputs")
    refused(with_op(program, kind=["transpose"]), "unknown kind")


def test_every_input_of_a_concat_is_looked_at() -> None:
    program = case("concat", lambda p: len(p.inputs) > 1 and p.ops[0].attrs["axis"] == 2)
    shape = program.tensors["x1"].shape
    for other in (shape[2:], (*shape, 4096), (shape[0] + 1, *shape[1:]), (4096, *shape[1:])):
        refused(changed(program, x1={"shape": other}), "differ outside axis")
    refused(changed(program, {"axis": 3}), "axis 3 outside")
    ones = np.ones(len(program.inputs), dtype=np.int32)
    refused(changed(program, consts={"shift": 64 * ones}), "shift outside")
    refused(changed(program, consts={"mult": -ones}), "mult outside")


@pytest.mark.parametrize("kind", ["resize_nearest", "resize_bilinear", "maxpool", "avgpool"])
def test_windows_and_resizes_have_three_axes(kind: str) -> None:
    program = case(kind)
    for name in ("x", "y"):
        shape = program.tensors[name].shape
        for other in ((*shape, 4096), shape[:2], ()):
            refused(changed(program, **{name: {"shape": other}}), r"\(H, W, C\)")


def test_outputs_of_another_size() -> None:
    shuffle = case("channel_shuffle")
    channels = shuffle.tensors["x"].shape[2]
    refused(changed(shuffle, x={"shape": (2048, 2048, channels)}), "output shape")
    for kind in ("softmax_lut", "lrn", "lut", "requantize", "standardize", "l2_normalize"):
        program = case(kind)
        refused(changed(program, y={"shape": (3, 3, 3, 3)}), "shape")


def test_tables_and_their_values() -> None:
    lut = case("lut", lambda p: p.tensors["y"].dtype == "int8")
    refused(changed(lut, consts={"table": np.full(256, 128, dtype=np.int16)}), "table outside")
    for kind in ("softmax_lut", "log_softmax"):
        table = np.full(256, -1, dtype=np.int32)
        refused(changed(case(kind), consts={"table": table}), "table outside")
    log = case("log_softmax")
    refused(
        changed(log, consts={"log_table": np.zeros(255, dtype=np.int16)}), "log_table has shape"
    )
    gather = case("gather")
    far = np.full_like(gather.ops[0].consts["indices"], 1 << 30)
    refused(changed(gather, consts={"indices": far}), "indices outside")


def test_nothing_passes_int64() -> None:
    conv = case("conv2d", lambda p: p.ops[0].consts["weights"].dtype == np.int16)
    outs = conv.ops[0].consts["weights"].shape[0]
    slope = np.full(outs, (1 << 31) - 1, dtype=np.int32)
    leaky = {"act": "LEAKY", "slope_shift": -31}
    refused(changed(conv, leaky, {"slope": slope}), "pass 62 bits")
    softmax = case(
        "softmax_lut", lambda p: len(p.tensors["x"].shape) == 1 and p.tensors["x"].elements > 1
    )
    big = np.full(256, (1 << 31) - 1, dtype=np.int32)
    refused(
        changed(softmax, {"bits": 31}, {"table": big, "shift": np.zeros(1, np.int32)}), "62 bits"
    )
    refused(changed(softmax, {"bits": 31}, {"shift": np.full(1, 40, np.int32)}), "together")
    total = case("eltwise", lambda p: p.ops[0].attrs["method"] == "ADD")
    most = {
        "scales": np.full(2, (1 << 31) - 1, dtype=np.int32),
        "mult": np.full(1, 32767, dtype=np.int32),
    }
    far = {"zero_point": 1 << 16}
    refused(changed(total, {"act": "NONE"}, most, a=far, b=far), "pass 62 bits")


def test_pads_and_strides_that_need_room() -> None:
    for kind in ("conv2d", "depthwise_conv2d", "maxpool", "avgpool"):
        program = case(kind)
        far = (1 << 31) - 1
        refused(changed(program, {"pads": (far, far, far, far)}), "MAX_ACTIVATION|too large|output")
        refused(changed(program, {"stride": (far, far)}), "MAX_ACTIVATION|output")


def test_layers_of_ops_that_are_not_there() -> None:
    program = small_program()
    bad = replace(program.layers[1], ops=(0, 99))
    with pytest.raises(ProgramError, match="ops"):
        replace(program, layers=[bad]).verify()
    bad = replace(program.layers[1], ops=(0.0, 1))
    with pytest.raises(ProgramError, match="ops"):
        replace(program, layers=[bad]).verify()


def test_the_planner_refuses_places_outside_the_arena() -> None:
    program = small_program()
    buffers = plan(program, (), 4)
    name, size = program.inputs[0], program.tensors[program.inputs[0]].bytes
    assert buffers.span(name, 1, 3, size).stop - buffers.span(name, 1, 3, size).start == 3 * size
    for bad in ((-1, 1, size), (2, 3, size), (0, 4, 1 << 40)):
        with pytest.raises(ProgramError, match="arena"):
            buffers.span(name, *bad)
    lying = replace(buffers, offsets={**buffers.offsets, name: buffers.size - size})
    with pytest.raises(ProgramError, match="arena"):
        lying.span(name, 0, 4, size)


def test_a_constant_alone_needs_an_input() -> None:
    value = np.zeros(3, dtype=np.int8)
    op = Op("constant", "layer", (), ("y",), {}, {"value": value})
    tensors = {"y": TensorSpec("y", (3,), "int8", 1.0)}
    refused(Program("p", "test", tensors, [op], [], (), ("y",)), "inputs")
