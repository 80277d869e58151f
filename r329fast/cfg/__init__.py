"""Vendor cfg files: read, write, check, and make for a model."""

from r329fast.cfg.check import check_cfg, nhwc_shape
from r329fast.cfg.finding import Finding
from r329fast.cfg.model_names import completed, read_model_names
from r329fast.cfg.new import new_cfg
from r329fast.cfg.optimizer import Optimizer
from r329fast.cfg.run_config import RunConfig, read_cfg
from r329fast.cfg.scoped import Scope, Scoped, parse_scoped
from r329fast.cfg.sections import Common, GBuilder, Parser, Quantization, Section

__all__ = [
    "Common",
    "Finding",
    "GBuilder",
    "Optimizer",
    "Parser",
    "Quantization",
    "RunConfig",
    "Scope",
    "Scoped",
    "Section",
    "check_cfg",
    "completed",
    "new_cfg",
    "nhwc_shape",
    "parse_scoped",
    "read_cfg",
    "read_model_names",
]
