"""Small labelled image sets for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def picture(seed: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


FILES = {"img/a.png": 1, "img/b c.png": 2, "d.png": 3}
LABELS = "a.png 4\r\n\r\n  b c.png\t7  \r\nd.png 0"


def make_folder(root: Path, labels: str | None = LABELS) -> Path:
    for name, seed in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(picture(seed)))
    if labels is not None:
        (root / "label.txt").write_bytes(labels.encode())
    return root
