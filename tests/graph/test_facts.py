"""The tables of facts are complete, and what they hold stands nowhere else.

A row that is added without its parts fails here, by name.
"""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from r329fast.cfg.sections import Quantization
from r329fast.graph.activations import ACTIVATIONS, BY_OPERATOR
from r329fast.graph.ir import Act
from r329fast.graph.layers import LAYER_TYPES, LINEAR_TYPES
from r329fast.graph.lower.families import OPERATORS, WRITERS
from r329fast.graph.rule import ADVICE, message
from r329fast.kernels import REGISTRY
from r329fast.profile.accumulators import BLOCKS
from r329fast.profile.precision import RESCALES
from r329fast.program.ops import ACTS, OPS
from r329fast.quantization.lower.lowering import RULES
from r329fast.reference.interpreter import FUNCTIONS

PACKAGE = Path(__file__).resolve().parents[2] / "r329fast"
TABLES = ("graph/layers", "program/ops")  # where names are at home
# Names of ONNX operators, and of entries in the vendor's binary, which happen to be alike.
FOREIGN = ("graph/onnx", "graph/load.py", "vendor/aipu", "cli/aipu.py")


# --- activations ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_is_complete(kind: str) -> None:
    row = ACTIVATIONS[kind]
    assert (row.real is None) == bool(row.epilogue), "a table or the last step, one of both"
    assert row.epilogue in ("", *ACTS)
    signed = row.signed(Act(kind)) if callable(row.signed) else row.signed
    assert signed in (True, False) or kind == "NONE"
    if row.read is not None:
        assert row.read.op in OPERATORS
        assert OPERATORS[row.read.op].needs == row.read.needs


def test_every_activation_is_read_by_some_operator() -> None:
    """Those without a reader of their own come from Clip."""
    readers = {kind for kind, row in ACTIVATIONS.items() if row.read is not None}
    assert set(ACTIVATIONS) - readers == {"NONE", "RELU6"}
    assert len(BY_OPERATOR) == len(readers)


# --- ONNX operators ---------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPERATORS)
def test_operator_is_documented(op: str) -> None:
    row = OPERATORS[op]
    assert row.becomes
    for constraint in row.needs:
        assert message(constraint).endswith((".", ")")), constraint.__name__
        assert ADVICE[constraint.__name__]


def test_families_do_not_overlap() -> None:
    """Joined tables would hide a name that two families claim."""
    from r329fast.graph.lower import families

    modules = [value for value in vars(families).values() if hasattr(value, "OPERATORS")]
    assert sum(len(module.OPERATORS) for module in modules) == len(OPERATORS)
    assert sum(len(module.WRITERS) for module in modules) == len(WRITERS)


# --- layer types ------------------------------------------------------------------------------


def test_layer_types_are_complete() -> None:
    """What is imported is written to ONNX again and lowered to ops, and nothing else is."""
    assert set(WRITERS) == set(LAYER_TYPES) - {"Input"}
    assert set(RULES) == set(LAYER_TYPES)


@pytest.mark.parametrize("name", LAYER_TYPES)
def test_layer_type_is_consistent(name: str) -> None:
    facts = LAYER_TYPES[name]
    assert not facts.moves or facts.keeps_scale
    assert not (facts.keeps_scale and facts.free_range)
    assert facts.ops_count((2, 3, 4), (2, 3, 4), 24, 1) >= 0
    if facts.op:
        fields = {field.name for field in dataclasses.fields(facts.attrs)}
        assert set(OPS[facts.op].attrs) <= fields, "its op's attributes are its own"
        assert OPS[facts.op].moves == facts.moves
        assert OPS[facts.op].consts == {}


def test_the_cfg_has_the_same_linear_types() -> None:
    (field,) = (f for f in dataclasses.fields(Quantization) if f.name == "ops_per_channel")
    parse = field.metadata["kind"].parse
    assert parse(",".join(LINEAR_TYPES)) == LINEAR_TYPES


# --- ops of the list --------------------------------------------------------------------------


def test_ops_are_complete() -> None:
    """Each op has a meaning and checks (its spec), a reference and a kernel."""
    assert set(OPS) == set(FUNCTIONS) == set(REGISTRY)


@pytest.mark.parametrize("kind", OPS)
def test_op_is_consistent(kind: str) -> None:
    spec = OPS[kind]
    assert spec.meaning.strip()
    assert callable(spec.check)
    assert (kind in BLOCKS) == spec.accumulates, "counters need its accumulators"
    assert kind not in RESCALES or "mult" in spec.consts
    assert not spec.linear or spec.macs is not None
    assert not spec.moves or (spec.same_scale and not spec.accumulates)
    assert spec.result_table in ("", *(name.rstrip("?") for name in spec.consts))


# --- names outside the tables -----------------------------------------------------------------


def named(path: Path) -> list[int]:
    """Lines where a layer type or op kind is compared with, or listed beside others.

    Keys of a table (one function for each name) and the word that an importer or a lowering rule
    gives to what it makes do not count: they name one thing once.
    """
    names = {*LAYER_TYPES, *OPS}
    lines = []
    foreign: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if node in foreign:
            continue
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
            # ONNX operators (node.op, node.op_type) have the same names
            if any(isinstance(p, ast.Attribute) and p.attr in ("op", "op_type") for p in parts):
                foreign.update(ast.walk(node))
                continue
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = list(node.elts)
            if not all(isinstance(part, ast.Constant) for part in parts):
                continue
        else:
            continue
        for part in parts:
            inner = ast.walk(part) if isinstance(node, ast.Compare) else [part]
            lines += [
                found.lineno
                for found in inner
                if isinstance(found, ast.Constant) and found.value in names
            ]
    return sorted(set(lines))


def places(package: Path = PACKAGE) -> dict[str, list[int]]:
    """File -> lines, of the whole package but the tables."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not name.startswith(TABLES + FOREIGN) and (lines := named(path)):
            found[name] = lines
    return found


def test_few_places_name_a_type() -> None:
    count = sum(map(len, places().values()))
    assert count <= 20, places()
