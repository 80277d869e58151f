"""Whether what `tune` left keeps its promise: quantised anew, the same integers everywhere.

    python benchmarks/tuning_promise.py DIR ..

One line a folder. Twice: by the library's calls from tuned.onnx, tuned_max.npy and tuned_min.npy
alone, and as `r329fast run tuned.cfg` would. The hash covers all constants of all ops, so that
every integer of every layer follows; graph.json is held against that of the network as it was.
Ends with 1 where one differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from r329fast.calibration import Ranges
from r329fast.cfg import read_cfg
from r329fast.deploy.pipeline import cfg_options, prepare
from r329fast.graph import load_model
from r329fast.quantization import quantize
from r329fast.vendor import graph_json


def kept(folder: Path) -> dict[str, bool]:
    """What is the same -> whether it is."""
    record = json.loads((folder / "tune.json").read_text())
    promised, scheme, model = record["program_hash"], record["scheme"], Path(record["model"])
    ranges = Ranges.load_max_min(folder / "tuned_max.npy", folder / "tuned_min.npy")
    options = cfg_options(read_cfg(folder / "tuned.cfg"))
    tuned = quantize(
        load_model(folder / "tuned.onnx", name=model.stem), ranges, scheme, options
    )  # fmt: skip
    before = quantize(load_model(model), ranges, scheme)
    return {
        "integers": tuned.hash() == promised,
        "integers by the cfg": prepare(folder / "tuned.cfg").program.hash() == promised,
        "graph.json": graph_json(before) == graph_json(tuned),
    }


def main() -> int:
    broken = 0
    for folder in map(Path, sys.argv[1:]):
        found = kept(folder)
        broken += not all(found.values())
        words = (f"{name} {'the same' if same else 'DIFFER'}" for name, same in found.items())
        print(f"{folder.name}: {', '.join(words)}", flush=True)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
