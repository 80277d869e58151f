"""Who reads what: edges between the steps, from the addresses alone.

Buffers are reused, so an address means whatever wrote it last, in execution order. The NPU's
memory is kept here as stretches, each with the step that wrote it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from r329fast.errors import FileError
from r329fast.vendor.aipu.container import KIND_INPUT, KIND_OUTPUT, AipuBin
from r329fast.vendor.aipu.entries import Entry, Operand, known, operand_at


@dataclass(frozen=True)
class Value:
    """A feature map: written by step `maker` (None: input `number` of the network)."""

    maker: int | None
    number: int
    operand: Operand


@dataclass(frozen=True)
class Dataflow:
    """The steps that move or compute feature maps, and where each of their operands comes from.

    inputs: the network's, in the order of their ids; steps: in execution order; sources: for each
    step the values that it reads, in the order of its operands; outputs: the values behind the
    network's outputs, in the order of their ids.
    """

    inputs: tuple[Value, ...]
    steps: tuple[Entry, ...]
    sources: tuple[tuple[Value, ...], ...]
    outputs: tuple[Value, ...]
    output_operands: tuple[Operand, ...]


class _Memory:
    """Stretches (start, end, value) that do not overlap, in order of their starts."""

    def __init__(self) -> None:
        self.stretches: list[tuple[int, int, Value | None]] = []

    def write(self, operand: Operand, value: Value | None) -> None:
        start, end = operand.address, operand.address + operand.size
        first = bisect_left(self.stretches, start, key=_start)
        if first and self.stretches[first - 1][1] > start:
            first -= 1
        last = bisect_left(self.stretches, end, key=_start)
        self.stretches[first:last] = [(start, end, value)]

    def read(self, operand: Operand, where: str) -> Value:
        first = bisect_left(self.stretches, operand.address, key=_start)
        if first < len(self.stretches):
            start, end, value = self.stretches[first]
            if (start, end - start) == (operand.address, operand.size) and value is not None:
                return value
        raise FileError(
            f"{where} reads {operand.size} bytes at {operand.address:#x}, which no step before "
            "it wrote"
        )


def _start(stretch: tuple[int, int, Value | None]) -> int:
    return stretch[0]


def resolve(binary: AipuBin, entries: list[Entry]) -> Dataflow:
    """Edges and ends of the network.

    Raises FileError for an address that nothing wrote, UnsupportedModelError for unknown steps.
    """
    ends = _ends(binary)
    inputs = [Value(None, number, operand) for number, operand in enumerate(ends[KIND_INPUT])]
    memory = _Memory()
    for value in inputs:
        memory.write(value.operand, value)
    steps: list[Entry] = []
    sources: list[tuple[Value, ...]] = []
    for entry in map(known, entries):
        if entry.output is None:
            continue
        if entry.op == "constant":
            memory.write(entry.output, None)
            continue
        read = [memory.read(operand, entry.where) for operand in entry.inputs]
        for operand, value in zip(entry.inputs, read, strict=True):
            if operand.dtype not in ("", value.operand.dtype):
                raise FileError(
                    f"{entry.where} reads {operand.dtype} at {operand.address:#x}, where "
                    f"{value.operand.dtype} was written"
                )
        sources.append(tuple(read))
        memory.write(entry.output, Value(len(steps), 0, entry.output))
        steps.append(entry)
    outputs = ends[KIND_OUTPUT]
    if not inputs or not outputs:
        raise FileError(f"aipu.bin: {len(inputs)} inputs and {len(outputs)} outputs")
    found = [memory.read(operand, f"aipu.bin: output {i}") for i, operand in enumerate(outputs)]
    return Dataflow(tuple(inputs), tuple(steps), tuple(sources), tuple(found), tuple(outputs))


def _ends(binary: AipuBin) -> dict[int, list[Operand]]:
    """Inputs and outputs by id: the buffers that the last RO entry names."""
    last = len(binary.ro) - 1
    found: dict[int, dict[int, Operand]] = {KIND_INPUT: {}, KIND_OUTPUT: {}}
    for at in range(binary.ro.shape[1]):
        buffer = binary.patched.get(last * binary.ro.shape[1] + at)
        if buffer is None or buffer.kind not in found:
            continue
        operand = operand_at(binary, last, at)
        if buffer.index in found[buffer.kind]:
            raise FileError(f"aipu.bin: two inputs or two outputs with the id {buffer.index}")
        found[buffer.kind][buffer.index] = operand
    return {kind: [table[i] for i in sorted(table)] for kind, table in found.items()}
