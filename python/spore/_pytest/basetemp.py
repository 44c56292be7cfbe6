"""--basetemp: what the tests leave in their temporary directories, on the host.

Each machine has a directory there, as each worker of pytest-xdist has: child-0, child-1 and so on.
What was made before the fixture point is in another one, once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spore._pytest import frames
from spore._pytest.transfer import Send, Stamp, regular_files, send_directory, stamp

if TYPE_CHECKING:
    from spore import GuestGeneration

PLACE = "basetemp"
_BEFORE = "fixture-point"
_MOST_CHILDREN = 10_000_000


def root(config: pytest.Config) -> Path | None:
    """The directory that was asked for; None: none was."""
    given = getattr(config.option, "basetemp", None)
    return config.invocation_params.dir / given if given else None


def directory_name(owner: object) -> str:
    """The name of a machine's directory; FrameError if there is no such machine."""
    if owner == _BEFORE:
        return _BEFORE
    if type(owner) is not int or not 0 <= owner < _MOST_CHILDREN:
        raise frames.FrameError("temporary files are of no machine")
    return f"child-{owner}"


class Sender:
    """In the machine: sends the files that have come since it was asked the last time."""

    def __init__(self, config: pytest.Config, send: Send) -> None:
        self._config = config
        self._send = send
        self._owner: str | int = _BEFORE
        self._known: set[tuple[Path, Stamp]] = set()

    def forked(self, generation: GuestGeneration) -> None:
        self._owner = generation.child_index

    def send(self) -> None:
        directory = root(self._config)
        if directory is None or not directory.is_dir():
            return
        send_directory(self._send, PLACE, self._owner, directory, known=self._known)
        self._known = {(path, stamp(status)) for path, status in regular_files(directory)}


def make(config: pytest.Config) -> Path:
    """Makes the host's directory anew, as pytest does."""
    factory = config._tmp_path_factory  # type: ignore[attr-defined]
    directory: Path = factory.getbasetemp()
    return directory
