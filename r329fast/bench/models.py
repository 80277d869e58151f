"""The networks that are timed, with random weights: speed does not depend on what they learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from r329fast.bench import models_branched as branched
from r329fast.bench import models_mobile as mobile
from r329fast.bench import models_residual as residual
from r329fast.errors import UsageError, nearest


@dataclass(frozen=True)
class BenchModel:
    """build(size) gives the ONNX model; size: side of the image; batch: images timed at once."""

    build: Callable[[int], Any]
    size: int
    batch: int = 16


MODELS = {
    "resnet18_v2": BenchModel(residual.resnet18_v2, 224),
    "vgg16": BenchModel(branched.vgg16, 224),
    "resnet50": BenchModel(residual.resnet50, 224),
    "mobilenet_v2": BenchModel(mobile.mobilenet_v2, 224),
    "squeezenet": BenchModel(branched.squeezenet, 227),
    "resnet20_cifar": BenchModel(residual.resnet20_cifar, 32, 256),
    "mobilenet_v1": BenchModel(mobile.mobilenet_v1, 224),
    "mobilenet_v3_small": BenchModel(mobile.mobilenet_v3_small, 224),
    "mobilenet_v3_large": BenchModel(mobile.mobilenet_v3_large, 224),
    "mnasnet": BenchModel(mobile.mnasnet, 224),
    "efficientnet_lite0": BenchModel(mobile.efficientnet_lite0, 224),
    "efficientnet_b0": BenchModel(mobile.efficientnet_b0, 224),
    "mixnet_s": BenchModel(mobile.mixnet_s, 224),
    "shufflenet_v2": BenchModel(mobile.shufflenet_v2, 224),
    "ghostnet_v2": BenchModel(mobile.ghostnet_v2, 224),
    "regnetx_400mf": BenchModel(residual.regnetx_400mf, 224),
    "regnety_400mf": BenchModel(residual.regnety_400mf, 224),
    "densenet121": BenchModel(branched.densenet121, 224),
    "inception_v3": BenchModel(branched.inception_v3, 299),
    "googlenet": BenchModel(branched.googlenet, 224),
    "resnext50": BenchModel(residual.resnext50, 224),
    "xception": BenchModel(residual.xception, 299),
    "repvgg_a0": BenchModel(residual.repvgg_a0, 224),
    "fastvit": BenchModel(mobile.fastvit, 256),
    "ds_cnn": BenchModel(mobile.ds_cnn, 49, 256),
}


def bench_model(name: str) -> BenchModel:
    """The model of that name; UsageError for an unknown one."""
    if name not in MODELS:
        known = ", ".join(MODELS)
        raise UsageError(f"model {name!r}, allowed {known}{nearest(name, MODELS)}", option="models")
    return MODELS[name]
