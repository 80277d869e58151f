"""Arbitrary programs by the thousand: what `verify` accepts must run, and equal the reference.

    python tools/arbitrary_programs.py 50000                  until so many were accepted
    python tools/arbitrary_programs.py 50000 --first 1000000  other seeds
    python tools/arbitrary_programs.py --seed 4711            one program, in this process

Each batch runs in a process of its own between guard pages (Linux): one that dies has gone past a
buffer, and its program is saved as SEED.r329. Prints what was accepted for each kind of op, so that
a verify that refuses all is seen. Exit code 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT)]

from support import arbitrary_programs  # type: ignore[import-not-found]  # noqa: E402

_BATCH = 2_000
_LONGEST = 600  # seconds of a batch


def run_seed(seed: int) -> tuple[str, str, str]:
    """(what it was made of, outcome, what is wrong) of one seed."""
    made_of, program = arbitrary_programs.arbitrary(seed)
    if arbitrary_programs.complaint(program):
        return made_of, "refused", ""
    if not arbitrary_programs.affordable(program):
        return made_of, "too large to run", ""
    try:
        wrong = arbitrary_programs.run(program, seed)
    except Exception as error:  # an accepted program must run
        wrong = f"{type(error).__name__}: {error}"
    return made_of, "accepted", wrong


def run_batch(first: int) -> None:
    """The child: a line of JSON before each seed (its number) and after it (its outcome)."""
    for seed in range(first, first + _BATCH):
        print(json.dumps(seed), flush=True)
        print(json.dumps([seed, *run_seed(seed)]), flush=True)


def batch_results(first: int) -> tuple[list[list[Any]], int | None]:
    """Outcomes of a batch, and the seed at which it died, if it did."""
    command = [sys.executable, __file__, "--batch", str(first)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=_LONGEST, check=False)
    lines = done.stdout.split("\n")[:-1]  # whole ones
    rows: list[Any] = [json.loads(line) for line in lines]
    outcomes = [row for row in rows if isinstance(row, list)]
    if done.returncode == 0:
        return outcomes, None
    return outcomes, rows[-1] if isinstance(rows[-1], int) else None


def save(seed: int) -> str:
    """The program of a seed as a file; what its name is."""
    path = f"{seed}.r329"
    arbitrary_programs.arbitrary(seed)[1].save(path)
    return path


def many(wanted: int, first: int) -> int:
    """Batches until `wanted` programs were accepted; the number of those that went wrong."""
    counts: Counter[tuple[str, str]] = Counter()
    accepted, bad = 0, 0
    while accepted < wanted:
        outcomes, died = batch_results(first)
        for seed, made_of, outcome, wrong in outcomes:
            counts[str(made_of), str(outcome)] += 1
            accepted += outcome == "accepted"
            if wrong:
                bad += 1
                print(f"seed {seed}, {made_of}: {wrong}", flush=True)
        if died is not None:
            bad += 1
            accepted += 1
            print(f"seed {died} ended its process: saved as {save(died)}", flush=True)
            first = died + 1
        else:
            first += _BATCH
        print(f"{accepted} accepted, {bad} wrong", file=sys.stderr, flush=True)
    print(f"\n{'made of':<26} {'accepted':>9} {'refused':>9} {'too large to run':>17}")
    for name in sorted({name for name, _ in counts}):
        row = [counts[name, outcome] for outcome in ("accepted", "refused", "too large to run")]
        print(f"{name:<26} {row[0]:>9} {row[1]:>9} {row[2]:>17}")
    total = sum(counts.values())
    print(f"\n{accepted} accepted of {total} programs, {bad} wrong; next seed {first}")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wanted", nargs="?", type=int, default=50_000, help="accepted programs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run one program here")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch is not None:
        run_batch(options.batch)
        return 0
    if options.seed is not None:
        print(arbitrary_programs.arbitrary(options.seed)[1])
        print(run_seed(options.seed))
        return 0
    return int(many(options.wanted, options.first) > 0)


if __name__ == "__main__":
    sys.exit(main())
