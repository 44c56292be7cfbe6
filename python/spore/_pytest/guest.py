"""pytest's side inside the machine: collect once, prepare once, fork, run one shard.

This plugin sends everything that pytest would report to the controller over the channel. It never
reads anything but the controller's orders, which follow the fixture point.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

import pytest

import spore
from spore._pytest import cache, debug, frames, homecoming, marks, schedule
from spore._pytest.modules import Record, Recorder
from spore._pytest.points import Point, find_points
from spore._pytest.reseed import reseed

GUEST_VARIABLE = "SPORE_PYTEST_GUEST"
CHANNEL_VARIABLE = "SPORE_CHANNEL_FD"
DEFAULT_CHANNEL = 3


def join(config: pytest.Config, *, forks: bool) -> None:
    """Makes this pytest the controller's: takes over its cache, and reports to it if it forks."""
    channel = Channel(int(os.environ.get(CHANNEL_VARIABLE, DEFAULT_CHANNEL)))
    welcome = channel.receive()
    cache.restore(config, welcome["cache"])
    config.pluginmanager.register(Terminal(bool(welcome["color"]), silent=forks), "spore-terminal")
    if forks:
        # What pytest and its plugins ask for to know that another process reports.
        config.workerinput = {"workerid": "spore"}  # type: ignore[attr-defined]
        recorder = Recorder()
        recorder.start()
        plugin = GuestPlugin(config, channel, recorder)
        config.pluginmanager.register(plugin, "spore-guest")
        # The first that is registered is called last, after those of tests and plugins.
        atexit.register(plugin.leave)


class Terminal:
    """Lets the terminal reporter write as the controller's does, or nothing.

    It must be there even when it is silent: assertions are explained with its help.
    """

    def __init__(self, color: bool, *, silent: bool) -> None:
        self._color = color
        self._silent = silent

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter._tw.hasmarkup = self._color
            if self._silent:
                reporter._tw._file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


class Channel:
    """Frames over the descriptor that the controller listens to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = frames.Decoder()
        self._received: deque[frames.Message] = deque()
        self._unsent = bytearray()
        os.set_inheritable(descriptor, False)

    def send(self, message: frames.Message, *, soon: bool = False) -> None:
        """`soon`: before anything runs that might end this process, or waits."""
        self._unsent += frames.encode(message)
        if not soon:
            self.flush()

    def flush(self) -> None:
        data, self._unsent = memoryview(bytes(self._unsent)), bytearray()
        while data:
            data = data[os.write(self._descriptor, data) :]

    def receive(self) -> frames.Message:
        """The next order."""
        self.flush()
        while not self._received:
            data = os.read(self._descriptor, 65536)
            if not data:
                raise EOFError("the controller closed the channel")
            self._received.extend(self._decoder.feed(data))
        return self._received.popleft()


class GuestPlugin:
    """The hooks of the one pytest that all children are forked from."""

    def __init__(self, config: pytest.Config, channel: Channel, recorder: Recorder) -> None:
        self._config = config
        self._channel = channel
        self._recorder = recorder
        self._stopped = False
        self._session: pytest.Session | None = None
        self._points: list[Point] = []
        self._orders: deque[frames.Message] = deque()  # that came while it waited for another
        self._is_extra = False  # only here for the rest of one test
        self._forked = False
        self._finished = False
        self._home = homecoming.Homeward(config, self.send)

    def send(self, kind: str, *, soon: bool = False, **values: Any) -> None:
        self._channel.send({"type": kind, **values}, soon=soon)

    def _stop(self, how: str, message: str | list[str], status: int | None = None) -> None:
        """Tells the controller, once, why this pytest ends early."""
        if not self._stopped:
            self._stopped = True
            self.send("stopped", how=how, message=message, status=status)

    # ---- collection -------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        self.send("collecting")
        try:
            result = yield
            marked = marks.to_tell(session.items)
        except pytest.UsageError as error:
            self._stop("usage", [str(line) for line in error.args])
            # The controller shows it; here it must not be printed a second time.
            raise session.Failed("usage error") from error
        except session.Failed as error:
            self._stop("failed", str(error))
            raise
        groups = self._config.getoption("spore_dist") == "loadgroup"
        self._points, point_of = find_points(session, self._config.getoption("spore_scope"))
        self.send(
            "collected",
            tests=[item.nodeid for item in session.items],
            groups=[group_of(item) if groups else None for item in session.items],
            points=[(point.node.nodeid, point.parent) for point in self._points],
            point_of=point_of,
            marks=marked,
            stepwise=self._stepwise(),
        )
        return result

    def _stepwise(self) -> tuple[str | None, int | None] | None:
        """What --sw shall remember of this collection: the test to go on from, and the count."""
        plugin = self._config.pluginmanager.getplugin("stepwiseplugin")
        info = getattr(plugin, "cached_info", None)
        return (info.last_failed, info.last_test_count) if info is not None else None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        items = sum(isinstance(node, pytest.Item) for node in report.result or ())
        if items or not report.passed:
            self.send("collect_report", report=self._serializable(report), items=items)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.send("deselected", tests=[item.nodeid for item in items])

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        lines: list[str] = []
        for answer in reversed(
            self._config.hook.pytest_report_collectionfinish(
                config=self._config, start_path=session.startpath, items=session.items
            )
        ):
            lines += [answer] if isinstance(answer, str) else list(answer)
        self.send("collection_finish", lines=lines)

    # ---- running ----------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        errors_matter = not self._config.option.continue_on_collection_errors
        if not session.items or (session.testsfailed and errors_matter):
            return None  # pytest's own loop says the rest
        self._reach(0)
        # Which failures end the run is for the controller to say, who sees all of them in order.
        self._config.option.maxfail = 0
        stepwise = self._config.pluginmanager.getplugin("stepwiseplugin")
        if stepwise is not None:
            self._config.pluginmanager.unregister(stepwise)
        self._session = session
        put_back = self._run(session)
        self._channel.flush()
        self._home.at_end()
        if put_back:
            self.send("done")
            self._channel.receive()  # the machine is put back meanwhile: nothing comes
        return True

    def _run(self, session: pytest.Session) -> bool:
        """Runs what the controller orders; whether its machine is to be put back then.

        A test is run once it is known which one follows: that says what is torn down after it.
        """
        tests: deque[int] = deque()
        order: frames.Message = {"last": False}
        while True:
            while len(tests) < 2 and not order["last"]:
                order = self._orders.popleft() if self._orders else self._channel.receive()
                if order["type"] == "reach":
                    self._reach(order["point"])  # returns in each fork, which has orders of its own
                    order = {"last": False}
                else:
                    tests.extend(schedule.from_ranges(order["run"]))
            if not tests:
                return bool(order["back"])
            item = session.items[tests.popleft()]
            follows = tests[0] if tests else order["follows"]
            next_item = session.items[follows] if follows is not None else None
            if not tests and self._config.getoption("spore_teardown") == "skip":
                next_item = item.parent  # type: ignore[assignment]  # keeps all but the test's own
            self._config.hook.pytest_runtest_protocol(item=item, nextitem=next_item)
            if self._is_extra:
                return True

    def branch(self, count: int) -> int:
        """Captures the machine within a test; the number of this one of `count` forks."""
        self.send("checkpoint", count=count)
        while (order := self._channel.receive())["type"] != "capture":
            self._orders.append(order)
        self._fork()
        index = int(self._channel.receive()["index"])
        self._is_extra = self._is_extra or index > 0
        return index

    def _fork(self) -> None:
        """Waits to be captured; returns in each fork."""
        self._home.before_fork()
        generation = spore.fixture_point()
        self._forked = True
        self._home.after_fork(generation)
        if not self._config.getoption("spore_keep_random_state"):
            reseed(self._config.getoption("spore_seed"))
        self._config.hook.pytest_spore_generation(config=self._config, generation=generation)

    def _reach(self, number: int) -> None:
        """Sets up the fixtures of a fixture point, and waits there; returns in each fork."""
        point = self._points[number]
        started = time.monotonic()
        # What fails here fails in the same way, with the same exception, when a test is set up.
        with contextlib.suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
            point.node.session._setupstate.setup(point.node)  # type: ignore[arg-type]
        ready = []
        for fixture, (item, name) in point.fixtures.items():
            failure = self._set_up(item, name)
            if failure is None:
                ready.append(name)
            else:
                self.send("fixture_failed", name=name, scope=fixture.scope, failure=failure)
        self._config.hook.pytest_spore_fixture_point(
            config=self._config, session=point.node.session
        )
        record = Record()
        if number == 0:
            record = self._recorder.stop(self._config)
            # A collection writes into every object that it looks at, and so makes the memory of all
            # children private. Those that are there now are looked at once, for all.
            gc.collect()
            gc.freeze()
        seconds = time.monotonic() - started
        self.send("fixture_point", fixtures=ready, seconds=seconds, **vars(record))
        self._fork()

    def _set_up(self, item: pytest.Item, name: str) -> str | None:
        """Sets one fixture up as `item` would; why it failed, or None.

        pytest remembers the exception with the fixture, and raises it again in every test that asks
        for the fixture. What the fixture prints belongs to the report of the first such test.
        """
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.resume_global_capture()
        try:
            item._request.getfixturevalue(name)  # type: ignore[attr-defined]
            failure = None
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:  # pytest.skip() and pytest.fail() are BaseExceptions
            failure = f"{type(error).__name__}: {error}"
        finally:
            if capture is not None:
                capture.suspend_global_capture(in_=False)
                out, err = capture.read_global_capture()
                item.add_report_section("setup", "stdout", out)
                item.add_report_section("setup", "stderr", err)
        item._initrequest()  # type: ignore[attr-defined]
        return failure

    # ---- failures -----------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        option = self._config.getoption
        stays = self._session is not None and (option("spore_keep_failed") or option("spore_pdb"))
        if stays and report.failed and report.when != "teardown":
            self.send("failing", test=item.nodeid)
            self._stay(call, report)
        return report

    def _stay(self, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        """Waits to be captured where a test failed."""
        before = spore.generation().id
        generation = spore.fixture_point()
        if generation.id != before and debug.USER_KEY in generation.user:
            debug.enter(self._config, call, report)
        # In a machine that was kept, the moment of the failure lasts.
        while spore.generation().id != before:
            signal.pause()

    # ---- reporting --------------------------------------------------------------------------
    #
    # Each write leaves the machine, and costs more than many a test. What is known of a test is
    # sent before code of the user runs that may crash: for a short test without fixtures once, with
    # the end of the one before.

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if _has_fixtures(item):
            self._channel.flush()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self._channel.flush()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        if nextitem is None or nextitem.parent is not item.parent or _has_fixtures(item):
            self._channel.flush()

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self.send("start", soon=True, test=nodeid, location=location)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A failure may end the run, or this machine's.
        self.send("report", soon=not report.failed, report=self._serializable(report))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        stop, fail = _take_wishes(self._session) if self._session is not None else ("", "")
        ends = bool(stop or fail)
        self.send(
            "end",
            soon=not ends,
            test=nodeid,
            location=location,
            should_stop=stop,
            should_fail=fail,
        )

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        if when == "config":
            return  # the controller reads the same configuration, and warns itself
        category = warning_message.category
        self.send(
            "warning",
            text=str(warning_message.message),
            category=(category.__module__, category.__qualname__),
            filename=warning_message.filename,
            line=warning_message.lineno,
            when=when,
            test=nodeid,
            location=location,
        )

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        if isinstance(excinfo.value, pytest.exit.Exception):
            self._stop("exit", excinfo.value.msg, excinfo.value.returncode)
        elif isinstance(excinfo.value, pytest.Session.Interrupted):
            self._stop("interrupted", str(excinfo.value))
        else:
            self._stop("keyboard", str(excinfo.value))

    def pytest_internalerror(self, excrepr: object) -> bool:
        self._stop("internal", str(excrepr))
        return True  # said: pytest need not print it

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        result = yield
        self.send("finish")
        self._finished = True
        return result

    def leave(self) -> None:
        """Ends a child's interpreter when nothing more happens in it.

        It would free every object that it inherited, and so make all their memory private, for a
        machine that is thrown away.
        """
        if self._forked and self._finished:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):  # a test closed it
                    stream.flush()
            os._exit(0)

    def _serializable(self, report: pytest.CollectReport | pytest.TestReport) -> Any:
        return self._config.hook.pytest_report_to_serializable(config=self._config, report=report)


def _has_fixtures(item: pytest.Item) -> bool:
    """Whether code runs in its setup and teardown that is not pytest's own."""
    if type(item) is not pytest.Function:
        return True
    definitions = item._fixtureinfo.name2fixturedefs.values()
    # pytest takes the values of @pytest.mark.parametrize for fixtures too.
    return any(
        definition.func.__name__ != "get_direct_param_fixture_func"
        for chain in definitions
        for definition in chain
    )


def group_of(item: pytest.Item) -> str | None:
    """What its marks of pytest-xdist's kind, @pytest.mark.xdist_group(name), call its group."""
    names = {
        str(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))
        for mark in item.iter_markers("xdist_group")
    }
    return "_".join(sorted(names)) or None


def _take_wishes(session: pytest.Session) -> tuple[str, str]:
    """Why a test or plugin wants the run stopped or failed; here it goes on, with earlier tests."""
    wishes = str(session.shouldstop or ""), str(session.shouldfail or "")
    for name in ("shouldstop", "shouldfail"):
        # pytest 8 warns of those who take it back.
        setattr(session, f"_{name}" if hasattr(session, f"_{name}") else name, False)
    return wishes
