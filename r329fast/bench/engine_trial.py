"""One run of a peer in a process of its own, before it may run beside the others.

An engine can end the process on a model (OpenVINO 2026.4 does, compiling the `static` form of
DenseNet-121), and with it a measurement of many minutes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SECONDS = 600
_RUN = """
import sys
import numpy as np
from r329fast.bench.engines import MAKERS
model, images, family = sys.argv[1:]
MAKERS[family](open(model, "rb").read(), np.load(images), 1)()
"""


def survives(family: str, model: bytes, images: np.ndarray) -> str:
    """Empty where the engine ran `model` on `images`, or refused it by an exception.

    Otherwise how its process ended. A refusal is left to the caller, who gets the exception.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, "model.onnx"), Path(folder, "images.npy")]
        paths[0].write_bytes(model)
        np.save(paths[1], images)
        try:
            done = subprocess.run(
                [sys.executable, "-c", _RUN, *map(str, paths), family],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {SECONDS} s"
    if done.returncode >= 0:
        return ""
    return f"ends the process ({signal.Signals(-done.returncode).name})"
