"""What pytest in a machine, and the machine itself, tell the controller."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Union

import spore
from spore._pytest import frames


@dataclass(frozen=True)
class Printed:
    """Bytes of a process that no test captured."""

    stream: str
    data: bytes


@dataclass(frozen=True)
class ReachedFixturePoint:
    """pytest waits to be captured."""


@dataclass(frozen=True)
class Ended:
    """pytest, or its machine, is gone."""

    reason: str
    status: int | None = None  # of pytest, when its machine is still there
    console: str = ""


Said = Union[frames.Message, Printed, ReachedFixturePoint, Ended]


def translate(event: object, decoder: frames.Decoder) -> list[Said]:
    """An event of pytest's process; bytes of the channel are given to `decoder`."""
    if isinstance(event, spore.Output):
        if event.stream == "channel":
            return [*decoder.feed(event.data)]
        return [Printed(event.stream, event.data)]
    if isinstance(event, spore.AtFixturePoint):
        return [ReachedFixturePoint()]
    if isinstance(event, spore.Exited):
        return [Ended(_describe(event), event.status)]
    if isinstance(event, spore.Lost):
        end = event.end
        how = f"the machine {end.reason}" + (f" ({end.detail})" if end.detail else "")
        return [Ended(how, None, end.console_tail)]
    raise TypeError(f"an event of an unknown kind: {event!r}")


def _describe(event: spore.Exited) -> str:
    if event.out_of_memory:
        return "pytest was killed because the machine ran out of memory (see --spore-memory)"
    if event.signal:
        return f"pytest was ended by signal {event.signal} ({_signal_name(event.signal)})"
    return f"pytest ended with status {event.code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
