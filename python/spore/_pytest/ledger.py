"""What children reported of each test, told in collection order.

So a run with forks says what a run without them says, in the same order, and --maxfail and
--stepwise stop at the same test, although the tests end in any order.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence

from spore._pytest.reports import Call


class Ledger:
    """Keeps the calls of tests that are over until those of all earlier tests were made.

    `most_failures`: with so many failed reports the run stops; 0: it does not.
    """

    def __init__(self, tests: int, most_failures: int) -> None:
        self._calls: list[Sequence[Call] | None] = [None] * tests
        self._most_failures = most_failures
        self._failures: list[int] = []  # the test of each failed report, ascending
        self.turn = 0  # the test whose calls are the next to be made

    def add(self, test: int, calls: Sequence[Call], *, failures: int, stops: bool) -> int | None:
        """Takes what was reported of `test`. If no test after some other matters, that other."""
        self._calls[test] = calls
        for _ in range(failures):
            insort(self._failures, test)
        if stops:
            return test
        if failures and 0 < self._most_failures <= len(self._failures):
            return self._failures[self._most_failures - 1]
        return None

    def add_late(self, test: int, call: Call) -> None:
        """Takes what comes of a test after its end: it is told with the rest, or at once."""
        if test < self.turn:
            call()
            return
        calls = self._calls[test]
        if calls is not None:  # else further runs of it come, which say the same
            self._calls[test] = [*calls, call]

    def due(self) -> Iterator[Sequence[Call]]:
        """For each test whose turn it is, its calls; whoever makes them may stop there."""
        while self.turn < len(self._calls):
            calls = self._calls[self.turn]
            if calls is None:
                return
            self._calls[self.turn] = ()
            self.turn += 1
            yield calls
