"""The spores of a session: one for each fixture point that tests start from.

The first is the session's. The others are captured when the first of their tests is about to run,
by a child that starts from the spore above, and forgotten when all their tests are over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spore import Spore


class Tree:
    """Which point a test starts from, and from which spore that point can be reached.

    `parents` has the number of the point above each point; the first is 0, and its own parent.
    `point_of` has the number of each test's point; it is changed when a point is given up.
    """

    def __init__(self, parents: Sequence[int], point_of: list[int], root: Spore) -> None:
        self._parents = list(parents)
        self.point_of = point_of
        self._spores = {0: root}
        self._reaching: set[int] = set()
        self._apart: set[int] = set()  # points of one test, at which nothing is set up
        self._tests_left = [0] * len(self._parents)  # of a point and all below it
        for point in point_of:
            self._count(point, 1)

    def __len__(self) -> int:
        return len(self._parents)

    def set_apart(self, test: int) -> None:
        """Lets a test start from where it would, but from no machine that another test used."""
        self._apart.add(len(self._parents))
        self._parents.append(self.point_of[test])
        self._tests_left.append(1)
        self.point_of[test] = len(self._parents) - 1

    def way_to(self, point: int) -> tuple[Spore, int | None]:
        """The nearest spore above `point`, and the point to reach from there; None: it is there."""
        following = None
        if point in self._apart:
            point = self._parents[point]
        while point not in self._spores:
            following, point = point, self._parents[point]
        return self._spores[point], following

    def reached_above(self, point: int) -> int:
        """The nearest point on the way to `point`, itself included, that has a spore."""
        while point not in self._spores:
            point = self._parents[point]
        return point

    def reach(self, point: int) -> None:
        """A child is on its way there: until it has come, others keep to other points."""
        self._reaching.add(point)

    def leave(self, point: int) -> None:
        """It is no more on its way."""
        self._reaching.discard(point)

    def reached(self, point: int, captured: Spore) -> None:
        self._reaching.discard(point)
        self._spores[point] = captured

    def give_up(self, point: int) -> int:
        """It cannot be reached: what starts there starts from the point above it, the answer."""
        self._reaching.discard(point)
        above = self._parents[point]
        self._parents = [above if parent == point else parent for parent in self._parents]
        return above

    def closed(self) -> set[int]:
        """The points that cannot be started from before some child has reached another."""
        result = set(self._reaching)
        if result:
            for point, parent in enumerate(self._parents):  # each is behind the one above it
                if parent in result:
                    result.add(point)
        return result

    def finish(self, test: int) -> None:
        """A test is over; spores that no further test needs are forgotten."""
        point = self.point_of[test]
        self._count(point, -1)
        while point and not self._tests_left[point]:
            self._spores.pop(point, None)
            point = self._parents[point]

    def _count(self, point: int, change: int) -> None:
        self._tests_left[point] += change
        while point:
            point = self._parents[point]
            self._tests_left[point] += change
