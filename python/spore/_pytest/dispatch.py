"""Children at work: gives them tests as they need them, and takes what they report.

Reports are told in collection order, test by test, so that the hooks of tests that ran side by side
do not mix; what comes of the test whose turn it is, is told at once. A child that dies costs the
test that it ran; another goes on with the rest.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pytest

import spore
from spore._pytest import durations, frames, reports
from spore._pytest.fleet import Ended, Fleet, Member, Printed, ReachedFixturePoint
from spore._pytest.keep import Keeper
from spore._pytest.ledger import Ledger
from spore._pytest.marks import TestMark, TimeLimits
from spore._pytest.repeat import Repeats
from spore._pytest.schedule import Schedule, to_ranges

if TYPE_CHECKING:
    from spore._pytest.options import Settings
    from spore._pytest.summary import Story


_MOST_ERRORS = 64 * 1024
# For a test that takes too long, to tell where it is.
_GRACE_SECONDS = 5.0


class Desk(Protocol):
    """Whom the dispatcher works for: what concerns the run as a whole is the controller's."""

    def take_general(self, session: pytest.Session, message: frames.Message) -> None: ...
    def stop(self, session: pytest.Session, message: frames.Message) -> None: ...
    def write_line(self, text: str, **markup: bool) -> None: ...
    def print(self, printed: Printed) -> None: ...


@dataclass
class Child:
    """What a machine still has to do."""

    shard: int
    remaining: deque[int] = field(default_factory=deque)  # given to it; the first one runs
    ended: int | None = None  # the last one that it ran
    last: bool = False  # it knows that nothing follows them
    running: frames.Message | None = None  # its "start"
    calls: list[reports.Call] = field(default_factory=list)  # of the running test
    phases: list[str] = field(default_factory=list)  # of the running test, that were reported
    failures: int = 0  # of the running test's reports
    seconds: float = 0.0  # that the running test took
    errors: bytearray = field(default_factory=bytearray)  # the end of its standard error
    deadline: float | None = None  # of time.monotonic(), for its next report of a start or an end
    timed_out: bool = False
    failing: str = ""  # the test that has just failed, when its machine is to be kept
    waits: bool = False  # at that moment
    kept: str = ""  # where that machine is
    progressed: bool = False  # since its machine was forked
    finished: bool = False  # said all that it has to say


class Dispatcher:
    """Runs the tests of one session in forks of the fleet's spore."""

    def __init__(
        self,
        config: pytest.Config,
        session: pytest.Session,
        settings: Settings,
        fleet: Fleet,
        story: Story,
        desk: Desk,
    ) -> None:
        self._config = config
        self._session = session
        self._settings = settings
        self._fleet = fleet
        self._story = story
        self._desk = desk
        self._each = settings.dist == "each"
        self._keeper = Keeper(settings.keep_failed) if settings.keep_failed is not None else None
        self._children: dict[int, Child] = {}
        self._unforked: deque[int] = deque()  # shards that there was no room for yet
        self._seconds: dict[str, float] = {}

    def run(
        self, tests: Sequence[str], groups: Sequence[str | None], marks: Mapping[int, TestMark]
    ) -> None:
        """Returns when all are told; raises what ends a session early."""
        self._repeats = self._story.repeats = Repeats(tests, self._settings.repeat)
        self._tests = self._repeats.numbered()
        self._limits = TimeLimits(self._settings.timeout, marks)
        self._ledger = Ledger(len(tests), self._failures_left())
        self._schedule = Schedule(
            self._settings.dist,
            self._tests,
            self._settings.children,
            marks=groups,
            seconds=durations.read(self._config),
        )
        self._story.children = self._schedule.children
        self._unforked.extend(range(self._schedule.children))
        started = time.monotonic()
        self._admit()
        try:
            while self._children or self._unforked:
                event = self._fleet.next_event_until(self._first_deadline())
                if event is None:
                    self._end_late_tests()
                    continue
                member, said = event
                child = self._children.get(member.index)
                if child is None:
                    continue  # its end was already dealt with
                if isinstance(said, dict):
                    self._take(member, child, said)
                elif isinstance(said, Printed):
                    self._print(child, said)
                elif isinstance(said, ReachedFixturePoint):
                    child.waits = True
                    self._keep(member, child)
                elif isinstance(said, Ended):
                    self._take_end(member, child, said)
                if self._unforked and _ends_something(said):
                    self._admit()
        finally:
            self._story.running = time.monotonic() - started
            durations.write(self._config, self._seconds)

    def _failures_left(self) -> int:
        """How many failed reports end the run; 0: none do."""
        most = int(self._config.getvalue("maxfail") or 0)
        return max(1, most - self._session.testsfailed) if most else 0

    # ---- giving -----------------------------------------------------------------------------

    def _admit(self) -> None:
        """Forks the children that there is room for: with a budget one by one, else all at once."""
        while self._unforked and self._fleet.has_room(self._children, more=1):
            count = len(self._unforked) if self._settings.budget is None else 1
            children = [Child(self._unforked.popleft()) for _ in range(count)]
            for child in children:
                self._fill(child)
            for child in children:
                if len(child.remaining) == 1:  # it runs one when it knows the next
                    self._fill(child)
            self._fork([child for child in children if child.remaining])

    def _fork(self, children: list[Child]) -> None:
        if not children:
            return
        members = self._fleet.fork([child.shard for child in children], self._story.children)
        for member, child in zip(members, children):
            self._start(member, child)

    def _fill(self, child: Child) -> list[int]:
        """Gives a child more tests, if there are more for it; answers them."""
        taken = [] if self._each and child.remaining else self._schedule.take(child.shard)
        child.remaining.extend(taken)
        return taken

    def _start(self, member: Member, child: Child) -> None:
        self._children[member.index] = child
        child.progressed = child.timed_out = False
        self._set_deadline(child)
        self._send(member, child, child.remaining)

    def _send(self, member: Member, child: Child, tests: Sequence[int]) -> None:
        child.last = self._each or not self._schedule.has_more_for(child.shard)
        follows = None
        if self._each and child.remaining[-1] + 1 < len(self._tests):
            # What the next test needs is not torn down, as in a run without forks.
            follows = self._repeats.test_of(child.remaining[-1] + 1)
        order = {
            "type": "run",
            "run": to_ranges(map(self._repeats.test_of, tests)),
            "last": child.last,
            "follows": follows,
            "each": self._each,
        }
        # One that has ended already says so itself, through its reader.
        with contextlib.suppress(spore.MachineEnded):
            self._fleet.send(member, order)

    def _top_up(self, member: Member, child: Child) -> None:
        if child.last or not self._schedule.needs_more(child.remaining):
            return
        self._send(member, child, self._fill(child))

    def _go_on(self, member: Member, child: Child) -> None:
        """With each: puts the machine back for the next test, or ends it when there is none."""
        crowded = len(self._children) > 1 and not self._fleet.has_room(self._children, more=0)
        following = Child(child.shard)
        if crowded or not self._fill(following):
            self._retire(member)  # the others take what is left
            return
        del self._children[member.index]
        self._start(self._fleet.reset(member, child.shard, self._story.children), following)

    def _retire(self, member: Member) -> None:
        del self._children[member.index]
        self._fleet.retire(member)

    # ---- taking -----------------------------------------------------------------------------

    def _take(self, member: Member, child: Child, message: frames.Message) -> None:
        kind = message["type"]
        if kind == "finish":
            child.finished = True
            return
        if kind == "done" and self._each:
            self._go_on(member, child)
            return
        if kind == "failing":
            child.failing = str(message["test"])
            self._keep(member, child)
            return
        if kind == "stopped" and child.running is not None:
            child.calls.append(lambda: self._desk.stop(self._session, message))
            self._close(member, child, stops=True)
            return
        try:
            if kind in ("start", "end") and not child.remaining:
                raise frames.FrameError(f"a {kind} of a test that it was not given")
            if kind == "report":
                self._look_at(child, message["report"])
            call = reports.hook_call(self._config, message)
        except (frames.FrameError, AttributeError, KeyError, TypeError) as error:
            self._take_end(member, child, Ended(f"the machine sent nonsense: {error}"))
            return
        if call is None:
            self._desk.take_general(self._session, message)
            return
        if kind == "start":
            child.running = message
            child.phases = []
            child.failures, child.seconds = 0, 0.0
            child.errors.clear()
            self._set_deadline(child)
        if child.running is None:
            if message.get("test") and child.ended is not None:
                self._ledger.add_late(self._repeats.test_of(child.ended), call)
            else:
                call()  # of no test
            return
        child.calls.append(call)
        if kind == "end":
            self._end_test(member, child, message)
        else:
            self._tell_live(child)

    def _look_at(self, child: Child, report: dict[str, Any]) -> None:
        child.phases.append(str(report.get("when")))
        child.failures += report.get("outcome") == "failed" and "wasxfail" not in report
        with contextlib.suppress(TypeError, ValueError):
            child.seconds += float(report.get("duration", 0.0))
        if child.kept and report.get("outcome") == "failed":
            report.setdefault("sections", []).append(("Kept machine", child.kept))
            child.kept = ""

    def _end_test(self, member: Member, child: Child, message: frames.Message) -> None:
        session = self._session
        for name, wish in (("shouldstop", "should_stop"), ("shouldfail", "should_fail")):
            if message[wish]:
                text = str(message[wish])
                child.calls.append(functools.partial(setattr, session, name, text))
        test = child.remaining[0]
        self._schedule.took(test, child.seconds)
        self._seconds[self._tests[test]] = child.seconds
        self._close(member, child, stops=bool(message["should_stop"] or message["should_fail"]))
        if member.index in self._children:
            self._top_up(member, child)

    def _close(self, member: Member, child: Child, *, stops: bool = False) -> None:
        """The running test is over."""
        calls, child.calls, child.running = child.calls, [], None
        test = child.ended = child.remaining.popleft()
        child.progressed = True
        self._set_deadline(child)
        repeated = self._repeats.add(test, calls, child.failures)
        if repeated is None:
            return
        last = self._ledger.add(
            self._repeats.test_of(test), repeated.calls, failures=repeated.failures, stops=stops
        )
        if last is not None:
            last = self._repeats.last_of(last)
            self._schedule.drop_after(last)
            for other, idle in list(self._children.items()):
                if idle.remaining and min(idle.remaining) > last:
                    self._retire(self._member(other))
        self._tell()

    def _member(self, index: int) -> Member:
        return next(member for member in self._fleet.members if member.index == index)

    def _tell(self) -> None:
        session = self._session
        for calls in self._ledger.due():
            for call in calls:
                call()
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
        for child in self._children.values():
            self._tell_live(child)

    def _tell_live(self, child: Child) -> None:
        """Tells what is known of a test that still runs, if it is its turn."""
        turn = self._repeats.runs == 1 and self._ledger.turn
        if child.running is not None and child.remaining[0] == turn:
            calls, child.calls = child.calls, []
            for call in calls:
                call()

    def _print(self, child: Child, printed: Printed) -> None:
        call = functools.partial(self._desk.print, printed)
        if child.running is None:
            call()
            return
        child.calls.append(call)
        self._tell_live(child)
        if printed.stream == "stderr":
            child.errors = (child.errors + printed.data)[-_MOST_ERRORS:]

    # ---- kept machines ------------------------------------------------------------------------

    def _keep(self, member: Member, child: Child) -> None:
        """Saves the machine of the test that has just failed, once pytest in it waits for that.

        The channel and the agent are two streams: either may be the first to tell.
        """
        if self._keeper is None or not (child.waits and child.failing):
            return
        test, child.failing, child.waits = child.failing, "", False
        try:
            path = self._fleet.keep(member, self._keeper, test)
            child.kept = f"{os.path.relpath(path)}\nspore run --from {os.path.relpath(path)} -- sh"
        except (spore.Error, OSError) as error:
            child.kept = f"not kept: {error}"
        self._set_deadline(child)

    # ---- tests that hang --------------------------------------------------------------------

    def _set_deadline(self, child: Child) -> None:
        test = self._repeats.test_of(child.remaining[0]) if child.remaining else None
        timeout = self._limits.seconds(test)
        child.deadline = time.monotonic() + timeout if timeout is not None else None

    def _first_deadline(self) -> float | None:
        deadlines = [child.deadline for child in self._children.values()]
        return min((one for one in deadlines if one is not None), default=None)

    def _end_late_tests(self) -> None:
        """Ends pytest where a test takes too long, so that it tells where that test is."""
        now = time.monotonic()
        for index, child in list(self._children.items()):
            if child.deadline is None or child.deadline > now or not child.remaining:
                continue
            member = self._member(index)
            if child.timed_out:
                self._take_end(member, child, Ended("pytest had to be ended with its machine"))
                continue
            child.timed_out = True
            child.deadline = now + _GRACE_SECONDS
            # faulthandler shows what all threads do.
            with contextlib.suppress(spore.Error):
                member.process.signal(signal.SIGABRT)

    # ---- ends -------------------------------------------------------------------------------

    def _take_end(self, member: Member, child: Child, end: Ended) -> None:
        if child.finished and not child.remaining:
            self._retire(member)
            return
        if not child.finished:
            self._story.crashes += 1
            self._tell_crash(child, end)
            if child.running is not None or (child.remaining and not child.progressed):
                self._report_crash(member, child, end)
            elif child.last and not child.remaining:
                # All its tests are reported, but what follows them is lost.
                self._desk.write_line(
                    f"spore: child {child.shard} was lost after its last test: {end.reason}",
                    red=True,
                )
                self._session.testsfailed += 1
            else:
                self._desk.write_line(
                    f"spore: child {child.shard} was lost between two tests: {end.reason}", red=True
                )
        if member.index in self._children:
            self._replace(member, child)

    def _tell_crash(self, child: Child, end: Ended) -> None:
        ran = child.running is not None or not child.progressed
        self._config.hook.pytest_spore_child_crashed(
            config=self._config,
            nodeid=self._tests[child.remaining[0]] if child.remaining and ran else None,
            reason=self._how_it_ended(child, end),
        )

    def _how_it_ended(self, child: Child, end: Ended) -> str:
        if not (child.timed_out and child.remaining):
            return end.reason
        limit = self._limits.name(self._repeats.test_of(child.remaining[0]))
        return f"{limit} passed; {end.reason}"

    def _replace(self, member: Member, child: Child) -> None:
        """Gives what a child that is lost has left to another."""
        if self._each and not child.remaining:
            self._go_on(member, child)
            return
        self._retire(member)
        following = Child(child.shard, child.remaining)
        self._fill(following)
        if following.remaining:
            self._fork([following])

    def _report_crash(self, member: Member, child: Child, end: Ended) -> None:
        """Reports the running test as failed; the first one, if none had started."""
        test = self._tests[child.remaining[0]]
        location: Any = (test.split("::")[0], None, test)
        where = "before this test, the first of its child, started"
        when = "setup"
        if child.running is not None:
            test, location = child.running["test"], child.running["location"]
            where = "while this test ran"
            when = "teardown" if {"call", "teardown"} & set(child.phases) else "call"
        else:
            start = {"type": "start", "test": test, "location": location}
            child.calls.append(reports.hook_call(self._config, start) or (lambda: None))
            child.failures = 0
        text = f"{where}, {self._how_it_ended(child, end)}"
        if child.errors:
            text += f"\nThe end of its standard error:\n{child.errors.decode('utf-8', 'replace')}"
            child.calls = [call for call in child.calls if not _prints_errors(call)]
        if end.console:
            text += f"\nThe end of the machine's console:\n{end.console}"
        report = reports.crash_report(test, location, when, text)
        hook = self._config.hook
        child.calls.append(functools.partial(hook.pytest_runtest_logreport, report=report))
        child.calls.append(lambda: hook.pytest_runtest_logfinish(nodeid=test, location=location))
        child.failures += 1
        self._close(member, child)


def _prints_errors(call: reports.Call) -> bool:
    arguments = getattr(call, "args", ())
    return any(isinstance(one, Printed) and one.stream == "stderr" for one in arguments)


def _ends_something(said: object) -> bool:
    return isinstance(said, Ended) or (isinstance(said, dict) and said["type"] in ("end", "done"))
