"""Which child runs which tests, and in what order: the meaning of --spore-dist.

Tests are numbered in collection order. A child takes tests when it has few left, so that one that
is quick takes more of them. What a child takes is in collection order within a group, so that its
fixtures of module and class scope are set up as rarely as can be. All of it starts from the same
fixture point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, MutableSequence, Sequence
from itertools import islice

# Of a test whose duration is not known, until some have run.
_UNKNOWN_SECONDS = 0.01
# A child has work for so long, or so many tests, while it waits for more.
_AHEAD_SECONDS = 0.2
_AHEAD_TESTS = 32


class Schedule:
    """What is left to run.

    `tests` are node ids; `marks` names the group of a test for loadgroup, or has None for it.
    `seconds` is how long tests took on an earlier run, by node id. `points` is the number of the
    fixture point of each test; without it all have the same, 0.
    """

    def __init__(
        self,
        dist: str,
        tests: Sequence[str],
        children: int,
        *,
        marks: Sequence[str | None] = (),
        seconds: Mapping[str, float] | None = None,
        points: MutableSequence[int] | None = None,
    ) -> None:
        if children < 1:
            raise ValueError(f"cannot run {len(tests)} tests in {children} children")
        known = seconds or {}
        self._seconds = [known.get(test) for test in tests]
        measured = [one for one in self._seconds if one is not None]
        self._measured, self._total = len(measured), sum(measured)
        self._points = points if points is not None else [0] * len(tests)
        self._in_parts = dist == "load"  # else a child takes all of a group at once
        groups = self._groups(dist, tests, children, marks)
        self.left = len(tests)
        self.children = min(children, len(tests) if self._in_parts else len(groups))
        self._claimed: dict[int, deque[int]] = {}  # what a child will take, in parts
        # By the point of their first test; each with its rank.
        self._free: dict[int, deque[tuple[int, deque[int]]]] = {}
        self._one_each = dist == "shard"
        if self._one_each:
            self._claimed = dict(enumerate(map(deque, groups)))
        else:
            for rank, group in enumerate(groups):
                free = self._free.setdefault(self._points[group[0]], deque())
                free.append((rank, deque(group)))

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
        if dist == "load":
            alone = self._long_ones(children)
            names = [
                number if number in alone else (name, point)
                for number, name, point in zip(numbers, names, self._points)
            ]
        by_name: dict[object, list[int]] = {}
        for number, name in zip(numbers, names):
            by_name.setdefault(name, []).append(number)
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

    def take(self, child: int, point: int | None = None, avoid: Collection[int] = ()) -> list[int]:
        """The tests that `child` runs next, all from one fixture point.

        That is `point` if it is given, and none of `avoid`. No tests: nothing is left for the child
        that keeps to this.
        """
        take = self._take_share if self._in_parts else self._take_group
        taken = take(child, point, avoid)
        self.left -= len(taken)
        return taken

    def has_more_for(self, child: int, point: int = 0) -> bool:
        """Whether take() would answer any that start from `point`."""
        mine = self._claimed.get(child)
        if mine:
            return any(self._points[test] == point for test in mine)
        if self._free.get(point):
            return True
        return self._in_parts and any(
            part and self._points[part[0]] == point for part in self._claimed.values()
        )

    def _claim(self, child: int, point: int | None, avoid: Collection[int]) -> deque[int]:
        """What `child` has claimed; if that is nothing, it claims the first that it may."""
        mine = self._claimed.get(child)
        if mine or self._one_each:
            return mine or deque()
        if point is None:
            heads = [(free[0][0], one) for one, free in self._free.items() if one not in avoid]
            if not heads:
                return deque()
            point = min(heads)[1]
        free = self._free.get(point)
        if not free:
            return deque()
        self._claimed[child] = mine = free.popleft()[1]
        if not free:
            del self._free[point]
        return mine

    def _take_group(self, child: int, point: int | None, avoid: Collection[int]) -> list[int]:
        mine = self._claim(child, point, avoid)
        if point is None:
            allowed = (self._points[test] for test in mine if self._points[test] not in avoid)
            point = next(allowed, None)
        taken = [test for test in mine if self._points[test] == point]
        self._claimed[child] = deque(test for test in mine if self._points[test] != point)
        return taken

    def _take_share(self, child: int, point: int | None, avoid: Collection[int]) -> list[int]:
        """A part of what is left that gets smaller towards the end, so that all end together."""
        share = self._time(test for part in self._parts() for test in part) / (2 * self.children)
        taken: list[int] = []
        while mine := self._claim(child, point, avoid):
            if not self._may_take(mine, point, avoid):
                break
            if taken and self.time_of(mine[0]) > share:
                return taken
            point = self._points[mine[0]]
            taken.append(mine.popleft())
            share -= self.time_of(taken[-1])
        return taken or self._help_out(share, point, avoid)

    def _help_out(self, share: float, point: int | None, avoid: Collection[int]) -> list[int]:
        """The next tests of what another child would take later."""
        others = (part for part in self._claimed.values() if self._may_take(part, point, avoid))
        theirs = max(others, key=self._time, default=deque[int]())
        taken: list[int] = []
        while theirs and (not taken or self.time_of(theirs[0]) <= share):
            taken.append(theirs.popleft())
            share -= self.time_of(taken[-1])
        return taken

    def _may_take(self, part: Sequence[int], point: int | None, avoid: Collection[int]) -> bool:
        """Of a part whose tests all start from one point."""
        if not part:
            return False
        its_point = self._points[part[0]]
        return its_point not in avoid if point is None else its_point == point

    def replace_point(self, point: int, by: int) -> None:
        """The tests that would start from `point` start from `by`."""
        for test, one in enumerate(self._points):
            if one == point:
                self._points[test] = by
        merged = [*self._free.pop(point, ()), *self._free.get(by, ())]
        if merged:
            self._free[by] = deque(sorted(merged))

    def drop_after(self, last: int) -> None:
        """Forgets all tests that come after `last` in collection order."""
        groups = sorted(group for free in self._free.values() for group in free)
        self._free = {}
        for rank, group in groups:
            kept = deque(test for test in group if test <= last)
            if kept:
                self._free.setdefault(self._points[kept[0]], deque()).append((rank, kept))
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
        free = (part for groups in self._free.values() for _, part in groups)
        return [*free, *self._claimed.values()]


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
