"""Arbitrary programs: registry cases with mutations, and chains of ops drawn from the spec.

Whatever `verify` lets pass must run: `run` gives it to the kernels, between guard pages, and to
the reference. A new row of the op list, and a new registry case, are drawn by themselves: what a
rule says it expects is what `repaired` makes of a program that breaks it.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest

from r329fast import kernels
from r329fast.errors import ProgramError
from r329fast.program.op import ITEMSIZES
from r329fast.program.ops import OPS
from r329fast.program.ops.spec import Int
from r329fast.program.program import Op, Program, TensorSpec
from r329fast.reference import run_program
from r329fast.simulator import binding, workers
from r329fast.simulator.simulator import Simulator
from support import kernel_cases
from support.exact_steps import exact_steps
from support.guard_pages import guarded_buffers
from support.kernel_cases_compute import Rng, pick
from support.program_mutations import MUTATIONS, any_tensor, numbers, with_op

_LARGEST = 150_000  # elements of all tensors of a program that is run: the reference is slow
_WORK = 20_000_000  # elements that windows and sums look at
_TRIES = 12


def complaint(program: Program) -> str:
    """What verify says, "" where it accepts."""
    try:
        program.verify()
    except ProgramError as error:
        return error.message
    return ""


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"-?\d+", text))


def _repair(rng: Rng, program: Program, text: str) -> Program | None:
    """What the rule says it expects, in the last op's place; None where it says nothing."""
    op = program.ops[-1]
    if not text.startswith(f"op {len(program.ops) - 1} "):
        return None
    found = re.search(r"output shape \(.*?\), expected (\(.*?\))", text)
    if found:
        shape, (name,) = _shape(found[1]), op.outputs
        if not all(0 < n <= _LARGEST for n in shape):
            return None
        tensor = replace(program.tensors[name], shape=shape)
        return replace(program, tensors={**program.tensors, name: tensor})
    found = re.search(r"(\w+) has shape \(.*?\), expected ((?:\(.*?\)(?: or )?)+)", text)
    if found and found[1] in op.consts:
        shape = _shape(pick(rng, *re.findall(r"\(.*?\)", found[2])))
        if not 0 < prod(shape) <= _LARGEST:
            return None
        values = np.resize(op.consts[found[1]], shape).astype(op.consts[found[1]].dtype)
        return with_op(program, consts={**op.consts, found[1]: values})
    found = re.search(r"(\w+) outside (-?\d+)\.\.(-?\d+)", text)
    if found and found[1] in op.consts:
        old, low, high = op.consts[found[1]], int(found[2]), int(found[3])
        values = rng.integers(low, high + 1, old.shape).astype(old.dtype)
        return with_op(program, consts={**op.consts, found[1]: values})
    if "pass 62 bits" in text and "mult" in op.consts:  # to the last that is allowed
        name = "mult" if op.consts["mult"].any() else "slope"
        if name in op.consts:
            return with_op(program, consts={**op.consts, name: op.consts[name] // 2})
    found = re.search(r"dtypes .*, allowed the same", text)
    if found and op.inputs:
        source, output = (program.tensors[names[0]] for names in (op.inputs, op.outputs))
        kept = replace(source, name=output.name, shape=output.shape)
        same = {
            name: replace(kept, name=name, shape=program.tensors[name].shape)
            for name in op.inputs[1:]
        }
        return replace(program, tensors={**program.tensors, **same, output.name: kept})
    return None


def repaired(rng: Rng, program: Program) -> Program:
    """The program with what verify complains about put right, where the rule says how."""
    for _ in range(_TRIES):
        text = complaint(program)
        better = _repair(rng, program, text) if text else None
        if better is None:
            return program
        program = better
    return program


def mutated(rng: Rng, kind: str) -> Program:
    """A registry case with up to three mutations, of which the shape is often put right."""
    program = kernel_cases.CASES[kind](rng)
    for _ in range(int(rng.integers(0, 4))):
        program = pick(rng, *MUTATIONS)(rng, program)
    return repaired(rng, program) if rng.random() < 0.8 else program


def _dtype(rng: Rng, widths: tuple[int, ...]) -> str:
    return pick(rng, *(dtype for dtype, width in ITEMSIZES.items() if width in widths))


def _drawn_attr(rng: Rng, rule: Any, rank: int) -> Any:
    def number(low: int, high: int) -> int:
        small = min(low + int(rng.integers(0, 4)), high)
        return pick(rng, small, small, max(min(int(rng.integers(-40000, 40000)), high), low))

    if isinstance(rule, tuple):
        return pick(rng, *rule)
    if isinstance(rule, Int):
        return number(rule.low if abs(rule.low) < 1 << 20 else 0, rule.high)
    count = rule.length or pick(rng, rank, rank, int(rng.integers(1, rank + 2)))
    if rule.low == 0 and rng.random() < 0.6:  # axes, or no padding
        order = [int(v) for v in rng.permutation(count)]
        return tuple(order) if rng.random() < 0.6 else (0,) * count
    return tuple(min(rule.low + int(rng.integers(0, 3)), rule.high) for _ in range(count))


def drawn(rng: Rng, kind: str, inputs: list[TensorSpec], name: str) -> Program:
    """One op of a kind on such inputs, all else drawn from its row of the op list."""
    row, x = OPS[kind], inputs[0] if inputs else any_tensor(rng, "", _some_shape(rng), "int8")
    rank = max(len(x.shape), 1)
    attrs = {key: _drawn_attr(rng, rule, rank) for key, rule in row.attrs.items()}
    sizes = [1, *x.shape, x.shape[-1] if x.shape else 1, int(rng.integers(1, 20)), 256]
    consts = {}
    for key, dtypes in row.consts.items():
        if key.endswith("?") and rng.random() < 0.5:
            continue
        shape = tuple(pick(rng, *sizes) for _ in range(pick(rng, 1, 1, 2)))
        if key == "weights":
            outs = int(rng.integers(1, 20))
            window = attrs.get("kernel", ())
            window = window if prod(window) < 100 else ()
            channels = x.shape[-1] if x.shape else 1
            group = pick(rng, 1, channels, attrs.get("group", 1))
            if "group" in attrs:
                attrs["group"] = group
            inner = pick(rng, channels, max(channels // group, 1))
            shape = pick(rng, (outs * pick(rng, 1, group), *window, inner), x.shape[-1:], shape)
        consts[key.rstrip("?")] = numbers(rng, shape, pick(rng, *dtypes))
    if "kernel" in attrs and rng.random() < 0.7:
        _fit_window(rng, x, attrs, consts)
    output = any_tensor(rng, name, x.shape, _dtype(rng, row.writes))
    if "value" in consts:  # of a constant
        consts["value"] = numbers(rng, x.shape, output.dtype)
    op = Op(kind, name, tuple(t.name for t in inputs), (name,), attrs, consts)
    tensors = {t.name: t for t in (*inputs, output)}
    names = tuple(dict.fromkeys(op.inputs)) or ("x",)
    tensors.setdefault(names[0], any_tensor(rng, names[0], (2,), "int8"))  # a program has an input
    return repaired(rng, Program("drawn", "test", tensors, [op], [], names, (name,)))


def _fit_window(rng: Rng, x: TensorSpec, attrs: dict[str, Any], consts: dict[str, Any]) -> None:
    """A window that fits the image, and weights that fit the window."""
    if len(x.shape) != 3:
        return
    channels = x.shape[2]
    attrs["pads"] = tuple(int(n) for n in rng.integers(0, 3, 4)) if rng.random() < 0.7 else (0,) * 4
    sides = [x.shape[i] + attrs["pads"][i] + attrs["pads"][i + 2] for i in (0, 1)]
    attrs["kernel"] = tuple(int(rng.integers(1, min(side, 5) + 1)) for side in sides)
    attrs["dilation"] = tuple(
        int(rng.integers(1, max((side - 1) // max(kernel - 1, 1), 1) + 1)) if kernel > 1 else 1
        for side, kernel in zip(sides, attrs["kernel"], strict=True)
    )
    attrs["stride"] = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    if "weights" in consts:
        sizes = [channels // n for n in (4, 8) if channels % n == 0]
        group = pick(rng, 1, channels, *(n for n in (2, 3, 4, *sizes) if channels % n == 0))
        inner = pick(rng, channels // group, channels)
        outs = pick(rng, int(rng.integers(1, 12)), channels // group)
        attrs["group"] = group
        shape = (outs * pick(rng, 1, group), *attrs["kernel"], inner)
        consts["weights"] = numbers(rng, shape, consts["weights"].dtype.name)


def _some_shape(rng: Rng, rank: int = -1) -> tuple[int, ...]:
    rank = pick(rng, 0, 1, 2, 3, 3, 3, 3, 4, 5) if rank < 0 else rank
    return tuple(int(rng.integers(1, pick(rng, 4, 12, 24))) for _ in range(rank))


def drawn_inputs(rng: Rng, kind: str, known: list[TensorSpec]) -> list[TensorSpec]:
    arity = OPS[kind].arity
    count = arity if arity >= 0 else int(rng.integers(1, 4))
    readable = [t for t in known if t.itemsize in OPS[kind].reads]
    if not count or not readable:
        return []
    inputs = [pick(rng, *readable)]
    alike = [t for t in known if t.shape == inputs[0].shape]
    return [
        *inputs,
        *(pick(rng, *(alike if rng.random() < 0.8 else known)) for _ in range(count - 1)),
    ]


def chain(rng: Rng, length: int = 6) -> Program:
    """Ops drawn from the spec, each on tensors that are there; some programs are mutated."""
    known = [
        any_tensor(rng, f"x{i}", _some_shape(rng), _dtype(rng, (1, 1 << int(rng.integers(0, 3)))))
        for i in range(int(rng.integers(1, 4)))
    ]
    given = [t.name for t in known]
    ops: list[Op] = []
    for _ in range(4 * length):
        if len(ops) == length:
            break
        kind = pick(rng, *OPS)
        alone = drawn(rng, kind, drawn_inputs(rng, kind, known), f"t{len(ops)}")
        fits = set(alone.ops[0].inputs) <= {t.name for t in known}
        fits = fits and all(alone.tensors[t.name] == t for t in known if t.name in alone.tensors)
        if fits and not complaint(alone) and affordable(alone):
            ops += alone.ops
            known.append(alone.tensors[alone.outputs[0]])
    tensors = {t.name: t for t in known}
    used = {name for op in ops for name in op.inputs}
    outputs = {t.name for t in known if t.name not in used} | {pick(rng, *known).name}
    program = Program("chain", "test", tensors, ops, [], tuple(given), tuple(sorted(outputs)))
    for _ in range(int(rng.integers(0, 3)) if ops else 0):
        program = pick(rng, *MUTATIONS)(rng, program)
    return repaired(rng, program) if ops else program


def affordable(program: Program) -> bool:
    """Whether the reference can run it in a moment."""
    if sum(t.elements for t in program.tensors.values()) > _LARGEST:
        return False
    work = 0
    for op in program.ops:
        y = program.tensors[op.outputs[0]]
        x = program.tensors[op.inputs[0]] if op.inputs else y
        window: Any = op.attrs.get("kernel", (1, 1))
        weights = op.consts.get("weights", np.zeros(1))
        work += y.elements * prod(window) + y.elements * prod(weights.shape[1:] or (1,))
        if op.kind == "matmul":
            work += y.elements * max(x.shape)
        pads: Any = op.attrs.get("pads", (0, 0, 0, 0))
        stride: Any = op.attrs.get("stride", (1, 1))
        dilation: Any = op.attrs.get("dilation", (1, 1))
        if "kernel" in op.attrs:  # the reference makes an image with its padding
            sides = [
                x.shape[i] + pads[i] + pads[i + 2] + window[i] * dilation[i] + stride[i]
                for i in (0, 1)
            ]
            work += prod(sides) * x.shape[2]
        size: Any = op.attrs.get("size", 0)
        work += x.elements * size
    return work <= _WORK


def arbitrary(seed: int) -> tuple[str, Program]:
    """(what it was made of, program) of a seed: a registry case mutated, or a chain."""
    rng = np.random.default_rng([seed, 77])
    if rng.random() < 0.7:
        kind = pick(rng, *kernel_cases.CASES)
        return kind, mutated(rng, kind)
    if rng.random() < 0.6:
        kind = pick(rng, *OPS)
        rank = 3 if "kernel" in OPS[kind].attrs and rng.random() < 0.8 else -1
        known = [any_tensor(rng, "x0", _some_shape(rng, rank), _dtype(rng, OPS[kind].reads))]
        known += [replace(known[0], name=f"x{i}") for i in (1, 2)]
        return f"{kind} drawn", drawn(rng, kind, drawn_inputs(rng, kind, known), "y")
    return "chain", chain(rng)


def _feeds(rng: Rng, program: Program) -> dict[str, np.ndarray]:
    """Few images, or more than a block; of any integers, or all at one end."""
    elements = sum(t.elements for t in program.tensors.values())
    many = elements < _LARGEST // 40 and rng.random() < 0.2
    feeds = kernel_cases.feeds(
        rng, program, int(rng.integers(5, 40) if many else rng.integers(1, 5))
    )
    if rng.random() < 0.25:
        for name, array in feeds.items():
            info = np.iinfo(array.dtype)
            array[...] = pick(rng, info.min, info.max)
            feeds[name] = array
    return feeds


def run(program: Program, seed: int) -> str:
    """Give an accepted program to kernels and reference; what is wrong, or ""."""
    rng = np.random.default_rng([seed, 78])
    feeds = _feeds(rng, program)
    with exact_steps():
        expected = run_program(program, feeds)
    keep = pick(rng, "outputs", list(program.tensors) if rng.random() < 0.5 else "outputs")
    made = {*program.inputs, *(op.outputs[0] for op in program.ops)}
    keep = [name for name in keep if name in made] if isinstance(keep, list) else keep
    threads, block = pick(rng, 1, 1, 2, 3), pick(rng, None, None, 1, 3)
    with guarded_buffers(), pytest.MonkeyPatch.context() as patch:
        if rng.random() < 0.3:  # tensors as they are, instead of all in one dtype
            patch.setattr(kernels, "STORED", "")
        patch.setattr(workers, "_BUDGET", pick(rng, 100, 3000, workers._BUDGET))
        # threads share ops, or never; in pieces as small as may be
        patch.setattr(workers, "_SHARED_SECONDS", pick(rng, 0, 1 << 60))
        patch.setattr(binding, "_LEAST_PIECE", pick(rng, 1e-12, 4e-6))
        with closing(Simulator(program, threads=threads, block=block)) as simulator:
            found = simulator.run(feeds, keep)
    for name, array in found.items():
        if not np.array_equal(array, expected[name]):
            place = np.argwhere(array != expected[name])[0]
            return f"{name} on {simulator.paths()} differs at {place}"
    return ""
