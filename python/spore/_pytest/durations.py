"""How long each test took, kept in pytest's cache from run to run."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

_KEY = "spore/durations"
_MOST = 50_000  # tests that are remembered


def read(config: pytest.Config) -> dict[str, float]:
    """Seconds by node id; empty where there is no cache, or no sense in it."""
    cache = getattr(config, "cache", None)
    values = cache.get(_KEY, None) if cache is not None else None
    if not isinstance(values, dict):
        return {}
    return {
        str(test): float(seconds)
        for test, seconds in values.items()
        if isinstance(seconds, (int, float)) and seconds >= 0
    }


def write(config: pytest.Config, seconds: Mapping[str, float]) -> None:
    """Adds what was measured; the tests that ran longest ago are forgotten first."""
    cache = getattr(config, "cache", None)
    if cache is None or not seconds:
        return
    kept = {test: value for test, value in read(config).items() if test not in seconds}
    kept.update((test, round(value, 4)) for test, value in seconds.items())
    cache.set(_KEY, dict(list(kept.items())[-_MOST:]))
