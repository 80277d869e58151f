"""Accuracy over whole image sets, on one machine or several."""

from r329fast.evaluation.evaluate_set import evaluate
from r329fast.evaluation.measure_set import Measurement, measure
from r329fast.evaluation.metrics import Metric
from r329fast.evaluation.options import (
    EvaluationOptions,
    Execution,
    Grid,
    RecordOptions,
    Selection,
)
from r329fast.evaluation.result import Evaluation, Timing
from r329fast.evaluation.shard_run import ShardRun, evaluate_shard
from r329fast.evaluation.shards import Shard
from r329fast.evaluation.variants import Model, prepare_model

__all__ = [
    "Evaluation",
    "EvaluationOptions",
    "Execution",
    "Grid",
    "Measurement",
    "Metric",
    "Model",
    "RecordOptions",
    "Selection",
    "Shard",
    "ShardRun",
    "Timing",
    "evaluate",
    "evaluate_shard",
    "measure",
    "prepare_model",
]
