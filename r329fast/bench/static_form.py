"""The int8 form that onnxruntime's own tool makes of a float network: the second candidate."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.bench.cases import CALIBRATION_IMAGES, Case


@lru_cache(maxsize=1)
def static_form(case: Case) -> bytes:
    """The case's float model, calibrated on its images and quantised by `quantize_static`.

    QDQ, uint8 activations (extrema), int8 weights with a scale per channel. The input is float32
    [N, C, H, W]: the engine quantises it itself.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    x = np.ascontiguousarray(case.images(CALIBRATION_IMAGES).transpose(0, 3, 1, 2))

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, Any]] = iter([{case.graph.inputs[0]: x}])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        ready = Path(folder) / "ready.onnx"
        source.write_bytes(case.onnx.SerializeToString())
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready),
            str(target),
            Reader(),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return target.read_bytes()
