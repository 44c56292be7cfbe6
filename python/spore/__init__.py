"""Spore: boot a Linux machine once, fork it for every test.

On the host::

    import spore

    with spore.Session.open() as session:
        image = spore.build_image(programs=["uname"], base_system=True)
        with session.boot(images=[image.path]) as machine:
            print(machine.run(["uname", "-a"]).stdout)
            for child in machine.capture().fork(4):
                print(child.generation.parameters.hostname)

Spores can be saved, and loaded elsewhere (:func:`load`). What needs no machine needs no session:
:func:`inspect`, :func:`fork_on_disk`, :func:`diff`, :func:`pack`, :func:`unpack`, :func:`remove`,
:func:`gc`; their answers are described in :mod:`spore.disk`. :func:`keep` and :func:`find_kept`
are for runners that start the next run from what the last one prepared.

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
        KeptMachine,
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
        diff,
        engine_parts,
        find_kept,
        fork_on_disk,
        gc,
        inspect,
        keep,
        kept_digest,
        kept_limit,
        kept_machines,
        known_digest,
        pack,
        probe_engines,
        remove,
        remove_kept,
        unpack,
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
    "KeptMachine",
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
    "diff",
    "engine_parts",
    "find_kept",
    "fork_on_disk",
    "gc",
    "inspect",
    "keep",
    "kept_digest",
    "kept_limit",
    "kept_machines",
    "known_digest",
    "pack",
    "probe_engines",
    "remove",
    "remove_kept",
    "unpack",
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
    "Internal",
    "Interrupted",
    "InvalidArgument",
    "KeptMachine",
    "LoadedSpore",
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
    "diff",
    "engine_parts",
    "find_kept",
    "fixture_point",
    "fork_on_disk",
    "gc",
    "generation",
    "inspect",
    "keep",
    "kept_digest",
    "kept_limit",
    "kept_machines",
    "known_digest",
    "load",
    "on_generation",
    "pack",
    "probe_engines",
    "remove",
    "remove_kept",
    "unpack",
]


def __getattr__(name: str) -> Any:
    if name in _FROM_CORE:
        _point_to_program()
        return getattr(importlib.import_module("spore._core"), name)
    raise AttributeError(f"module 'spore' has no attribute {name!r}")


def load(
    path: str | os.PathLike[str], *, engine: str = "auto", kernel: str = "", flat: bool = True
) -> Spore:
    """A spore that was saved, in a session of its own, which lives as long as something in it."""
    session: Session = __getattr__("Session").open(engine=engine)
    return session.load(path, kernel=kernel, flat=flat)


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
