"""Accuracy over whole image sets, on one machine or several."""

from r329fast.evaluation.evaluation import Evaluation, Timing
from r329fast.evaluation.run import evaluate
from r329fast.evaluation.variants import Model, prepare_model

__all__ = ["Evaluation", "Model", "Timing", "evaluate", "prepare_model"]
