"""Which dot products make a depthwise window: the tables behind `depthwise_quads`.

A step makes four columns of two output rows at once, or all columns of both where the map is as
narrow. A quad holds four input positions of each channel, one dot product takes up to four taps of
it, and the same quad serves every output whose window reaches it. The positions are chosen so that
few dot products are needed (at stride 1 3 for 9 taps, 7 for 25, 14 for 49) and few quads, each of
which costs shuffles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd

COLUMNS = 4  # outputs of a step in each row, unless it makes whole rows
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
class Kind:
    """Which layers a form is for: square windows of `kernel`.

    whole: columns of the map, all made by one step; left: columns at the left end of the map that
    a step makes (a mirrored one those at the right); either reads nothing beside the map: what
    padding adds is in the biases of each column. flat: for few channels: an output row is taken as
    bytes, 64 at a time, whatever their columns and channels; a form's column is a run of `repeat`
    columns, whose inputs of a row are a quad, four columns of the form apart.
    """

    kernel: int
    stride: int
    whole: int = 0
    left: int = 0
    flat: bool = False


FORMS = (
    Kind(3, 1),
    Kind(3, 1, flat=True),
    Kind(3, 1, whole=5),
    Kind(3, 1, whole=7),
    Kind(3, 1, left=7),
    Kind(3, 2),
    Kind(3, 2, flat=True),
    Kind(5, 1),
    Kind(5, 1, whole=7),
    Kind(5, 1, left=7),
    Kind(5, 2),
    Kind(7, 1),
    Kind(7, 2),
)


def is_flat(channels: int, stride: int) -> bool:
    """Whether the windows of 16 bytes of an output row lie within 64, at stride 2 of one column."""
    return channels <= 24 if stride == 1 else channels == 16


def repeat(channels: int) -> int:
    """Columns after which channels lie in vectors of 64 bytes as at the beginning."""
    return 64 // gcd(64, channels)


@dataclass(frozen=True)
class Form:
    """The dot products of one kind. rows, columns: of the input that a step reads."""

    kind: Kind
    quads: tuple[Quad, ...]
    weights: tuple[tuple[Tap, Tap, Tap, Tap], ...]

    @property
    def lanes(self) -> tuple[int, ...]:
        """Of the blocks of channels: 64 channels, then 32 where the time to compile them pays."""
        return (16, 8) if self.parts and self.kind != Kind(7, 2) else (16,)

    @property
    def parts(self) -> bool:
        """Whether the smallest block may reach past the channels, else it ends with them."""
        return not (self.kind.flat or self.at_edge)

    @property
    def at_edge(self) -> int:
        """Columns of a step that begins at the map's first one; 0: it may begin anywhere."""
        return self.kind.whole or self.kind.left

    @property
    def outputs(self) -> int:
        """Columns that a step makes in each row."""
        return self.at_edge or (2 if self.kind.flat else COLUMNS)

    @property
    def biases(self) -> int:
        """Vectors of them: one, or one for each column."""
        return self.at_edge or 1

    @property
    def rows(self) -> int:
        return (ROWS - 1) * self.kind.stride + self.kind.kernel

    @property
    def columns(self) -> int:
        if self.kind.flat:
            return 4 * self.outputs
        if self.at_edge:
            return self.kind.whole or self.kind.left + self.kind.kernel // 2
        return (COLUMNS - 1) * self.kind.stride + self.kind.kernel

    @property
    def outside(self) -> list[list[int]]:
        """For each output column of a step at the edge the window's columns beside the map."""
        firsts = [first_column(self.kind, column) for column in range(self.at_edge)]
        window = range(self.kind.kernel)
        return [[x for x in window if not 0 <= first + x < self.columns] for first in firsts]


def _down(row: int, column: int) -> list[Place]:
    """Four rows of a column."""
    return [(row + i, column) for i in range(4)]


def _along(row: int, column: int) -> list[Place]:
    """Four columns of a row."""
    return [(row, column + i) for i in range(4)]


def _square(row: int, column: int) -> list[Place]:
    """Two columns of two rows."""
    return [(row + i, column + j) for i in (0, 1) for j in (0, 1)]


def _places(kind: Kind) -> list[list[Place]]:
    """The quads of a form, in the order in which they are made."""
    kernel, stride = kind.kernel, kind.stride
    columns = Form(kind, (), ()).columns
    if kind.flat:
        rows = range((ROWS - 1) * stride + kernel)
        return [_along(row, column) for row in rows for column in (0, 4)]
    if (kernel, stride) == (3, 1):
        return [_down(0, column) for column in range(columns)]
    if (kernel, stride) == (5, 1):  # the rows between serve both output rows
        along = {7: (0, 3), 8: (0, 4), 9: (0, 3, 4, 5)}[columns]
        edges = [_along(row, column) for row in (0, 5) for column in along]
        return [_down(1, column) for column in range(columns)] + edges
    if (kernel, stride) == (7, 1):  # down to the last row of both output rows
        return [_down(row, column) for row in (0, 4) for column in range(10)]
    # One kind after the other: its weights stay in registers. The rows in the middle serve both.
    if (kernel, stride) == (3, 2):
        kinds = [(_square, 0), (_along, 2), (_square, 3)]
        return [quad(row, column) for quad, row in kinds for column in range(0, 10, 2)]
    if (kernel, stride) == (5, 2):
        kinds = [(_square, 0), (_square, 2), (_along, 4), (_square, 5)]
        return [quad(row, column) for quad, row in kinds for column in range(0, 12, 2)]
    if (kernel, stride) == (7, 2):
        kinds = [(_square, 0), (_square, 2), (_square, 4), (_along, 6), (_square, 7)]
        return [quad(row, column) for quad, row in kinds for column in range(0, 14, 2)]
    raise ValueError(f"no form of windows of {kernel}, stride {stride}")


def first_column(kind: Kind, column: int) -> int:
    """Of the input that a step reads, where the window of an output column begins."""
    if kind.flat:
        return 4 * column
    pad = kind.kernel // 2 if kind.whole or kind.left else 0
    return column * kind.stride - pad


def _taps(places: tuple[Place, ...], row: int, column: int, kind: Kind) -> list[Tap]:
    """What the window of an output takes of a quad; a place that occurs twice counts once."""
    taps: list[Tap] = []
    for place in places:
        tap = place[0] - row * kind.stride, place[1] - first_column(kind, column)
        inside = 0 <= tap[0] < kind.kernel and 0 <= tap[1] < kind.kernel
        taps.append(tap if inside and tap not in taps else None)
    return taps


@cache
def form(kind: Kind) -> Form:
    """The dot products of a kind, for each output the fewest of its quads."""
    empty = Form(kind, (), ())
    limit = empty.columns - 1  # no column is read that no window reaches
    quads: list[tuple[Place, Place, Place, Place]] = []
    for places in _places(kind):
        a, b, c, d = ((row, min(column, limit)) for row, column in places)
        quads.append((a, b, c, d))
    dots: list[list[Dot]] = [[] for _ in quads]
    weights: list[tuple[Tap, Tap, Tap, Tap]] = []
    for row in range(ROWS):
        for column in range(empty.outputs):
            left = first_column(kind, column)
            columns = [x for x in range(kind.kernel) if 0 <= left + x <= limit]
            missing = {(y, x) for y in range(kind.kernel) for x in columns}
            while missing:
                offers = [
                    [tap if tap in missing else None for tap in _taps(q, row, column, kind)]
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
    return Form(kind, tuple(made), tuple(weights))
