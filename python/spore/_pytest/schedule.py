"""Which child runs which tests, and in what order: the meaning of --spore-dist.

Tests are numbered in collection order. A child takes tests when it has few left, so that one that
is quick takes more of them. What a child takes is in collection order within a group, so that its
fixtures of module and class scope are set up as rarely as can be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

# Of a test whose duration is not known, until some have run.
_UNKNOWN_SECONDS = 0.01
# A child has work for so long, or so many tests, while it waits for more.
_AHEAD_SECONDS = 0.2
_AHEAD_TESTS = 32


class Schedule:
    """What is left to run.

    `tests` are node ids; `marks` names the group of a test for loadgroup, or has None for it.
    `seconds` is how long tests took on an earlier run, by node id.
    """

    def __init__(
        self,
        dist: str,
        tests: Sequence[str],
        children: int,
        *,
        marks: Sequence[str | None] = (),
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        if children < 1:
            raise ValueError(f"cannot run {len(tests)} tests in {children} children")
        known = seconds or {}
        self._seconds = [known.get(test) for test in tests]
        measured = [one for one in self._seconds if one is not None]
        self._measured, self._total = len(measured), sum(measured)
        self._in_parts = dist == "load"  # else a child takes all of a group at once
        groups = self._groups(dist, tests, children, marks)
        self.left = len(tests)
        self.children = min(children, len(tests) if self._in_parts else len(groups))
        self._free = deque(map(deque, groups))
        self._claimed: dict[int, deque[int]] = {}  # what a child will take, in parts
        self._one_each = dist == "shard"
        if self._one_each:
            self._claimed = dict(enumerate(self._free))
            self._free = deque()

    def _groups(
        self, dist: str, tests: Sequence[str], children: int, marks: Sequence[str | None]
    ) -> list[Sequence[int]]:
        """Tests that one child runs, unless the others have nothing else to do; longest first."""
        numbers = range(len(tests))
        if dist == "shard":
            return list(split(len(tests), children))
        if dist == "each":
            return [[number] for number in numbers]
        names: Sequence[object]
        if dist == "loadgroup":
            names = [mark if mark is not None else number for number, mark in zip(numbers, marks)]
        elif dist == "loadscope":
            names = [_scope(test) for test in tests]
        else:
            names = [test.split("::", 1)[0] for test in tests]
        alone = self._long_ones(children) if dist == "load" else frozenset()
        by_name: dict[object, list[int]] = {}
        for number, name in zip(numbers, names):
            by_name.setdefault(number if number in alone else name, []).append(number)
        # Stable: of those that take as long, the first collected is the first.
        return sorted(by_name.values(), key=self._time, reverse=True)

    def _long_ones(self, children: int) -> frozenset[int]:
        """Tests so long that whoever ran one late would keep all others waiting."""
        limit = self._time(range(len(self._seconds))) / (4 * children)
        return frozenset(
            number
            for number, seconds in enumerate(self._seconds)
            if seconds is not None and seconds > limit
        )

    def take(self, child: int) -> list[int]:
        """The tests that `child` runs next; none: nothing is left for it."""
        taken = self._take_share(child) if self._in_parts else self._take_group(child)
        self.left -= len(taken)
        return taken

    def has_more_for(self, child: int) -> bool:
        """Whether take() would answer any."""
        return bool(self._claimed.get(child)) if self._one_each else self.left > 0

    def _take_group(self, child: int) -> list[int]:
        if self._one_each:
            return list(self._claimed.pop(child, ()))
        return list(self._free.popleft()) if self._free else []

    def _take_share(self, child: int) -> list[int]:
        """A part of what is left that gets smaller towards the end, so that all end together."""
        share = self._time(test for part in self._parts() for test in part) / (2 * self.children)
        taken: list[int] = []
        while True:
            mine = self._claimed.get(child)
            if not mine and self._free:
                mine = self._claimed[child] = self._free.popleft()
            if not mine:
                break
            if taken and self.time_of(mine[0]) > share:
                return taken
            taken.append(mine.popleft())
            share -= self.time_of(taken[-1])
        return taken or self._help_out(share)

    def _help_out(self, share: float) -> list[int]:
        """The last tests of what another child would take later."""
        theirs = max(self._claimed.values(), key=self._time, default=deque[int]())
        taken: list[int] = []
        while theirs and (not taken or self.time_of(theirs[-1]) <= share):
            taken.append(theirs.pop())
            share -= self.time_of(taken[-1])
        return taken[::-1]

    def drop_after(self, last: int) -> None:
        """Forgets all tests that come after `last` in collection order."""
        parts = (deque(test for test in part if test <= last) for part in self._free)
        self._free = deque(part for part in parts if part)
        for child, part in self._claimed.items():
            self._claimed[child] = deque(test for test in part if test <= last)
        self.left = sum(map(len, self._parts()))

    def needs_more(self, tests: Sequence[int]) -> bool:
        """Whether a child that still has `tests`, the first of which runs, should take more."""
        if len(tests) < 2 or not self._measured:
            return len(tests) < 2
        ahead = self._time(islice(tests, 1, _AHEAD_TESTS))
        return len(tests) <= _AHEAD_TESTS and ahead < _AHEAD_SECONDS

    def took(self, test: int, seconds: float) -> None:
        """Learns how long a test took."""
        self._seconds[test] = seconds
        self._measured += 1
        self._total += seconds

    def time_of(self, test: int) -> float:
        """Seconds that a test takes, as far as is known."""
        seconds = self._seconds[test]
        if seconds is not None:
            return seconds
        return self._total / self._measured if self._measured else _UNKNOWN_SECONDS

    def _time(self, tests: Iterable[int]) -> float:
        return sum(map(self.time_of, tests))

    def _parts(self) -> list[deque[int]]:
        return [*self._free, *self._claimed.values()]


def split(tests: int, children: int) -> list[range]:
    """Ranges of `tests` for at most `children` children: none empty, sizes within one."""
    children = min(children, tests)
    bounds = [tests * index // children for index in range(children + 1)] if children else []
    return [range(start, stop) for start, stop in zip(bounds, bounds[1:])]


def to_ranges(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """`indexes` in their order, as (start, stop) pairs."""
    ranges: list[tuple[int, int]] = []
    for index in indexes:
        if ranges and ranges[-1][1] == index:
            ranges[-1] = (ranges[-1][0], index + 1)
        else:
            ranges.append((index, index + 1))
    return ranges


def from_ranges(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """The indexes that `ranges` name."""
    return [index for start, stop in ranges for index in range(start, stop)]


def _scope(test: str) -> str:
    """The module of a function, the class of a method: what pytest-xdist calls a scope."""
    return test.split("[", 1)[0].rpartition("::")[0]
