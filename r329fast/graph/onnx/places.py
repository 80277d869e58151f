"""Where the batch lies in a tensor of the file, and the form of the tensor that has it first."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """The batch lies in `axis`, behind a part of that axis of the size `outer`.

    joined: the axis holds more than the batch (N * heads, windows * N * rows, or, in a file of
    one image, anything). The tensor's form has the batch in front; the axis stays in it where it
    is joined, without the batch, and is gone where it is the batch alone.
    """

    axis: int = 0
    outer: int = 1
    joined: bool = False

    def form(self, shape: Shape, batch: int) -> Shape:
        """Shape of the form."""
        sizes = list(shape)
        if self.joined:
            sizes[self.axis] //= batch
        else:
            del sizes[self.axis]
        return (batch, *sizes)

    def form_axis(self, axis: int) -> int:
        """Axis of the tensor -> axis of its form (0: the batch)."""
        if self.joined:
            return axis + 1
        if axis == self.axis:
            return 0
        return axis + 1 if axis < self.axis else axis

    def moved(self, axis: int) -> Place:
        return Place(axis, self.outer, self.joined)


FIRST = Place()
# In a file of one image a tensor may be taken as it is, with the batch in front of all its axes.
WHOLE = Place(0, 1, True)


def after_reshape(
    place: Place, shape: Shape, target: Shape, batch: int, hint: int | None
) -> Place | None:
    """The batch's place after a reshape from `shape` to `target`, None if images would mix.

    hint: the axis of `target` that is known to grow with the batch.
    """
    outer = prod(shape[: place.axis]) * place.outer
    found: list[Place] = []
    before = 1
    for axis, size in enumerate(target):
        if outer % before == 0 and size % (outer // before * batch) == 0:
            found.append(Place(axis, outer // before, size != batch))
        before *= size
    if hint is not None:
        found = [other for other in found if other.axis == hint]
    kept = place.axis if shape[: place.axis] == target[: place.axis] else -1

    def order(other: Place) -> tuple[bool, bool, bool]:
        return other.joined, other != FIRST, other.axis != kept

    return min(found, key=order, default=None)
