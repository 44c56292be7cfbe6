"""spore_artifacts: a directory for each test whose files are there after the run.

Without --spore-fork it is a directory of the host. In a machine it has the same path, and what the
test leaves there is brought to that place on the host.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spore._pytest import frames
from spore._pytest.keep import name_of
from spore._pytest.transfer import Send, send_directory

PLACE = "artifacts"
_GUEST_PLUGIN = "spore-artifacts"


def root(config: pytest.Config) -> Path:
    """The directory of all tests' directories."""
    return config.invocation_params.dir / Path(config.getoption("spore_artifacts")).expanduser()


def directory_name(test: str) -> str:
    """As `name_of`, and different for parameters that only differ in what is left out there."""
    parameters = test.partition("[")[2].rpartition("]")[0]
    if not re.search(r"[^\w.=+-]", parameters):
        return name_of(test)
    digest = hashlib.sha256(test.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name_of(test)}-{digest}"


def owner_name(test: object) -> str:
    """The name of the directory of whom a machine calls a test."""
    if not isinstance(test, str):
        raise frames.FrameError("files are of no test")
    return directory_name(test)


@contextlib.contextmanager
def open_directory(config: pytest.Config, test: str) -> Iterator[Path]:
    """The empty directory of `test`; what an earlier run left in it is removed."""
    directory = root(config) / directory_name(test)
    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    sender = config.pluginmanager.getplugin(_GUEST_PLUGIN)
    if sender is not None:
        sender.directories[test] = directory
    yield directory
    with contextlib.suppress(OSError):
        directory.rmdir()  # nothing was left in it


class Sender:
    """In the machine: sends a test's files when it has ended."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.directories: dict[str, Path] = {}

    @classmethod
    def join(cls, config: pytest.Config, send: Send) -> None:
        config.pluginmanager.register(cls(send), _GUEST_PLUGIN)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        directory = self.directories.pop(nodeid, None)
        if directory is not None:
            send_directory(self._send, PLACE, nodeid, directory)
