"""What a run of pytest reads from outside of the project and of the interpreter's environment.

Nobody configured it for Spore: it is found where this process, and pytest in it, found it.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.metadata
import json
import os
import sys
import types
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

# Where the dynamic linker looks in any case: what programs load from there is found by itself.
_LIBRARY_DIRECTORIES = frozenset(
    map(Path, ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"))
)


def editable_sources() -> list[Path]:
    """The sources of editable installs: their projects, and what their import hooks map."""
    found = [*_editable_projects(), *_mapped_by_finders()]
    return [path.resolve() for path in dict.fromkeys(found) if path.exists()]


def _editable_projects() -> Iterator[Path]:
    for distribution in importlib.metadata.distributions():
        try:
            origin = json.loads(distribution.read_text("direct_url.json") or "{}")  # PEP 610
            url = urlsplit(origin["url"])
            if url.scheme == "file" and origin["dir_info"]["editable"]:
                yield Path(url2pathname(url.path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # not editable


def _mapped_by_finders() -> Iterator[Path]:
    """What setuptools' finders of editable installs map; it may lie outside of the project."""
    suffixes = importlib.machinery.all_suffixes()
    for name, module in list(sys.modules.items()):
        if not (name.startswith("__editable__") and name.endswith("_finder")):
            continue
        for place in getattr(module, "MAPPING", {}).values():
            path = Path(place)
            yield path  # of a package; modules are mapped without their suffixes
            yield from (path.with_name(path.name + suffix) for suffix in suffixes)
        for places in getattr(module, "NAMESPACES", {}).values():
            yield from map(Path, places)


def libraries(search_path: str) -> list[Path]:
    """The shared libraries that the dynamic linker may take from LD_LIBRARY_PATH."""
    directories = (Path(entry) for entry in search_path.split(":") if entry.startswith("/"))
    return [
        path
        for directory in directories
        if not _is_searched_anyway(directory) and os.access(directory / ".", os.R_OK | os.X_OK)
        for path in sorted(directory.iterdir())
        if (path.suffix == ".so" or ".so." in path.name) and path.is_file()
    ]


def _is_searched_anyway(directory: Path) -> bool:
    multiarch = directory.name.endswith("-linux-gnu") and directory.parent in _LIBRARY_DIRECTORIES
    return multiarch or directory in _LIBRARY_DIRECTORIES


def configuration(config: pytest.Config) -> list[Path]:
    """The ini file, the files of arguments, and every conftest.py that is loaded already.

    With --rootdir, -c and --confcutdir any of them may lie anywhere.
    """
    found = [config.inipath] if config.inipath is not None else []
    arguments = map(str, config.invocation_params.args)
    found += [
        config.invocation_params.dir / argument[1:]
        for argument in arguments
        if argument.startswith("@")
    ]
    for plugin in config.pluginmanager.get_plugins():
        file = plugin.__file__ if isinstance(plugin, types.ModuleType) else None
        if file is not None and os.path.basename(file) == "conftest.py":
            found.append(Path(file))
    return [path for path in found if path.exists()]


def digest_of_conftests(config: pytest.Config, left_out: Collection[str]) -> str:
    """A digest of the configuration, and of every conftest.py of the project.

    `left_out` are the names of directories that are no part of it.
    """
    found = set(configuration(config))
    for directory, below, files in os.walk(config.rootpath):
        below[:] = [name for name in below if name not in left_out]
        if "conftest.py" in files:
            found.add(Path(directory, "conftest.py"))
    digest = hashlib.sha256()
    for path in sorted(found):
        try:
            content = path.read_bytes()
        except OSError:  # no image holds it either
            continue
        digest.update(f"{len(str(path))} {len(content)} ".encode() + os.fsencode(path) + content)
    return digest.hexdigest()


def with_neighbours(path: Path) -> list[Path]:
    """A test file with what it can import by its place: its package, or the modules beside it."""
    directory = path if path.is_dir() else path.parent
    package = None
    while (directory / "__init__.py").is_file() and directory != directory.parent:
        package = directory
        directory = directory.parent
    if package is not None:
        return [package]
    return [path] if path.is_dir() else [path, *sorted(path.parent.glob("*.py"))]
