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
from typing import TYPE_CHECKING, Any, Protocol

import pytest

import spore
from spore._pytest import durations, frames, reports
from spore._pytest.checkpoint import MOST_BRANCHES
from spore._pytest.child import Child
from spore._pytest.crew import Crew
from spore._pytest.debug import Debugger
from spore._pytest.fleet import Fleet, Member
from spore._pytest.keep import Keeper
from spore._pytest.ledger import Ledger
from spore._pytest.marks import TimeLimits
from spore._pytest.repeat import Repeats
from spore._pytest.said import Ended, Printed, ReachedFixturePoint
from spore._pytest.schedule import Schedule
from spore._pytest.summary import PointStory
from spore._pytest.tree import Tree

if TYPE_CHECKING:
    from spore._pytest.options import Settings
    from spore._pytest.reports import Collected
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
    def until(self, deadline: float | None) -> float | None: ...


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
        self._timeline = story.timeline
        self._desk = desk
        self._keeper = Keeper(settings.keep_failed) if settings.keep_failed is not None else None
        self._debugger = Debugger(config, fleet.process) if settings.pdb else None
        self._seconds: dict[str, float] = {}

    def run(self, collected: Collected) -> None:
        """Returns when all are told; raises what ends a session early."""
        tests = collected.tests
        self._repeats = self._story.repeats = Repeats(tests, self._settings.repeat)
        self._tests = self._repeats.numbered()
        self._timeline.expect(self._tests, self._settings.repeat)
        self._ledger = Ledger(len(tests), self._failures_left())
        point_of = [point for point in collected.point_of for _ in range(self._repeats.runs)]
        self._point_names = [name for name, _ in collected.points]
        marks = {
            run: mark
            for test, mark in collected.marks.items()
            for run in self._repeats.runs_of(test)
        }
        self._limits = TimeLimits(self._settings.timeout, marks)
        tree = Tree([above for _, above in collected.points], point_of, self._fleet.root)
        for test, mark in marks.items():
            if mark.alone:
                tree.set_apart(test)
        schedule = Schedule(
            self._settings.dist,
            self._tests,
            self._settings.children,
            marks=collected.groups,
            seconds=durations.read(self._config),
            points=point_of,
        )
        self._crew = Crew(
            self._settings,
            self._fleet,
            schedule,
            tree,
            self._repeats,
            self._limits,
            self._timeline,
        )
        self._story.children = schedule.children
        started = time.monotonic()
        self._crew.admit()
        try:
            while self._crew.works:
                event = self._fleet.next_event_until(self._desk.until(self._first_deadline()))
                if event is None:
                    self._end_late_tests()
                    continue
                member, said = event
                child = self._crew.children.get(member.index)
                if child is None:
                    continue  # its end was already dealt with
                if isinstance(said, dict):
                    self._take(member, child, said)
                elif isinstance(said, Printed):
                    self._print(child, said)
                elif isinstance(said, ReachedFixturePoint):
                    child.waits = True
                    self._capture(member, child)
                    self._branch(member, child)
                    self._keep(member, child)
                elif isinstance(said, Ended):
                    self._take_end(member, child, said)
                if self._crew.has_unforked and _ends_something(said):
                    self._crew.admit()
        finally:
            self._story.running = time.monotonic() - started
            durations.write(self._config, self._seconds)

    def _failures_left(self) -> int:
        """How many failed reports end the run; 0: none do."""
        most = int(self._config.getvalue("maxfail") or 0)
        return max(1, most - self._session.testsfailed) if most else 0

    # ---- taking -----------------------------------------------------------------------------

    def _take(self, member: Member, child: Child, message: frames.Message) -> None:
        kind = message["type"]
        if child.reaching is not None:
            self._take_on_the_way(member, child, message)
            return
        if kind == "finish":
            child.finished = True
            return
        if kind == "done" and child.extra:
            self._crew.retire(member)
            return
        if kind == "done" and self._crew.puts_back:
            self._crew.go_on(member, child)
            return
        if kind == "failing":
            child.failing = str(message["test"])
            self._keep(member, child)
            return
        if kind == "checkpoint" and child.running is not None:
            self._take_checkpoint(member, child, message)
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
        self._timeline.reported(member.index, reports.report_of(call))
        if kind == "start":
            self._timeline.test_started(member.index, child.remaining[0])
            child.running = message
            child.phases = []
            child.failures, child.seconds = 0, 0.0
            child.errors.clear()
            child.set_deadline(self._limits)
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
        self._crew.took(test, child.seconds)
        self._seconds[self._tests[test]] = child.seconds
        self._close(member, child, stops=bool(message["should_stop"] or message["should_fail"]))
        if member.index in self._crew.children:
            self._crew.top_up(member, child)

    def _close(self, member: Member, child: Child, *, stops: bool = False) -> None:
        """The running test is over."""
        calls, child.calls, child.running = child.calls, [], None
        test = child.ended = child.remaining.popleft()
        self._timeline.test_ended(member.index)
        child.progressed = True
        child.set_deadline(self._limits)
        failures = child.failures
        if child.branches is not None:
            whole = child.branches.end(child.branch, calls, failures)
            child.branches = None
            if whole is None:
                return
            calls, failures = whole
        self._crew.finish(test)
        repeated = self._repeats.add(test, calls, failures)
        if repeated is None:
            return
        last = self._ledger.add(
            self._repeats.test_of(test), repeated.calls, failures=repeated.failures, stops=stops
        )
        if last is not None:
            self._crew.drop_after(self._repeats.last_of(last))
        self._tell()

    def _tell(self) -> None:
        session = self._session
        for calls in self._ledger.due():
            for call in calls:
                call()
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
        for child in self._crew.children.values():
            self._tell_live(child)

    def _tell_live(self, child: Child) -> None:
        """Tells what is known of a test that still runs, if it is its turn."""
        if child.running is None or child.branches is not None or self._repeats.runs > 1:
            return  # of its branches, or runs, one is told, when all are over
        if child.remaining[0] == self._ledger.turn:
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

    # ---- fixture points below the session's --------------------------------------------------

    def _take_on_the_way(self, member: Member, child: Child, message: frames.Message) -> None:
        """What a child says while it sets up the fixtures of a point."""
        kind = message["type"]
        if kind == "fixture_point":
            try:
                child.reached = PointStory.read(self._point_names[child.reaching or 0], message)
            except frames.FrameError as error:
                self._give_up(member, child, f"the machine sent nonsense: {error}")
                return
            self._capture(member, child)
        elif kind in ("stopped", "finish"):
            # Where the first of the tests that need it stops in the same way, that is its report.
            self._give_up(member, child, "pytest wants to stop")
        else:
            self._desk.take_general(self._session, message)

    def _capture(self, member: Member, child: Child) -> None:
        """Captures the machine at the point that it has reached, and lets it run tests from there.

        The channel and the agent are two streams: either may be the first to tell.
        """
        if child.reaching is None or child.reached is None or not child.waits:
            return
        try:
            captured = self._fleet.capture_at_point(member)
        except spore.Error as error:
            self._give_up(member, child, f"the machine cannot be captured: {error}")
            return
        self._story.points.append(child.reached)
        self._crew.reached(member, child, captured)

    def _give_up(self, member: Member, child: Child, why: str) -> None:
        """Lets the tests of a point that cannot be reached set up its fixtures by themselves."""
        assert child.reaching is not None
        name = self._point_names[child.reaching]
        self._desk.write_line(
            f"spore: the fixtures of {name} cannot be set up once for all its tests: {why}; they"
            " are set up by the tests",
            red=True,
        )
        self._crew.give_up(member, child)

    # ---- checkpoints in tests -----------------------------------------------------------------

    def _take_checkpoint(self, member: Member, child: Child, message: frames.Message) -> None:
        """Lets a test that wants to go on in several machines wait to be captured."""
        count = message.get("count")
        if not isinstance(count, int) or not 1 < count <= MOST_BRANCHES:
            self._take_end(member, child, Ended(f"the machine asked for {count!r} branches"))
            return
        child.branching = count
        # It takes all that was sent before this: what is under way would be lost by a capture.
        self._crew.order(member, {"type": "capture"})

    def _branch(self, member: Member, child: Child) -> None:
        if not child.branching or not child.waits:
            return
        try:
            self._crew.branch(member, child, self._fleet.capture_in_test(member))
        except spore.Error as error:
            self._take_end(member, child, Ended(f"the machine could not be forked: {error}"))

    # ---- kept machines ------------------------------------------------------------------------

    def _keep(self, member: Member, child: Child) -> None:
        """Saves the machine of the test that has just failed, once pytest in it waits for that.

        The channel and the agent are two streams: either may be the first to tell.
        """
        if not (child.waits and child.failing):
            return
        test, child.failing, child.waits = child.failing, "", False
        try:
            with self._fleet.at_failure(member) as captured:
                if self._keeper is not None:
                    path = self._keeper.keep(captured, self._fleet.root, test)
                    self._timeline.kept(member.index, test, path)
                    shown = os.path.relpath(path)
                    child.kept = f"{shown}\nspore run --from {shown} -- sh"
                if self._debugger is not None:
                    self._debugger.look(captured, test)
        except (spore.Error, OSError) as error:
            child.kept = f"not kept: {error}"
        for other in self._crew.children.values():
            other.set_deadline(self._limits)  # all of them waited

    # ---- tests that hang --------------------------------------------------------------------

    def _first_deadline(self) -> float | None:
        deadlines = [child.deadline for child in self._crew.children.values()]
        return min((one for one in deadlines if one is not None), default=None)

    def _end_late_tests(self) -> None:
        """Ends pytest where a test takes too long, so that it tells where that test is."""
        now = time.monotonic()
        for index, child in list(self._crew.children.items()):
            if child.deadline is None or child.deadline > now or not child.remaining:
                continue
            member = self._fleet.member(index)
            if child.timed_out or child.reaching is not None:
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
            self._crew.retire(member)
            return
        if child.reaching is not None:
            self._give_up(member, child, end.reason)
            return
        if not child.finished:
            self._story.crashes += 1
            self._timeline.lost(member.index, end.reason)
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
        if member.index in self._crew.children:
            self._crew.replace(member, child)

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
        limit = self._limits.name(child.remaining[0])
        return f"{limit} passed; {end.reason}"

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
        self._timeline.crashed(member.index, child.remaining[0], report)
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
