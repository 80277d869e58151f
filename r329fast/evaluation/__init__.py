"""Accuracy over whole image sets, on one machine or several."""

from r329fast.evaluation.evaluate_set import evaluate
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
    "Model",
    "RecordOptions",
    "Selection",
    "Shard",
    "ShardRun",
    "Timing",
    "evaluate",
    "evaluate_shard",
    "prepare_model",
]
