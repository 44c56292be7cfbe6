"""In the machine: which modules of the environment a later run may import before its project is
there (see waiting.py), and whether this run should not have had them.
"""

from __future__ import annotations

import importlib.machinery
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest


@dataclass(frozen=True)
class Record:
    """What was imported until the fixture point."""

    modules: list[str] = field(default_factory=list)  # of the environment, in their order
    rewritten: list[str] = field(default_factory=list)  # what pytest wants to import itself
    # Why a module that was imported before all this may be another one than a project expects.
    unsuitable: str = ""


class Recorder:
    """Watches what is imported until the fixture point.

    A module may read the environment variables when it is imported, or be found elsewhere once the
    project has changed sys.path. So nothing is imported early where they change at all, or where a
    module would be found at another place now. First on sys.meta_path, it finds nothing itself.
    """

    def __init__(self) -> None:
        self._given = _given_variables()
        self._seen: dict[bytes, bytes] = {}
        self._changed = False

    def start(self) -> None:
        self._look()
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        self._look()

    def stop(self, config: pytest.Config) -> Record:
        """What was seen until now."""
        self._look()
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._changed:
            return Record(unsuitable="environment variables change before the fixture point")
        hook = getattr(config.pluginmanager, "rewrite_hook", None)
        rewritten = {"spore", *getattr(hook, "_must_rewrite", ())}
        folders = _environment_folders()
        found = []
        for name, module in list(sys.modules.items()):
            if not _is_of(module, name, folders):
                continue
            if hook is not None and getattr(module, "__loader__", None) is hook:
                rewritten.add(name)
            elif not any(name == one or name.startswith(f"{one}.") for one in rewritten):
                found.append(name)
        for name in found:
            if "." not in name and not _is_found_there(name):
                return Record(unsuitable=f"{name} is found at another place now")
        return Record(found, sorted(rewritten))

    def _look(self) -> None:
        raw: dict[bytes, bytes] = dict(os.environ._data)  # type: ignore[attr-defined]
        if raw != self._seen:  # decoding them at each import would take long
            self._seen = raw
            if _without_pytests(os.environ.items()) != self._given:
                self._changed = True


def _given_variables() -> dict[str, str]:
    """Those that the process was started with."""
    with open("/proc/self/environ", "rb") as file:
        entries = os.fsdecode(file.read()).split("\0")
    pairs = (entry.partition("=") for entry in entries if entry)
    return _without_pytests((name, value) for name, _, value in pairs)


def _without_pytests(variables: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in variables if not name.startswith("PYTEST_")}


def _environment_folders() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_path(name) for name in names} | set(site.getsitepackages())
    return tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)


def _is_of(module: ModuleType, name: str, folders: tuple[str, ...]) -> bool:
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    return (
        isinstance(origin, str)
        and getattr(spec, "name", None) == name
        and os.path.realpath(origin).startswith(folders)
    )


def _is_found_there(name: str) -> bool:
    spec = importlib.machinery.PathFinder.find_spec(name)
    there = getattr(sys.modules[name].__spec__, "origin", None)
    # Modules of the standard library that are frozen, or that other finders know, lie in no path.
    return spec is None or spec.origin is None or spec.origin == there
