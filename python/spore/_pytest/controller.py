"""pytest's side on the host: runs no test, and reports all of them.

The session's collection and loop happen in the machines; what they send is given to the ordinary
hooks, so the terminal, JUnit XML and other reporters work as in a run without forks. The hooks of
one test are called together, when the test has ended, so that children do not interleave.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from _pytest.config import create_terminal_writer

import spore
from spore._pytest import cache, environment, frames, reports, shards, summary
from spore._pytest.fleet import Ended, Fleet, Member, Printed, ReachedFixturePoint, Said
from spore._pytest.options import Settings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


class GuestInternalError(Exception):
    """pytest, or a plugin, broke in the machine; the message is what it said there."""


@dataclass
class Child:
    """What a machine still has to do."""

    shard: int
    remaining: deque[int]
    running: frames.Message | None = None  # its "start"
    calls: list[reports.Call] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)  # of the running test, that were reported
    progressed: bool = False  # since its machine was forked
    finished: bool = False  # said all that it has to say


class Controller:
    """Drives one session."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._fleet = Fleet(settings, self._progress)
        self._tests: list[str] = []
        self._at_fixture_point = False
        self._children: dict[int, Child] = {}
        self._waiting: deque[int] = deque()  # tests that no child has yet; only with each
        self._unforked: deque[Child] = deque()  # for which there was no room yet
        self.story = summary.Story()

    # ---- hooks ------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        session.items = []
        self._start(session)
        self._collect(session)
        session.testscollected = len(self._tests)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        failed = session.testsfailed
        if failed and not self._config.option.continue_on_collection_errors:
            plural = "" if failed == 1 else "s"
            raise session.Interrupted(f"{failed} error{plural} during collection")
        if self._tests:
            try:
                self._prepare(session)
                self._run(session)
            except spore.Error as error:
                raise pytest.exit.Exception(
                    f"--spore-fork: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR
                ) from error
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._fleet.close()

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        if self._config.get_verbosity() >= 0 and self._fleet.engine:
            terminalreporter.section("spore")
            for line in summary.lines(self.story, self._fleet):
                terminalreporter.line(line)

    def pytest_unconfigure(self) -> None:
        self._fleet.close()

    # ---- before the fixture point -----------------------------------------------------------

    def _start(self, session: pytest.Session) -> None:
        try:
            _boot(self._fleet, self._config, whole=False)
        except spore.Error as error:
            raise pytest.UsageError(f"--spore-fork: {error}") from error

    def _collect(self, session: pytest.Session) -> None:
        started = time.monotonic()
        while True:
            _, said = self._fleet.next_event()
            if isinstance(said, dict):
                if said["type"] == "collected":
                    self._tests = [str(test) for test in said["tests"]]
                    break
                self._take_collection(session, said)
            else:
                self._take_other(session, said)
        self.story.collecting = time.monotonic() - started

    def _take_collection(self, session: pytest.Session, message: frames.Message) -> None:
        kind = message["type"]
        terminal = self._terminal
        if kind == "collecting":
            if terminal is not None:
                terminal.pytest_collection()
        elif kind == "collect_report":
            report = reports.deserialize(self._config, message)
            report.result = []  # type: ignore[attr-defined]
            if terminal is not None:
                terminal._numcollected += int(message["items"])
            self._config.hook.pytest_collectreport(report=report)
        elif kind == "deselected":
            if terminal is not None:
                terminal.pytest_deselected(message["tests"])
        elif kind == "collection_finish":
            self._write_collected(message["lines"])
        else:
            self._take_general(session, message)

    def _write_collected(self, lines: Iterable[str]) -> None:
        terminal = self._terminal
        if terminal is not None:
            terminal.report_collect(True)
            for line in lines:
                terminal.write_line(str(line))

    def _prepare(self, session: pytest.Session) -> None:
        """Waits until the session fixtures are ready, and captures the machine.

        The channel and the agent are two streams: either may be the first to tell. After both,
        nothing is under way that every child would say once more.
        """
        prepared = False
        while not (prepared and self._at_fixture_point):
            _, said = self._fleet.next_event()
            if not isinstance(said, dict):
                self._take_other(session, said)
            elif said["type"] == "fixture_point":
                self.story.fixtures = [str(name) for name in said["fixtures"]]
                self.story.preparing = float(said["seconds"])
                prepared = True
            elif said["type"] == "fixture_failed":
                self._write_line(
                    f"spore: the session fixture {said['name']!r} failed before the fixture point:"
                    f" {said['failure']}",
                    red=True,
                )
            else:
                self._take_general(session, said)
        self._fleet.capture()

    # ---- children ---------------------------------------------------------------------------

    def _run(self, session: pytest.Session) -> None:
        started = time.monotonic()
        terminal = self._terminal
        if terminal is not None and self._config.get_verbosity() == 0:
            # Tests of several files arrive by turns: one row of results is what can be read.
            terminal.showfspath = False
        plan = shards.split(len(self._tests), self._settings.children)
        self.story.children = len(plan)
        if self._settings.each:
            self._waiting.extend(range(len(self._tests)))
            first = [deque([self._waiting.popleft()]) for _ in plan]
        else:
            first = [deque(tests) for tests in plan]
        self._unforked.extend(Child(shard, tests) for shard, tests in enumerate(first))
        self._admit()
        try:
            while self._children or self._unforked:
                member, said = self._fleet.next_event()
                child = self._children.get(member.index)
                if child is None:
                    continue  # its end was already dealt with
                if isinstance(said, dict):
                    self._take(session, member, child, said)
                elif isinstance(said, Printed):
                    self._print(said)
                elif isinstance(said, Ended):
                    self._take_end(session, member, child, said)
                if self._unforked and _ends_something(said):
                    self._admit()
        finally:
            self.story.running = time.monotonic() - started

    def _fork(self, children: list[Child]) -> None:
        members = self._fleet.fork([child.shard for child in children], self.story.children)
        for member, child in zip(members, children):
            self._give_order(member, child)

    def _admit(self) -> None:
        """Forks the children that there is room for: with a budget one by one, else all at once."""
        while self._unforked and self._fleet.has_room(self._children, more=1):
            count = len(self._unforked) if self._settings.budget is None else 1
            self._fork([self._unforked.popleft() for _ in range(count)])

    def _give_order(self, member: Member, child: Child) -> None:
        self._children[member.index] = child
        child.progressed = False
        follows = None
        if self._settings.each and child.remaining[-1] + 1 < len(self._tests):
            # What the next test needs is not torn down, as in a run without forks.
            follows = child.remaining[-1] + 1
        order = {
            "type": "run",
            "run": shards.to_ranges(child.remaining),
            "follows": follows,
            "each": self._settings.each,
        }
        # One that has ended already says so itself, through its reader.
        with contextlib.suppress(spore.MachineEnded):
            self._fleet.send(member, order)

    def _go_on(self, member: Member, child: Child) -> None:
        """With each: puts the machine back for the next test, or ends it when there is none."""
        crowded = len(self._children) > 1 and not self._fleet.has_room(self._children, more=0)
        del self._children[member.index]
        if not self._waiting or crowded:
            self._fleet.retire(member)  # the others take what is left
            return
        following = Child(child.shard, deque([self._waiting.popleft()]))
        self._give_order(self._fleet.reset(member, child.shard, self.story.children), following)

    def _take(
        self, session: pytest.Session, member: Member, child: Child, message: frames.Message
    ) -> None:
        kind = message["type"]
        if kind == "finish":
            child.finished = True
            if message["failed"]:
                session.shouldfail = message["failed"]
                raise session.Failed(session.shouldfail)
            return
        if kind == "done" and self._settings.each:
            self._go_on(member, child)
            return
        if kind == "start":
            child.running = message
            child.phases = []
        elif kind == "report" and child.running is not None:
            child.phases.append(str(message["report"].get("when")))
        try:
            call = reports.hook_call(self._config, message)
        except frames.FrameError as error:
            self._take_end(session, member, child, Ended(f"the machine sent nonsense: {error}"))
            return
        if call is None:
            self._take_general(session, message)
            return
        child.calls.append(call)
        if kind == "end":
            child.running = None
            child.progressed = True
            if child.remaining and self._tests[child.remaining[0]] == message["test"]:
                child.remaining.popleft()
        if child.running is None:
            self._flush(session, child)

    def _flush(self, session: pytest.Session, child: Child) -> None:
        calls, child.calls = child.calls, []
        for call in calls:
            call()
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def _take_end(self, session: pytest.Session, member: Member, child: Child, end: Ended) -> None:
        if child.finished and not child.remaining:
            del self._children[member.index]
            self._fleet.retire(member)
            return
        self.story.crashes += 1
        if child.running is not None or (child.remaining and not child.progressed):
            self._report_crash(child, end)
        elif not child.remaining:
            # All its tests are reported, but what follows them is lost.
            self._write_line(
                f"spore: child {child.shard} was lost after its last test: {end.reason}", red=True
            )
            session.testsfailed += 1
        else:
            self._write_line(
                f"spore: child {child.shard} was lost between two tests: {end.reason}", red=True
            )
        self._flush(session, child)
        self._replace(member, child)

    def _replace(self, member: Member, child: Child) -> None:
        """Gives what a child that is lost has left to another."""
        if self._settings.each and not child.remaining:
            self._go_on(member, child)
            return
        del self._children[member.index]
        self._fleet.retire(member)
        if child.remaining:
            self._fork([Child(child.shard, child.remaining)])

    def _report_crash(self, child: Child, end: Ended) -> None:
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
        text = f"{where}, {end.reason}"
        if end.console:
            text += f"\nThe end of the machine's console:\n{end.console}"
        report = reports.crash_report(test, location, when, text)
        hook = self._config.hook
        child.calls.append(lambda: hook.pytest_runtest_logreport(report=report))
        child.calls.append(lambda: hook.pytest_runtest_logfinish(nodeid=test, location=location))
        child.running = None
        child.remaining.popleft()

    # ---- what can come at any time ----------------------------------------------------------

    def _take_other(self, session: pytest.Session, said: Said) -> None:
        """What pytest does not say over the channel, before the fixture point."""
        if isinstance(said, Printed):
            self._print(said)
        elif isinstance(said, ReachedFixturePoint):
            self._at_fixture_point = True
        elif isinstance(said, Ended):
            if said.status is None:
                console = f"\nThe end of the machine's console:\n{said.console}"
                raise GuestInternalError(said.reason + (console if said.console else ""))
            raise pytest.exit.Exception(
                f"{said.reason} in the machine, before the tests could be forked",
                returncode=said.status or pytest.ExitCode.INTERNAL_ERROR,
            )

    def _take_general(self, session: pytest.Session, message: frames.Message) -> None:
        if message["type"] == "stopped":
            self._stop(session, message)
        call = reports.hook_call(self._config, message)
        if call is None:
            raise GuestInternalError(f"the machine sent an unexpected {message['type']!r}")
        call()

    def _stop(self, session: pytest.Session, message: frames.Message) -> NoReturn:
        """Ends this session as the one in the machine ended."""
        how = message["how"]
        if how == "usage":
            raise pytest.UsageError(*message["message"])
        text = str(message["message"])
        if how == "failed":
            raise session.Failed(text)
        if how == "interrupted":
            raise session.Interrupted(text)
        if how == "exit":
            raise pytest.exit.Exception(text, returncode=message["status"])
        if how == "keyboard":
            raise KeyboardInterrupt(text)
        raise GuestInternalError(text)

    # ---- terminal ---------------------------------------------------------------------------

    @property
    def _terminal(self) -> TerminalReporter | None:
        reporter: TerminalReporter | None = self._config.pluginmanager.getplugin("terminalreporter")
        return reporter

    def _progress(self, text: str) -> None:
        if self._config.get_verbosity() >= 0:
            self._write_line(f"spore: {text}")

    def _write_line(self, text: str, **markup: bool) -> None:
        terminal = self._terminal
        if terminal is not None:
            if terminal._tw.width_of_current_line:
                terminal._tw.line()
            terminal.write_line(text, **markup)

    def _print(self, printed: Printed) -> None:
        _write(printed)


def _ends_something(said: Said) -> bool:
    return isinstance(said, Ended) or (isinstance(said, dict) and said["type"] in ("end", "done"))


def run_whole(config: pytest.Config, settings: Settings) -> int:
    """Runs all of pytest in one machine, and shows what it prints; answers its exit status."""
    fleet = Fleet(settings, lambda text: None)
    try:
        _boot(fleet, config, whole=True)
        while True:
            _, said = fleet.next_event()
            if isinstance(said, Printed):
                _write(said)
            elif isinstance(said, Ended):
                if said.status is None:
                    sys.stderr.write(f"spore: {said.reason}\n{said.console}\n")
                    return pytest.ExitCode.INTERNAL_ERROR
                return said.status
    except spore.Error as error:
        raise pytest.UsageError(f"--spore-fork: {error}") from error
    finally:
        fleet.close()


def _boot(fleet: Fleet, config: pytest.Config, *, whole: bool) -> None:
    variables = environment.guest_environment(config, os.environ)
    variables.update(environment.guest_variables(whole=whole))
    member = fleet.boot(
        environment.plan_images(config),
        environment.guest_command(config),
        variables,
    )
    # Without the terminal plugin there is no such option.
    color = hasattr(config.option, "color") and create_terminal_writer(config).hasmarkup
    # One that has ended already says so itself, through its reader.
    with contextlib.suppress(spore.MachineEnded):
        fleet.send(member, {"type": "welcome", "cache": cache.collect(config), "color": color})


def _write(printed: Printed) -> None:
    stream = sys.stderr if printed.stream == "stderr" else sys.stdout
    stream.write(printed.data.decode("utf-8", "replace"))
    stream.flush()
