"""`help(r329fast.NAME)` answers: what goes in, what comes out, which errors, which keywords."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import r329fast
from r329fast.deploy.settings import Settings
from r329fast.evaluation.options import (
    EvaluationOptions,
    Execution,
    Grid,
    RecordOptions,
    Selection,
)
from r329fast.trial.trial import TrialOptions
from r329fast.tuning.options import TuneOptions

NAMES = [name for name in r329fast.__all__ if name != "__version__"]
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(r329fast, name))]
KEYWORDS = {
    "evaluate": (Grid, Selection, RecordOptions, Execution, EvaluationOptions),
    "prepare": (Settings,),
    "run_cfg": (Settings,),
    "try_model": (TrialOptions,),
    "tune": (TuneOptions,),
}
_PARTS = {"grid", "selection", "record", "execution"}


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class has of its own."""
    for name, found in vars(kind).items():
        target = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if not name.startswith("_") and inspect.isfunction(target):
            yield name, target


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_has_a_docstring(name: str) -> None:
    target = getattr(r329fast, name)
    assert inspect.getdoc(target)
    if inspect.isclass(target):
        assert [member for member, found in members(target) if not inspect.getdoc(found)] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_name_their_errors_and_arguments(name: str) -> None:
    target = getattr(r329fast, name)
    text = inspect.getdoc(target) or ""
    assert "Raises" in text
    own = [word for word in inspect.signature(target).parameters if word not in ("path", "changes")]
    silent = {"graph", "ranges", "scheme", "threads", "images", "cfg", "backend"}
    silent |= {"momentum", "histc_bins"}  # of the vendor's, which names them so
    assert [word for word in own if word not in text and word not in silent] == []


@pytest.mark.parametrize("name", KEYWORDS)
def test_keywords_are_listed(name: str) -> None:
    """`**changes` hides them from the signature."""
    text = inspect.getdoc(getattr(r329fast, name)) or ""
    fields = {field.name for kind in KEYWORDS[name] for field in dataclasses.fields(kind)}
    assert {field for field in fields - _PARTS if field not in text} == set()
