"""The machines of a run, and what they say, in one queue.

Every process in a machine has a thread that only reads its events into the queue; the controller's
thread is the only one that acts on them, so no machine can hold up another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import spore
from spore._pytest import early, frames
from spore._pytest.base_image import GivenImage
from spore._pytest.options import LEAST_PER_CHILD, Settings
from spore._pytest.said import Ended, ReachedFixturePoint, Said, translate
from spore._pytest.warm import Start, Warmth, early_key, last_imports
from spore._pytest.warm import key as warm_key

if TYPE_CHECKING:
    from spore import ForkTimings, Image, Machine, MachineStats, Process, Session, Spore
    from spore._pytest.environment import ImagePlan

_JOIN_SECONDS = 5.0
_PARENT = -1


@dataclass
class Member:
    """One machine with pytest in it."""

    index: int
    machine: Machine
    process: Process
    stats: MachineStats | None = None
    reader: threading.Thread | None = None

    def join(self) -> None:
        """Waits until all that it says is in the queue; it has ended."""
        if self.reader is not None:
            self.reader.join(_JOIN_SECONDS)


@dataclass
class Timings:
    """Seconds that the phases took."""

    images: float = 0.0
    boot: float = 0.0
    capture: float = 0.0
    points: float = 0.0  # captures of the points below the session's
    fork: float = 0.0
    reset: float = 0.0  # of all resets, one after the other


@dataclass
class Fleet:
    """Owns the session and every machine in it; `close` ends them all."""

    settings: Settings
    progress: Callable[[str], None]
    timings: Timings = field(default_factory=Timings)
    images: list[tuple[str, Image | GivenImage]] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events: queue.SimpleQueue[tuple[Member, Said]] = queue.SimpleQueue()
        self._session: Session | None = None
        self._root: Spore | None = None
        self._parent: Member | None = None
        self._process = 0
        self._to_repeat: deque[Said] = deque()  # what an earlier run's pytest said
        self.warmth: Warmth | None = None
        self.warm = False  # this run started from a machine of an earlier one
        self.early: early.Early | None = None
        self._collected_in: float | None = None  # seconds, if that is over
        self._made = 0  # children so far, resets included
        self.phases: list[ForkTimings] = []
        self.resets = 0

    @property
    def engine(self) -> str:
        return self._session.engine if self._session is not None else ""

    def boot(self, start: Start) -> None:
        """Builds the images, and brings up a machine with pytest in it: a kept one, or anew."""
        with _Stopwatch() as watch:
            for plan in start.plans:
                image = plan.given or self._build(plan, late=bool(start.label) and plan.late)
                self.images.append((plan.name, image))
        self.timings.images = watch.seconds
        with _Stopwatch() as watch:
            self._session = spore.Session.open(engine=self.settings.engine, progress=self.progress)
            self.warm = bool(start.label) and self._resume(start)
            if not self.warm:
                self._boot(start)
        self.timings.boot = watch.seconds
        if self.early is not None and self.early.imported and not self._imports_suit():
            with _Stopwatch() as watch:
                self._boot(dataclasses.replace(start, waiting=None))
            self.timings.boot += watch.seconds
        if self.warmth is not None and not self.warm:
            self.warmth.recording.process = self._process
            self.warmth.recording.boot = self.timings.boot

    def _resume(self, start: Start) -> bool:
        """Loads the machine of an earlier run that was made of the same things, if there is one."""
        assert self._session is not None
        if not spore.kept_limit():
            return False
        parts = warm_key(start, self.settings, self.engine, self.images)
        self.warmth = Warmth(start.label, parts)
        if start.fresh or not self.warmth.find():
            return False
        assert self.warmth.kept is not None
        try:
            self._root = self._session.load(self.warmth.kept.path)
        except spore.Error as error:
            self.warmth.distrust(str(error))
            return False
        self._process = self.warmth.recording.process
        self._to_repeat.extend([*self.warmth.recording.said, ReachedFixturePoint()])
        return True

    def _boot(self, start: Start) -> None:
        assert self._session is not None
        boot: dict[str, object] = {"memory": self.settings.memory, "cpus": self.settings.cpus}
        machine, process = self._bring_late(start, boot) or (None, None)
        if machine is None or process is None:
            self.progress("booting the machine")
            boot["images"] = [image.path for _, image in self.images]
            machine = self._session.boot(**boot)  # type: ignore[arg-type]
            process = machine.exec(list(start.argv), env=dict(start.environment), channel=True)
        self._process = process.id
        self._parent = self._watch(Member(_PARENT, machine, process))
        # One that has ended already says so itself, through its reader.
        with contextlib.suppress(spore.MachineEnded):
            self.send(self._parent, start.welcome)

    def _bring_late(
        self, start: Start, boot: Mapping[str, object]
    ) -> tuple[Machine, Process] | None:
        """A machine that was up before the project came; None if it has to be there at the boot."""
        name, project = self.images[-1]
        if not project.archive:
            return None
        assert self._session is not None
        images = self.images[:-1]
        plan = early.Plan(
            start.label,
            early_key(self.settings, self.engine, images) if self.warmth is not None else {},
            {**boot, "images": [image.path for _, image in images]},
            start.argv,
            start.environment,
            project.path,
            start.waiting,
            keeps=self.warmth is not None,
            fresh=start.fresh,
        )
        notes = self.early.notes if self.early is not None else []
        self.early = early.Early(self._session, plan, self.progress, notes=notes)
        if plan.imported_parts and self.warmth is not None:
            self.warmth.recording.early = spore.kept_digest(plan.imported_parts)
            if not start.fresh:
                self.early.wanted = last_imports(start.label, self.warmth.recording.early)
        try:
            return self.early.start()
        except early.CannotStartError as error:
            self.early.notes.append(f"the project had to be there at the boot: {error}")
            self.images[-1] = (name, self._build(start.plans[-1]))
            return None

    def _imports_suit(self) -> bool:
        """Whether pytest got to its fixture point as it would have without early imports.

        If so, what it said until then comes from `next_said`. If not, its machine is no more.
        """
        assert self.early is not None
        started = time.monotonic()
        ahead: list[Said] = []
        unsuitable: str | None = None
        while unsuitable is None:
            _, said = self._events.get()
            ahead.append(said)
            if isinstance(said, Ended):
                break
            if isinstance(said, dict) and said["type"] == "collected":
                self._collected_in = time.monotonic() - started
            elif isinstance(said, dict) and said["type"] == "fixture_point":
                unsuitable = self.early.unsuitable(said)
        if unsuitable == "":
            self._record(ahead)
            self._to_repeat.extend(ahead)
            return True
        why = unsuitable or "pytest ended before its fixture point"
        self.progress(f"starting again without early imports: {why}")
        assert self._parent is not None
        self._parent.machine.close()
        self._parent.join()
        if unsuitable:
            self.early.distrust(why)
        self._events = queue.SimpleQueue()
        self._collected_in = None
        self.early.close()
        return False

    def _record(self, said: Iterable[Said]) -> None:
        if self.warmth is not None:
            self.warmth.recording.said += [
                one for one in said if not isinstance(one, (ReachedFixturePoint, Ended))
            ]

    def _build(self, plan: ImagePlan, *, late: bool = False) -> Image:
        self.progress(f"preparing the image of the {plan.name}")
        most = early.most_brought(self.settings.memory) if late else 0
        arguments = {**plan.arguments, "archive_up_to": most}
        return spore.build_image(**arguments, progress=self.progress)  # type: ignore[arg-type]

    @property
    def process(self) -> int:
        """The number of pytest's process in every machine."""
        return self._process

    @property
    def root(self) -> Spore:
        """The spore of the session's fixture point."""
        assert self._root is not None
        return self._root

    def capture(self) -> None:
        """Captures the machine with pytest at its fixture point; it is no more after that."""
        if self._root is not None:
            return  # an earlier run did
        assert self._parent is not None
        with _Stopwatch() as watch:
            self._root = self._parent.machine.capture()
        self.timings.capture = watch.seconds

    def capture_at_point(self, member: Member) -> Spore:
        """Captures a child with pytest at a further fixture point; it is to be put back then."""
        with _Stopwatch() as watch:
            captured = member.machine.capture(keep_running=True)
        self.timings.points += watch.seconds
        return captured

    def capture_in_test(self, member: Member) -> Spore:
        """Captures a child whose test waits for that; it is to be put back then, or released."""
        return member.machine.capture(keep_running=True)

    def fork(self, start: Spore, shards: Sequence[int], count: int) -> list[Member]:
        """One child for each of `shards`, which number the shards of a run in `count` shards."""
        first = self._made  # over `count` where a child replaces one that died
        parameters = [
            spore.ForkParameters(
                child_index=first + offset,
                child_count=max(count, first + len(shards)),
                shard_index=shard,
                shard_count=count,
            )
            for offset, shard in enumerate(shards)
        ]
        with _Stopwatch() as watch:
            machines = start.fork(parameters)
        self.timings.fork += watch.seconds
        children = [self._join(machine) for machine in machines]
        self.members += children
        return children

    def reset(self, member: Member, start: Spore, shard: int, count: int) -> Member:
        """A child like those of `fork`, in the machine of `member`, which is no more after that."""
        parameters = spore.ForkParameters(
            child_index=self._made,
            child_count=max(count, self._made + 1),
            shard_index=shard,
            shard_count=count,
        )
        with _Stopwatch() as watch:
            machine = start.reset(member.machine, parameters)
        self.timings.reset += watch.seconds
        self.resets += 1
        child = self._join(machine)
        self.members[self.members.index(member)] = child
        return child

    def _join(self, machine: Machine) -> Member:
        process = machine.process(self.process)
        self._made += 1
        if self.settings.timings:
            self.phases.append(machine.fork_timings)
        return self._watch(Member(self._made - 1, machine, process))

    def send(self, member: Member, message: frames.Message) -> None:
        member.process.write_channel(frames.encode(message))

    def next_said(self) -> Said:
        """What the first machine says next, until it is captured."""
        if self._to_repeat:
            return self._to_repeat.popleft()
        _, said = self._events.get()
        self._record([said])
        return said

    def next_event_until(self, deadline: float | None) -> tuple[Member, Said] | None:
        """The next event; None when `deadline`, of time.monotonic(), passes before."""
        if deadline is None:
            return self._events.get()
        try:
            return self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def has_room(self, running: Iterable[int], *, more: int) -> bool:
        """Whether the children numbered `running`, and `more` like the largest, keep the budget."""
        budget = self.settings.budget
        numbers = set(running)
        if budget is None or not numbers:
            return True
        private = []
        for member in self.members:
            if member.index in numbers:
                with contextlib.suppress(spore.Error):  # it ended by itself
                    private.append(member.machine.stats().private_bytes)
        largest = max([LEAST_PER_CHILD, *private])
        return sum(private) + more * largest <= budget

    @contextlib.contextmanager
    def at_failure(self, member: Member) -> Iterator[Spore]:
        """The machine of `member`, whose pytest waits where a test failed and goes on then."""
        try:
            yield self.capture_in_test(member)
        finally:
            member.process.release_fixture_point()

    def member(self, index: int) -> Member:
        return next(member for member in self.members if member.index == index)

    def retire(self, member: Member) -> None:
        """Ends a machine whose work is done, and remembers what it cost."""
        try:
            member.stats = member.machine.stats()
        except spore.Error:
            member.stats = None  # it ended by itself
        member.machine.close()

    def close(self) -> None:
        """Ends every machine and forgets the spore."""
        members = [*self.members, *([self._parent] if self._parent is not None else [])]
        for member in members:
            member.machine.close()
        for member in members:
            member.join()
        self._root = None
        if self._session is not None:
            self._session.close()
        if self.early is not None:
            self.early.close()
        if self.warmth is not None:
            self.warmth.close()

    def distrust(self, why: str) -> None:
        """An error ends the run: if it started from a kept machine, the next one shall not."""
        if self.warmth is not None and self.warm:
            self.warmth.distrust(why)
        if self.early is not None:
            self.early.distrust(why)

    def took_to_collect(self, seconds: float) -> float:
        """The seconds of the collection: of the earlier run that did it, if that was another."""
        if self._collected_in is not None:
            seconds = self._collected_in
        if self.warmth is None:
            return seconds
        if not self.warm:
            self.warmth.recording.collecting = seconds
        return self.warmth.recording.collecting

    def keep(self) -> None:
        """Keeps the first machine for the next run, unless this one started from it."""
        if self.warmth is not None and self._root is not None and not self.warm:
            self.progress("keeping the machine for the next run")
            if self.early is not None:
                self.early.keep()
            self.warmth.keep(self._root)

    def _watch(self, member: Member) -> Member:
        member.reader = threading.Thread(
            target=self._read, args=(member,), name=f"spore-{member.index}", daemon=True
        )
        member.reader.start()
        return member

    def _read(self, member: Member) -> None:
        decoder = frames.Decoder()
        try:
            for event in member.process.events():
                for said in translate(event, decoder):
                    self._events.put((member, said))
        except frames.FrameError as error:
            self._events.put((member, Ended(f"the machine sent nonsense: {error}")))
        except Exception as error:
            # Without an end in the queue the controller would wait for ever.
            self._events.put((member, Ended(f"reading from the machine failed: {error}")))


class _Stopwatch:
    def __enter__(self) -> _Stopwatch:
        self._started = time.monotonic()
        self.seconds = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
