"""What can go wrong on the host: one exception for each kind of failure.

Every message says what was attempted, on what, why it failed, and what to do.
"""

from __future__ import annotations

__all__ = [
    "Corrupt",
    "Error",
    "Internal",
    "Interrupted",
    "InvalidArgument",
    "MachineEnded",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "TimedOut",
    "Unavailable",
]


class Error(Exception):
    """The base of every failure that Spore reports."""


class InvalidArgument(Error, ValueError):
    """The caller asked for something that makes no sense."""


class NotFound(Error):
    """A file, program, machine or process is not there."""


class Unavailable(Error):
    """This host cannot do it: no KVM, no QEMU, a missing capability."""


class PermissionDenied(Error):
    """The host refuses it to this user."""


class ResourceExhausted(Error):
    """No memory, no disk, or no descriptors are left."""


class Corrupt(Error):
    """Bytes failed their check."""


class MachineEnded(Error):
    """The machine is gone; the message says how it ended."""


class TimedOut(Error, TimeoutError):
    """A bound that the caller set was reached."""


class Interrupted(Error):
    """The user interrupted it."""


class Internal(Error):
    """The host kernel or another program did something unexpected."""
