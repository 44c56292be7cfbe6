"""--spore-pdb: pdb in the frame of a failure, in a fork of the machine as it was then.

The fork is thrown away after that, so the failure can be looked at as often as one likes, and the
run goes on as if nobody had looked.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import spore

if TYPE_CHECKING:
    from spore import Process, Spore

USER_KEY = "spore-debug"
_POLL_SECONDS = 0.1
_JOIN_SECONDS = 5.0


class Debugger:
    """The user's terminal, while it belongs to pdb in a machine."""

    def __init__(self, config: pytest.Config, process: int) -> None:
        self._config = config
        self._process = process  # the number of pytest's process in every machine

    def look(self, captured: Spore, test: str) -> None:
        """Returns when the user has seen enough of this failure."""
        with self._terminal():
            print(f"\nspore: {test} failed: pdb in a fork of its machine; q leaves it")
            while True:
                self._debug(captured)
                print("spore: again from the same moment? [y/N] ", end="", flush=True)
                if not _line().strip().lower().startswith(b"y"):
                    print()
                    return

    def _debug(self, captured: Spore) -> None:
        (machine,) = captured.fork([spore.ForkParameters(user={USER_KEY: "pdb"})])
        with contextlib.closing(machine):
            process = machine.process(self._process)
            over = threading.Event()
            reader = threading.Thread(target=_show, args=(process, over), daemon=True)
            reader.start()
            # One that has ended says so itself, through its reader.
            with contextlib.suppress(spore.MachineEnded):
                _pass_on(process, over)
        reader.join(_JOIN_SECONDS)

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[None]:
        """Standard input and output as they were before pytest captured them."""
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is None:
            yield
            return
        captures = capture._global_capturing.is_started()
        capture.suspend(in_=True)
        try:
            yield
        finally:
            capture.resume()
            if not captures:
                capture.suspend()


def _pass_on(process: Process, over: threading.Event) -> None:
    """Gives a process what is typed, until it is over."""
    open_ = True
    while not over.is_set():
        try:
            ready = select.select([0] if open_ else [], [], [], _POLL_SECONDS)[0]
            if not ready or over.is_set():
                continue
            line = _line()
            if line:
                process.write_stdin(line)
            else:
                open_ = False
                process.close_stdin()
        except KeyboardInterrupt:
            process.signal(signal.SIGINT)  # what the test is stepping through, not the run


def _line() -> bytes:
    """One line of the terminal or pipe; empty at its end. Nothing behind it is taken."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


def _show(process: Process, over: threading.Event) -> None:
    try:
        for event in process.events():
            if isinstance(event, spore.Output) and event.stream != "channel":
                stream = sys.stderr if event.stream == "stderr" else sys.stdout
                stream.write(event.data.decode("utf-8", "replace"))
                stream.flush()
            elif isinstance(event, spore.Lost) and event.end.reason != "closed":
                print(f"\nspore: the machine {event.end.reason} ({event.end.detail})")
    finally:
        over.set()


def enter(config: pytest.Config, call: pytest.CallInfo[object], report: pytest.TestReport) -> None:
    """In the machine: shows the failure, debugs it, and ends this process."""
    from _pytest.config import create_terminal_writer
    from _pytest.debugging import post_mortem

    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend(in_=True)
    try:
        writer = create_terminal_writer(config, sys.stdout)
        report.toterminal(writer)
        writer.flush()
        assert call.excinfo is not None
        with contextlib.suppress(pytest.exit.Exception):  # q of pdb, in pytest
            post_mortem(call.excinfo.tb)
    finally:
        sys.stdout.flush()
        os._exit(0)
