"""What is measured of a network's outputs beside top-k: bundled metrics and those of a user."""

from r329fast.evaluation.metrics.choose import METRICS, choose_metric
from r329fast.evaluation.metrics.metric import Metric

__all__ = ["METRICS", "Metric", "choose_metric"]
