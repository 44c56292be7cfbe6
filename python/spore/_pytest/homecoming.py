"""What a run leaves on the disk, brought from the machines to the host.

Machines are thrown away with all that was written in them. What a run without forks leaves for its
user comes over the channel, is checked, and is put where that run puts it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spore._pytest import (
    artifacts,
    basetemp,
    benchmark_data,
    coverage_data,
    frames,
    log_file,
    transfer,
)

if TYPE_CHECKING:
    from spore import GuestGeneration
    from spore._pytest.reports import Call

_MOST_NOTES = 20


@dataclass
class _Place:
    """A directory of the host that files come home to."""

    directory: Path
    receiver: transfer.Receiver
    name: Callable[[object], str]  # of an owner's directory; a FrameError if there is no such owner
    whose: str
    files: int = 0
    owners: int = 0


class Home:
    """On the host: takes what comes home, and puts it into its place when its test is told."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        directory = artifacts.root(config)
        self._places = {
            artifacts.PLACE: _Place(
                directory, transfer.Receiver(directory), artifacts.owner_name, "test"
            )
        }
        temporary = basetemp.root(config)
        if temporary is not None:
            receiver = transfer.Receiver(temporary, functools.partial(basetemp.make, config))
            self._places[basetemp.PLACE] = _Place(
                temporary, receiver, basetemp.directory_name, "machine"
            )
        self._coverage = coverage_data.Receiver(config)
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
        if kind == "benchmark":
            return benchmark_data.call(self._config, message)
        if kind not in ("file", "parcel"):
            return None
        place = self._places.get(message["place"])
        if place is None:
            raise frames.FrameError("a file is for a place that there is not")
        if kind == "file":
            try:
                place.receiver.take_file(message)
            except OSError as error:
                place.receiver.full = True
                self._notes.append(f"files: they cannot be written: {error}")
            return _nothing
        name, left_out = place.name(message["name"]), message["left_out"]
        if type(left_out) is not int or left_out < 0:
            raise frames.FrameError("nobody knows how many files were left out")
        put = place.receiver.finish(message)
        return functools.partial(self._put, place, put, name, str(message["name"]), left_out)

    def _put(self, place: _Place, put: transfer.Put, name: str, owner: str, left_out: int) -> None:
        try:
            files = put(name)
        except OSError as error:
            self._notes.append(f"the files of {place.whose} {owner} cannot be written: {error}")
            return
        place.files += files
        place.owners += bool(files)
        if left_out:
            some = _count(left_out, "file")
            self._notes.append(f"{some} of {place.whose} {owner} did not come ({transfer.LIMITS})")

    def lines(self, crashes: int) -> list[str]:
        """What the terminal's summary says, after so many crashes."""
        lines = [
            f"files:   {place.files} of {_count(place.owners, place.whose)}"
            f" in {os.path.relpath(place.directory)}"
            for place in self._places.values()
            if place.files
        ]
        lines += self._coverage.lines(crashes)
        lines += [f"left:    {note}" for note in self._notes[:_MOST_NOTES]]
        if len(self._notes) > _MOST_NOTES:
            lines.append(f"left:    and so on, {len(self._notes)} times")
        if any(place.receiver.full for place in self._places.values()):
            lines.append("left:    what came after that, or was too much for one run")
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
        for place in self._places.values():
            place.receiver.close()


class Homeward:
    """In the machine: sends what is to come home."""

    def __init__(self, config: pytest.Config, send: transfer.Send) -> None:
        artifacts.Sender.join(config, send)
        self._coverage = coverage_data.Sender(config, send)
        config.pluginmanager.register(self._coverage, "spore-coverage")
        self._log = log_file.Sender(config, send)
        config.pluginmanager.register(self._log, "spore-log-file")
        config.pluginmanager.register(benchmark_data.Sender(config, send), "spore-benchmark")
        self._temporary = basetemp.Sender(config, send)

    def before_fork(self) -> None:
        """Sends what every child would send once more."""
        self._log.send()
        self._coverage.send()
        self._temporary.send()

    def after_fork(self, generation: GuestGeneration) -> None:
        """Goes on in a child."""
        self._log.forked()
        self._temporary.forked(generation)

    def at_end(self) -> None:
        """Sends the rest, when the tests of this child have ended."""
        self._log.send()
        self._coverage.send()
        self._temporary.send()


def _nothing() -> None:
    pass


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def written_files(config: pytest.Config) -> list[str]:
    """What runs write below the project, and no test reads: no part of the project's image."""
    temporary = basetemp.root(config)
    named = [config.getoption(option, None) for option in ("spore_keep_failed", "spore_html")]
    named.append(config.getoption("xmlpath", None))
    return [
        str(artifacts.root(config)),
        *(str(config.invocation_params.dir / Path(one).expanduser()) for one in named if one),
        *([str(temporary)] if temporary is not None else []),
        *coverage_data.written_files(config),
        *log_file.written_files(config),
    ]
