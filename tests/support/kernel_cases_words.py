"""The registry's cases with tensors of 16 bits: some of them, or all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r329fast.errors import ProgramError
from r329fast.program.ops import OPS
from r329fast.program.program import Program, TensorSpec
from support import kernel_cases
from support.kernel_cases_compute import Rng, pick

# Kinds that have a rule for 16 bits, and cases of bytes to begin with.
KINDS = [
    kind
    for kind, row in OPS.items()
    if 2 in row.writes and (2 in row.reads or kind == "lut") and kind in kernel_cases.CASES
    if kind not in ("arg_extreme", "top_k", "lut_line", "standardize_words", "constant")
]


def widened(rng: Rng, kind: str) -> Program:
    """A case of a kind; where the wider accumulators would pass 62 bits, another one."""
    while True:
        program = _widened(rng, kernel_cases.CASES[kind](rng))
        try:
            program.verify()
        except ProgramError:
            continue
        return program


def _wide(rng: Rng, tensor: TensorSpec) -> TensorSpec:
    dtype = pick(rng, "int16", "int16", "uint16")
    low, high = (0, 65535) if dtype == "uint16" else (-32768, 32767)
    if rng.random() < 0.2:
        low, high = low + 3, high - 5
    zero = pick(rng, 0, 0, int(rng.integers(-3000, 3000)))
    return replace(tensor, dtype=dtype, zero_point=zero, qmin=low, qmax=high)


def _widened(rng: Rng, program: Program) -> Program:
    (op,) = program.ops
    row, output = OPS[op.kind], op.outputs[0]
    names = [*dict.fromkeys(op.inputs), output]
    able = [name for name in names if 2 in (row.writes if name == output else row.reads)]
    chosen = [name for name in able if rng.random() < 0.6] or [pick(rng, *able)]
    tensors = dict(program.tensors)
    if row.same_scale:
        kept = _wide(rng, tensors[names[0]])
        for name in names:
            tensors[name] = replace(kept, name=name, shape=tensors[name].shape)
    else:
        tensors |= {name: _wide(rng, tensors[name]) for name in chosen}
    consts = dict(op.consts)
    if "shift" in consts:  # back into the output's range
        factors = len([name for name in op.inputs if name in chosen])
        factors = factors if op.kind == "matmul" or op.attrs.get("method") == "MUL" else factors > 0
        more = 8 * int(factors) - 8 * (output in chosen)
        consts["shift"] = np.clip(consts["shift"] + more, -31, 63).astype(np.int32)
    if "bias" in consts and rng.random() < 0.3:  # 48 bits
        consts["bias"] = consts["bias"].astype(np.int64) << int(rng.integers(0, 15))
    if op.kind == "lut":
        y = tensors[output]
        consts["table"] = rng.integers(y.qmin, y.qmax + 1, 256).astype(np.int32)
    return replace(program, tensors=tensors, ops=[replace(op, consts=consts)])
