"""Image sets without a label file: one folder for every class, perhaps below train and val."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from r329fast.errors import DataError, nearest

# what people call the parts of a set, by what they are for
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "eval", "evaluation", "dev"),
    "test": ("test", "testing"),
}
_WORDNET = re.compile(r"n\d{8}")
_WAY_OUT = (
    "give --classes FILE, whose lines name the folders in the order of the network's classes, or "
    "name the folders by class number"
)

Tree = dict[str, list[str]]


@dataclass(frozen=True)
class Naming:
    """What the numbers of class folders may come from.

    numbers: folder name -> class, where the user has given it. classes: how many the network has,
    where that is known. offset: added to every number afterwards. split: the part to use of a set
    that has parts, a key of SPLITS. needed: False where nobody asks for the classes.
    """

    numbers: Mapping[str, int] | None = None
    classes: int | None = None
    offset: int = 0
    split: str = "val"
    needed: bool = True

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise DataError(
                f"split: found {self.split!r}, allowed {', '.join(SPLITS)}"
                f"{nearest(self.split, SPLITS)}"
            )


def class_tree(
    names: Sequence[str], is_image: Callable[[PurePosixPath], bool], naming: Naming, where: Path
) -> tuple[Tree, str]:
    """(class folder -> its images, a word on the part that was taken); ({}, "") for no such tree.

    Folders that all images share are passed over. Raises DataError for a set with parts that
    lacks the one asked for.
    """
    paths = {name: PurePosixPath(name) for name in names}
    images = {name: path for name, path in paths.items() if is_image(path)}
    tree, depth = _folders(images)
    parts = _parts(tree, {name: len(path.parts) - depth for name, path in images.items()})
    if not parts or not naming.needed:
        return tree, ""
    wanted = [kind for kind in (naming.split, "test") if kind in parts]
    if not wanted or (naming.split != "val" and wanted[0] != naming.split):
        raise DataError(
            f"{where}: found the parts {', '.join(sorted(tree))}, none of them is for "
            f"{naming.split} (--split chooses one)"
        )
    part = parts[wanted[0]]
    classes: Tree = {}
    for name in tree[part]:
        classes.setdefault(images[name].parts[depth + 1], []).append(name)
    note = f"{where} has the parts {', '.join(sorted(tree))}: {part} is used (--split chooses)"
    return classes, note


def _folders(images: Mapping[str, PurePosixPath]) -> tuple[Tree, int]:
    """The images by their first folder that not all share, and how deep that is."""
    if not images:
        return {}, 0
    shortest = min(len(path.parts) for path in images.values())
    depth = 0
    while depth < shortest and len({path.parts[depth] for path in images.values()}) == 1:
        depth += 1
    if depth + 1 >= shortest:
        return {}, depth
    tree: Tree = {}
    for name, path in images.items():
        tree.setdefault(path.parts[depth], []).append(name)
    return tree, depth


def _parts(tree: Tree, depths: Mapping[str, int]) -> dict[str, str]:
    """Kind of part -> its folder, where all folders of a tree are parts of classes, else {}."""
    kinds = {word: kind for kind, words in SPLITS.items() for word in words}
    found = {kinds[folder.lower()]: folder for folder in tree if folder.lower() in kinds}
    whole = len(found) == len(tree) and len(tree) > 1
    nested = all(depths[name] > 2 for names in tree.values() for name in names)
    return found if whole and nested else {}


def folder_numbers(
    tree: Tree, naming: Naming, where: Path, what: str = "class folder"
) -> Mapping[str, int]:
    """The class of every folder: given, its own number, or its place in the alphabet.

    The alphabet counts only where all classes have a folder. what: a folder's name in messages.
    Raises DataError.
    """
    folders = sorted(tree)
    given = naming.numbers
    if given is not None and all(folder in given for folder in folders):
        return given
    if _are_numbers(folders):
        return {folder: int(folder) for folder in folders}
    if given is not None:
        odd = next(folder for folder in folders if folder not in given)
        raise DataError(
            f"{where}: found {what} {odd!r}, which is not among the {len(given)} classes"
            f"{nearest(odd, given)}"
        )
    if naming.needed:
        _check_alphabet(folders, naming, where, what)
    return {folder: number for number, folder in enumerate(folders)}


def _are_numbers(names: Sequence[str]) -> bool:
    return all(re.fullmatch(r"\d{1,9}", name, re.ASCII) for name in names)


def alphabet_note(names: Iterable[str], naming: Naming) -> str:
    """A word on classes that were numbered by the alphabet; "" where they were not."""
    ordered = sorted(set(names))
    if naming.numbers is not None or _are_numbers(ordered) or not naming.needed:
        return ""
    first = ", ".join(f"{name} {number}" for number, name in enumerate(ordered[:2]))
    return (
        f"classes are numbered in the order of the alphabet ({first}, ..): give --classes FILE "
        "where the network's order is another"
    )


def _check_alphabet(folders: Sequence[str], naming: Naming, where: Path, what: str) -> None:
    """Raise DataError where places in the alphabet cannot be the network's classes."""
    whole = naming.classes is not None and len(folders) in (
        naming.classes,
        naming.classes - naming.offset,
    )
    if whole:
        return
    if all(_WORDNET.fullmatch(folder) for folder in folders):
        raise DataError(
            f"{where}: found {what} names such as {folders[0]} (WordNet), which are no "
            "class numbers: give --classes FILE with lines 'wnid name' in the order of the "
            "network's classes"
        )
    if naming.classes is not None:
        many = what + ("es" if what.endswith("s") else "s")
        raise DataError(
            f"{where}: found {len(folders)} {many}, the network has {naming.classes} "
            f"classes, so that their order does not give the class: {_WAY_OUT}"
        )
