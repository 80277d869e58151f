"""Reads the golden runs: whole trained networks through the vendor's open simulator.

The files stay where they are; their form is described beside them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r329fast.calibration.ranges import Ranges
from r329fast.graph.ir import Graph
from r329fast.program import Program
from r329fast.quantization import Options

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = Path(os.environ.get("R329FAST_GOLDEN", REPOSITORY.parent / "shared" / "golden"))


@dataclass
class Golden:
    """One golden run: its JSON parts and arrays ('|' in array names stands for '/')."""

    name: str
    model: str
    arrays: dict[str, np.ndarray]
    meta: dict
    layers: list[dict]
    ranges: dict[str, tuple[float, float]]

    @property
    def inputs(self) -> np.ndarray:
        """Input integers, int8 NHWC [n, H, W, 3]."""
        return np.ascontiguousarray(self.arrays["input_q"].transpose(0, 2, 3, 1)).astype(np.int8)

    def compared_layers(self) -> list[dict]:
        """The layers that we have too: all but the NCHW input and its transpose."""
        return [layer for layer in self.layers if layer["type"] not in ("Input", "Transpose")]

    def our_ranges(self, graph: Graph) -> Ranges:
        """The stored ranges under our tensor names (the vendor appends `_0`)."""
        return Ranges({name: self.ranges[f"{name}_0"] for name in graph.shapes})

    def options(self) -> Options:
        convolution = next(layer for layer in self.layers if layer["type"] == "Convolution")
        activation = self.meta["cfg"].get(
            "quantize_method_for_activation", "per_tensor_symmetric_full_range"
        )
        return Options(
            quantize_method_for_weight=convolution["q_mode_weight"],
            quantize_method_for_activation=activation,
            bias_effective_bits=convolution["bias_effective_bits"],
            multiplier_bits=convolution["multiplier_bits"],
        )

    def first_image(self, tensor: str) -> np.ndarray:
        return self.arrays["q0|" + tensor.replace("/", "|")]

    def hashes(self) -> list[dict[str, str]]:
        return json.loads(str(self.arrays["layer_sha16_json"]))


def names() -> list[str]:
    """All runs, variants included (the `.more` files only add outputs)."""
    return sorted(p.stem for p in GOLDEN.glob("*.npz") if not p.stem.endswith(".more"))


def load(name: str) -> Golden:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    return Golden(
        name,
        name.split("__")[0],
        arrays,
        json.loads(str(arrays["meta_json"])),
        json.loads(str(arrays["layers_json"])),
        json.loads(str(arrays["ranges_json"])),
    )


def constants(program: Program, layer: str) -> dict[str, np.ndarray]:
    """Constants of the one op of a layer."""
    record = next(record for record in program.layers if record.name == layer)
    return program.ops[record.ops[0]].consts
