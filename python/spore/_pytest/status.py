"""A line about the children and what is left, below pytest's own output, on a terminal.

It is drawn under the line where the cursor is, which then goes back: what pytest writes on that
line does not touch it. Before anything else is written, it is erased. So the line is there only
while the run goes on, and afterwards the screen is as if it had never been.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Callable, TextIO

import pytest

import spore
from spore._pytest import summary

if TYPE_CHECKING:
    from spore._pytest.fleet import Fleet
    from spore._pytest.timeline import Timeline

_EVERY = 0.5  # seconds from one drawing to the next
_AGAIN = 0.05  # and where it had to be erased
_SAMPLE_EVERY = 2.0  # seconds from one look at memory to the next
_SAMPLE_SHARE = 50  # so many times of what a look takes lie between two, if that is more
_FEWEST_COLUMNS, _FEWEST_LINES = 30, 4

ERASE = "\x1b[J"
# One line down, which scrolls at the bottom, and up again: now there is a line below. The cursor is
# saved after that, since scrolling does not move what is saved.
_GO = f"{ERASE}\x1bD\x1b[A\x1b7\x1b[B\r"
_RETURN = "\x1b8"

_COLORS = re.compile(r"\x1b\[[0-9;]*m")

Write = Callable[[str], int]


class StatusLine:
    """One line below the cursor of `stream`, a terminal that `others` may write to as well."""

    def __init__(self, stream: TextIO, *others: TextIO, column: int = 0, faint: bool) -> None:
        self._stream = stream
        self._faint = faint
        self._column: int | None = column  # of the cursor; None: not known
        self._shown = False
        self._writes: dict[TextIO, Write] = {}
        for one in {stream, *others}:
            self._watch(one)

    @property
    def shown(self) -> bool:
        return self._shown

    def show(self, *parts: str) -> None:
        """Draws the line, with the first `parts`, as many as there is room for.

        It is left as it is where the cursor could not come back.
        """
        columns, lines = os.get_terminal_size(self._stream.fileno())
        if self._column is None or self._column >= columns or lines < _FEWEST_LINES:
            return
        while len(parts) > 1 and len(", ".join(parts)) >= columns:
            parts = parts[:-1]
        text = ", ".join(parts)[: columns - 1]
        self._shown = True
        marked = f"\x1b[2m{text}\x1b[0m" if self._faint else text
        self._writes[self._stream](f"{_GO}{marked}{_RETURN}")
        self._stream.flush()

    def close(self) -> None:
        """Erases the line, and has nothing more to do with the terminal."""
        if self._shown:
            self._writes[self._stream](ERASE)
            self._stream.flush()
            self._shown = False
        for stream in self._writes:
            del stream.write
        self._writes.clear()

    def _watch(self, stream: TextIO) -> None:
        """Makes sure that whoever writes to `stream` finds no line in the way."""
        write: Write = stream.write

        def write_without_line(text: str) -> int:
            column = self._column_after(text)
            if self._shown and (
                column is None or "\n" in text or column >= os.get_terminal_size(fd).columns
            ):
                self._shown = False
                write(ERASE)
            count = write(text)
            self._column = column
            return count

        fd = stream.fileno()
        self._writes[stream] = write
        stream.write = write_without_line  # type: ignore[method-assign]

    def _column_after(self, text: str) -> int | None:
        from _pytest._io.wcwidth import wcswidth

        _, newline, last = _COLORS.sub("", text).rpartition("\n")
        start = 0 if newline else self._column
        width = wcswidth(last)
        return start + width if start is not None and width >= 0 else None


class Status:
    """When the line is drawn, and what it says."""

    def __init__(self, line: StatusLine, timeline: Timeline, fleet: Fleet) -> None:
        self._line = line
        self._timeline = timeline
        self._fleet = fleet
        self._began = time.monotonic()
        self._next = self._began + _EVERY
        self._next_sample = 0.0
        self._memory: list[str] = []

    def until(self, deadline: float | None) -> float:
        """Draws, if it is time; answers when to do so again, or `deadline` if that is earlier."""
        now = time.monotonic()
        due = self._next if self._line.shown else self._next - _EVERY + _AGAIN
        due = max(due, self._began + _EVERY)
        if now >= due:
            self._line.show(*self.parts(now))
            self._next = due = now + _EVERY
        return due if deadline is None else min(due, deadline)

    def parts(self, now: float) -> list[str]:
        """What the line says, what matters most first."""
        timeline = self._timeline
        left = timeline.expected - timeline.ended
        parts = [
            f"spore: {timeline.alive} {'child' if timeline.alive == 1 else 'children'}",
            f"{left:,} {'test' if left == 1 else 'tests'} left",
        ]
        if timeline.ended and now > self._began:
            rate = timeline.ended / (now - self._began)
            parts += [f"{rate:.{0 if rate >= 100 else 1}f}/s", f"{_time(left / rate)} to go"]
        return parts + self._sample(now)

    def _sample(self, now: float) -> list[str]:
        """The children's memory: looked at rarely, since every machine is asked."""
        if now < self._next_sample:
            return self._memory
        stats = []
        for member in self._fleet.members:
            if self._timeline.is_alive(member.index):
                with contextlib.suppress(spore.Error):  # it ended by itself
                    stats.append(member.machine.stats())
        if stats:
            shared = summary.size(max(one.shared_bytes for one in stats))
            private = summary.size(sum(one.private_bytes for one in stats))
            self._memory = [f"{private} private", f"{shared} shared"]
        took = time.monotonic() - now
        self._next_sample = now + max(_SAMPLE_EVERY, _SAMPLE_SHARE * took)
        return self._memory


@contextlib.contextmanager
def showing(config: pytest.Config, timeline: Timeline, fleet: Fleet) -> Iterator[Status | None]:
    """The status of a run, while it is shown; None where no line can be drawn."""
    line = _open(config)
    if line is None:
        yield None
        return
    try:
        yield Status(line, timeline, fleet)
    finally:
        line.close()


def _open(config: pytest.Config) -> StatusLine | None:
    from _pytest.terminal import TerminalReporter

    reporter = config.pluginmanager.getplugin("terminalreporter")
    # Others may draw on the terminal themselves; with -s, the tests do.
    if type(reporter) is not TerminalReporter or config.get_verbosity() < 0:
        return None
    if config.getoption("capture", "no") not in ("fd", "sys") or _is_kept(os.environ):
        return None
    writer = reporter._tw
    stream = writer._file
    try:
        if not stream.isatty() or os.get_terminal_size(stream.fileno())[0] < _FEWEST_COLUMNS:
            return None
        others = [one for one in (sys.stdout, sys.stderr) if one.isatty()]
        return StatusLine(
            stream, *others, column=writer.width_of_current_line, faint=writer.hasmarkup
        )
    except (AttributeError, OSError, ValueError):
        return None  # no terminal of the ordinary kind


def _is_kept(variables: Mapping[str, str]) -> bool:
    """Whether what is written is for a log, or for a terminal that cannot move its cursor."""
    return bool(variables.get("CI")) or variables.get("TERM", "dumb") in ("", "dumb")


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
