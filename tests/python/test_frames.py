from __future__ import annotations

import struct

import pytest
from spore._pytest import frames


def test_messages_survive_in_any_pieces() -> None:
    messages = [
        {"type": "a", "tuple": (1, ("x", None)), "list": [1.5, True], "text": "\udce4 ü"},
        {"type": "b"},
    ]
    data = b"".join(frames.encode(message) for message in messages)
    for size in (1, 3, len(data)):
        decoder = frames.Decoder()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert [message for piece in pieces for message in decoder.feed(piece)] == messages


def test_a_value_that_json_does_not_know_becomes_its_repr() -> None:
    (message,) = frames.Decoder().feed(frames.encode({"type": "a", "value": {1, 2}}))
    assert message["value"] == "{1, 2}"


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<I", frames.MAX_FRAME + 1),
        struct.pack("<I", 1) + b"{",
        struct.pack("<I", 2) + b"[]",
        struct.pack("<I", 2) + b"{}",
        struct.pack("<I", 10) + b'{"type":1}',
        struct.pack("<I", 2) + b"\xff\xff",
        struct.pack("<I", 200_000) + b"[" * 200_000,
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.Decoder().feed(data)


def test_every_truncation_only_waits() -> None:
    data = frames.encode({"type": "a", "value": (1, 2)})
    for length in range(len(data)):
        assert frames.Decoder().feed(data[:length]) == []
