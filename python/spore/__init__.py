"""Spore: boot a Linux machine once, fork it for every test.

On the host::

    import spore

    with spore.Session.open() as session:
        image = spore.build_image(programs=["uname"], base_system=True)
        with session.boot(images=[image.path]) as machine:
            print(machine.run(["uname", "-a"]).stdout)
            for child in machine.capture().fork(4):
                print(child.generation.parameters.hostname)

In a guest, :func:`fixture_point`, :func:`generation` and :func:`on_generation` tell a program which
fork it is. These need nothing but the standard library; the extension module behind everything
else is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import os
import shutil
from typing import TYPE_CHECKING, Any

from spore.errors import (
    Corrupt,
    Error,
    Internal,
    Interrupted,
    InvalidArgument,
    MachineEnded,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TimedOut,
    Unavailable,
)
from spore.guest import GuestGeneration, fixture_point, generation, on_generation

if TYPE_CHECKING:
    from spore._core import (
        AtFixturePoint,
        BootTimings,
        CaptureTimings,
        EngineReport,
        Exited,
        ForkParameters,
        ForkTimings,
        Generation,
        Image,
        LoadedSpore,
        Lost,
        Machine,
        MachineEnd,
        MachineStats,
        Output,
        Process,
        RunResult,
        SavedSpore,
        Session,
        Spore,
        build_image,
        probe_engines,
    )

__version__ = "0.1.0"

_FROM_CORE = (
    "AtFixturePoint",
    "BootTimings",
    "CaptureTimings",
    "EngineReport",
    "Exited",
    "ForkParameters",
    "ForkTimings",
    "Generation",
    "Image",
    "LoadedSpore",
    "Lost",
    "Machine",
    "MachineEnd",
    "MachineStats",
    "Output",
    "Process",
    "RunResult",
    "SavedSpore",
    "Session",
    "Spore",
    "build_image",
    "probe_engines",
)

__all__ = [
    "AtFixturePoint",
    "BootTimings",
    "CaptureTimings",
    "Corrupt",
    "EngineReport",
    "Error",
    "Exited",
    "ForkParameters",
    "ForkTimings",
    "Generation",
    "GuestGeneration",
    "Image",
    "LoadedSpore",
    "Internal",
    "Interrupted",
    "InvalidArgument",
    "Lost",
    "Machine",
    "MachineEnd",
    "MachineEnded",
    "MachineStats",
    "NotFound",
    "Output",
    "PermissionDenied",
    "Process",
    "ResourceExhausted",
    "RunResult",
    "SavedSpore",
    "Session",
    "Spore",
    "TimedOut",
    "Unavailable",
    "build_image",
    "fixture_point",
    "generation",
    "on_generation",
    "probe_engines",
]


def __getattr__(name: str) -> Any:
    if name in _FROM_CORE:
        _point_to_program()
        return getattr(importlib.import_module("spore._core"), name)
    raise AttributeError(f"module 'spore' has no attribute {name!r}")


def _point_to_program() -> None:
    """Tells the engine which `spore` program belongs to this package."""
    if "SPORE_BIN" in os.environ:
        return
    own = os.path.join(os.path.dirname(__file__), "bin", "spore")
    found = own if os.path.exists(own) else shutil.which("spore")
    if found is not None:
        # Its helper programs lie beside the real file.
        os.environ["SPORE_BIN"] = os.path.realpath(found)


def __dir__() -> list[str]:
    return sorted(__all__)
