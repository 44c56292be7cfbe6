"""In the machine: which modules of the environment a later run may import before its project is
there (see waiting.py).
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import pytest


class Recorder:
    """Knows which modules were first asked for when the environment variables had changed.

    What a module finds in them is then what the project wanted it to find, and it must not be
    imported before. First on sys.meta_path, it finds nothing itself.
    """

    def __init__(self) -> None:
        self._given = _given_variables()
        self._seen: dict[bytes, bytes] = {}
        self._were_changed = False
        self._late: set[str] = set()

    def start(self) -> None:
        if self._changed():
            self._late.update(sys.modules)
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if self._changed():
            self._late.add(name)

    def stop(self, config: pytest.Config) -> list[str]:
        """The modules, in the order of their imports."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        hook = getattr(config.pluginmanager, "rewrite_hook", None)
        rewritten = set(getattr(hook, "_must_rewrite", ())) | {"spore"}
        folders = _environment_folders()
        return [
            name
            for name, module in list(sys.modules.items())
            if name not in self._late
            and _is_of(module, name, folders)
            and not any(name == one or name.startswith(f"{one}.") for one in rewritten)
        ]

    def _changed(self) -> bool:
        raw: dict[bytes, bytes] = dict(os.environ._data)  # type: ignore[attr-defined]
        if raw != self._seen:  # decoding them at each import would take long
            self._seen = raw
            self._were_changed = _without_pytests(os.environ.items()) != self._given
        return self._were_changed


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
