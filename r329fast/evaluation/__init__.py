"""Accuracy over whole image sets, on one machine or several."""

from r329fast.evaluation.evaluate_set import evaluate
from r329fast.evaluation.result import Evaluation, Timing
from r329fast.evaluation.variants import Model, prepare_model

__all__ = ["Evaluation", "Model", "Timing", "evaluate", "prepare_model"]
