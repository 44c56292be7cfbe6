"""@pytest.mark.spore(timeout=SECONDS, alone=True): what one test asks of its machine.

The guest reads and checks the marks when it has collected. What it tells of them is checked again,
on the host: it may be anything.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from spore._pytest import frames
from spore._pytest.options import MOST_SECONDS

_MOST_COMPLAINTS = 20
_ALLOWED = "it takes timeout=SECONDS and alone=True"


@dataclass(frozen=True)
class TestMark:
    """What the marks of one test say together."""

    __test__ = False  # no test, for all its name

    timeout: float | None = None  # seconds
    alone: bool = False  # in a clean machine, before and after


def to_tell(items: Sequence[pytest.Item]) -> list[tuple[int, float | None, bool]]:
    """The marks of `items`, by the number of the test; a UsageError names those that are wrong."""
    told = []
    complaints: list[str] = []
    for number, item in enumerate(items):
        try:
            mark = _read(item)
        except ValueError as error:
            complaints.append(f"{item.nodeid}: @pytest.mark.spore: {error}")
            continue
        if mark != TestMark():
            told.append((number, mark.timeout, mark.alone))
    if complaints:
        more = len(complaints) - _MOST_COMPLAINTS
        shown = complaints[:_MOST_COMPLAINTS] + ([f"and {more} more"] if more > 0 else [])
        raise pytest.UsageError(*shown)
    return told


def _read(item: pytest.Item) -> TestMark:
    """The mark that is closest to the test wins, argument by argument."""
    values: dict[str, object] = {}
    for mark in item.iter_markers("spore"):
        if mark.args:
            raise ValueError(f"{_shown(mark.args[0])} has no name: {_ALLOWED}")
        for name in mark.kwargs:
            if name not in ("timeout", "alone"):
                raise ValueError(f"there is no {name}: {_ALLOWED}")
        _check(mark.kwargs)
        values = {**mark.kwargs, **values}
    return _check(values)


def _check(values: Mapping[str, object]) -> TestMark:
    timeout, alone = values.get("timeout"), values.get("alone", False)
    if "timeout" in values and not _is_duration(timeout):
        raise ValueError(f"timeout={_shown(timeout)}: give a number of seconds, such as 60 or 0.5")
    if not isinstance(alone, bool):
        raise ValueError(f"alone={_shown(alone)}: give True or False")
    return TestMark(None if timeout is None else float(timeout), alone)  # type: ignore[arg-type]


def _is_duration(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= MOST_SECONDS  # type: ignore[operator]


def _shown(value: object) -> str:
    return " ".join(reprlib.repr(value).split())


def told(marks: object, tests: int) -> dict[int, TestMark]:
    """What a guest that collected so many `tests` tells of their marks; FrameError if it makes no
    sense."""
    found: dict[int, TestMark] = {}
    for one in marks if isinstance(marks, list) else [marks]:
        if not (isinstance(one, tuple) and len(one) == 3):
            raise _nonsense(one)
        number, timeout, alone = one
        right = type(number) is int and 0 <= number < tests and number not in found
        if not (right and type(alone) is bool and (timeout is None or _is_duration(timeout))):
            raise _nonsense(one)
        found[number] = TestMark(timeout, alone)
    return found


def _nonsense(value: object) -> frames.FrameError:
    return frames.FrameError(f"{_shown(value)} is no mark of a test")


class TimeLimits:
    """How long each test may take."""

    def __init__(self, general: float | None, marks: Mapping[int, TestMark]) -> None:
        self._general = general
        self._marks = marks

    def seconds(self, test: int | None) -> float | None:
        """Of a test, by its number; without one, of what is between tests."""
        marked = self._marked(test)
        return self._general if marked is None else marked

    def name(self, test: int) -> str:
        """What set the limit of a test."""
        marked = self._marked(test)
        if marked is None:
            return f"--spore-timeout={self._general:g}"
        return f"@pytest.mark.spore(timeout={marked:g})"

    def _marked(self, test: int | None) -> float | None:
        mark = self._marks.get(test) if test is not None else None
        return mark.timeout if mark is not None else None
