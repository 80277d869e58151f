#!/usr/bin/env python3
"""Mutated inputs for every reader of files: counts, faults, worst time and memory.

    tools/fuzz.py --inputs 50000 --seed 7            spread over all readers
    tools/fuzz.py --inputs 5000 --target onnx npy    some readers only

A fault is a signal, an internal error, more than 20 seconds or more than 2 GB. The inputs of
faults are kept (--keep); the same seed and number make the same input again. Ends with 1 where
there was a fault.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> int:
    from fuzz.engine import all_targets, fuzz  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--inputs", type=int, default=5000, help="in all, over the readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--seconds", type=float, help="in all; stop there with fewer inputs")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), metavar="DIR")
    args = parser.parse_args()
    targets = list(all_targets(args.target))
    # half of all goes to the reader with the most behind its first check
    shares = {target.name: 12 if target.name == "onnx" else 1 for target in targets}
    shares.update({"network": 4} if "network" in shares else {})
    whole = sum(shares.values())
    begun, tried, faults = time.monotonic(), 0, 0
    for target in targets:
        count = -(-args.inputs * shares[target.name] // whole)
        seconds = args.seconds * shares[target.name] / whole if args.seconds else None
        batch = 25 if seconds else 200  # the clock is looked at between batches
        outcome = fuzz(target, count, args.seed, batch, keep=args.keep, seconds=seconds)
        print(outcome, flush=True)
        for line in outcome.faults[:20]:
            print(f"  {line}", flush=True)
        tried += outcome.tried
        faults += len(outcome.faults)
    print(f"{tried} inputs, {faults} faults, {time.monotonic() - begun:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
