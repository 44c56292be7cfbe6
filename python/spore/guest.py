"""The guest's side of Spore, in pure Python: which fork of the machine is this process in?

The agent of the machine listens on a unix socket; a request is one line, and so is the answer.
Outside a machine every call answers at once, with index 0 of 1.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

AGENT_SOCKET = "/run/spore/agent.sock"
# Overrides it, so that a test can play the agent.
AGENT_SOCKET_VARIABLE = "SPORE_AGENT_SOCKET"


@dataclass(frozen=True)
class GuestGeneration:
    """Who this machine is."""

    number: int = 0  # 0 for a fresh boot, else one more than its spore's
    id: str = ""  # 32 hexadecimal digits, different in every child
    parent_id: str = ""  # of the machine that was captured
    name: str = ""
    hostname: str = ""
    mac: str = ""
    child_index: int = 0
    child_count: int = 1
    shard_index: int = 0
    shard_count: int = 1
    user: Mapping[str, str] = field(default_factory=dict)


_callbacks: list[Callable[[GuestGeneration], object]] = []
_lock = threading.Lock()


def on_generation(callback: Callable[[GuestGeneration], object]) -> Callable[[], None]:
    """Calls `callback` with the new generation whenever `fixture_point` returns in a fork.

    This is the place to reseed generators and reopen what must not be shared between children.
    Returns a function that takes the callback back.
    """
    with _lock:
        _callbacks.append(callback)

    def remove() -> None:
        with _lock:
            if callback in _callbacks:
                _callbacks.remove(callback)

    return remove


def generation() -> GuestGeneration:
    """Which generation the machine is now; index 0 of 1 outside a machine."""
    answer = _ask("generation")
    return GuestGeneration() if answer is None else _decode(answer)


def fixture_point() -> GuestGeneration:
    """Waits here to be captured, and returns in every fork of the machine.

    Call it when the expensive preparations are done. Outside a machine, and where the host chose to
    let the program go on without a capture, it returns index 0 of 1.
    """
    answer = _ask("fixture-point")
    if answer is None:
        return GuestGeneration()
    current = _decode(answer)
    with _lock:
        callbacks = list(_callbacks)
    for callback in callbacks:
        callback(current)
    return current


def _ask(request: str) -> str | None:
    """The agent's answer, or None where there is no agent."""
    path = os.environ.get(AGENT_SOCKET_VARIABLE, AGENT_SOCKET)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):
                return None
            raise OSError(
                error.errno,
                f"asking the machine's agent for {request!r}: {os.strerror(error.errno or 0)}",
                path,
            ) from error
        connection.sendall(f"{request}\n".encode())
        with connection.makefile("r", encoding="utf-8") as answers:
            answer = answers.readline()
    if not answer.endswith("\n"):
        raise ConnectionError(
            f"asking the machine's agent for {request!r}: it closed {path} without an answer"
        )
    return answer


def _decode(answer: str) -> GuestGeneration:
    values: dict[str, Any] = json.loads(answer)
    if "error" in values:
        raise RuntimeError(f"the machine's agent refused: {values['error']}")
    known = {name: values[name] for name in GuestGeneration.__dataclass_fields__ if name in values}
    return GuestGeneration(**known)
