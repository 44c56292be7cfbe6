"""Machines that the project is not in yet: booted, and with modules of the environment imported.

What changes most, the project, comes last: it is unpacked in a machine that is up. Both machines
are kept for other runs. A run whose own fixture point is not kept starts from the second of them,
else from the first. What is in their keys is in docs/pytest-plugin.md.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import signal
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

_MOST_BROUGHT = 64 * 1024 * 1024  # bytes of a project that is unpacked in a machine's memory
_BROUGHT_OF_MEMORY = 8  # and no more than this part of it
_IMPORT_SECONDS = 300.0
# Of a machine that was captured, every page that it writes is a fault. To the emulated hypervisor
# faults are so dear that a boot, with its large pages, is the quicker way.
_BOOTS_ANYWAY = ("nest",)
_UNPACK = ("tar", "-x", "-p", "-f", "-", "-C", "/")
_PIECE = 1024 * 1024
_MIB = 1024 * 1024


class CannotStartError(Exception):
    """The machine has to be booted with the project in it; the message says why."""


def most_brought(memory: int) -> int:
    """Bytes of a project that comes into a machine with so much memory when it is up."""
    return min(_MOST_BROUGHT, memory // _BROUGHT_OF_MEMORY)


@dataclass(frozen=True)
class Wanted:
    """What the last run imported."""

    modules: Sequence[str] = ()
    rewritten: Sequence[str] = ()  # what must not be imported early, and nothing that imports it

    @staticmethod
    def read(message: frames.Message) -> Wanted:
        """From what pytest said at its fixture point, which is a guest's word."""
        return Wanted(_texts(message.get("modules")), _texts(message.get("rewritten")))


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


@dataclass(frozen=True)
class Waiting:
    """An interpreter that imports modules and waits, to become pytest (see waiting.py)."""

    argv: Sequence[str]
    begin: frames.Message  # what it is told when the project is there
    conftests: Callable[[], str]  # a digest of what the project configures


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

    @functools.cached_property
    def imported_parts(self) -> dict[str, str]:
        """The key of a machine with modules imported; empty if there cannot be one."""
        if self.waiting is None or not self.keeps:
            return {}
        return {
            **self.parts,
            "the interpreter": digest(list(self.waiting.argv)),
            "the environment variables": digest(dict(self.environment)),
            "configuration and conftest files": self.waiting.conftests(),
            "the day": time.strftime("%Y-%m-%d"),
        }


@dataclass
class Early:
    """Brings up a machine with the project and pytest in it."""

    session: Session
    plan: Plan
    progress: Callable[[str], None]
    wanted: Wanted = field(default_factory=Wanted)
    came_from: str = ""  # a kept machine, for people
    imported: frozenset[str] = frozenset()  # by the interpreter in which pytest goes on
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._held: list[tuple[KeptMachine, Spore]] = []  # in use as long as the machine
        self._made: list[tuple[str, Mapping[str, str], bytes, Spore]] = []
        self._parts: Mapping[str, str] = {}  # of the kept machine that it came from

    def start(self) -> tuple[Machine, Process]:
        """A machine in which pytest begins; a CannotStartError if that is not possible."""
        try:
            machine, waits = self._with_imports()
            try:
                self._bring(machine)
                return machine, self._begin(machine, waits)
            except BaseException:
                machine.close()
                raise
        except CannotStartError:
            self._forget()
            raise
        except (spore.Error, OSError, frames.FrameError) as error:
            self.distrust(str(error))
            raise CannotStartError(str(error)) from error

    def _begin(self, machine: Machine, waits: Process | None) -> Process:
        if waits is None:
            environment = dict(self.plan.environment)
            return machine.exec(list(self.plan.argv), env=environment, channel=True)
        assert self.plan.waiting is not None
        waits.write_channel(frames.encode(self.plan.waiting.begin))
        return waits

    def unsuitable(self, message: frames.Message) -> str:
        """Why pytest, by its word at the fixture point, should not have found these imports."""
        told = str(message.get("unsuitable", ""))
        both = self.imported.intersection(_texts(message.get("rewritten")))
        return told or (f"pytest rewrites {min(both)} in this run" if both else "")

    def distrust(self, why: str) -> None:
        """What this run came from, or made, is of no use to others."""
        if self._parts:
            self._remove(self._parts, why)
        self._made.clear()
        self._forget()

    def _forget(self) -> None:
        self._parts = {}
        self.came_from = ""
        self.imported = frozenset()

    def _with_imports(self) -> tuple[Machine, Process | None]:
        """A machine with an interpreter that waits; without one, if it is not known what for."""
        parts = self.plan.imported_parts
        kept = self._find(parts) if parts else None
        if kept is not None:
            notes = _Notes.read(kept.notes)
            if notes is not None and set(self.wanted.modules) <= notes.asked:
                machine = self._load(kept, parts)
                if machine is not None:
                    count = len(notes.modules)
                    self.came_from = f"an interpreter with {count} modules imported"
                    self.imported = notes.modules
                    return machine, machine.process(notes.process)
            kept.close()
        machine = self._booted()
        return machine, self._import(machine) if self.wanted.modules else None

    def _import(self, machine: Machine) -> Process | None:
        """Starts an interpreter that imports what is wanted, and keeps the machine there."""
        assert self.plan.waiting is not None
        asked = list(self.wanted.modules)
        self.progress(f"importing {len(asked)} modules that the last run imported")
        environment = dict(self.plan.environment)
        process = machine.exec(list(self.plan.waiting.argv), env=environment, channel=True)
        order = {"type": "import", "modules": asked, "rewritten": list(self.wanted.rewritten)}
        process.write_channel(frames.encode(order))
        why, modules = _await_imports(process)
        if why:
            process.signal(signal.SIGKILL)
            self.notes.append(f"modules were not imported before the project came: {why}")
            return None
        captured = machine.capture(keep_running=True)
        self.imported = modules.intersection(asked)
        notes = {
            "type": "imported",
            "process": process.id,
            "modules": sorted(self.imported),
            "asked": asked,
        }
        parts = self.plan.imported_parts
        self._made.append(("modules imported", parts, frames.encode(notes), captured))
        process.release_fixture_point()
        return process

    def _booted(self) -> Machine:
        captures = self.plan.keeps and self.session.engine not in _BOOTS_ANYWAY
        kept = self._find(self.plan.parts) if captures else None
        machine = self._load(kept, self.plan.parts) if kept is not None else None
        if machine is not None:
            self.came_from = "a booted machine"
            return machine
        self.progress("booting the machine")
        machine = self.session.boot(**self.plan.boot)  # type: ignore[arg-type]
        if captures:
            captured = machine.capture(keep_running=True)
            self._made.append(("booted", self.plan.parts, b"", captured))
        return machine

    def _find(self, parts: Mapping[str, str]) -> KeptMachine | None:
        if self.plan.fresh or not self.plan.keeps:
            return None
        try:
            return spore.find_kept(parts)
        except spore.Error as error:
            self._remove(parts, str(error))
            return None

    def _load(self, kept: KeptMachine, parts: Mapping[str, str]) -> Machine | None:
        try:
            loaded = self.session.load(kept.path)
            (machine,) = loaded.fork(1)
        except spore.Error as error:
            kept.close()
            self._remove(parts, str(error))
            return None
        self._held.append((kept, loaded))
        self._parts = parts
        return machine

    def _remove(self, parts: Mapping[str, str], why: str) -> None:
        self.notes.append(f"a machine that was kept cannot go on: {why}")
        self.close()
        spore.remove_kept(spore.kept_digest(parts))

    def _bring(self, machine: Machine) -> None:
        process = machine.exec(list(_UNPACK))
        with Path(self.plan.archive).open("rb") as archive, contextlib.suppress(spore.Error):
            while piece := archive.read(_PIECE):
                process.write_stdin(piece)
            process.close_stdin()
        said = b""
        for event in process.events():
            if isinstance(event, spore.Output):
                said = (said + event.data)[-1000:]
            elif isinstance(event, spore.Lost):
                raise spore.MachineEnded(f"the machine {event.end.reason}")
            elif isinstance(event, spore.Exited) and event.status != 0:
                why = said.decode("utf-8", "replace").strip() or f"status {event.status}"
                raise CannotStartError(f"tar in the machine failed: {why}")

    def keep(self) -> None:
        """Keeps what was made, for other runs."""
        for what, parts, notes, captured in self._made:
            label = f"{self.plan.label}, {what}"
            told = keep_noted(captured, label, parts, notes, f" ({what})", "other runs")
            self.notes.append(told)

    def close(self) -> None:
        """Lets go of what is kept; machines that came from it have ended."""
        for kept, _ in self._held:
            kept.close()
        self._held.clear()


@dataclass(frozen=True)
class _Notes:
    """Of a machine with modules imported."""

    process: int
    modules: frozenset[str]
    asked: frozenset[str]

    @staticmethod
    def read(data: bytes) -> _Notes | None:
        try:
            (notes,) = frames.Decoder().feed(data)
            modules, asked = (frozenset(_texts(notes[name])) for name in ("modules", "asked"))
            return _Notes(int(notes["process"]), modules, asked)
        except (frames.FrameError, LookupError, TypeError, ValueError):
            return None


def _await_imports(process: Process) -> tuple[str, frozenset[str]]:
    """Why nothing was imported, or what was."""
    modules: frozenset[str] | None = None
    waits = False
    decoder = frames.Decoder()
    until = time.monotonic() + _IMPORT_SECONDS
    while modules is None or not waits:
        event = process.next_event(max(0.0, until - time.monotonic()))
        if event is None:
            return f"it took more than {_IMPORT_SECONDS:.0f} s", frozenset()
        try:
            for said in translate(event, decoder):
                if isinstance(said, dict):
                    modules = frozenset(_texts(said.get("modules")))
                elif isinstance(said, ReachedFixturePoint):
                    waits = True
                elif isinstance(said, Ended):
                    return said.reason, frozenset()
        except frames.FrameError as error:
            return str(error), frozenset()
    return "", modules


def digest(value: object) -> str:
    """Of what JSON knows, for a key."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def keep_noted(
    captured: Spore, label: str, parts: Mapping[str, str], notes: bytes, what: str, whom: str
) -> str:
    """Keeps a machine; what to tell of that."""
    started = time.monotonic()
    try:
        kept = spore.keep(captured, label, parts, notes)
    except spore.Error as error:
        return f"the machine{what} is not kept for {whom}: {error}"
    size = f"{kept['bytes'] / _MIB:.0f} MiB"
    seconds = time.monotonic() - started
    return f"the machine{what} is kept for {whom}: {size}, in {seconds:.2f} s"
