"""What pytest in a machine writes to the controller, and when."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from spore._pytest import frames
from spore._pytest.guest import Channel

Ends = tuple[Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    host, guest = socket.socketpair()
    with host, guest:
        host.settimeout(0)
        yield Channel(guest.fileno()), host


def _received(host: socket.socket) -> list[str]:
    """What one read finds."""
    try:
        data = host.recv(65536)
    except BlockingIOError:
        return []
    return [message["type"] for message in frames.Decoder().feed(data)]


def test_a_message_that_may_wait_goes_with_the_next(ends: Ends) -> None:
    channel, host = ends
    channel.send({"type": "end"}, soon=True)
    channel.send({"type": "start"}, soon=True)
    assert _received(host) == []
    channel.send({"type": "report"})
    assert _received(host) == ["end", "start", "report"]
    channel.flush()
    assert _received(host) == []


def test_nothing_waits_while_an_order_is_waited_for(ends: Ends) -> None:
    channel, host = ends
    channel.send({"type": "end"}, soon=True)
    host.sendall(frames.encode({"type": "run"}))
    assert channel.receive() == {"type": "run"}
    assert _received(host) == ["end"]
