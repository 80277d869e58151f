"""Rules of the source that keep kernels and their parameters together, read from its syntax.

Kernels name their parameters, drivers fill them by keyword, every name of a layout is used, and no
file of the package takes another one's private names. Each rule is shown to find an offence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import r329fast
from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.kernel import arrays
from r329fast.kernels.runtime.parameters import pack, unpack

PACKAGE = Path(r329fast.__file__).parent
KERNELS = PACKAGE / "kernels"


@dataclass
class Room:
    """Layouts of the kernels' sources, and what kernels read of them."""

    fields: dict[str, list[str]] = field(default_factory=dict)  # of every NamedTuple
    read: dict[str, set[str]] = field(default_factory=dict)  # of every layout that a kernel takes
    offences: list[str] = field(default_factory=list)


def layouts(tree: ast.Module, room: Room) -> None:
    """Names of every NamedTuple of a file; a default value would hide a forgotten name."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id == "NamedTuple" for base in node.bases
        ):
            lines = [line for line in node.body if isinstance(line, ast.AnnAssign)]
            room.fields[node.name] = [ast.unparse(line.target) for line in lines]
            room.offences += [
                f"{node.name}.{ast.unparse(line.target)} has a default"
                for line in lines
                if line.value
            ]


def bound_layouts(function: ast.FunctionDef) -> dict[str, str]:
    """Variable -> layout, from the line of a kernel that takes its `arrays` from the frame."""
    for node in ast.walk(function):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        if ast.unparse(node.value.func) != "arrays":
            continue
        kinds: list[str] = []
        for kind in node.value.args[1:]:
            if isinstance(kind, ast.Constant):
                kinds += [""] * len(str(kind.value))
            else:
                kinds.append(ast.unparse(kind).strip("(),"))
        targets = ast.unparse(node.targets[0]).strip("()").split(", ")
        assert len(targets) == len(kinds), f"{function.name}: {targets} of {kinds}"
        # the rows of an array of layouts have its name in the singular
        return {
            name.removesuffix("s") if len(name) > 1 else name: kind
            for name, kind in zip(targets, kinds, strict=True)
            if kind
        }
    return {}


def parameters_read(tree: ast.Module, room: Room, name: str) -> None:
    """Which names of which layout a file reads: `p.name` in kernels and in what they call."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    bound = {function.name: bound_layouts(function) for function in functions}
    everywhere: dict[str, set[str]] = {"g": {"Geometry"}} if "Geometry" in room.fields else {}
    for names in bound.values():
        for variable, layout in names.items():
            everywhere.setdefault(variable, set()).add(layout)
            room.read.setdefault(layout, set())
    for function in functions:
        jitted = any("kernel_part" in ast.unparse(node) for node in function.decorator_list)
        known = {key: {value} for key, value in bound[function.name].items()}
        if jitted:  # a helper: its parameters have the names that kernels give them
            arguments = {argument.arg for argument in function.args.args}
            known = {key: value for key, value in everywhere.items() if key in arguments}
        for node in ast.walk(function):
            if not isinstance(node, ast.Subscript | ast.Attribute):
                continue
            variable = ast.unparse(node.value)
            if variable not in known:
                continue
            where = f"{name}:{node.lineno}: {ast.unparse(node)}"
            if isinstance(node, ast.Subscript):
                room.offences.append(f"{where} is a parameter by number")
                continue
            owners = [each for each in known[variable] if node.attr in room.fields[each]]
            if not owners:
                room.offences.append(f"{where} is in no layout of {sorted(known[variable])}")
            for owner in owners:
                room.read[owner].add(node.attr)


def by_keyword(tree: ast.Module, room: Room, name: str) -> None:
    """Layouts are filled by keyword only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in room.read and node.args:
            room.offences.append(f"{name}:{node.lineno}: {ast.unparse(node.func)} without names")


def numbered(tree: ast.Module, name: str) -> list[str]:
    """`p[3]` wherever it stands."""
    return [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "p"
        and isinstance(node.slice, ast.Constant)
    ]


def offences(sources: dict[str, str]) -> list[str]:
    """All that is wrong with layouts in these files of kernels."""
    room = Room()
    trees = {name: ast.parse(source) for name, source in sources.items()}
    for tree in trees.values():
        layouts(tree, room)
    for name, tree in trees.items():
        parameters_read(tree, room, name)
    for name, tree in trees.items():
        by_keyword(tree, room, name)
        room.offences += numbered(tree, name)
    for layout, names in room.read.items():
        unread = set(room.fields[layout]) - names
        room.offences += [f"{layout}.{name} is never read" for name in sorted(unread)]
    return room.offences


def private_imports(source: str, name: str) -> Iterator[str]:
    """Private names that a file takes from others of the package, or reaches through a module."""
    tree = ast.parse(source)
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("r329fast"):
            for alias in node.names:
                modules.add(alias.asname or alias.name)
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    yield f"{name}:{node.lineno}: {alias.name} of {node.module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            # what NamedTuple gives its classes is public in spite of its underscore
            given = node.attr in ("_fields", "_replace", "_asdict", "_make")
            if node.value.id in modules and private and not given:
                yield f"{name}:{node.lineno}: {node.value.id}.{node.attr}"


def sources(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


def test_parameters_of_kernels_are_named_filled_and_read() -> None:
    found = sources(KERNELS)
    assert sum("@kernel\n" in source for source in found.values()) >= 10
    assert offences(found) == []


def test_no_file_takes_private_names_of_another() -> None:
    found = sources(PACKAGE)
    assert [line for name, text in found.items() for line in private_imports(text, name)] == []


GOOD = """
class Rows(NamedTuple):
    first: int
    end: int

@kernel_part
def helper(p):
    return p.end

@kernel
def rows(frame):
    p, x = arrays(frame, Rows, "u")
    x[p.first] = helper(p)

def prepare():
    return pack(Rows(first=0, end=1))
"""


@pytest.mark.parametrize(
    ("old", "new", "offence"),
    [
        ("", "", ""),
        ("p.first", "p[0]", "parameter by number"),
        ("p.first", "p.start", "in no layout"),
        ("p.first", "0", "Rows.first is never read"),
        ("first=0, end=1", "0, 1", "Rows without names"),
        ("    end: int", "    end: int = 0", "Rows.end has a default"),
    ],
)
def test_the_rules_find_offences(old: str, new: str, offence: str) -> None:
    found = offences({"file.py": GOOD.replace(old, new) if old else GOOD})
    assert bool(found) == bool(offence)
    assert any(offence in line for line in found) or not offence


@pytest.mark.parametrize(
    "source",
    [
        "from r329fast.kernels.table import _tables",
        "from r329fast.kernels import table\ntable._run()",
    ],
)
def test_the_rule_finds_private_names(source: str) -> None:
    assert list(private_imports(source, "file.py"))


class Two(NamedTuple):
    first: int
    end: int


class Three(NamedTuple):
    first: int
    end: int
    length: int


def test_parameters_come_back_by_name() -> None:
    values = Two(first=-3, end=1 << 62)
    packed = pack(values)
    assert packed.tobytes() == np.array(values, dtype=np.int64).tobytes()
    assert unpack(Two, packed) == values
    with pytest.raises(TypeError, match=r"parameters \('first', 'end'\), expected .*'length'"):
        unpack(Three, packed)
    with pytest.raises(TypeError):
        pack(Two(first=0, end=1.5))  # type: ignore[arg-type]


@pytest.mark.skipif(JIT, reason="compiled kernels trust their callers")
def test_unjitted_kernels_check_what_they_are_given() -> None:
    two, x = pack(Two(first=1, end=2)), np.zeros(3, np.uint8)
    p, rows, found = arrays(
        (two, pack(Two(first=3, end=4), Two(first=5, end=6)), x), Two, (Two,), "u"
    )
    assert (p.end, rows[1].first, found is x) == (2, 5, True)
    with pytest.raises(TypeError, match="2 arrays, expected 3"):
        arrays((two, x), Two, "uu")
    with pytest.raises(TypeError, match="array of uint8, expected"):
        arrays((two, x), Two, "i")
