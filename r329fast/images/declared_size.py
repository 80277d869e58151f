"""How many pixels an image's header declares, without decoding it.

OpenCV refuses images by a limit that it takes once, on import; where somebody else imported it
first, that limit is not ours, and the header has to tell.
"""

from __future__ import annotations

import struct

_NO_SIZE = (0xC4, 0xC8, 0xCC)  # JPEG: tables among the markers of frames


def declared_pixels(data: bytes) -> int:
    """Width times height of a PNG, JPEG, BMP, GIF or WebP; 0 for other forms and cut headers."""
    try:
        return _pixels(data)
    except (struct.error, IndexError):
        return 0


def _pixels(data: bytes) -> int:
    width, height = 0, 0
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack_from(">II", data, 16)
    elif data.startswith(b"\xff\xd8"):
        width, height = _jpeg(data)
    elif data.startswith(b"BM"):
        width, height = struct.unpack_from("<ii", data, 18)
    elif data.startswith(b"GIF8"):
        width, height = struct.unpack_from("<HH", data, 6)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        width, height = _webp(data)
    return abs(width * height)


def _jpeg(data: bytes) -> tuple[int, int]:
    """Segments up to the frame's: 0xFF, marker, length, content."""
    place = 2
    while data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # filling, no content
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return int(width), int(height)
        place += 2 + length
    return 0, 0


def _webp(data: bytes) -> tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if form == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
