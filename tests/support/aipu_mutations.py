"""Damaged and hostile forms of an aipu.bin, made from a good one; seeded.

Most changes are to words that mean something: header, RO, descriptors, buffers, links, layer
blocks; some cut or lengthen the file. `python -m support.aipu_mutations FILE COUNT SEED` (from
tests/) tries COUNT of them on what the command does, and prints the exit codes.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from r329fast.errors import R329Error
from r329fast.vendor.aipu.container import parse_aipu_bin

_WORDS = (0, 1, 2, 3, 0x44, 0xFF, 0x100, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xE0000000, 0xF0000000)


def mutations(blob: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` variants of `blob`."""
    rng = np.random.default_rng(seed)
    sections = parse_aipu_bin(blob).header.sections
    spans = [(0, 0x68)] * 2 + [sections[name] for name in ("ro", "desc", "bss", "data")] * 3
    end = sum(sections["bss"])
    spans.append((end, len(blob) - end))
    for _ in range(count):
        bent = bytearray(blob)
        for _ in range(int(rng.integers(1, 4))):
            start, size = spans[int(rng.integers(len(spans)))]
            at = start + int(rng.integers(max(size, 4)))
            kind = int(rng.integers(10))
            if kind < 6:  # a word
                at = min(at // 4 * 4 + start % 4, len(bent) - 4)
                (old,) = struct.unpack_from("<I", bent, max(at, 0))
                new = [
                    int(rng.integers(1 << 32)),
                    int(rng.choice(_WORDS)),
                    old + int(rng.integers(-4, 5)),
                    old ^ 1 << int(rng.integers(32)),
                    old << 1,
                    struct.unpack_from("<I", blob, int(rng.integers(len(blob) // 4 - 1)) * 4)[0],
                ][kind]
                struct.pack_into("<I", bent, max(at, 0), new % (1 << 32))
            elif kind < 8:  # a byte
                bent[min(at, len(bent) - 1)] = int(rng.integers(256))
            elif kind == 8:  # a stretch moved
                length = int(rng.integers(1, 512))
                other = int(rng.integers(len(bent)))
                bent[at : at + length] = bent[other : other + length]
            else:  # cut or longer
                del bent[int(rng.integers(len(bent))) :]
                bent += bytes(int(rng.integers(0, 8)))
        if rng.integers(4):  # a size in the header that fits lets more through
            bent[32:36] = struct.pack("<I", len(bent)) if len(bent) > 36 else bent[32:36]
        yield bytes(bent)


def ending(blob: bytes) -> tuple[int, str]:
    """(exit code, message) that the command would end with; errors of other types pass."""
    from r329fast.vendor.aipu.facts import facts_of
    from r329fast.vendor.aipu.program import build_program

    try:
        binary = parse_aipu_bin(blob)
        facts_of(binary)
        build_program(binary, "bent")
    except R329Error as error:
        return error.exit_code, error.message
    return 0, ""


def try_all(blob: bytes, count: int, seed: int) -> Counter[int]:
    """Endings of `count` mutations; AssertionError for one that is no single line with 2 or 3."""
    codes: Counter[int] = Counter()
    for number, bent in enumerate(mutations(blob, count, seed)):
        code, message = ending(bent)
        clear = code == 0 or (code in (2, 3) and message and "\n" not in message)
        assert clear, f"seed {seed}, mutation {number}: {code} {message!r}"
        codes[code] += 1
    return codes


if __name__ == "__main__":
    print(dict(try_all(Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3]))))
