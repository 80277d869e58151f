"""Read-only parser of the vendor's compiled binary (`aipu.bin`, graph version 0.4).

It exists to check the integer parameters that r329fast computes against those of a real build:
multipliers, shifts, bias shifts and constants of every layer. Layout: spec formats.md section 9;
all words are little-endian u32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r329fast.base.limits import TENSOR
from r329fast.base.reading import read_bytes
from r329fast.errors import FileError
from r329fast.vendor.aiff import DESCRIPTOR_WORDS, Descriptor

Words = npt.NDArray[np.uint32]

MAGIC = b"AIPU BIN"
HEADER_BYTES = 0x68
RO_ENTRY_BYTES = 0x100  # one a perf node, one in front of them, the buffer table behind them
RO_BASE = 0x10000000  # RO, then Desc, in the NPU's address space
DATA_BASE = 0x20000000  # stack, then Data
LINKED_LIST_FLAG = 1 << 4
LINK_BYTES = 16

_CONCAT_OUTPUT, _CONCAT_FORM = 60, 61  # words of a Concat's RO entry
_SECTION_NAMES = ("text", "ro", "desc", "data", "bss", "misc")
_BUFFER_WORDS = 12


@dataclass(frozen=True)
class Header:
    """Fields of the first 0x68 bytes; `sections` is name -> (offset, bytes) in the file."""

    device: int
    version: tuple[int, int]  # of the graph format
    build: tuple[int, int, int]  # of the tool
    file_bytes: int
    flag: int
    sections: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Buffer:
    """A tensor inside a memory section.

    kind: 0 input, 1 output, 3 intermediate, 10 profile, 12 printf log; dtype: 2 u8, 3 i8, 5 i16,
    7 i32; ro_offsets: where the loader writes its address, in bytes from the start of RO.
    """

    offset: int
    size: int
    kind: int
    index: int
    dtype: int
    shape: tuple[int, ...]
    ro_offsets: tuple[int, ...]


@dataclass(frozen=True)
class BinSection:
    """A constant (`data_offset` in Data) or, where that is None, working memory."""

    data_offset: int | None
    size: int
    align: int
    buffers: tuple[Buffer, ...]


@dataclass(frozen=True)
class PerfNode:
    """One RO entry that is a layer; `op` is told by its form, not by a name (there are none).

    op: aiff, concat, mean, slice, constant or other; aiff nodes carry their `descriptors`, one a
    tile; `pairs` are the (M, N) that concat (one an input) and mean nodes hold; `rescaled`: a
    concat whose inputs have other scales than its output.
    """

    index: int
    op: str
    words: Words
    descriptors: tuple[Descriptor, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    rescaled: bool = False


@dataclass
class AipuBin:
    """The parsed file: `nodes` in execution order, `data` the constants' section."""

    header: Header
    stack_bytes: int
    static: list[BinSection]
    reuse: list[BinSection]
    nodes: list[PerfNode]
    data: bytes
    links: int = 0
    section_bytes: dict[str, int] = field(default_factory=dict)

    def constants(self, address: int, dtype: str, count: int) -> np.ndarray:
        """`count` numbers of `dtype` at an NPU address inside Data."""
        start = address - DATA_BASE - self.stack_bytes
        size = count * np.dtype(dtype).itemsize
        if start < 0 or start + size > len(self.data):
            raise FileError(f"aipu.bin: address {address:#x} is outside the Data section")
        return np.frombuffer(self.data[start : start + size], dtype)

    def buffers(self) -> Iterator[Buffer]:
        for section in (*self.static, *self.reuse):
            yield from section.buffers


class _Cursor:
    """Reads words one after the other; running past the end is a damaged file."""

    def __init__(self, words: Words, what: str) -> None:
        self.words, self.what, self.at = words, what, 0

    def take(self, count: int) -> tuple[int, ...]:
        if self.at + count > len(self.words):
            raise FileError(f"aipu.bin: {self.what} section ends early")
        self.at += count
        return tuple(self.words[self.at - count : self.at].tolist())


def _header(blob: bytes) -> Header:
    if len(blob) < HEADER_BYTES or blob[: len(MAGIC)] != MAGIC:
        raise FileError("not an aipu.bin: its first bytes are not 'AIPU BIN' and a header")
    words = struct.unpack_from("<22I", blob, 16)
    version, build = words[1], words[2]
    sections = {name: (words[8 + 2 * i], words[9 + 2 * i]) for i, name in enumerate(_SECTION_NAMES)}
    header = Header(
        device=words[0],
        version=((version >> 16) & 0xFF, version >> 24),
        build=(build & 0xFF, (build >> 8) & 0xFF, build >> 16),
        file_bytes=words[4],
        flag=words[6],
        sections=sections,
    )
    if header.version != (0, 4):
        raise FileError(f"aipu.bin: graph version {header.version}, only (0, 4) can be read")
    if header.file_bytes != len(blob):
        raise FileError(f"aipu.bin: {len(blob)} bytes, its header says {header.file_bytes}")
    for name, (offset, size) in sections.items():
        if offset + size > len(blob):
            raise FileError(f"aipu.bin: {name} section ends behind the end of the file")
    return header


def _words(blob: bytes, span: tuple[int, int]) -> Words:
    offset, size = span
    return np.frombuffer(blob, "<u4", count=size // 4, offset=offset)


def _section(cursor: _Cursor, static: bool) -> BinSection:
    data_offset = cursor.take(1)[0] if static else None
    size, align, count = cursor.take(3)
    buffers = []
    for _ in range(count):
        entry = cursor.take(_BUFFER_WORDS)
        offset, nbytes, kind, index, dtype = entry[:5]
        ro_offsets = cursor.take(entry[11])
        buffers.append(Buffer(offset, nbytes, kind, index, dtype, entry[6:10], ro_offsets))
    return BinSection(data_offset, size, align, tuple(buffers))


def _node(index: int, words: Words, patched: frozenset[int], desc: dict[int, Words]) -> PerfNode:
    """Classify RO entry `index`; `patched` are the words that the loader fills with addresses."""
    free = [int(word) for at, word in enumerate(words) if at not in patched]
    targets = [word for word in free if word in desc]
    if len(targets) == 1:
        tiles = desc[targets[0]]
        return PerfNode(index, "aiff", words, tuple(Descriptor(tile) for tile in tiles))
    count = int(words[_CONCAT_FORM]) >> 16
    if _CONCAT_OUTPUT in patched and patched == {1 + 3 * i for i in range(count)} | {60}:
        # Each input: channels, address, then M in the high half and N in the second byte.
        forms = [int(words[2 + 3 * i]) for i in range(count)]
        pairs = tuple((form >> 16, (form >> 8) & 0xFF) for form in forms)
        return PerfNode(index, "concat", words, (), pairs, bool(words[_CONCAT_FORM] & 0xFF))
    if patched == {7, 8}:
        return PerfNode(index, "mean", words, (), ((int(words[9]), int(words[10])),))
    kinds = {frozenset({6, 15}): "slice", frozenset({0, 2}): "constant"}
    return PerfNode(index, kinds.get(patched, "other"), words)


def _descriptors(ro: Words, desc: Words) -> dict[int, Words]:
    """Address -> tiles (n, 68) of each layer: the runs between the addresses that RO names."""
    base = RO_BASE + 4 * len(ro)
    inside = (ro >= base) & (ro < base + 4 * len(desc))
    starts = np.unique(ro[inside]).astype(np.int64)
    ends = np.append(starts[1:], base + 4 * len(desc))
    tiles = {}
    for start, end in zip(starts, ends, strict=True):
        run = desc[(start - base) // 4 : (end - base) // 4]
        count = len(run) // DESCRIPTOR_WORDS
        tiles[int(start)] = run[: count * DESCRIPTOR_WORDS].reshape(count, DESCRIPTOR_WORDS)
    return tiles


def parse_aipu_bin(blob: bytes) -> AipuBin:
    """Parse the bytes of an aipu.bin; raises FileError naming what does not fit."""
    header = _header(blob)
    bss = _words(blob, header.sections["bss"])
    cursor = _Cursor(bss, "bss")
    stack_bytes, _, static_count, reuse_count = cursor.take(4)
    static = [_section(cursor, static=True) for _ in range(static_count)]
    reuse = [_section(cursor, static=False) for _ in range(reuse_count)]
    if cursor.at != len(bss):
        raise FileError(f"aipu.bin: {len(bss) - cursor.at} words left over in the bss section")
    end = sum(header.sections["bss"])
    links = 0
    if header.flag & LINKED_LIST_FLAG:
        count = struct.unpack_from("<I", blob, end)[0] if len(blob) >= end + 4 else -1
        if count < 0 or end + 4 + count * LINK_BYTES != len(blob):
            raise FileError("aipu.bin: the linked list does not end at the end of the file")
        links = count

    ro = _words(blob, header.sections["ro"])
    per_entry = RO_ENTRY_BYTES // 4
    patched: dict[int, set[int]] = {}
    for section in (*static, *reuse):
        for buffer in section.buffers:
            for offset in buffer.ro_offsets:
                entry, byte = divmod(offset, RO_ENTRY_BYTES)
                patched.setdefault(entry, set()).add(byte // 4)
    desc = _descriptors(ro, _words(blob, header.sections["desc"]))
    nodes = [
        _node(i, ro[i * per_entry : (i + 1) * per_entry], frozenset(patched.get(i, ())), desc)
        for i in range(1, len(ro) // per_entry - 1)
    ]
    offset, size = header.sections["data"]
    sizes = {name: span[1] for name, span in header.sections.items()}
    return AipuBin(
        header, stack_bytes, static, reuse, nodes, blob[offset : offset + size], links, sizes
    )


def read_aipu_bin(path: Path) -> AipuBin:
    """Read and parse a file; raises FileError."""
    return parse_aipu_bin(read_bytes(path, TENSOR))
