"""--spore-keep-failed: the machines of failed tests on disk, as they were before any teardown.

Each is a layer on the spore of the fixture point, which is saved with the first of them, so that a
failure costs what its test wrote.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spore import Spore

_BASE = "fixture-point"
_LONGEST = 150  # of a name, in bytes; a file system takes 255


class Keeper:
    """Saves machines into one directory of this run: 1, 2, ... below the one that is given."""

    def __init__(self, directory: Path) -> None:
        self._parent = directory
        self._directory: Path | None = None

    def keep(self, captured: Spore, base: Spore, test: str) -> Path:
        """Saves a machine that was captured where `test` failed, as a layer on `base`."""
        if self._directory is None:
            self._directory = _new_directory(self._parent)
            # A machine that is kept for the next run comes and goes: nothing may need it.
            base.save(self._directory / _BASE, whole=True)
        path = self._directory / name_of(test)
        for count in range(2, 1000):  # a test of the same name, or almost
            if not path.exists():
                break
            path = self._directory / f"{name_of(test)}-{count}"
        captured.save(path)
        return path


def _new_directory(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
    directory = parent / str(max(taken, default=0) + 1)
    directory.mkdir()
    return directory


def name_of(test: str) -> str:
    """A file name for a node id: readable, and different for different tests in all but freaks."""
    plain = re.sub(r"[^\w.=+-]+", "-", test.replace("::", "--").replace("/", "-")).strip("-.")
    encoded = plain.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST and plain:
        return plain
    import hashlib

    digest = hashlib.sha256(test.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return encoded[:_LONGEST].decode("utf-8", "ignore") + "-" + digest
