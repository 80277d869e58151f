"""The lines of the vendor's build log whose figures are known exactly.

Words and order are the vendor's; a line whose figure no public rule gives (Text, BSS, Workspace,
Total, the output scale of a Softmax) is left out, and the first line names it.
"""

from __future__ import annotations

import numpy as np

from r329fast.program.program import Program
from r329fast.vendor.graph_json import FREQUENCY_MHZ, TARGET
from r329fast.vendor.memory import int8_bin_size, memory_sections

_STEPS = (
    "step1: get max/min statistic value DONE",
    "step2: quantization each op DONE",
    "step3: build quantization forward DONE",
    "step4: show output scale of end node:",
)
_UNSCALED_TYPES = ("Softmax",)  # the vendor's figure does not decode its output bytes


def _scale_text(scale: float) -> str:
    """As NumPy prints a float32 array: [8.488549]."""
    return str(np.array([scale], dtype=np.float32))


def _end_nodes(program: Program) -> tuple[list[str], list[str]]:
    """(lines of the end nodes, names of those left out)."""
    lines, unknown = [], []
    for index, layer in enumerate(program.layers):
        for name in layer.outputs:
            if name not in program.outputs:
                continue
            if layer.type in _UNSCALED_TYPES:
                unknown.append(f"output_scale of {name}")
                continue
            scale = _scale_text(program.tensors[name].scale)
            lines.append(f"layer_id: {index}, layer_top:{name}, output_scale:{scale}")
    return lines, unknown


def vendor_log(program: Program, calibration_method: str = "MEAN", batch_size: int = 1) -> str:
    """The log's text; every line but the first as the vendor's tool words it."""
    end_nodes, missing = _end_nodes(program)
    lines = [
        f"AQT start: model_name:{program.name}, calibration_method:{calibration_method}, "
        f"batch_size:{batch_size}",
        "==== auto-quantization ======",
        *(f"\t{step}" for step in _STEPS),
        *(f"\t\t{line}" for line in end_nodes),
        "==== auto-quantization DONE =",
        f"Build for target {TARGET} at frequency {FREQUENCY_MHZ}MHz",
        f"model_name: {program.name}",
    ]
    size = int8_bin_size(program)
    if size is None:
        missing.append("graph weight")
    else:
        lines.append(f"loading graph weight: {program.name}_int8.bin size: {size:#x}")
    sections = memory_sections(program)
    for label, value in (
        ("Total memory", None),
        ("Text   section", sections.text),
        ("RO     section", sections.ro),
        ("Desc   section", sections.desc),
        ("Data   section", sections.data),
        ("BSS    section", sections.bss),
        ("Stack         ", sections.stack),
        ("Workspace(BSS)", None),
    ):
        if value is None:
            missing.append(" ".join(label.split()))
        else:
            lines.append(f"{label}:\t0x{value:08x} Bytes")
    left_out = f"# left out, no public rule: {', '.join(missing)}"
    return "\n".join([left_out, *(f"[I] {line}" for line in lines)]) + "\n"
