"""Mutations of programs: each changes one thing that `verify` has a rule for, or many at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from r329fast.program.op import ITEMSIZES
from r329fast.program.ops import OPS
from r329fast.program.ops.spec import ACTS, Int, Ints
from r329fast.program.program import Program, TensorSpec
from support.kernel_cases_compute import Rng, pick, spec


def any_tensor(rng: Rng, name: str, shape: tuple[int, ...], dtype: str) -> TensorSpec:
    """A tensor of a dtype: of bytes as the registry's cases have them, of others the full range."""
    if ITEMSIZES[dtype] == 1:
        return spec(rng, name, shape, dtype)
    info = np.iinfo(dtype)
    zero = pick(rng, 0, int(rng.integers(-40000, 40000)))
    return TensorSpec(name, shape, dtype, 1.0, zero, int(info.min), int(info.max))


def integer(rng: Rng, value: int, low: int = -(1 << 31), high: int = 1 << 31) -> int:
    """Another integer: near the old one, at an end of the range, or far away."""
    bits = int(rng.integers(0, 66))
    near = [value + 1, value - 1, value + int(rng.integers(-5, 6)), 2 * value, -value, 0, 1, 2, 3]
    far = [low, high, low - 1, high + 1, 1 << bits, -(1 << bits), (1 << bits) - 1]
    return int(pick(rng, *(near if rng.random() < 0.75 else far)))


def numbers(rng: Rng, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Integers of a dtype: small, of any size, or only its ends."""
    info = np.iinfo(dtype)
    reach = min(1 << int(rng.integers(1, 34)), info.max)
    low = pick(rng, 0, max(-reach, info.min))
    if rng.random() < 0.1:
        return rng.choice(np.array([info.min, info.max, 0], dtype=dtype), shape)
    return np.asarray(rng.integers(low, reach + 1, shape)).astype(dtype)


def mutate_attr(rng: Rng, program: Program) -> Program:
    op = program.ops[-1]
    if not op.attrs:
        return program
    name = pick(rng, *sorted(op.attrs))
    value: Any = op.attrs[name]
    rule = OPS[op.kind].attrs.get(name, Int(0, 9))
    if isinstance(value, str):
        value = pick(rng, "", *(rule if isinstance(rule, tuple) else ("X",)))
    elif isinstance(rule, Int):
        value = integer(rng, value, rule.low, rule.high)
    elif isinstance(rule, Ints):
        items = list(value)
        choice = rng.random()
        if choice < 0.1 and items:
            items.pop()
        elif choice < 0.2:
            items.append(int(rng.integers(0, 4)))
        elif choice < 0.3:
            rng.shuffle(items)
        elif items:
            place = int(rng.integers(len(items)))
            items[place] = integer(rng, items[place], rule.low, rule.high)
        value = tuple(int(v) for v in items)
    return with_op(program, attrs={**op.attrs, name: value})


def mutate_const(rng: Rng, program: Program) -> Program:
    op = program.ops[-1]
    if not op.consts:
        return program
    name = pick(rng, *sorted(op.consts))
    array = op.consts[name].copy()
    if array.dtype.kind not in "iu":
        return program
    info, choice = np.iinfo(array.dtype), rng.random()
    if choice < 0.5 and array.size:
        values = numbers(rng, (1,), array.dtype.name)
        ends = [info.min, info.max, 0, 1, int(values[0])]
        old = int(array.flat[0])
        for change in (1, -1, 255):
            ends.append(min(max(old + change, info.min), info.max))
        if rng.random() < 0.5:
            array.flat[int(rng.integers(array.size))] = pick(rng, *ends)
        else:
            array[...] = pick(rng, *ends)
    elif choice < 0.6:
        array = numbers(rng, array.shape, array.dtype.name)
    elif choice < 0.7:
        array = array.reshape(-1)[: max(array.size - 1, 0)].copy()
    elif choice < 0.8:
        array = array.reshape(-1)[:1].reshape(pick(rng, (1,), (), (1, 1)) if array.size else (0,))
    elif choice < 0.85:
        array = np.ascontiguousarray(array.swapaxes(0, -1)) if array.ndim > 1 else array
    elif choice < 0.9:
        array = array.astype(pick(rng, "int8", "int16", "int32", "int64", ">i4", "float32"))
    elif choice < 0.95:
        return with_op(program, consts={k: v for k, v in op.consts.items() if k != name})
    else:
        array = np.asfortranarray(array)
    return with_op(program, consts={**op.consts, name: array})


def mutate_tensor(rng: Rng, program: Program) -> Program:
    name = pick(rng, *program.tensors)
    old = program.tensors[name]
    shape, choice = list(old.shape), rng.random()
    if choice < 0.2:
        dtype = pick(rng, "int8", "uint8", "int8", "uint8", *ITEMSIZES)
        new = any_tensor(rng, name, old.shape, dtype)
    elif choice < 0.4:
        new = replace(old, zero_point=integer(rng, old.zero_point, -(1 << 16), 1 << 16))
    elif choice < 0.55:
        end = pick(rng, "qmin", "qmax")
        new = replace(old, **{end: integer(rng, getattr(old, end), -128, 255)})
    else:
        if choice < 0.8 and shape:
            place = int(rng.integers(len(shape)))
            shape[place] = integer(rng, shape[place])
        elif choice < 0.87 and shape:
            shape.pop(int(rng.integers(len(shape))))
        elif choice < 0.94:
            shape.insert(int(rng.integers(len(shape) + 1)), int(rng.integers(1, 4)))
        else:
            rng.shuffle(shape)
        new = replace(old, shape=tuple(int(n) for n in shape))
    return replace(program, tensors={**program.tensors, name: new})


def mutate_names(rng: Rng, program: Program) -> Program:
    """Other inputs for the last op: of a known tensor, one twice, one less or more."""
    op, names = program.ops[-1], list(program.tensors)
    inputs = [pick(rng, *names) for _ in op.inputs] if rng.random() < 0.5 else list(op.inputs)
    if rng.random() < 0.3:
        inputs = pick(rng, inputs[:-1], [*inputs, pick(rng, *names)])
    return with_op(program, inputs=tuple(inputs))


def mutate_dtype(rng: Rng, program: Program) -> Program:
    """One tensor of another width, as an op that keeps integers must not have it."""
    name = pick(rng, *program.tensors)
    old = program.tensors[name]
    new = any_tensor(rng, name, old.shape, pick(rng, *ITEMSIZES))
    return replace(program, tensors={**program.tensors, name: new})


def mutate_worst(rng: Rng, program: Program) -> Program:
    """Most of what adds up at its end at once: weights, bias, multipliers, slopes, zero points."""
    op = program.ops[-1]
    consts, attrs, rules = dict(op.consts), dict(op.attrs), OPS[op.kind].attrs
    if "act" in attrs and rng.random() < 0.5:
        attrs["act"] = pick(rng, *ACTS)
        if attrs["act"] == "LEAKY":
            consts.setdefault("slope", np.ones(1, dtype=np.int32))
    ends: dict[str, tuple[int, ...]] = {
        "mult": (32767,),
        "shift": (-31, 0, 1, 15, 31, 63),
        "slope": (-(1 << 31), (1 << 31) - 1),
        "pad_values": (-(1 << 24), 1 << 24),
    }
    for name, array in consts.items():
        if array.dtype.kind not in "iu" or rng.random() < 0.3:
            continue
        info = np.iinfo(array.dtype)
        end = pick(rng, *ends.get(name, (info.min, info.max)))
        consts[name] = np.full_like(array, min(max(end, info.min), info.max))
    for name in ("slope_shift", "pad_value", "clip_min", "clip_max"):
        rule = rules.get(name)
        if isinstance(rule, Int) and rng.random() < 0.5:
            attrs[name] = pick(rng, rule.low, rule.high, 0, 8)
    tensors = {
        name: replace(t, zero_point=pick(rng, t.zero_point, -(1 << 16), 1 << 16))
        for name, t in program.tensors.items()
    }
    return replace(with_op(program, consts=consts, attrs=attrs), tensors=tensors)


MUTATIONS: tuple[Callable[[Rng, Program], Program], ...] = (
    mutate_attr, mutate_attr, mutate_const, mutate_const, mutate_tensor, mutate_names,
    mutate_dtype, mutate_worst,
)  # fmt: skip


def with_op(program: Program, **changes: Any) -> Program:
    """The program with its last op changed."""
    return replace(program, ops=[*program.ops[:-1], replace(program.ops[-1], **changes)])
