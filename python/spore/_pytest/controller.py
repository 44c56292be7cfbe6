"""pytest's side on the host: runs no test, and reports all of them.

The session's collection and loop happen in the machines; what they send is given to the ordinary
hooks, so the terminal, JUnit XML and other reporters work as in a run without forks. The hooks of
one test are called together, when the test has ended, so that children do not interleave.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

import pytest
from _pytest.config import create_terminal_writer

import spore
from spore._pytest import cache, environment, frames, reports, status, summary
from spore._pytest.dispatch import Dispatcher
from spore._pytest.fleet import Fleet
from spore._pytest.homecoming import Home
from spore._pytest.options import Settings
from spore._pytest.said import Ended, Printed, ReachedFixturePoint, Said
from spore._pytest.timeline import Timeline
from spore._pytest.warm import Start, label_of

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


class GuestInternalError(Exception):
    """pytest, or a plugin, broke in the machine; the message is what it said there."""


class Controller:
    """Drives one session."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._fleet = Fleet(settings, self._progress)
        self._collected = reports.Collected([], [], [("", 0)], [])
        self._at_fixture_point = False
        self._interrupted = False
        self._home = Home(config)
        config.pluginmanager.register(self._home, "spore-home")
        self._status: status.Status | None = None
        self.story = summary.Story(timeline=Timeline(detailed=settings.html is not None))
        if settings.html is not None:
            from spore._pytest.html import Page

            page = Page(config, settings.html, self.story, self._fleet)
            config.pluginmanager.register(page, "spore-html")

    # ---- hooks ------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        session.items = []
        self._start(session)
        self._collect(session)
        session.testscollected = len(self._collected.tests)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        failed = session.testsfailed
        if failed and not self._config.option.continue_on_collection_errors:
            plural = "" if failed == 1 else "s"
            raise session.Interrupted(f"{failed} error{plural} during collection")
        if self._collected.tests:
            try:
                self._prepare(session)
                dispatcher = Dispatcher(
                    self._config, session, self._settings, self._fleet, self.story, self
                )
                with status.showing(self._config, self.story.timeline, self._fleet) as self._status:
                    dispatcher.run(self._collected)
            except spore.Error as error:
                self._fleet.distrust(str(error))
                raise pytest.exit.Exception(
                    f"--spore-fork: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR
                ) from error
        return True

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # Whoever presses Ctrl-C waits for nothing more; --sw and the like end a run as well.
        self._interrupted = not isinstance(excinfo.value, pytest.Session.Interrupted)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus != pytest.ExitCode.INTERNAL_ERROR and not self._interrupted:
            self._fleet.keep()
        self._fleet.close()

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        if self._config.get_verbosity() >= 0 and self._fleet.engine:
            terminalreporter.section("spore")
            for line in [
                *summary.lines(self.story, self._fleet),
                *self._home.lines(self.story.crashes),
            ]:
                terminalreporter.line(line)

    def pytest_unconfigure(self) -> None:
        self._fleet.close()

    # ---- before the fixture point -----------------------------------------------------------

    def _start(self, session: pytest.Session) -> None:
        try:
            _boot(self._fleet, self._config, whole=False)
        except spore.Error as error:
            raise pytest.UsageError(f"--spore-fork: {error}") from error
        timings = self._fleet.timings
        self.story.timeline.did(images=timings.images, boot=timings.boot)

    def _collect(self, session: pytest.Session) -> None:
        started = time.monotonic()
        while True:
            said = self._fleet.next_said()
            if isinstance(said, dict):
                if said["type"] == "collected":
                    try:
                        self._collected = reports.Collected.read(said)
                    except frames.FrameError as error:
                        raise _nonsense(error) from error
                    self._remember_tests()
                    break
                self._take_collection(session, said)
            else:
                self._take_other(session, said)
        self.story.collecting = self._fleet.took_to_collect(time.monotonic() - started)
        self.story.timeline.did(collection=self.story.collecting)

    def _remember_tests(self) -> None:
        """For --nf and --sw of the next run: their plugins look at collections of this process."""
        plugins = self._config.pluginmanager
        new_first = plugins.getplugin("nfplugin")
        if new_first is not None:
            new_first.cached_nodeids.update(self._collected.tests)
        stepwise = getattr(plugins.getplugin("stepwiseplugin"), "cached_info", None)
        if stepwise is not None and self._collected.stepwise is not None:
            stepwise.last_failed, stepwise.last_test_count = self._collected.stepwise

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
            self.take_general(session, message)

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
            said = self._fleet.next_said()
            if not isinstance(said, dict):
                self._take_other(session, said)
            elif said["type"] == "fixture_point":
                try:
                    self.story.first = summary.PointStory.read("", said)
                except frames.FrameError as error:
                    raise _nonsense(error) from error
                prepared = True
            else:
                self.take_general(session, said)
        self._fleet.capture()
        timings = self._fleet.timings
        self.story.timeline.did(fixtures=self.story.first.seconds, capture=timings.capture)
        self.story.timeline.captured("fixture point")

    # ---- what can come at any time ----------------------------------------------------------

    def _take_other(self, session: pytest.Session, said: Said) -> None:
        """What pytest does not say over the channel, before the fixture point."""
        if isinstance(said, Printed):
            self.print(said)
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

    def take_general(self, session: pytest.Session, message: frames.Message) -> None:
        if message["type"] == "stopped":
            self.stop(session, message)
        if message["type"] == "fixture_failed":
            self.write_line(
                f"spore: the {message['scope']} fixture {message['name']!r} failed before the"
                f" fixture point: {message['failure']}",
                red=True,
            )
            return
        call = reports.hook_call(self._config, message)
        if call is None:
            raise GuestInternalError(f"the machine sent an unexpected {message['type']!r}")
        call()

    def stop(self, session: pytest.Session, message: frames.Message) -> NoReturn:
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
            self.write_line(f"spore: {text}")

    def write_line(self, text: str, **markup: bool) -> None:
        terminal = self._terminal
        if terminal is not None:
            if terminal._tw.width_of_current_line:
                terminal._tw.line()
            terminal.write_line(text, **markup)

    def print(self, printed: Printed) -> None:
        _write(printed)

    def until(self, deadline: float | None) -> float | None:
        """Shows how far the run is, while it waits; answers when to do so again."""
        return self._status.until(deadline) if self._status is not None else deadline


def _nonsense(error: frames.FrameError) -> BaseException:
    """What ends a run whose machine cannot be understood."""
    return pytest.exit.Exception(
        f"--spore-fork: the machine sent nonsense: {error}",
        returncode=pytest.ExitCode.INTERNAL_ERROR,
    )


def run_whole(config: pytest.Config, settings: Settings) -> int:
    """Runs all of pytest in one machine, and shows what it prints; answers its exit status."""
    fleet = Fleet(settings, lambda text: None)
    try:
        _boot(fleet, config, whole=True)
        while True:
            said = fleet.next_said()
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
    # Without the terminal plugin there is no such option.
    color = hasattr(config.option, "color") and create_terminal_writer(config).hasmarkup
    fleet.boot(
        Start(
            environment.plan_images(config),
            environment.guest_command(config),
            variables,
            {"type": "welcome", "cache": cache.collect(config), "color": color},
            waiting=None if whole else environment.plan_waiting(config),
            label="" if whole else label_of(config.rootpath),
            fresh=config.getoption("spore_fresh"),
        )
    )


def _write(printed: Printed) -> None:
    stream = sys.stderr if printed.stream == "stderr" else sys.stdout
    stream.write(printed.data.decode("utf-8", "replace"))
    stream.flush()
