"""What pytest-benchmark measured in the machines, for its table and its files on the host."""

from __future__ import annotations

import functools
import importlib
import math
from typing import TYPE_CHECKING, Any

import pytest

from spore._pytest import frames, transfer

if TYPE_CHECKING:
    from spore._pytest.reports import Call

_MOST_ROUNDS = 1_000_000
_TEXTS = ("name", "fullname")
_AS_THEY_ARE = ("group", "param", "params", "extra_info")


class Sender:
    """In the machine: sends what each test has measured, before its end is told."""

    def __init__(self, config: pytest.Config, send: transfer.Send) -> None:
        self._config = config
        self._send = send
        self._sent = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self) -> None:
        session = getattr(self._config, "_benchmarksession", None)
        if session is None:
            return
        for one in session.benchmarks[self._sent :]:
            self._send(
                "benchmark",
                **{name: getattr(one, name) for name in (*_TEXTS, *_AS_THEY_ARE)},
                iterations=one.iterations,
                options={
                    name: getattr(value, "__name__", repr(value)) if callable(value) else value
                    for name, value in one.options.items()
                },
                data=list(one.stats.data),
                has_error=bool(one.has_error),
            )
        self._sent = len(session.benchmarks)


def call(config: pytest.Config, message: frames.Message) -> Call:
    """On the host: gives the plugin what `message` tells; a FrameError says what is wrong."""
    try:
        values: dict[str, Any] = {name: str(message[name]) for name in _TEXTS}
        values.update({name: message[name] for name in _AS_THEY_ARE})
        values["iterations"] = int(message["iterations"])
        values["options"] = dict(message["options"])
        values["extra_info"] = dict(message["extra_info"])
        data = [float(seconds) for seconds in message["data"]]
        has_error = bool(message["has_error"])
    except (KeyError, TypeError, ValueError) as error:
        raise frames.FrameError(f"a benchmark cannot be read: {error!r}") from error
    if len(data) > _MOST_ROUNDS or not all(map(math.isfinite, data)) or values["iterations"] < 1:
        raise frames.FrameError("a benchmark makes no sense")
    return functools.partial(_add, config, values, data, has_error)


def _add(config: pytest.Config, values: dict[str, Any], data: list[float], has_error: bool) -> None:
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        return
    stats = importlib.import_module("pytest_benchmark.stats")
    made = stats.Metadata.__new__(stats.Metadata)
    made.stats = stats.Stats()
    for seconds in data:
        made.stats.update(seconds)
    made.cprofile_stats = None
    made.fixture = _Fixture(has_error)
    for name, value in values.items():
        setattr(made, name, value)
    session.benchmarks.append(made)


class _Fixture:
    """All that is asked of the fixture after its test."""

    def __init__(self, has_error: bool) -> None:
        self.has_error = has_error
