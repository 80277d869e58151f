"""Binds a program's kernels to memory: an arena for a number of images, and the calls on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from r329fast.base.limits import check_memory
from r329fast.program.blocks import Stretch, stretches
from r329fast.program.ops import OPS
from r329fast.program.planner import BufferPlan, plan
from r329fast.program.program import Program
from r329fast.program.uniform_dtype import uniform_program
from r329fast.simulator.op_bounds import op_bound
from r329fast.simulator.views import View, channel_views

_LEAST_PIECE = 2e-6  # seconds of a piece at its bound: a claim and a wait cost a fifth of one
_PIECES = 4  # of an op for each thread

if TYPE_CHECKING:
    from r329fast.kernels import CallTable, OpPlan


@dataclass(frozen=True)
class BoundProgram:
    """The calls for `images` images, and what they work on.

    views: tensor -> its flat bytes for all images, for inputs, outputs and what is to be kept.
    """

    images: int
    calls: CallTable
    views: dict[str, np.ndarray]


class PreparedProgram:
    """A program whose ops are prepared; shared by threads.

    flips: tensor -> what turns its stored bytes into the program's (by exclusive or); views: what
    no call computes unless it is to be kept.
    """

    def __init__(self, program: Program) -> None:
        from r329fast.kernels import STORED, prepare

        self.program = program
        stored = (uniform_program(program, STORED) if STORED else None) or program
        tensors = stored.tensors
        self.flips = {
            name: np.uint8(0 if spec.dtype == program.tensors[name].dtype else 128)
            for name, spec in tensors.items()
        }
        self.plans: list[OpPlan] = [
            prepare(op, [tensors[name] for name in op.inputs], tensors[op.outputs[0]])
            for op in stored.ops
        ]
        self.views = channel_views(stored, self.plans)

    def path(self, index: int) -> str:
        """The kernel path of an op, as it runs where only outputs are wanted."""
        return (
            "view" if self.program.ops[index].outputs[0] in self.views else self.plans[index].path
        )

    def room(
        self, images: int, keep: frozenset[str], budget: int
    ) -> tuple[list[Stretch], BufferPlan, int]:
        """How a batch passes the op list, where its tensors lie, bytes of each part's scratch."""
        cut = stretches(self.program, images, budget)
        views = self._views(keep)
        buffers = plan(self.program, keep, images, cut, views)
        # needs do not always grow with images: ask for every number that an op runs with; a view
        # may need more than a tensor of its own
        scratch = max(
            (
                self._reading(index, views).scratch_bytes(size)
                for stretch in cut
                for size in {stretch.images, images % stretch.images or stretch.images}
                for index in range(stretch.first, stretch.last)
            ),
            default=0,
        )
        return cut, buffers, scratch

    def bind(self, images: int, keep: frozenset[str], budget: int, parts: int = 1) -> BoundProgram:
        """Calls in an arena of their own.

        keep: tensors wanted beside the outputs; budget: bytes of activations of an op at most
        (see `stretches`); parts: threads that share each op. MachineError where one image needs
        more memory than MEMORY allows.
        """
        from r329fast.kernels import CallTable

        program = self.program
        cut, buffers, scratch = self.room(images, keep, budget)
        check_memory(f"an image of program {program.name!r}", buffers.size + parts * scratch)
        arena, *scratches = pieces([buffers.size, *[scratch] * parts])
        views = self._views(keep)

        def view(name: str, start: int, size: int) -> np.ndarray:
            if name in views:
                return view(views[name].source, start, size)[views[name].offset :]
            first = start if buffers.images[name] == images else 0
            return arena[buffers.span(name, first, size, program.tensors[name].bytes)]

        calls = CallTable(parts)
        for stretch in cut:
            for start in range(0, images, stretch.images):
                size = min(stretch.images, images - start)
                for index in range(stretch.first, stretch.last):
                    op = program.ops[index]
                    if OPS[op.kind].alias or op.outputs[0] in views:
                        continue  # the planner gave both the same bytes
                    inputs = [view(name, start, size) for name in op.inputs]
                    output = view(op.outputs[0], start, size)
                    wanted = self._pieces(index, size, parts)
                    plan_of = self._reading(index, views)
                    calls.add(index, *plan_of.bind_parts(size, inputs, output, scratches, wanted))
        whole = [
            name for name in buffers.offsets if buffers.images[name] == images and name not in views
        ]
        return BoundProgram(images, calls, {name: view(name, 0, images) for name in whole})

    def _views(self, keep: frozenset[str]) -> dict[str, View]:
        """Those that nobody wants as tensors of their own."""
        return {name: view for name, view in self.views.items() if name not in keep}

    def _reading(self, index: int, views: dict[str, View]) -> OpPlan:
        """The plan of an op, with inputs that are views."""
        chosen = self.plans[index]
        for place, name in enumerate(self.program.ops[index].inputs):
            if name in views:
                assert chosen.pitched is not None, "a view has readers that can read it"
                chosen = chosen.pitched(place, views[name].pitch)
        return chosen

    def _pieces(self, index: int, images: int, parts: int) -> int:
        """How many pieces an op is worth: each of a few microseconds, some for every thread."""
        from r329fast.kernels.rates import known_rates

        if parts == 1:
            return 1
        seconds = op_bound(self.program, self.program.ops[index], known_rates(), images)
        if seconds < _LEAST_PIECE * parts / 2:
            return 1
        return min(max(int(seconds / _LEAST_PIECE) // parts, 1), _PIECES) * parts


def pieces(sizes: list[int]) -> list[np.ndarray]:
    """uint8 buffers of (at least) these sizes, each on a 64-byte boundary, with slack between."""
    from r329fast.kernels.runtime.op_plan import SLACK

    rounded = [-(-size // 64) * 64 + SLACK for size in sizes]
    raw = np.empty(sum(rounded) + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    pieces = []
    for size in rounded:
        pieces.append(raw[start : start + size])
        start += size
    return pieces
