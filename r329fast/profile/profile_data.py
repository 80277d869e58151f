"""`profile_data.bin`: header and zeroed records, as the vendor's simulator leaves them."""

from __future__ import annotations

import struct

HEADER_BYTES = 24  # start and end offset of the records, four words that are zero
RECORD_BYTES = 32  # a perf node; the meaning of its eight words is unknown
FILE_ALIGN = 256


def profile_data_size(perf_nodes: int) -> int:
    """Bytes of the file, also the "output size" of graph.json (spec formats.md 6)."""
    used = HEADER_BYTES + RECORD_BYTES * perf_nodes
    return -(-used // FILE_ALIGN) * FILE_ALIGN


def profile_data(perf_nodes: int) -> bytes:
    """The file's bytes: no simulator writes counters, so all records are zero."""
    end = HEADER_BYTES + RECORD_BYTES * perf_nodes
    return struct.pack("<2I", HEADER_BYTES, end).ljust(profile_data_size(perf_nodes), b"\0")
