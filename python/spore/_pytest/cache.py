"""pytest's cache (--lf, --ff, --sw), carried from the host into the machine.

It is no part of the project image, because it changes with every run. The controller keeps it up to
date from the reports; what the machine writes is dropped. What only some options ask for is carried
for them alone: it makes another machine than that of the run before.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_MAX_BYTES = 8 * 1024 * 1024
_ASKED_FOR_BY = {
    "cache/lastfailed": ("lf", "failedfirst"),
    "cache/nodeids": ("newfirst",),
    "cache/stepwise": ("stepwise", "stepwise_skip", "stepwise_reset"),
    "spore/durations": (),  # who gives work is the controller
}


def collect(config: pytest.Config) -> dict[str, str]:
    """The cache's files by relative path; empty where it is not used or too big to carry."""
    # Without the plugin (-p no:cacheprovider) there is no cache_dir either.
    if not config.pluginmanager.hasplugin("cacheprovider"):
        return {}
    values = _values(config)
    if not values.is_dir():
        return {}
    files = {
        str(path.relative_to(values)): path.read_text("utf-8", "replace")
        for path in sorted(values.rglob("*"))
        if path.is_file() and _is_asked_for(config, str(path.relative_to(values)))
    }
    return files if sum(map(len, files.values())) <= _MAX_BYTES else {}


def restore(config: pytest.Config, files: dict[str, str]) -> None:
    """Writes what `collect` read."""
    for name, text in files.items():
        path = _values(config) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _is_asked_for(config: pytest.Config, name: str) -> bool:
    options = _ASKED_FOR_BY.get(name)
    return options is None or any(config.getoption(option, False) for option in options)


def _values(config: pytest.Config) -> Path:
    return config.rootpath / Path(config.getini("cache_dir")).expanduser() / "v"
