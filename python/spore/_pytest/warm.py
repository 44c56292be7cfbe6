"""Warm starts: machines that earlier runs captured at their fixture point, made of the same things.

All that is given to the machine until its fixture point is a part of its key, and nothing else is
given to it; see docs/pytest-plugin.md. What pytest said until then is kept with the machine, and
said again in its place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import spore
from spore._pytest import frames
from spore._pytest.early import Waiting, Wanted, digest, keep_noted
from spore._pytest.said import Printed, Said

if TYPE_CHECKING:
    from spore import Image, KeptMachine, Spore
    from spore._pytest.base_image import GivenImage
    from spore._pytest.environment import ImagePlan
    from spore._pytest.options import Settings

_MOST_NAMED = 4  # changes that a person is told of


@dataclass(frozen=True)
class Start:
    """What pytest in the machine is given, besides the machine itself."""

    plans: Sequence[ImagePlan]
    argv: Sequence[str]
    environment: Mapping[str, str]
    welcome: frames.Message  # the first frame that it reads
    waiting: Waiting | None = None
    label: str = ""  # of the suite, for people; none: no warm start
    fresh: bool = False  # an earlier run's machine is of no use


@dataclass
class Recording:
    """What pytest did until the fixture point."""

    process: int = 0
    boot: float = 0.0  # seconds
    collecting: float = 0.0
    said: list[Said] = field(default_factory=list)
    early: str = ""  # the digest of the early machine in which its modules may be imported

    def encode(self) -> bytes:
        head = {
            "type": "head",
            "process": self.process,
            "boot": self.boot,
            "collecting": self.collecting,
            "early": self.early,
            "said": len(self.said),
        }
        return b"".join(map(frames.encode, [head, *map(_to_frame, self.said)]))

    @staticmethod
    def decode(data: bytes) -> Recording:
        """What `encode` made; a FrameError if it is not that."""
        messages = frames.Decoder().feed(data)
        try:
            head = messages[0]
            if head["said"] != len(messages) - 1:
                raise ValueError("its end is missing")
            return Recording(
                int(head["process"]),
                float(head["boot"]),
                float(head["collecting"]),
                [_from_frame(message) for message in messages[1:]],
                str(head["early"]),
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise frames.FrameError(f"a recording cannot be read: {error!r}") from error

    def imports(self) -> Wanted:
        """What a later run may import early."""
        for said in self.said:
            if isinstance(said, dict) and said["type"] == "fixture_point":
                return Wanted.read(said)
        return Wanted()


def _to_frame(said: Said) -> frames.Message:
    if isinstance(said, dict):
        return {"type": "message", "message": said}
    assert isinstance(said, Printed)
    return {"type": "printed", "stream": said.stream, "data": said.data.decode("latin-1")}


def _from_frame(message: frames.Message) -> Said:
    if message["type"] == "printed":
        return Printed(str(message["stream"]), message["data"].encode("latin-1"))
    said = message["message"]
    if not isinstance(said, dict) or not isinstance(said.get("type"), str):
        raise ValueError("a message without a type")
    return said


def key(
    start: Start,
    settings: Settings,
    engine: str,
    images: Iterable[tuple[str, Image | GivenImage]],
) -> dict[str, str]:
    """All that makes a machine what it is at its fixture point, by names for people."""
    parts = early_key(settings, engine, images)
    parts["the command line"] = digest(list(start.argv))
    for name, value in start.environment.items():
        parts[f"the environment variable {_text(name)}"] = digest(value)
    parts["pytest's cache"] = digest(start.welcome["cache"])
    parts["colors"] = str(start.welcome["color"])
    # What a fixture, or a module, took for today.
    parts["the day"] = time.strftime("%Y-%m-%d")
    return parts


def early_key(
    settings: Settings, engine: str, images: Iterable[tuple[str, Image | GivenImage]]
) -> dict[str, str]:
    """All that makes a machine with these images what it is when it is booted."""
    parts = dict(spore.engine_parts(engine))
    parts["memory"], parts["CPUs"] = str(settings.memory), str(settings.cpus)
    for name, image in images:
        parts[f"the image of the {name}"] = spore.known_digest(image.path)
    return parts


def last_imports(label: str, early: str) -> Wanted:
    """What the last run of this suite imported, if the early machine `early` suits it."""
    last = next((one for one in spore.kept_machines() if one["label"] == label), None)
    try:
        kept = spore.find_kept(last["parts"]) if last is not None else None
        if kept is not None:
            recording = Recording.decode(kept.notes)
            kept.close()
            if recording.early == early:
                return recording.imports()
    except (spore.Error, frames.FrameError):
        pass  # a run that finds it damaged, and wants it, says so
    return Wanted()


def label_of(root: Path) -> str:
    """What the suite with this root directory is called."""
    return f"pytest in {_text(str(root))}"


def _text(name: str) -> str:
    """What can be written down, of a name that need not be text."""
    return name.encode("utf-8", "backslashreplace").decode()


@dataclass
class Warmth:
    """Where a run starts, and what it leaves to the next."""

    label: str
    parts: dict[str, str]
    notes: list[str] = field(default_factory=list)  # for the summary
    kept: KeptMachine | None = None  # that this run started from
    recording: Recording = field(default_factory=Recording)

    def find(self) -> bool:
        """Looks for a machine to start from."""
        try:
            self.kept = spore.find_kept(self.parts)
            if self.kept is not None:
                self.recording = Recording.decode(self.kept.notes)
                return True
            self.notes += _changes(self.label, self.parts)
        except (spore.Error, frames.FrameError) as error:
            self.distrust(str(error))
        return False

    def distrust(self, why: str) -> None:
        """The machine that was found is of no use."""
        self.notes.append(f"the machine that was kept cannot go on: {why}")
        self.close()
        self.recording = Recording()
        spore.remove_kept(spore.kept_digest(self.parts))

    def keep(self, captured: Spore) -> None:
        """Keeps the machine of this run."""
        try:
            recorded = self.recording.encode()
        except frames.FrameError as error:
            self.notes.append(f"the machine is not kept for the next run: {error}")
            return
        told = keep_noted(captured, self.label, self.parts, recorded, "", "the next run")
        self.notes.append(told)

    def close(self) -> None:
        if self.kept is not None:
            self.kept.close()
            self.kept = None


def _changes(label: str, parts: Mapping[str, str]) -> list[str]:
    """Why the last run's machine does not do, if there was one of the same suite."""
    for one in spore.kept_machines():
        if one["label"] == label:
            before = one["parts"]
            names = sorted(
                name for name in {*before, *parts} if before.get(name) != parts.get(name)
            )
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            changed = ", ".join(names[:_MOST_NAMED]) + more
            return [f"not the machine of the last run, for it differs in {changed}"]
    return []
