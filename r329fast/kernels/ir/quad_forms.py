"""Which dot products make a depthwise window: the tables behind `depthwise_quads`.

A step makes four columns of two output rows at once. A quad holds four input positions of each
channel, one dot product takes up to four taps of it, and the same quad serves every output whose
window reaches it. The positions are chosen so that few dot products are needed (3 for 9 taps, 7
for 25 at stride 1) and few quads, each of which costs shuffles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

COLUMNS = 4  # outputs of a step in each row
ROWS = 2
Place = tuple[int, int]  # row, column of the input, from the first that a step reads
Tap = tuple[int, int] | None  # row, column of the window; None: the weight is zero


@dataclass(frozen=True)
class Dot:
    """A dot product of a quad: for which output, with which weights of the form."""

    row: int
    column: int
    weight: int


@dataclass(frozen=True)
class Quad:
    places: tuple[Place, Place, Place, Place]
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Form:
    """All of one window and stride. rows, columns: of the input that a step reads.

    side_by_side: input columns in a vector of 64 bytes, whose outputs lie side by side too: 1, or
    of few channels as many as fill it.
    """

    kernel: int
    stride: int
    side_by_side: int
    quads: tuple[Quad, ...]
    weights: tuple[tuple[Tap, Tap, Tap, Tap], ...]

    @property
    def lanes(self) -> tuple[int, ...]:
        """Of the blocks of channels: 64 channels, then 32 where the time to compile them pays."""
        return (16, 8) if self.kernel == 3 and self.side_by_side == 1 else (16,)

    @property
    def least_channels(self) -> int:
        """A block of 64 ends with the channels; one of 32 may reach past them."""
        return 1 if len(self.lanes) > 1 else 64

    @property
    def rows(self) -> int:
        return (ROWS - 1) * self.stride + self.kernel

    @property
    def columns(self) -> int:
        return (COLUMNS - 1) * self.between + self.kernel

    @property
    def between(self) -> int:
        """Input columns from one output vector to the next."""
        return self.stride * self.side_by_side


def _down(row: int, column: int) -> list[Place]:
    """Four rows of a column."""
    return [(row + i, column) for i in range(4)]


def _along(row: int, column: int) -> list[Place]:
    """Four columns of a row."""
    return [(row, column + i) for i in range(4)]


def _square(row: int, column: int) -> list[Place]:
    """Two columns of two rows."""
    return [(row + i, column + j) for i in (0, 1) for j in (0, 1)]


def _places(kernel: int, stride: int, side_by_side: int) -> list[list[Place]]:
    """The quads of a form, in the order in which they are made."""
    if (kernel, stride) == (3, 1):
        return [_down(0, column) for column in range((COLUMNS - 1) * side_by_side + 3)]
    if (kernel, stride) == (5, 1):  # the rows between serve both output rows
        edges = [_along(row, column) for row in (0, 5) for column in (0, 4)]
        return [_down(1, column) for column in range(8)] + edges
    # One kind after the other: its weights stay in registers. The rows in the middle serve both.
    if (kernel, stride) == (3, 2):
        kinds = [(_square, 0), (_along, 2), (_square, 3)]
        return [kind(row, column) for kind, row in kinds for column in range(0, 10, 2)]
    if (kernel, stride) == (5, 2):
        kinds = [(_square, 0), (_square, 2), (_along, 4), (_square, 5)]
        return [kind(row, column) for kind, row in kinds for column in range(0, 12, 2)]
    raise ValueError(f"no form of windows of {kernel}, stride {stride}")


# kernel, stride, input columns in a vector
FORMS = ((3, 1, 1), (3, 1, 4), (3, 2, 1), (5, 1, 1), (5, 2, 1))


def _taps(
    places: tuple[Place, ...], row: int, column: int, sizes: tuple[int, int, int]
) -> list[Tap]:
    """What the window of an output takes of a quad; a place that occurs twice counts once."""
    kernel, stride, side_by_side = sizes
    taps: list[Tap] = []
    for place in places:
        tap = place[0] - row * stride, place[1] - column * stride * side_by_side
        inside = 0 <= tap[0] < kernel and 0 <= tap[1] < kernel
        taps.append(tap if inside and tap not in taps else None)
    return taps


@cache
def form(kernel: int, stride: int, side_by_side: int = 1) -> Form:
    """The dot products of square windows of `kernel`, for each output the fewest of its quads."""
    limit = (
        (COLUMNS - 1) * stride * side_by_side + kernel - 1
    )  # no column is read that no window reaches
    quads: list[tuple[Place, Place, Place, Place]] = []
    for places in _places(kernel, stride, side_by_side):
        a, b, c, d = ((row, min(column, limit)) for row, column in places)
        quads.append((a, b, c, d))
    sizes = (kernel, stride, side_by_side)
    dots: list[list[Dot]] = [[] for _ in quads]
    weights: list[tuple[Tap, Tap, Tap, Tap]] = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            missing = {(y, x) for y in range(kernel) for x in range(kernel)}
            while missing:
                offers = [
                    [tap if tap in missing else None for tap in _taps(q, row, column, sizes)]
                    for q in quads
                ]
                best = max(range(len(quads)), key=lambda i: sum(t is not None for t in offers[i]))
                first, second, third, fourth = offers[best]
                taken = (first, second, third, fourth)
                missing -= {tap for tap in taken if tap is not None}
                if taken not in weights:
                    weights.append(taken)
                dots[best].append(Dot(row, column, weights.index(taken)))
    made = [Quad(q, tuple(d)) for q, d in zip(quads, dots, strict=True) if d]
    return Form(*sizes, tuple(made), tuple(weights))
