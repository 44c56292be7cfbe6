"""Machines that the project is not in yet: booted, and with modules of the environment imported.

What changes most, the project, comes last: it is unpacked in a machine that is up. A run whose
fixture point is not kept starts from the later of the two that is; what it makes is kept for other
runs.
What is in a key is in docs/pytest-plugin.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import spore
from spore._pytest import frames
from spore._pytest.said import Ended, ReachedFixturePoint, translate

if TYPE_CHECKING:
    from spore import KeptMachine, Machine, Process, Session, Spore

MOST_BROUGHT = 64 * 1024 * 1024  # bytes of a project that is unpacked in a machine's memory
_UNPACK = ("tar", "-x", "-p", "-f", "-", "-C", "/")
_PIECE = 1024 * 1024
_MIB = 1024 * 1024


class CannotBring(Exception):
    """The project does not come into the machine; the message says why."""


@dataclass(frozen=True)
class Waiting:
    """An interpreter that imports modules and waits, to become pytest (see waiting.py)."""

    argv: Sequence[str]
    begin: frames.Message  # what it is told when the project is there
    conftests: str  # a digest of what may want to run before imports


@dataclass(frozen=True)
class Plan:
    """What the machines are made of, and what is done in them."""

    label: str
    parts: Mapping[str, str]  # of the key of a booted machine
    boot: Mapping[str, object]  # keyword arguments of Session.boot
    argv: Sequence[str]  # of pytest, where nothing waits to become it
    environment: Mapping[str, str]
    archive: str
    waiting: Waiting | None = None
    keeps: bool = True  # machines for other runs, and looks for theirs
    fresh: bool = False  # what they left is of no use

    def imported_parts(self) -> dict[str, str]:
        """The key of a machine with modules imported."""
        assert self.waiting is not None
        variables = json.dumps(dict(self.environment), sort_keys=True)
        return {
            **self.parts,
            "the interpreter": _digest(json.dumps(list(self.waiting.argv))),
            "the environment variables": _digest(variables),
            "configuration and conftest files": self.waiting.conftests,
            "the day": time.strftime("%Y-%m-%d"),
        }


@dataclass
class Early:
    """Brings up a machine with the project and pytest in it."""

    session: Session
    plan: Plan
    progress: Callable[[str], None]
    wanted: Sequence[str] = ()  # modules that the last run imported
    came_from: str = ""  # a kept machine, for people
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._held: list[tuple[KeptMachine, Spore]] = []  # in use as long as the machine
        self._made: list[tuple[str, Mapping[str, str], bytes, Spore]] = []

    def start(self) -> tuple[Machine, Process]:
        """A machine in which pytest begins."""
        machine, process = self._imported() if self.plan.waiting else (self._booted(), None)
        try:
            self._bring(machine)
            if process is None:
                environment = dict(self.plan.environment)
                process = machine.exec(list(self.plan.argv), env=environment, channel=True)
            else:
                assert self.plan.waiting is not None
                process.write_channel(frames.encode(self.plan.waiting.begin))
        except BaseException:
            machine.close()
            raise
        return machine, process

    def _imported(self) -> tuple[Machine, Process | None]:
        """A machine with an interpreter that waits; without one, if it is not known what for."""
        parts = self.plan.imported_parts()
        kept = self._find(parts)
        if kept is not None:
            with contextlib.suppress(frames.FrameError, LookupError, TypeError, ValueError):
                (notes,) = frames.Decoder().feed(kept.notes)
                if set(self.wanted) <= set(notes["asked"]):
                    machine = self._load(kept, parts)
                    if machine is not None:
                        count = len(notes["modules"])
                        self.came_from = f"an interpreter with {count} modules imported"
                        return machine, machine.process(int(notes["process"]))
            kept.close()
        machine = self._booted()
        return machine, self._import(machine) if self.wanted else None

    def _import(self, machine: Machine) -> Process | None:
        assert self.plan.waiting is not None
        self.progress(f"importing {len(self.wanted)} modules that the last run imported")
        environment = dict(self.plan.environment)
        process = machine.exec(list(self.plan.waiting.argv), env=environment, channel=True)
        asked = list(self.wanted)
        modules: list[str] | None = None
        waits = False
        decoder = frames.Decoder()
        try:
            process.write_channel(frames.encode({"type": "import", "modules": asked}))
            events = iter(process.events())
            while modules is None or not waits:
                for said in translate(next(events), decoder):
                    if isinstance(said, dict):
                        modules = list(map(str, said["modules"]))
                    elif isinstance(said, ReachedFixturePoint):
                        waits = True
                    elif isinstance(said, Ended):
                        raise frames.FrameError(said.reason)
        except (spore.Error, frames.FrameError, LookupError, TypeError) as error:
            self.notes.append(f"modules were not imported before the project came: {error}")
            return None
        captured = machine.capture(keep_running=True)
        notes = {"type": "imported", "process": process.id, "modules": modules, "asked": asked}
        parts = self.plan.imported_parts()
        self._made.append(("modules imported", parts, frames.encode(notes), captured))
        process.release_fixture_point()
        return process

    def _booted(self) -> Machine:
        kept = self._find(self.plan.parts)
        machine = self._load(kept, self.plan.parts) if kept is not None else None
        if machine is not None:
            self.came_from = "a booted machine"
            return machine
        self.progress("booting the machine")
        machine = self.session.boot(**self.plan.boot)  # type: ignore[arg-type]
        if self.plan.keeps:
            captured = machine.capture(keep_running=True)
            self._made.append(("booted", self.plan.parts, b"", captured))
        return machine

    def _find(self, parts: Mapping[str, str]) -> KeptMachine | None:
        if self.plan.fresh or not self.plan.keeps:
            return None
        try:
            return spore.find_kept(parts)
        except spore.Error as error:
            self._distrust(parts, error)
            return None

    def _load(self, kept: KeptMachine, parts: Mapping[str, str]) -> Machine | None:
        try:
            loaded = self.session.load(kept.path)
            (machine,) = loaded.fork(1)
        except spore.Error as error:
            kept.close()
            self._distrust(parts, error)
            return None
        self._held.append((kept, loaded))
        return machine

    def _distrust(self, parts: Mapping[str, str], error: spore.Error) -> None:
        self.notes.append(f"a machine that was kept cannot go on: {error}")
        spore.remove_kept(spore.kept_digest(parts))

    def _bring(self, machine: Machine) -> None:
        process = machine.exec(list(_UNPACK), env={})
        try:
            with Path(self.plan.archive).open("rb") as archive:
                while piece := archive.read(_PIECE):
                    process.write_stdin(piece)
            process.close_stdin()
        except spore.Error:
            pass  # it ended, and says why
        said = b""
        for event in process.events():
            if isinstance(event, spore.Output):
                said = (said + event.data)[-1000:]
            elif isinstance(event, spore.Lost):
                raise CannotBring(f"the machine {event.end.reason}")
            elif isinstance(event, spore.Exited) and event.status != 0:
                why = said.decode("utf-8", "replace").strip() or f"status {event.status}"
                raise CannotBring(f"tar in the machine failed: {why}")

    def keep(self) -> None:
        """Keeps what was made, for other runs."""
        for what, parts, notes, captured in self._made:
            started = time.monotonic()
            try:
                kept = spore.keep(captured, f"{self.plan.label}, {what}", parts, notes)
            except spore.Error as error:
                self.notes.append(f"the machine ({what}) is not kept for other runs: {error}")
                continue
            self.notes.append(
                f"the machine ({what}) is kept for other runs: {kept['bytes'] / _MIB:.0f} MiB,"
                f" in {time.monotonic() - started:.2f} s"
            )

    def close(self) -> None:
        self._made.clear()
        for kept, _ in self._held:
            kept.close()
        self._held.clear()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
