"""`profile_data.bin`: header and records, zeroed as the vendor's simulator leaves them, or filled.

The meaning of a record's eight words in files that hardware made is not public. With our
counters in them (`filled_profile_data`) the file is marked: the third word of the header is
`FILLED_MARK`, which the vendor's files have as zero.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

HEADER_BYTES = 24  # start and end offset of the records, four words that are zero
RECORD_BYTES = 32  # a perf node; the meaning of its eight words is unknown
FILE_ALIGN = 256

FILLED_MARK = 0x31463352  # "R3F1", little endian: our layout, version 1
MARK_OFFSET = 8
_WORD_MAX = 2**32 - 1


@dataclass(frozen=True)
class NodeRecord:
    """Our eight words of one perf node, in file order (u32 each, the MACs as two words).

    cycles, compute_cycles, memory_cycles, read_bytes, write_bytes: estimates; macs: exact;
    saturated_ppm: outputs cut off at either end in parts per million over the profiled images
    (exact; 0 where none were run). Larger values than u32 holds are written as 0xffffffff.
    """

    cycles: int
    compute_cycles: int
    memory_cycles: int
    read_bytes: int
    write_bytes: int
    macs: int
    saturated_ppm: int

    def words(self) -> tuple[int, ...]:
        low = (self.cycles, self.compute_cycles, self.memory_cycles)
        moved = (self.read_bytes, self.write_bytes)
        macs = (self.macs & _WORD_MAX, self.macs >> 32)
        return tuple(min(word, _WORD_MAX) for word in (*low, *moved, *macs, self.saturated_ppm))


def profile_data_size(perf_nodes: int) -> int:
    """Bytes of the file, also the "output size" of graph.json (spec formats.md 6)."""
    used = HEADER_BYTES + RECORD_BYTES * perf_nodes
    return -(-used // FILE_ALIGN) * FILE_ALIGN


def profile_data(perf_nodes: int) -> bytes:
    """The file's bytes: no simulator writes counters, so all records are zero."""
    end = HEADER_BYTES + RECORD_BYTES * perf_nodes
    return struct.pack("<2I", HEADER_BYTES, end).ljust(profile_data_size(perf_nodes), b"\0")


def filled_profile_data(records: Sequence[NodeRecord]) -> bytes:
    """The same file with one record per perf node, in graph.json order."""
    data = bytearray(profile_data(len(records)))
    struct.pack_into("<I", data, MARK_OFFSET, FILLED_MARK)
    for index, record in enumerate(records):
        struct.pack_into("<8I", data, HEADER_BYTES + RECORD_BYTES * index, *record.words())
    return bytes(data)


def read_profile_data(data: bytes) -> list[NodeRecord] | None:
    """The records of a file that `filled_profile_data` made; None for one that it did not."""
    start, end, mark = struct.unpack_from("<3I", data)
    if mark != FILLED_MARK:
        return None
    records = []
    for offset in range(start, end, RECORD_BYTES):
        cycles, compute, memory, read, write, low, high, ppm = struct.unpack_from(
            "<8I", data, offset
        )
        macs = low | high << 32
        records.append(NodeRecord(cycles, compute, memory, read, write, macs, ppm))
    return records
