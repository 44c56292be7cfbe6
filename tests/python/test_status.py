"""The line about a run below pytest's output: a terminal's screen is as it were without it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import pyte
import pytest
from spore._pytest.status import Status, StatusLine
from spore._pytest.timeline import Timeline

_SUPPORT = Path(__file__).parent / "support"

_DRAWN = re.compile(
    "(\x1b\\[J\x1bD\x1b\\[A\x1b7\x1b\\[B\r[^\x1b]*(?:\x1b\\[2m[^\x1b]*\x1b\\[0m)?\x1b8)"
)
_ERASED = "\x1b[J"


class Screen:
    """A terminal's screen, and all that has left it at the top."""

    def __init__(self, columns: int, lines: int) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000)
        self._stream = pyte.Stream(self.screen)

    def feed(self, text: str) -> None:
        self._stream.feed(text)

    def lines(self) -> list[str]:
        """All down to the cursor."""
        return [*map(self._text, self.screen.history.top), *self.rows()[: self.screen.cursor.y + 1]]

    def rows(self) -> list[str]:
        """What is seen."""
        return [self._text(self.screen.buffer[row]) for row in range(self.screen.lines)]

    def _text(self, row: Any) -> str:
        # pyte's own `display` stumbles over half of a wide character.
        return "".join(row[column].data for column in range(self.screen.columns))


def compare(output: str, columns: int, lines: int) -> int:
    """Checks after every drawing that nothing above it changed; answers how often it was there."""
    real, plain = Screen(columns, lines), Screen(columns, lines)
    drawn = 0
    for part in _DRAWN.split(output):
        real.feed(part)
        if _DRAWN.fullmatch(part):
            drawn += 1
            below = real.rows()[real.screen.cursor.y + 1]
            assert below.startswith("spore: "), real.rows()
        else:
            plain.feed(part.replace(_ERASED, ""))
        assert real.lines() == plain.lines()
        assert real.screen.cursor.x == plain.screen.cursor.x
    assert real.rows() == plain.rows()
    return drawn


@contextlib.contextmanager
def terminal(columns: int, lines: int) -> Iterator[tuple[int, int]]:
    """The two ends of a terminal of that size: what is seen, and what programs have."""
    seen, given = pty.openpty()
    fcntl.ioctl(given, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    try:
        yield seen, given
    finally:
        os.close(seen)
        os.close(given)


class Written:
    """A stream into a terminal, and what came out of it so far."""

    def __init__(self, seen: int, given: int) -> None:
        self._seen = seen
        self.stream: TextIO = os.fdopen(os.dup(given), "w", encoding="utf-8")
        self.text = b""
        os.set_blocking(seen, False)

    def read(self) -> str:
        self.stream.flush()
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._seen, 65536):
                self.text += data
        return self.text.decode()


@pytest.fixture
def written() -> Iterator[Written]:
    with terminal(40, 8) as (seen, given):
        yield Written(seen, given)


_WORDS = [
    ".",
    "F",
    "test_a.py ",
    "\n",
    "a line\n",
    "\x1b[32m.\x1b[0m",
    "\x1b[31mred\x1b[0m\n",
    "漢字",
]
_RARE = ["x" * 39, "x" * 40, "x" * 41, "y" * 95 + "\n", "\ttab", "one\rtwo", "\n\n\n", "e\u0301"]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_written_the_screen_is_the_same(written: Written, seed: int) -> None:
    chance = random.Random(seed)
    line = StatusLine(written.stream, faint=bool(seed % 2))
    for _ in range(150):
        for _ in range(chance.randrange(4)):
            written.stream.write(chance.choice(_RARE if chance.random() < 0.1 else _WORDS))
        if chance.random() < 0.7:
            line.show("spore: 3 children, 7 tests left" + ", and more" * chance.randrange(3))
        written.read()
    line.close()
    written.stream.write("\nthe end\n")
    assert compare(written.read(), 40, 8) > 20


def test_dots_leave_the_line_alone(written: Written) -> None:
    line = StatusLine(written.stream, faint=False)
    line.show("spore: a")
    before = len(written.read())
    written.stream.write("...")
    assert written.read()[before:] == "..."
    assert line.shown
    written.stream.write("\n")
    assert written.read()[before:] == "..." + _ERASED + "\r\n"
    assert not line.shown


@pytest.mark.parametrize("text", ["x" * 40, "\x1b[3A", "a\rb", "\t"])
def test_no_line_is_drawn_where_the_cursor_could_not_come_back(written: Written, text: str) -> None:
    line = StatusLine(written.stream, faint=False)
    written.stream.write(text)
    line.show("spore: a")
    assert not line.shown
    written.stream.write("\n")
    line.show("spore: a")
    assert line.shown


def test_no_line_is_drawn_on_the_smallest_screen(written: Written) -> None:
    fcntl.ioctl(written.stream, termios.TIOCSWINSZ, struct.pack("HHHH", 2, 40, 0, 0))
    line = StatusLine(written.stream, faint=False)
    line.show("spore: a")
    assert not line.shown


def test_streams_are_given_back(written: Written) -> None:
    line = StatusLine(written.stream, written.stream, faint=False)
    line.show("spore: a")
    line.close()
    line.close()
    assert "write" not in vars(written.stream)
    written.stream.write("plain\n")
    assert written.read().endswith(f"{_ERASED}plain\r\n")


def _status(written: Written, timeline: Timeline, *private: int) -> Status:
    stats = [SimpleNamespace(shared_bytes=100 << 20, private_bytes=one) for one in private]
    members: list[Any] = [
        SimpleNamespace(index=index, machine=SimpleNamespace(stats=lambda one=one: one))
        for index, one in enumerate(stats)
    ]
    fleet: Any = SimpleNamespace(members=members)
    return Status(StatusLine(written.stream, faint=False), timeline, fleet)


def test_says_what_is_left(written: Written) -> None:
    timeline = Timeline()
    timeline.expect(["a"] * 1_250)
    for member in range(3):
        timeline.forked(member, member)
    timeline.retired(0)
    status = _status(written, timeline, 1 << 30, 20 << 20, 30 << 20)
    began = status._began
    known = ["spore: 2 children", "1,250 tests left", "50 MiB private", "100 MiB shared"]
    assert status.parts(began) == known
    for _ in range(50):
        timeline.test_ended(1)
    known = ["spore: 2 children", "1,200 tests left", "5.0/s", "4 min 0 s to go"]
    assert status.parts(began + 10)[:4] == known
    for _ in range(1_199):
        timeline.test_ended(1)
    timeline.retired(2)
    known = ["spore: 1 child", "1 test left", "125/s", "0 s to go"]
    assert status.parts(began + 10)[:4] == known


def test_what_there_is_no_room_for_is_left_out(written: Written) -> None:
    line = StatusLine(written.stream, faint=False)
    line.show("spore: 4 children", "12,345 tests left", "100/s")
    assert "spore: 4 children, 12,345 tests left\x1b8" in written.read()  # of 40 columns
    line.show("spore: " + "x" * 50)
    assert "spore: " + "x" * 32 + "\x1b8" in written.read()


def test_waits_no_longer_than_to_a_deadline(written: Written) -> None:
    status = _status(written, Timeline())
    began = status._began = status._began + 1_000  # however long this takes
    assert status.until(began + 0.1) == began + 0.1
    assert status.until(None) == began + 0.5


_TESTS = """
    import time
    import pytest

    @pytest.mark.parametrize("number", range(14))
    def test_it(number):
        time.sleep(0.1)
        assert number != 5
"""
_CONFTEST = """
    import sys
    def pytest_runtest_logreport(report):
        if "[3]" in report.nodeid:
            print("a line of a hook")
            sys.stderr.write("half a line ")
        if "[4]" in report.nodeid:
            print("its end")
"""


def _run(
    pytester: pytest.Pytester, *arguments: str, interrupted: bool = False, **variables: str
) -> str:
    pytester.makepyfile(test_a=_TESTS, test_b=_TESTS, test_c=_TESTS)
    pytester.makeconftest(_CONFTEST)
    environment = {**os.environ, "PYTHONPATH": str(_SUPPORT), "TERM": "xterm", **variables}
    for name in ("CI", "BUILD_NUMBER", "NO_COLOR"):
        environment.pop(name, None) if name not in variables else None
    command = [sys.executable, "-m", "pytest", "-p", "spore_double", "-p", "no:xdist"]
    with terminal(80, 12) as (seen, given):
        process = subprocess.Popen(
            [*command, "--spore-fork=3", *arguments],
            stdin=given,
            stdout=given,
            stderr=given,
            cwd=pytester.path,
            env=environment,
        )
        os.set_blocking(seen, False)
        output = b""
        while True:
            ended = process.poll() is not None
            with contextlib.suppress(BlockingIOError):
                while data := os.read(seen, 65536):
                    output += data
            if ended:
                break
            if interrupted and output.count(b"tests left") >= 2:
                interrupted = False
                process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
    assert process.returncode in (1, 2)
    return output.decode()


@pytest.mark.parametrize(
    "arguments", [(), ("-v",), ("--color=no",), ("--capture=sys", "--maxfail=3")], ids=" ".join
)
def test_the_screen_of_a_run_is_the_same(
    pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    output = _run(pytester, *arguments)
    assert re.search(
        r"spore: 3 children, \d+ tests left, [\d.]+/s, \d s to go, \d+ MiB private", output
    )
    assert compare(output, 80, 12) > 1
    assert "passed" in output


def test_an_interrupted_run_leaves_no_line(pytester: pytest.Pytester) -> None:
    output = _run(pytester, interrupted=True)
    assert "KeyboardInterrupt" in output
    assert compare(output, 80, 12) >= 2


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(("-q",), {}), (("-s",), {}), ((), {"TERM": "dumb"}), ((), {"CI": "1"})],
    ids=["-q", "-s", "dumb", "CI"],
)
def test_there_is_none_where_it_is_not_wanted(
    pytester: pytest.Pytester, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    output = _run(pytester, *arguments, **variables)
    assert "tests left" not in output
    assert _ERASED not in output
