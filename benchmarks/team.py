"""Threads that share one image: how soon a helper comes, and how evenly pieces fall.

    python benchmarks/team.py [--models ...] [--threads N] [--out FILE]

Wake-up: microseconds from the begin of a run until a helper claims its first piece, for runs that
follow each other and for runs with pauses in which helpers fall asleep (least, median). Then, for
each network: barriers of a run, share of the time in ops that one thread computes, and the shortest
time that the pieces allow on so many even cores, and where one core is half as fast. For this every
piece is timed alone (processor time, the least of a few samples), and claimed as threads do, by
whoever is free first; so other work on the machine hardly matters.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from r329fast.base.files import write_json
from r329fast.base.timing import shortest_seconds
from r329fast.bench.cases import make_case
from r329fast.kernels.runtime.call_table import CallTable
from r329fast.kernels.runtime.kernel import arrays, kernel, make_frame, run_steps
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.runtime.team import Piece
from r329fast.simulator.binding import PreparedProgram

_MODELS = ("resnet50", "resnet18_v2", "mobilenet_v2", "squeezenet", "mobilenet_v1", "vgg16")
_BUDGET = 8 << 20


class Turns(NamedTuple):
    first: int
    end: int


@kernel
def turn(frame):  # type: ignore[no-untyped-def]
    """About a microsecond of work for every unit."""
    p, x = arrays(frame, Turns, "i")
    mix = 1
    for _ in range(800 * (p.end - p.first)):
        mix = (mix * 1103515245 + 12345) & 0x7FFFFFFF
    x[0] = mix


def wake_ups(pause: float, rounds: int) -> list[float]:
    """Microseconds of work that the calling thread did alone before a helper had a piece."""
    pieces, calls_in_a_run = 32, 8
    calls = CallTable(2)
    scratches = [np.zeros(64, dtype=np.int64) for _ in range(2)]

    def bind(batch: int, inputs: Any, output: Any, scratch: np.ndarray) -> list[Step]:
        return [(turn, (pack(Turns(0, pieces)), scratch))]

    stages, _ = OpPlan("turn", bind, lambda batch: 8, True).bind_parts(
        1, [], scratches[0], scratches, pieces
    )
    for op in range(calls_in_a_run):
        calls.add(op, stages, [[Piece(index, index + 1) for index in range(pieces)]])
    frame = make_frame((pack(Turns(0, 1)), scratches[0]))
    table = np.array([[turn.compile(), frame.ctypes.data]] * 100, dtype=np.int64)
    unit = shortest_seconds(lambda: run_steps(table)) / 100
    found = []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            calls.run(pool)
        for _ in range(rounds):
            time.sleep(pause)
            before = calls.taken()
            calls.run(pool)
            alone, helped = (b - a for a, b in zip(before, calls.taken(), strict=True))
            # the work is shared from the helper's first piece on: it came when the rest was left
            found.append(max(alone - helped, 0) * unit * 1e6)
    return found


def makespan(times: list[list[float]], speeds: list[float]) -> float:
    """Seconds when threads of these speeds claim the pieces of one section after another.

    Each its own first, in order, then the last that is left (kernels/runtime/team.py).
    """
    whole = 0.0
    for section in times:
        free, left, threads = [0.0] * len(speeds), set(range(len(section))), len(speeds)
        while left:
            who = min(range(threads), key=free.__getitem__)
            own = range(len(section) * who // threads, len(section) * (who + 1) // threads)
            piece = min(left.intersection(own), default=max(left))
            left.remove(piece)
            free[who] += section[piece] / speeds[who]
        whole += max(free) if len(section) > 1 else section[0] / max(speeds)
    return whole


def network(name: str, threads: int) -> dict[str, Any]:
    """Times of all pieces of one image, and what they allow."""
    case = make_case(name)
    bound = PreparedProgram(case.program).bind(1, frozenset(case.program.outputs), _BUDGET, threads)
    for view in bound.views.values():
        view[:] = 7
    times: list[list[float]] = []
    whole = 0.0
    for (_, steps), pieces in zip(bound.calls.stages, bound.calls.pieces, strict=True):
        function, arguments = steps[0]

        def seconds(parameters: np.ndarray, fixed: Any = arguments, call: Any = function) -> float:
            frame = make_frame((parameters, *fixed[1:]))
            table = np.array([[call.compile(), frame.ctypes.data]], dtype=np.int64)
            return shortest_seconds(lambda: run_steps(table))

        alone = seconds(arguments[0])
        whole += alone
        section = []
        for piece in pieces:
            parameters = arguments[0].copy()
            for field in set(vars(piece)) & set(parameters.dtype.names or ()):
                parameters[field] = getattr(piece, field)
            section.append(seconds(parameters))
        times.append(section or [alone])
    even, uneven = makespan(times, [1.0] * threads), makespan(times, [1.0] * (threads - 1) + [0.5])
    return {
        "model": name,
        "threads": threads,
        "ms_alone": whole * 1e3,
        "barriers": bound.calls.barriers,
        "serial_share": sum(section[0] for section in times if len(section) == 1) / whole,
        "speedup_even": whole / even,
        "speedup_one_half_as_fast": whole / uneven,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=_MODELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record: dict[str, Any] = {"wake_up_us": {}, "networks": []}
    for label, pause, rounds in (("follow each other", 0.0, 300), ("sleep between", 0.005, 60)):
        found = np.array(wake_ups(pause, rounds))
        record["wake_up_us"][label] = [float(found.min()), float(np.median(found))]
        print(f"runs that {label}: a helper comes after {found.min():.1f} us at least, "
              f"{np.median(found):.1f} median")  # fmt: skip
    for name in args.models:
        row = network(name, args.threads)
        record["networks"].append(row)
        print(
            f"{name}: {row['ms_alone']:.2f} ms alone, {row['barriers']} barriers, "
            f"{row['serial_share']:.1%} serial, on {args.threads} even cores "
            f"{row['speedup_even']:.2f}x, with one half as fast "
            f"{row['speedup_one_half_as_fast']:.2f}x",
            flush=True,
        )
    if args.out is not None:
        write_json(args.out, record)


if __name__ == "__main__":
    main()
