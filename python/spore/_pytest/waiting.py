"""An interpreter in a machine that has no project yet: imports modules, waits, becomes pytest.

The controller says first what to import: modules of the environment that the last run imported. The
machine is captured then, and kept. When the project is there, it says how pytest was called.

What is imported here was imported in that run in the same environment, before anything changed its
variables; and what warns, prints or fails when it is imported is left for pytest to import.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import runpy
import struct
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from spore import guest
from spore._pytest import frames

CHANNEL_VARIABLE = "SPORE_CHANNEL_FD"
COMMAND = "__import__('spore._pytest.waiting', fromlist='_').wait()"
PYTEST = "import sys; del sys.path[0]; import pytest; sys.exit(pytest.console_main())"
_MOST_ATTEMPTS = 10
_LENGTH = struct.Struct("<I")


def wait() -> NoReturn:
    """Runs in `python -c`; ends as pytest does."""
    channel = int(os.environ.get(CHANNEL_VARIABLE, 3))
    modules = harmless(_receive(channel)["modules"])
    import_all(modules)
    data = memoryview(frames.encode({"type": "imported", "modules": modules}))
    while data:
        data = data[os.write(channel, data) :]
    guest.fixture_point()
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


def import_all(modules: Sequence[str]) -> None:
    for name in modules:
        # Filters that a module adds last as long as those that it adds when pytest imports it.
        with warnings.catch_warnings(), contextlib.suppress(Exception):
            importlib.import_module(name)


def harmless(modules: Sequence[str]) -> list[str]:
    """Those of `modules` whose import is not noticed, found by importing them in forks."""
    rest = list(modules)
    for _ in range(_MOST_ATTEMPTS):
        good = _try(rest)
        if good == len(rest):
            return rest
        if good is None:
            return []
        del rest[good]
    good = _try(rest)
    return rest[:good] if good is not None else []


def _try(modules: Sequence[str]) -> int | None:
    """How many of `modules` are imported before the first that is noticed; None: it crashed."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            count = _import_watched(modules)
            os.write(writable, str(count).encode())
        finally:
            os._exit(0)
    os.close(writable)
    with open(readable, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return int(text) if text else None


def _import_watched(modules: Sequence[str]) -> int:
    with tempfile.TemporaryFile() as printed:
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
        for count, name in enumerate(modules):
            variables, threads = dict(os.environ), threading.active_count()
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                try:
                    importlib.import_module(name)
                except BaseException:
                    return count
            sys.stdout.flush()
            sys.stderr.flush()
            noticed = (
                warned
                or printed.seek(0, os.SEEK_END)
                or variables != dict(os.environ)
                or threads != threading.active_count()
            )
            if noticed:
                return count
    return len(modules)
