"""--spore-repeat: each test several times from the same state, told as one.

A test that fails in some runs and passes in others is flaky: since all of them started from one
captured machine, what differs is time, scheduling and entropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spore._pytest.reports import Call, failed_report


@dataclass
class Repeated:
    """The runs of one test so far."""

    runs: int = 0
    failed: int = 0
    failures: int = 0  # failed reports of the run that is told
    calls: Sequence[Call] = ()  # of the first run that failed, else of the first one


class Repeats:
    """Merges the runs of each test. Run `i` of test `t` has the number `t * runs + i`."""

    def __init__(self, tests: Sequence[str], runs: int) -> None:
        self.runs = runs
        self._tests = tests
        self._repeated = [Repeated() for _ in tests]

    def numbered(self) -> list[str]:
        """The node id of each number."""
        return [test for test in self._tests for _ in range(self.runs)]

    def test_of(self, number: int) -> int:
        return number // self.runs

    def runs_of(self, test: int) -> range:
        return range(test * self.runs, (test + 1) * self.runs)

    def last_of(self, test: int) -> int:
        return test * self.runs + self.runs - 1

    def add(self, number: int, calls: Sequence[Call], failures: int) -> Repeated | None:
        """Takes one run; answers all of its test when this was the last one of them."""
        repeated = self._repeated[self.test_of(number)]
        if repeated.runs == 0 or (failures and not repeated.failed):
            repeated.calls, repeated.failures = calls, failures
        repeated.runs += 1
        repeated.failed += bool(failures)
        if repeated.runs < self.runs:
            return None
        if self.runs > 1 and repeated.failed:
            self._explain(repeated)
        return repeated

    def _explain(self, repeated: Repeated) -> None:
        for call in repeated.calls:
            report = failed_report(call)
            if report is not None:
                flaky = "" if repeated.failed == repeated.runs else ": it is flaky"
                text = f"failed in {repeated.failed} of {repeated.runs} runs from one state{flaky}"
                report.sections.append(("Repeated", text))

    def summary(self) -> list[str]:
        """A line about all, and one about each flaky test."""
        if self.runs == 1:
            return []
        over = [one for one in self._repeated if one.runs == self.runs]
        always = sum(one.failed == self.runs for one in over)
        flaky = [
            (test, one)
            for test, one in zip(self._tests, self._repeated)
            if one.runs == self.runs and 0 < one.failed < self.runs
        ]
        passed = len(over) - always - len(flaky)
        return [
            f"repeated: {self.runs} runs of each test: {passed} passed always, {always} failed"
            f" always, {len(flaky)} {'is' if len(flaky) == 1 else 'are'} flaky",
            *(f"flaky:   {test} failed in {one.failed} of {one.runs} runs" for test, one in flaky),
        ]
