"""What a run leaves on the disk, brought from the machines to the host.

Machines are thrown away with all that was written in them. What a run without forks leaves for its
user comes over the channel, is checked, and is put where that run puts it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from spore._pytest import artifacts, coverage_data, frames, log_file, transfer

if TYPE_CHECKING:
    from spore._pytest.reports import Call

_MOST_NOTES = 20


class Home:
    """On the host: takes what comes home, and puts it into its place when its test is told."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._artifacts = artifacts.root(config)
        self._receivers = {artifacts.PLACE: transfer.Receiver(self._artifacts)}
        self._coverage = coverage_data.Receiver(config)
        self._files = self._tests = 0
        self._notes: list[str] = []

    def call(self, message: frames.Message) -> Call | None:
        """What `message` asks for, to be done in the order of the reports; None: nothing of this.

        A FrameError says what is wrong with it.
        """
        kind = message["type"]
        if kind == "coverage":
            self._coverage.take(message)
            return _nothing
        if kind == "log":
            return log_file.call(self._config, message)
        if kind not in ("file", "parcel"):
            return None
        receiver = self._receivers.get(message["place"])
        if receiver is None:
            raise frames.FrameError("a file is for a place that there is not")
        if kind == "file":
            try:
                receiver.take_file(message)
            except OSError as error:
                receiver.full = True
                self._note(f"files of tests: they cannot be written: {error}")
            return _nothing
        test, left_out = message["name"], message["left_out"]
        if not isinstance(test, str) or type(left_out) is not int or left_out < 0:
            raise frames.FrameError("files have no owner")
        return functools.partial(self._put, receiver.finish(message), test, left_out)

    def _put(self, put: transfer.Put, test: str, left_out: int) -> None:
        try:
            files = put(artifacts.directory_name(test))
        except OSError as error:
            self._note(f"the files of {test} could not be written: {error}")
            return
        self._files += files
        self._tests += bool(files)
        if left_out:
            plural = "" if left_out == 1 else "s"
            self._note(f"{left_out} file{plural} of {test} did not come ({transfer.LIMITS})")

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def lines(self, crashes: int) -> list[str]:
        """What the terminal's summary says, after so many crashes."""
        lines = []
        if self._files:
            lines.append(
                f"files:   {self._files} of {self._tests} test{'' if self._tests == 1 else 's'}"
                f" in {os.path.relpath(self._artifacts)}"
            )
        lines += self._coverage.lines(crashes)
        lines += [f"left:    {note}" for note in self._notes[:_MOST_NOTES]]
        if len(self._notes) > _MOST_NOTES:
            lines.append(f"left:    and so on, {len(self._notes)} times")
        if any(receiver.full for receiver in self._receivers.values()):
            lines.append("left:    files of later tests: there were too many for one run")
        return lines

    def pytest_sessionstart(self) -> None:
        self._coverage.start()

    @pytest.hookimpl(wrapper=True, trylast=True)  # before pytest-cov reports
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            self._coverage.write()

    def pytest_unconfigure(self) -> None:
        for receiver in self._receivers.values():
            receiver.close()


class Homeward:
    """In the machine: sends what is to come home."""

    def __init__(self, config: pytest.Config, send: transfer.Send) -> None:
        artifacts.Sender.join(config, send)
        self._coverage = coverage_data.Sender(config, send)
        config.pluginmanager.register(self._coverage, "spore-coverage")
        self._log = log_file.Sender(config, send)
        config.pluginmanager.register(self._log, "spore-log-file")

    def before_fork(self) -> None:
        """Sends what every child would send once more."""
        self._log.send()
        self._coverage.send()

    def after_fork(self) -> None:
        """Goes on in a child."""
        self._log.forked()

    def at_end(self) -> None:
        """Sends the rest, when the tests of this child have ended."""
        self._log.send()
        self._coverage.send()


def _nothing() -> None:
    pass


def written_files(config: pytest.Config) -> list[str]:
    """What runs write below the project, and no test reads: no part of the project's image."""
    return [
        str(artifacts.root(config)),
        *coverage_data.written_files(config),
        *log_file.written_files(config),
    ]
