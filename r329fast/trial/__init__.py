"""One call from a model to a page: accuracy, cost and errors, without a cfg."""

from r329fast.trial.trial import Trial, TrialOptions, try_model

__all__ = ["Trial", "TrialOptions", "try_model"]
