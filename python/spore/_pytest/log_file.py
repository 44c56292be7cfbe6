"""--log-file: what tests log in the machines is written to the file of the host.

The lines of a test are told with its reports, so they come in collection order.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.logging import get_option_ini

from spore._pytest import frames

if TYPE_CHECKING:
    from spore._pytest.reports import Call
    from spore._pytest.transfer import Send

_MOST_CHARACTERS = 1024**2  # of one frame


class Sender(io.TextIOBase):
    """In the machine: the stream that pytest's handler of the log file writes to.

    The channel belongs to the main thread of one process. Other threads' lines go with its next
    ones; those of forked processes stay in the machine.
    """

    def __init__(self, config: pytest.Config, send: Send) -> None:
        self._config = config
        self._send = send
        self._used = False
        self._lines: deque[str] = deque()
        self._test: str | None = None  # that runs, or was the last one
        self._sending = False
        self._process = os.getpid()

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        self._used = bool(config.pluginmanager.hasplugin("logging")) and bool(_log_file(config))
        if self._used:
            config.option.log_file = os.devnull

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        handler = _handler(self._config)
        if self._used and handler is not None:
            file = handler.setStream(self)
            if file is not None:
                file.close()

    def forked(self) -> None:
        """This process is the one whose lines are sent."""
        self._process = os.getpid()

    def write(self, text: str) -> int:
        if os.getpid() == self._process:
            self._lines.append(text)
            if threading.current_thread() is threading.main_thread():
                self.send()
        return len(text)

    def send(self) -> None:
        """Sends what has been logged, by whatever thread."""
        if self._sending:
            return  # a signal came in between
        self._sending = True
        try:
            while self._lines:
                text = self._lines.popleft()
                while self._lines and len(text) < _MOST_CHARACTERS:
                    text += self._lines.popleft()
                for start in range(0, len(text), _MOST_CHARACTERS):
                    part = text[start : start + _MOST_CHARACTERS]
                    self._send("log", text=part, test=self._test)
        finally:
            self._sending = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.send()
        self._test = nodeid

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self) -> None:
        self.send()


def call(config: pytest.Config, message: frames.Message) -> Call:
    """On the host: what writes the lines of `message`; FrameError if it has none."""
    text, test = message["text"], message["test"]
    handler = _handler(config)
    if not isinstance(text, str) or not (test is None or isinstance(test, str)) or handler is None:
        raise frames.FrameError("lines of a log are no text, or there is no log file")
    plain = text.encode("utf-8", "replace").decode("utf-8")

    def write() -> None:
        handler.acquire()
        try:
            handler.stream.write(plain)
            handler.flush()
        finally:
            handler.release()

    return write


def _handler(config: pytest.Config) -> Any:
    """pytest's handler that writes the log file; None where there is none."""
    plugin = config.pluginmanager.getplugin("logging-plugin")
    return plugin.log_file_handler if plugin is not None and _log_file(config) else None


def _log_file(config: pytest.Config) -> object:
    return get_option_ini(config, "log_file")


def written_files(config: pytest.Config) -> list[str]:
    """The log file, if there is one."""
    handler = _handler(config)
    return [handler.baseFilename] if handler is not None else []
