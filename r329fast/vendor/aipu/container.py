"""The outer form of the vendor's compiled binary (`aipu.bin`, graph version 0.4).

Header, sections, buffers and the link list; what the words of the sections mean stands in
`entries.py` and `descriptor.py`. Layout: spec aipu_bin.md and formats.md section 9; all words are
little-endian u32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r329fast.base.limits import PROGRAM
from r329fast.base.reading import read_bytes
from r329fast.errors import FileError, UnsupportedModelError

Words = npt.NDArray[np.uint32]

MAGIC = b"AIPU BIN"
HEADER_BYTES = 0x68
TARGET_DEVICE = 0x000102BD  # Z1_0701
GRAPH_VERSION = (0, 4)
RO_ENTRY_BYTES = 0x100  # a layer, one in front of them, the buffer table behind them
RO_ENTRY_WORDS = RO_ENTRY_BYTES // 4
RO_BASE = 0x10000000  # RO, then Desc, in the NPU's address space
DATA_BASE = 0x20000000  # stack, then Data
LINKED_LIST_FLAG = 1 << 4
LINK_BYTES = 16
LINK_TO_DESC = 1

KIND_INPUT, KIND_OUTPUT = 0, 1  # Buffer.kind
DTYPES = {2: "uint8", 3: "int8", 5: "int16", 7: "int32"}  # Buffer.dtype

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
    7 i32; shape: NHWC, zeros where it is a plain run of bytes; ro_offsets: where the loader writes
    its address, in bytes from the start of RO (Desc lies behind it).
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
class Link:
    """One entry of the link list: byte `offset` in RO, kind 1 = an offset in Desc, 0 = RO base."""

    offset: int
    kind: int
    target: int


@dataclass
class AipuBin:
    """The file's parts.

    ro: (entries, 64) words; desc: the descriptors' words; data: the constants; patched: word of RO
    and Desc (counted from the start of RO) -> the buffer whose address the loader writes there.
    """

    header: Header
    stack_bytes: int
    static: list[BinSection]
    reuse: list[BinSection]
    ro: Words
    desc: Words
    data: bytes
    links: tuple[Link, ...] = ()
    patched: dict[int, Buffer] = field(default_factory=dict)

    @property
    def section_bytes(self) -> dict[str, int]:
        return {name: span[1] for name, span in self.header.sections.items()}

    @property
    def desc_base(self) -> int:
        """Address of the descriptors in the NPU's address space."""
        return RO_BASE + 4 * self.ro.size

    @property
    def data_base(self) -> int:
        return DATA_BASE + self.stack_bytes

    def constants(self, address: int, dtype: str, count: int) -> np.ndarray:
        """`count` numbers of `dtype` at an NPU address inside Data; raises FileError."""
        start = address - self.data_base
        size = count * np.dtype(dtype).itemsize
        if start < 0 or start + size > len(self.data):
            raise FileError(f"aipu.bin: address {address:#x} is outside the Data section")
        return np.frombuffer(self.data, dtype, count, start)

    def buffers(self) -> Iterator[Buffer]:
        for section in (*self.static, *self.reuse):
            yield from section.buffers

    def word(self, index: int) -> int:
        """A word of RO and Desc, counted as in `patched`."""
        flat = self.ro.reshape(-1)
        return int(flat[index] if index < flat.size else self.desc[index - flat.size])


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
    if len(blob) < HEADER_BYTES or not is_aipu(blob):
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
    if header.version != GRAPH_VERSION:
        raise UnsupportedModelError(
            f"aipu.bin: graph version {header.version} (word {version:#010x}), only "
            f"{GRAPH_VERSION} can be read"
        )
    if header.device != TARGET_DEVICE:
        raise UnsupportedModelError(
            f"aipu.bin: target {header.device:#010x}, only {TARGET_DEVICE:#010x} (Z1_0701) can be "
            "read"
        )
    if header.file_bytes != len(blob):
        raise FileError(f"aipu.bin: {len(blob)} bytes, but its header names {header.file_bytes}")
    for name, (offset, size) in sections.items():
        if offset + size > len(blob):
            raise FileError(f"aipu.bin: {name} section ends behind the end of the file")
    for name, unit in (("ro", RO_ENTRY_BYTES), ("desc", 4), ("bss", 4)):
        if sections[name][1] % unit:
            raise FileError(f"aipu.bin: {sections[name][1]} bytes of {name}, no multiple of {unit}")
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


def _links(blob: bytes, header: Header) -> tuple[Link, ...]:
    if not header.flag & LINKED_LIST_FLAG:
        return ()
    end = sum(header.sections["bss"])
    count = struct.unpack_from("<I", blob, end)[0] if len(blob) >= end + 4 else -1
    if count < 0 or end + 4 + count * LINK_BYTES != len(blob):
        raise FileError("aipu.bin: the linked list does not end at the end of the file")
    words = np.frombuffer(blob, "<u4", 4 * count, end + 4).reshape(count, 4).tolist()
    return tuple(Link(offset, kind, target) for _, offset, kind, target in words)


def is_aipu(blob: bytes) -> bool:
    """Whether these are the first bytes of an aipu.bin."""
    return blob[: len(MAGIC)] == MAGIC


def parse_aipu_bin(blob: bytes) -> AipuBin:
    """Parse the bytes of an aipu.bin.

    Raises FileError naming what does not fit, and UnsupportedModelError for another target or
    graph version.
    """
    header = _header(blob)
    bss = _words(blob, header.sections["bss"])
    cursor = _Cursor(bss, "bss")
    stack_bytes, _, static_count, reuse_count = cursor.take(4)
    static = [_section(cursor, static=True) for _ in range(static_count)]
    reuse = [_section(cursor, static=False) for _ in range(reuse_count)]
    if cursor.at != len(bss):
        raise FileError(f"aipu.bin: {len(bss) - cursor.at} words left over in the bss section")
    ro = _words(blob, header.sections["ro"]).reshape(-1, RO_ENTRY_WORDS)
    desc = _words(blob, header.sections["desc"])
    offset, size = header.sections["data"]
    found = AipuBin(
        header,
        stack_bytes,
        static,
        reuse,
        ro,
        desc,
        blob[offset : offset + size],
        _links(blob, header),
    )
    limit = 4 * (ro.size + desc.size)
    for buffer in found.buffers():
        for place in buffer.ro_offsets:
            if place % 4 or place >= limit:
                raise FileError(f"aipu.bin: a buffer's address belongs at {place:#x}, outside RO")
            found.patched[place // 4] = buffer
    return found


def read_aipu_bin(path: str | Path) -> AipuBin:
    """Read and parse a file; raises FileError and UnsupportedModelError."""
    blob = read_bytes(path, PROGRAM)
    if not is_aipu(blob):
        raise FileError(
            f"{path}: not an aipu.bin: its first bytes are not 'AIPU BIN'", path=str(path)
        )
    return parse_aipu_bin(blob)
