"""Frames of the channel between the controller and pytest in the machine.

A frame is a length (four bytes, little-endian) and so many bytes of JSON: one object with a "type".
Tuples survive, because pytest tells them from lists. Everything from a guest is hostile: a frame
that is too long or no such object is a FrameError.
"""

from __future__ import annotations

import json
import struct
from typing import Any

Message = dict[str, Any]

MAX_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct("<I")
_TUPLE = "$tuple"


class FrameError(Exception):
    """Bytes that are no frame."""


def encode(message: Message) -> bytes:
    """One frame. Values that JSON does not know become their repr."""
    payload = json.dumps(_plain(message)).encode("ascii")
    if len(payload) > MAX_FRAME:
        raise FrameError(f"a {message.get('type')} frame of {len(payload)} bytes is too long")
    return _LENGTH.pack(len(payload)) + payload


class Decoder:
    """Makes messages from bytes that come in pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes."""
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes is longer than {MAX_FRAME}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(_decode(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return messages


def _decode(payload: bytes) -> Message:
    try:
        message = json.loads(payload, object_hook=_revive)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame is not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise FrameError("a frame is not an object with a type")
    return message


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(entry) for entry in value]}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    return repr(value)


def _revive(values: dict[str, Any]) -> Any:
    if len(values) == 1 and isinstance(values.get(_TUPLE), list):
        return tuple(values[_TUPLE])
    return values
