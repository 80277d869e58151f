"""How an output map is cut into Winograd tiles of 4 and 3 in each direction.

A tile of 4 costs 6 points, one of 3 costs 5, whatever of it lies outside the map: 7 is best cut
into 4 + 3 and 14 into 4 + 4 + 3 + 3.
"""

from __future__ import annotations

from typing import NamedTuple

from r329fast.kernels.ir.winograd import KINDS, POINTS, SIZES

MIXED_BLOCK = 64  # tiles of a block of whole images
_LEAST = 32  # tiles of a batch from which on mixing is worth while
_GAIN = 0.97  # of the points: below it, mixed tiles are worth while


class TileGroup(NamedTuple):
    """Tiles of one size in a map; kernels read it as a row of parameters."""

    kind: int  # of the tile: an index into KINDS
    size_y: int  # outputs of a tile
    size_x: int
    top: int  # output row of the first tile
    left: int
    lines: int  # rows of tiles
    columns: int  # tiles of a row

    @property
    def tiles(self) -> int:
        """Tiles of one image."""
        return self.lines * self.columns


def cut(length: int) -> tuple[int, int]:
    """Tiles of 4 and of 3 that cover `length` with the fewest points; then the fewest tiles."""
    choices = []
    for threes in range(4):
        fours = max(-(-(length - 3 * threes) // 4), 0)
        if fours or threes:
            points = len(POINTS[4]) * fours + len(POINTS[3]) * threes
            choices.append((points, fours + threes, fours, threes))
    _, _, fours, threes = min(choices)
    return fours, threes


def uniform(height: int, width: int) -> list[TileGroup]:
    """Tiles of 4x4 only."""
    lines, columns = -(-height // 4), -(-width // 4)
    return [TileGroup(kind=0, size_y=4, size_x=4, top=0, left=0, lines=lines, columns=columns)]


def mixed(height: int, width: int) -> list[TileGroup] | None:
    """Groups in the order in which every point's tiles lie together; None where it gains little.

    The point -2 of the rows is in the first two groups, that of the columns in the second and
    third: 4x3, 4x4, 3x4, 3x3.
    """
    down, across = cut(height), cut(width)
    points = 1
    for fours, threes in (down, across):
        points *= len(POINTS[4]) * fours + len(POINTS[3]) * threes
    (plain,) = uniform(height, width)
    if points > _GAIN * plain.tiles * len(POINTS[4]) ** 2:
        return None
    if sum(down) * sum(across) > MIXED_BLOCK:
        return None
    result = []
    for y, x in ((4, 3), (4, 4), (3, 4), (3, 3)):
        top, left = (4 * down[0] if y == 3 else 0), (4 * across[0] if x == 3 else 0)
        lines, columns = down[SIZES.index(y)], across[SIZES.index(x)]
        result.append(
            TileGroup(
                kind=KINDS.index((y, x)),
                size_y=y,
                size_x=x,
                top=top,
                left=left,
                lines=lines,
                columns=columns,
            )
        )
    return result


def products(groups: list[TileGroup]) -> int:
    """Products of an image's tiles per pair of an input and an output channel."""
    points = [
        group.tiles * len(POINTS[group.size_y]) * len(POINTS[group.size_x]) for group in groups
    ]
    return sum(points)


def choose_tiling(height: int, width: int, batch: int) -> tuple[list[TileGroup], bool]:
    """The groups for `batch` maps, and whether tiles are mixed."""
    plain, blend = uniform(height, width), mixed(height, width)
    if blend is None or batch * plain[0].tiles < _LEAST:
        return plain, False
    return blend, True
