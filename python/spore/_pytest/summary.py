"""The end of a run, for a person: what was done once, what was forked, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from spore._pytest import frames
from spore._pytest.fleet import Fleet
from spore._pytest.repeat import Repeats
from spore._pytest.timeline import Timeline

_MIB = 1024 * 1024


@dataclass(frozen=True)
class PointStory:
    """What was set up at a fixture point."""

    name: str = ""  # a node id; of the session: none
    fixtures: tuple[str, ...] = ()
    seconds: float = 0.0

    @staticmethod
    def read(name: str, message: frames.Message) -> PointStory:
        """From what pytest says there; FrameError if it makes no sense."""
        try:
            seconds = float(message["seconds"])
            return PointStory(name, tuple(map(str, message["fixtures"])), seconds)
        except (KeyError, TypeError, ValueError) as error:
            raise frames.FrameError(f"a fixture point cannot be read: {error!r}") from error


@dataclass(frozen=True)
class Preparation:
    """Something that was done once, for all machines that were forked after it."""

    seconds: float
    machines: int


@dataclass
class Story:
    """What the controller saw; times in seconds."""

    first: PointStory = PointStory()
    points: list[PointStory] = field(default_factory=list)  # below it, as they were reached
    children: int = 0
    crashes: int = 0
    collecting: float = 0.0
    running: float = 0.0
    repeats: Repeats | None = None
    timeline: Timeline = field(default_factory=Timeline)


def lines(story: Story, fleet: Fleet) -> list[str]:
    """The lines of the terminal's summary."""
    timings = fleet.timings
    images = ", ".join(
        f"{name} {size(image.bytes)} {'built' if image.built else 'cached'}"
        for name, image in fleet.images
    )
    result = [
        f"images:  {timings.images:.2f} s ({images})",
        _once(story, fleet),
    ]
    notes = [
        *(fleet.early.notes if fleet.early else []),
        *(fleet.warmth.notes if fleet.warmth else []),
    ]
    result += [f"warm:    {note}" for note in notes]
    if story.points:
        seconds = sum(point.seconds for point in story.points)
        names = _some([point.name for point in story.points])
        result.append(
            f"points:  {_count(len(story.points), 'fixture point', 'fixture points')} below the"
            f" session's set up in {seconds:.2f} s, captured in {timings.points:.3f} s: {names}"
        )
    if not fleet.members:
        return result
    restarts = f", {_count(story.crashes, 'crash', 'crashes')}" if story.crashes else ""
    result += [
        f"forked:  captured in {timings.capture:.3f} s,"
        f" {_count(len(fleet.members), 'child', 'children')} forked in {timings.fork:.3f} s,"
        f"{_resets(fleet)} tests ran in {story.running:.2f} s{restarts}",
    ]
    result += _comparison(story, fleet)
    result += story.repeats.summary() if story.repeats is not None else []
    result += _phases(fleet)
    known = [member.stats for member in fleet.members if member.stats is not None]
    if known:
        private = [stats.private_bytes for stats in known]
        result.append(
            f"memory:  each child sees {size(known[0].memory_bytes)};"
            f" up to {size(max(stats.shared_bytes for stats in known))} of it shared by all,"
            f" {size(sum(private) // len(private))} of its own ({size(sum(private))} in all)"
        )
    return result


def _once(story: Story, fleet: Fleet) -> str:
    did = f"collected in {story.collecting:.2f} s, {_fixtures(story.first)}"
    booted = f"{fleet.timings.boot:.2f} s ({fleet.engine})"
    if fleet.warm and fleet.warmth is not None:
        before = fleet.warmth.recording.boot
        return f"once:    resumed in {booted} what an earlier run booted in {before:.2f} s, {did}"
    if fleet.early is not None and fleet.early.came_from:
        return f"once:    resumed {fleet.early.came_from} in {booted}, {did}"
    return f"once:    booted in {booted}, {did}"


def preparations(story: Story, fleet: Fleet) -> list[Preparation]:
    """What machines would have had to do each for themselves, without forks.

    With resets every test has a machine's state for itself, and as many are counted.
    """
    machines = len(fleet.members) + fleet.resets
    if fleet.settings.dist != "each":
        machines = min(machines, story.children)  # others go on in place of those that crashed
    return [Preparation(story.collecting + story.first.seconds, machines)]


def _comparison(story: Story, fleet: Fleet) -> list[str]:
    """What was measured once, and the same so many times: a sum of times, not a time to wait."""
    known = preparations(story, fleet)
    most = max(one.machines for one in known)
    if most < 2:
        return []
    once = sum(one.seconds for one in known)
    apart = sum(one.seconds * one.machines for one in known)
    who = "clean processes, one a test," if fleet.settings.dist == "each" else "workers"
    return [
        f"spared:  collected and set up once: {once:.2f} s; {most} {who} that do so each for"
        f" themselves, as fast, would have spent {apart:.2f} s on it, added up"
    ]


def _phases(fleet: Fleet) -> list[str]:
    lines = []
    for name, reset in (("fork", False), ("reset", True)):
        timings = [one for one in fleet.phases if one.reset == reset]
        if not timings:
            continue
        phases = {
            phase: median([getattr(one, f"{phase}_us") for one in timings]) / 1000
            for phase in ("shell", "memory", "devices", "cpus", "agent", "user")
        }
        shown = ", ".join(f"{phase} {ms:.2f}" for phase, ms in phases.items())
        pages = median([one.pages_copied for one in timings])
        lines.append(
            f"timings: {name}, medians of {len(timings)} in ms: {shown}"
            + (f"; {pages:.0f} pages put back" if reset else "")
        )
    return lines


def _resets(fleet: Fleet) -> str:
    if not fleet.resets:
        return ""
    each = fleet.timings.reset / fleet.resets * 1000
    return f" {_count(fleet.resets, 'reset', 'resets')} of {each:.1f} ms each,"


def size(count: int) -> str:
    """Bytes, as people read them."""
    if count >= 1024 * _MIB:
        return f"{count / 1024 / _MIB:.1f} GiB"
    return f"{count / _MIB:.0f} MiB" if count >= 10 * _MIB else f"{count / _MIB:.1f} MiB"


def _fixtures(point: PointStory) -> str:
    if not point.fixtures:
        return f"no session fixtures ({point.seconds:.2f} s)"
    return f"session fixtures set up in {point.seconds:.2f} s: {_some(point.fixtures)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
