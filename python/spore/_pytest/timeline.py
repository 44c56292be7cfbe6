"""What happened in a run, and when: machines, the tests in them, crashes and kept machines.

The dispatcher tells it at the few places where something begins or ends. What reports say comes
from the guest: whatever it is, nothing here raises because of it, and texts are bounded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# Of a test; what comes first decides where several apply.
OUTCOMES = (
    "crashed",
    "failed",
    "error",
    "xpassed",
    "xfailed",
    "skipped",
    "passed",
    "unfinished",
)
FAILURES = frozenset({"crashed", "failed", "error"})

_MOST_TEXT = 64 * 1024  # characters of one failure
_MOST_TEXTS = 8 * 1024 * 1024  # and of all


@dataclass(frozen=True)
class Phase:
    """Something that is done once, before the first fork; seconds since the run began."""

    name: str
    began: float
    seconds: float


@dataclass(frozen=True)
class Capture:
    """A captured machine: what others are forked from. `parent` numbers the one before it."""

    label: str
    at: float
    parent: int | None = None


@dataclass
class TestRun:
    """One run of one test, in seconds since the whole run began."""

    __test__ = False  # pytest collects what is called Test

    test: str
    repetition: int
    machine: int  # in Timeline.machines
    began: float
    ended: float = 0.0
    seconds: float = 0.0  # that its phases took, as pytest measured them
    outcome: str = "unfinished"
    texts: list[tuple[str, str]] = field(default_factory=list)  # titles and texts of failures


@dataclass
class MachineRun:
    """One forked machine, through all its resets; seconds since the run began."""

    capture: int  # in Timeline.captures
    shard: int
    forked: float
    ended: float | None = None
    resets: list[float] = field(default_factory=list)
    crashes: list[tuple[float, str]] = field(default_factory=list)
    kept: list[tuple[float, str, str]] = field(default_factory=list)  # with test and path
    private_bytes: int | None = None
    tests: int = 0
    failures: int = 0


class Timeline:
    """Events of one run. Machines are known by the numbers of the fleet's members.

    `detailed`: remembers each test, with the texts of failures; else only counts them.
    """

    def __init__(self, *, detailed: bool = False) -> None:
        self.detailed = detailed
        self.began = time.time()
        self._zero = time.monotonic()
        self.phases: list[Phase] = []
        self.captures: list[Capture] = []
        self.machines: list[MachineRun] = []
        self.runs: list[TestRun] = []
        self.expected = 0  # runs of tests
        self.ended = 0  # of them
        self.repetitions = 1  # of each test
        self._tests: Sequence[str] = ()
        self._alive: dict[int, int] = {}  # machine by member
        self._open: dict[int, TestRun] = {}  # by member
        self._texts_left = _MOST_TEXTS

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._zero

    @property
    def alive(self) -> int:
        """Machines that run."""
        return len(self._alive)

    def is_alive(self, member: int) -> bool:
        return member in self._alive

    # ---- before the first test ----------------------------------------------------------------

    def did(self, **seconds: float) -> None:
        """Phases that followed each other, the last of which ended just now."""
        began = self.now() - sum(seconds.values())
        for name, one in seconds.items():
            self.phases.append(Phase(name, began, one))
            began += one

    def captured(self, label: str, *, parent: int | None = None) -> int:
        """A machine was captured, itself a fork of capture `parent`; answers its number."""
        self.captures.append(Capture(label, self.now(), parent))
        return len(self.captures) - 1

    def expect(self, tests: Sequence[str], repetitions: int = 1) -> None:
        """The node id of each run of a test, in the order of their numbers."""
        self._tests, self.expected, self.repetitions = tests, len(tests), repetitions

    # ---- machines -----------------------------------------------------------------------------

    def forked(self, member: int, shard: int, *, capture: int = 0) -> None:
        self._alive[member] = len(self.machines)
        self.machines.append(MachineRun(capture, shard, self.now()))

    def reset(self, before: int, member: int) -> None:
        """The machine of `before` was put back, and is `member` from here on."""
        self._end_open(before)
        machine = self._alive.pop(before, None)
        if machine is not None:
            self._alive[member] = machine
            self.machines[machine].resets.append(self.now())

    def kept(self, member: int, test: str, path: Path) -> None:
        machine = self._machine(member)
        if machine is not None:
            machine.kept.append((self.now(), test, str(path)))

    def lost(self, member: int, reason: str) -> None:
        """The machine, or pytest in it, ended by itself."""
        machine = self._machine(member)
        if machine is not None:
            machine.crashes.append((self.now(), bounded(reason, 1024)))

    def retired(self, member: int, private_bytes: int | None = None) -> None:
        self._end_open(member)
        machine = self._machine(member)
        if machine is not None:
            machine.ended, machine.private_bytes = self.now(), private_bytes
            del self._alive[member]

    def close(self) -> None:
        """The run is over, whatever still runs."""
        for member in list(self._alive):
            self.retired(member)

    # ---- tests --------------------------------------------------------------------------------

    def test_started(self, member: int, number: int) -> None:
        if self.detailed and member in self._alive:
            self._end_open(member)
            self._open[member] = TestRun(
                self._tests[number], number % self.repetitions, self._alive[member], self.now()
            )

    def reported(self, member: int, report: pytest.TestReport | None) -> None:
        run = self._open.get(member)
        if run is None or report is None:
            return
        run.outcome = min(run.outcome, _outcome(report), key=OUTCOMES.index)
        run.seconds += _seconds(report)
        if report.outcome == "failed":
            self._add_text(run, f"{report.when}", _text(report))
            for title, text in _sections(report):
                self._add_text(run, title, text)

    def crashed(self, member: int, number: int, report: pytest.TestReport) -> None:
        """A test took its machine along, perhaps before it could say that it started."""
        if member not in self._open:
            self.test_started(member, number)
        self.reported(member, report)
        if member in self._open:
            self._open[member].outcome = "crashed"

    def test_ended(self, member: int) -> None:
        self.ended += 1
        self._end_open(member)

    # ---- parts --------------------------------------------------------------------------------

    def _machine(self, member: int) -> MachineRun | None:
        number = self._alive.get(member)
        return self.machines[number] if number is not None else None

    def _end_open(self, member: int) -> None:
        run = self._open.pop(member, None)
        if run is None:
            return
        run.ended = self.now()
        if run.outcome in ("crashed", "unfinished"):
            run.seconds = run.ended - run.began  # its last phase was not reported
        self.runs.append(run)
        machine = self.machines[run.machine]
        machine.tests += 1
        machine.failures += run.outcome in FAILURES

    def _add_text(self, run: TestRun, title: str, text: str) -> None:
        title, text = bounded(title, 200), bounded(text, _MOST_TEXT)
        if len(text) > self._texts_left:
            text = "(left out: the texts of all failures would be too long)"
        self._texts_left -= len(text)
        run.texts.append((title, text))


def bounded(text: str, most: int) -> str:
    """The beginning and the end of a text that is longer than `most`."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _outcome(report: pytest.TestReport) -> str:
    expected = hasattr(report, "wasxfail")
    if report.outcome == "failed":
        return "failed" if report.when == "call" else "error"
    if report.outcome == "skipped":
        return "xfailed" if expected else "skipped"
    if report.outcome == "passed" and report.when == "call":
        return "xpassed" if expected else "passed"
    return "unfinished"


def _seconds(report: pytest.TestReport) -> float:
    try:
        seconds = float(report.duration)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _text(report: pytest.TestReport) -> str:
    try:
        return str(report.longreprtext)
    except Exception as error:  # it is drawn by what the guest says that it is
        return f"(the text of this failure cannot be shown: {type(error).__name__})"


def _sections(report: pytest.TestReport) -> list[tuple[str, str]]:
    try:
        return [(str(title), str(text)) for title, text in report.sections]
    except (TypeError, ValueError):
        return []
