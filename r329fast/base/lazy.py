"""Public names that a module has without importing them: loaded on first use, or moved away."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def loader(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """A module `__getattr__` for `package`; homes: public name -> submodule that has it."""

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return load


def names(public: Iterable[str]) -> Callable[[], list[str]]:
    """A module `__dir__`: what completion offers, loaded or not."""
    return lambda: sorted(public)


def moved(
    package: str, homes: Mapping[str, str], others: Callable[[str], object] | None = None
) -> Callable[[str], object]:
    """A module `__getattr__` for names that stand elsewhere since 0.2.0; it warns at each use.

    homes: name -> module that has it, or MODULE:NAME where it is called otherwise. others: looks
    up all other names.
    """
    rest = others or loader(package, {})

    def load(name: str) -> object:
        if name not in homes:
            return rest(name)
        module, _, renamed = homes[name].partition(":")
        warnings.warn(
            f"{package}.{name} has moved to {module}.{renamed or name}; the old name goes with the "
            "next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(module), renamed or name)

    return load
