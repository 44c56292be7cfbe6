"""An interpreter in a machine that has no project yet: imports modules, waits, becomes pytest.

The controller says first what to import: modules of the environment that the last run imported. The
machine is captured then, and kept. When the project is there, it says how pytest was called.

What somebody could notice of an import is found by importing in forks: such modules are left for
pytest to import, and so are those that pytest rewrites, and what would import them.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import struct
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from spore import guest
from spore._pytest import frames
from spore._pytest.reseed import reseed

CHANNEL_VARIABLE = "SPORE_CHANNEL_FD"
COMMAND = "__import__('spore._pytest.waiting', fromlist='_').wait()"
PYTEST = "import sys; del sys.path[0]; import pytest; sys.exit(pytest.console_main())"
_LENGTH = struct.Struct("<I")


def wait() -> NoReturn:
    """Runs in `python -c`; ends as pytest does."""
    channel = int(os.environ.get(CHANNEL_VARIABLE, 3))
    order = _receive(channel)
    modules = import_harmless(order["modules"], order["rewritten"])
    data = memoryview(frames.encode({"type": "imported", "modules": modules}))
    while data:
        data = data[os.write(channel, data) :]
    guest.fixture_point()
    reseed()  # a fresh interpreter would have random numbers of its own
    begin = _receive(channel)
    os.chdir(begin["directory"])
    importlib.invalidate_caches()
    sys.path_importer_cache.clear()
    # pytest wants to import its plugins itself, and Spore is one.
    for name in list(sys.modules):
        if name.partition(".")[0] == "spore":
            del sys.modules[name]
    become_pytest(begin["arguments"], as_module=begin["module"])


def become_pytest(arguments: Sequence[str], *, as_module: bool) -> NoReturn:
    """Goes on as `python -m pytest` would have begun, or as pytest's own script."""
    how = ["-m", "pytest"] if as_module else ["-c", PYTEST]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = [*sys.orig_argv[:-2], *how, *arguments]
    if as_module:
        sys.argv = ["-m", *arguments]
        if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
            sys.path[0] = os.getcwd()
        runpy._run_module_as_main("pytest")  # type: ignore[attr-defined]
    else:
        sys.argv = ["-c", *arguments]
        exec(PYTEST, sys.modules["__main__"].__dict__)
    sys.exit()


def _receive(channel: int) -> dict[str, Any]:
    """One frame, and no byte more: what follows is for others."""
    (length,) = _LENGTH.unpack(_read(channel, _LENGTH.size))
    (message,) = frames.Decoder().feed(_LENGTH.pack(length) + _read(channel, length))
    return message


def _read(channel: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(channel, count - len(data))
        if not piece:
            raise EOFError("the controller closed the channel")
        data += piece
    return data


def import_harmless(modules: Sequence[str], rewritten: Sequence[str] = ()) -> list[str]:
    """Imports those of `modules` whose import is not noticed, nor brings any of `rewritten`."""
    imported: list[str] = []
    rest = list(modules)
    while rest:
        good = _try(rest, rewritten)
        if good is None:
            break
        for name in rest[:good]:
            importlib.import_module(name)
        imported += rest[:good]
        del rest[: good + 1]
    return imported


def _try(modules: Sequence[str], rewritten: Sequence[str]) -> int | None:
    """How many of `modules` are imported before the first that is noticed; None: it crashed."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            count = _import_watched(modules, frozenset(rewritten))
            os.write(writable, str(count).encode())
        finally:
            os._exit(0)
    os.close(writable)
    # One read, not until the end: a process that an import left behind may hold the pipe.
    text = os.read(readable, 64)
    os.close(readable)
    os.waitpid(child, 0)
    return int(text) if text else None


def _import_watched(modules: Sequence[str], rewritten: frozenset[str]) -> int:
    known = set(sys.modules)
    with tempfile.TemporaryFile() as printed:
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
        for count, name in enumerate(modules):
            before = _noticeable()
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                filters = list(warnings.filters)
                try:
                    importlib.import_module(name)
                except BaseException:
                    return count
                filtered = filters != warnings.filters
            sys.stdout.flush()
            sys.stderr.flush()
            if (
                warned
                or filtered
                or printed.seek(0, os.SEEK_END)
                or before != _noticeable()
                or any(_is_below(one, rewritten) for one in set(sys.modules) - known)
            ):
                return count
    return len(modules)


def _noticeable() -> list[object]:
    """Of the process: what code might find changed by an import."""
    return [
        dict(os.environ),
        list(sys.path),
        os.getcwd(),
        threading.active_count(),
        sys.stdout,
        sys.stderr,
        sys.excepthook,
        [signal.getsignal(number) for number in signal.valid_signals()],
    ]


def _is_below(name: str, packages: frozenset[str]) -> bool:
    return name in packages or any(
        name[:at] in packages for at, character in enumerate(name) if character == "."
    )
