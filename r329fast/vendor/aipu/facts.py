"""What is inside an aipu.bin, as plain data: for `aipu inspect` and the report of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from r329fast.quantization.aqt2021 import fit_bias
from r329fast.vendor.aipu.constants import job_constants
from r329fast.vendor.aipu.container import AipuBin
from r329fast.vendor.aipu.dataflow import Dataflow, Value, resolve
from r329fast.vendor.aipu.entries import Entry, Operand, read_entries
from r329fast.vendor.aipu.lints import lints_of
from r329fast.vendor.aipu.program import input_name, step_name, value_name

Names = Mapping[str, str]  # the reader's name of a tensor -> the user's


def facts_of(binary: AipuBin, names: Names | None = None) -> dict[str, Any]:
    """Header, sections, ends, layers, memory and lints; all names by `names` where it has them.

    Raises FileError and UnsupportedModelError where a step cannot be read.
    """
    names = names or {}
    entries = read_entries(binary)
    flow = resolve(binary, entries)
    header = binary.header
    layers = [_layer(binary, flow, number, names) for number in range(len(flow.steps))]
    return {
        "kind": "aipu",
        "header": {
            "target": "Z1_0701",
            "device": f"{header.device:#010x}",
            "graph_version": ".".join(map(str, header.version)),
            "build": ".".join(map(str, header.build)),
            "flag": header.flag,
            "bytes": header.file_bytes,
        },
        "sections": {**binary.section_bytes, "stack": binary.stack_bytes},
        "inputs": [
            _end(value.operand, names.get(input_name(value.number), input_name(value.number)))
            for value in flow.inputs
        ],
        "outputs": [
            _end(operand, _name(flow, value, names))
            for value, operand in zip(flow.outputs, flow.output_operands, strict=True)
        ],
        "layers": layers,
        "memory": memory_map(flow, names),
        "lints": lints_of(flow, layers, names),
    }


def _name(flow: Dataflow, value: Value, names: Names) -> str:
    plain = value_name(flow, value)
    return names.get(plain, plain)


def _place(operand: Operand) -> dict[str, Any]:
    return {
        "memory": "SRAM" if operand.in_sram else "DDR",
        "address": f"{operand.address:#010x}",
        "bytes": operand.size,
    }


def _end(operand: Operand, name: str) -> dict[str, Any]:
    shape = list(operand.shape)
    return {"name": name, "shape": shape, "dtype": operand.dtype, **_place(operand)}


def _layer(binary: AipuBin, flow: Dataflow, number: int, names: Names) -> dict[str, Any]:
    entry = flow.steps[number]
    output = entry.made
    plain = step_name(entry)
    row: dict[str, Any] = {
        "entry": entry.index,
        "name": names.get(plain, plain),
        "op": entry.op,
        "inputs": [_name(flow, value, names) for value in flow.sources[number]],
        "input_shapes": [list(operand.shape) for operand in entry.inputs],
        "shape": list(output.shape),
        "dtype": output.dtype,
        "reads": [_place(operand) for operand in entry.inputs],
        "writes": _place(output),
    }
    if entry.descriptors:
        row.update(_job(binary, entry))
    elif entry.op in ("concat", "mean"):
        row["multipliers"] = [list(pair) for pair in entry.pairs]
        if entry.op == "concat":
            row["rescaled"] = entry.rescaled
    elif entry.op == "slice":
        row["begin"] = [int(word) for word in entry.words[8:11]]
    elif entry.op == "transpose":
        row["perm"] = [int(word) - 1 for word in entry.words[6:9]]
    return row


def _job(binary: AipuBin, entry: Entry) -> dict[str, Any]:
    """What a fixed-function job adds: its window, fixed point and how it is cut."""
    tile = entry.descriptors[0]
    constants = job_constants(binary, entry)
    dead = constants.mult == 0
    dead = np.broadcast_to(dead, constants.bias.shape)
    live = np.where(dead, 0, constants.bias.astype(np.int64))
    mult = constants.mult
    row: dict[str, Any] = {
        "mult": int(mult[0]) if mult.size == 1 else [int(mult.min()), int(mult.max())],
        "shift": tile.shift,
        "bias_shift": tile.bias_shift,
        "relu": tile.relu,
        "tiles": entry.tiles,
        "dead_channels": int(dead.sum()),
        "bits_lost_to_dead": tile.bias_shift - min(tile.bias_shift, fit_bias(live, 16)[1]),
        "weights": list(constants.weights.shape),
    }
    if entry.op != "fc":
        row.update(kernel=list(tile.kernel), stride=list(tile.stride), pads=list(tile.pads))
        row["passes"] = tile.passes
    if tile.eltwise is not None:
        row["eltwise"] = vars(tile.eltwise)
    return row


def memory_map(flow: Dataflow, names: Names) -> list[dict[str, Any]]:
    """Every feature map: where it lives, and from which step to which (0: before the first).

    Steps count as in the RO table; a map that is an output lives to the end.
    """
    last_step = flow.steps[-1].index if flow.steps else 0
    last: dict[tuple[int | None, int], int] = {}
    for entry, sources in zip(flow.steps, flow.sources, strict=True):
        for value in sources:
            last[value.maker, value.number] = entry.index
    for value in flow.outputs:
        last[value.maker, value.number] = last_step
    values = [*flow.inputs]
    for number, entry in enumerate(flow.steps):
        values.append(Value(number, 0, entry.made))
    rows = []
    for value in values:
        first = 0 if value.maker is None else flow.steps[value.maker].index
        rows.append(
            {
                "name": _name(flow, value, names),
                **_place(value.operand),
                "from": first,
                "to": max(first, last.get((value.maker, value.number), first)),
            }
        )
    return rows
