"""Values of objects that still live."""

from __future__ import annotations

import weakref

from r329fast.tuning.remembered import Remembered


class _Key:
    """Equal to all others: only identity counts."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test_the_last_few_are_known_by_identity() -> None:
    keys = [_Key(), _Key(), _Key()]
    found: Remembered[_Key, int] = Remembered(2)
    assert found.get(keys[0]) is None
    assert [found.put(key, number) for number, key in enumerate(keys)] == [0, 1, 2]
    assert [found.get(key) for key in keys] == [None, 1, 2]
    assert found.get(_Key()) is None


def test_one_alone() -> None:
    first, second = _Key(), _Key()
    found: Remembered[_Key, int] = Remembered(1)
    found.put(first, 1)
    found.put(second, 2)
    assert (found.get(first), found.get(second)) == (None, 2)


def test_keys_are_not_kept_alive() -> None:
    key = _Key()
    watched = weakref.ref(key)
    found: Remembered[_Key, int] = Remembered(2)
    found.put(key, 1)
    del key
    assert watched() is None
    assert found.get(_Key()) is None
