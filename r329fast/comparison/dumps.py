"""Dumps of layer tensors from elsewhere: folders of .npy and .bin files, under other names.

A folder's order is that of the program, if one is given, else of its `index.json` (which
`run --dump` writes), else of its file names. A raw .bin takes shape and dtype from the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from r329fast.base.npy import read_npy
from r329fast.base.reading import is_file, is_folder, parse_json, read_json, read_text
from r329fast.base.temporary import file_stem
from r329fast.comparison.differences import TensorComparison, compare_tensors
from r329fast.comparison.result_files import read_raw, read_tensors
from r329fast.errors import DataError, FileError, nearest
from r329fast.program.program import Program

INDEX = "index.json"
_SUFFIXES = (".npy", ".bin")
_COUNTERS = "profile_data.bin"  # of a run, beside its output.bin: no tensor


def tensor_order(program: Program) -> list[str]:
    """Tensors in execution order: what the layers put out."""
    return [name for layer in program.layers for name in layer.outputs]


def read_dump(
    path: Path | str,
    program: Program | None = None,
    name_map: Mapping[str, str] | None = None,
    dtype: str = "int8",
    known: Iterable[str] = (),
) -> dict[str, np.ndarray]:
    """The tensors of a dump by our names, in order: a folder or a .npz.

    name_map: our name -> the dump's. A file belongs to the tensor that it is named after, '/' as
    '_', with or without a number in front (`0012_conv.npy`). dtype: of raw files without program;
    known: names to look for, where there is no program. Raises FileError where nothing can be read
    and DataError where a size does not fit.
    """
    path = Path(path)
    known = tensor_order(program) if program is not None else list(known)
    if is_folder(path):
        found = _folder(path, program, known, dtype, name_map or {})
    else:
        found = _renamed(read_tensors(path), known, name_map or {})
    if program is not None:
        layers = {layer.name: layer.outputs[0] for layer in program.layers if layer.outputs}
        found = {layers.get(name, name): array for name, array in found.items()}
        rank = {name: place for place, name in enumerate(known)}
        found = dict(sorted(found.items(), key=lambda item: rank.get(item[0], len(rank))))
    return found


def read_name_map(path: Path | str) -> dict[str, str]:
    """Our tensor name -> the dump's: a JSON object, or lines `our name, the other's`.

    In lines the names are parted by a comma, or by blanks where there is none. Raises FileError
    and DataError.
    """
    text = read_text(path)
    if text.lstrip().startswith("{"):
        table = parse_json(text, path)
        if not all(isinstance(value, str) for value in table.values()):
            raise DataError(f"{path}: allowed is an object of names", path=str(path))
        return dict(table)
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = [word.strip() for word in (line.split(",") if "," in line else line.split())]
        if len(words) != 2 or not all(words):
            raise DataError(
                f"{path}, line {number}: found {line.strip()!r}, allowed 'our name, the other's'",
                line=number,
            )
        pairs[words[0]] = words[1]
    if not pairs:
        raise DataError(f"{path}: found no names", path=str(path))
    return pairs


def compare_dumps(
    a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], common: bool = False
) -> tuple[TensorComparison, list[str]]:
    """(comparison in the order of `a`, names that only one of them has).

    With `common` those names are left out, else they raise DataError. Arrays that differ only in
    axes of length 1, or of which one is flat, are compared value by value.
    """
    odd = [name for name in (*a, *b) if (name in a) != (name in b)]
    if odd and not common:
        which = "second" if odd[0] in a else "first"
        other = b if which == "second" else a
        raise DataError(
            f"tensor {odd[0]!r} is not in the {which} run{nearest(odd[0], other)}; a name map "
            "(--map) names it there, --common leaves such tensors out",
            layer=odd[0],
        )
    shared = [name for name in a if name in b]
    if not shared:
        raise DataError("the two have no tensor name in common, a name map (--map) may help")
    left, right = {}, {}
    for name in shared:
        left[name], right[name] = _aligned(a[name], b[name])
    return compare_tensors(left, right, shared), odd


def _aligned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if x.shape == y.shape or x.size != y.size:
        return x, y
    long_x = tuple(size for size in x.shape if size != 1)
    long_y = tuple(size for size in y.shape if size != 1)
    if long_x == long_y or x.ndim == 1 or y.ndim == 1:
        return x.reshape(-1), y.reshape(-1)
    return x, y


def _bare(stem: str) -> str:
    """A file's stem without the number in front."""
    number, _, rest = stem.partition("_")
    return rest if number.isdigit() and rest else stem


def _match(word: str, names: Iterable[str]) -> str | None:
    """The name that a file's stem means."""
    table = {name: name for name in names}
    table.update({file_stem(name): name for name in names})
    return table.get(word) or table.get(_bare(word))


def _renamed(
    tensors: Mapping[str, np.ndarray], known: list[str], name_map: Mapping[str, str]
) -> dict[str, np.ndarray]:
    ours = {theirs: name for name, theirs in name_map.items()}
    _check_map(name_map, tensors)
    return {ours.get(name) or _match(name, known) or name: array for name, array in tensors.items()}


def _check_map(name_map: Mapping[str, str], found: Iterable[str]) -> None:
    names = list(found)
    for ours, theirs in name_map.items():
        if theirs not in names and _match(theirs, names) is None:
            raise DataError(
                f"name map: {theirs!r} (for {ours!r}) is not in the dump{nearest(theirs, names)}"
            )


def _folder(
    path: Path,
    program: Program | None,
    known: list[str],
    dtype: str,
    name_map: Mapping[str, str],
) -> dict[str, np.ndarray]:
    files = sorted(
        file for file in path.iterdir() if file.suffix in _SUFFIXES and file.name != _COUNTERS
    )
    if not files:
        raise FileError(f"no tensors (.npy or .bin files) in {path}", path=str(path))
    index = _index(path)
    stems = {file.stem: file for file in files}
    ours = {theirs: name for name, theirs in name_map.items()}
    _check_map(name_map, (*index, *stems, *(_bare(stem) for stem in stems)))
    named: dict[str, Path] = {name: path / file for name, file in index.items()}
    for stem, file in stems.items():
        if file not in named.values():
            bare = _bare(stem)
            named[_match(stem, known) or (bare if bare in ours else stem)] = file
    result = {}
    for name, file in named.items():
        ours_name = ours.get(name) or _match(name, known) or name
        result[ours_name] = _read(file, ours_name, program, dtype)
    return result


def _index(path: Path) -> dict[str, str]:
    file = path / INDEX
    if not is_file(file):
        return {}
    index = read_json(file)
    if not isinstance(index, dict) or not all(isinstance(v, str) for v in index.values()):
        raise DataError(f"{file}: allowed is an object: tensor name -> file name", path=str(file))
    return index


def _read(file: Path, name: str, program: Program | None, dtype: str) -> np.ndarray:
    if file.suffix == ".npy":
        return read_npy(file)
    spec = program.tensors.get(name) if program is not None else None
    if spec is None:
        return read_raw(file, dtype)
    values = read_raw(file, spec.dtype)
    if values.size % spec.elements:
        raise DataError(
            f"{file}: found {values.size} values, tensor {name!r} has {spec.elements} "
            f"({' x '.join(map(str, spec.shape))}) per image",
            path=str(file),
        )
    return values.reshape(-1, *spec.shape)
