"""Options as objects or as keywords: the same, and a wrong name is told with the right one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from support.evaluation_sets import RECIPE, image_zip
from support.evaluation_sets import run_cfg as write_cfg

from r329fast import evaluate, prepare, run_cfg
from r329fast.base.arguments import with_arguments
from r329fast.deploy.pipeline import program_of
from r329fast.deploy.settings import Settings
from r329fast.errors import UsageError
from r329fast.evaluation import (
    EvaluationOptions,
    Execution,
    Grid,
    RecordOptions,
    Selection,
    prepare_model,
)

GROUPS = (Grid, Selection, RecordOptions, Execution)


def evaluated(*args: object, **names: object) -> object:
    return evaluate("none.cfg", "none.zip", *args, **names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "wrong", "right"),
    [
        (prepare, "schem", "scheme"),
        (program_of, "tread", "threads"),
        (run_cfg, "per_chanel", "per_channel"),
        (run_cfg, "dmp", "dump"),
        (prepare_model, "scheme", "schemes"),
        (prepare_model, "float_modl", "float_model"),
        (evaluated, "float_basline", "float_baseline"),
        (evaluated, "threds", "threads"),
        (evaluated, "lables", "labels"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(
    call: Callable[..., object], wrong: str, right: str
) -> None:
    args = () if call is evaluated else ("none.cfg",)
    with pytest.raises(UsageError, match=f"found argument {wrong!r}, did you mean {right!r}"):
        call(*args, **{wrong: 1})


def test_a_name_like_no_other_is_told_with_all_that_are_allowed() -> None:
    with pytest.raises(UsageError) as caught:
        prepare("none.cfg", zzz=1)
    for field in dataclasses.fields(Settings):
        assert field.name in caught.value.message


def test_something_else_for_an_options_object_is_told() -> None:
    with pytest.raises(UsageError, match=r"prepare: found dict, allowed"):
        prepare("none.cfg", {"scheme": "aqt2021"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "names",
    [{"threads": 0}, {"limit": 0}, {"chunk": -1}],
)
def test_numbers_below_one_are_refused(names: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"allowed at least 1"):
        evaluated(**names)


def test_no_keyword_of_evaluate_stands_in_two_groups() -> None:
    options = [*GROUPS, EvaluationOptions]
    names = [field.name for kind in options for field in dataclasses.fields(kind)]
    assert len(names) == len(set(names))


def test_keywords_change_the_groups_that_hold_them() -> None:
    base = EvaluationOptions(Grid(schemes=("aqt2021",)), execution=Execution(threads=2))
    changes = {"roundings": ("floor",), "limit": 5, "float_baseline": True}
    found = with_arguments(base, changes, "evaluate")
    assert found.grid == Grid(schemes=("aqt2021",), roundings=("floor",))
    assert found.selection == Selection(limit=5)
    assert found.execution == base.execution
    assert found.float_baseline
    assert base == EvaluationOptions(Grid(schemes=("aqt2021",)), execution=Execution(threads=2))


def test_objects_and_keywords_give_the_same(tmp_path: Path) -> None:
    cfg = write_cfg(tmp_path)
    images = image_zip(tmp_path / "set.zip", 12)
    settings = Settings(scheme="compass42", rounding="floor", threads=2)
    program = prepare(cfg, settings).program
    assert program.hash() == prepare(cfg, scheme="compass42", rounding="floor").program.hash()
    assert prepare(cfg, settings, rounding="half_up").program.options["rounding"] == "half_up"
    options = EvaluationOptions(
        Grid(schemes=("compass42",), roundings=("floor",)),
        Selection(RECIPE, limit=10),
        RecordOptions(chunk=4),
        Execution(threads=2),
    )
    by_object = evaluate(cfg, images, options=options)
    by_name = evaluate(
        cfg, images, schemes=["compass42"], roundings=["floor"], preprocess=RECIPE, limit=10,
        chunk=4, threads=2,
    )  # fmt: skip
    assert by_object.variants == by_name.variants
    assert by_object.scores[0].tobytes() == by_name.scores[0].tobytes()
    assert by_object.variants[0].accuracy.images == 10
