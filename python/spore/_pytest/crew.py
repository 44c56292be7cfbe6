"""The children of a run: gives each a machine, and tests as it needs them.

A child starts from the fixture point of its tests. When it has run all that there is for it there,
its machine is put back to where further tests start.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import spore
from spore._pytest import frames
from spore._pytest.checkpoint import Branches
from spore._pytest.child import Child
from spore._pytest.fleet import Fleet, Member
from spore._pytest.marks import TimeLimits
from spore._pytest.schedule import Schedule, to_ranges
from spore._pytest.timeline import Timeline
from spore._pytest.tree import Tree

if TYPE_CHECKING:
    from spore import Spore
    from spore._pytest.options import Settings
    from spore._pytest.repeat import Repeats


class Crew:
    """Those that have a machine, by its number, and those that wait for one."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        schedule: Schedule,
        tree: Tree,
        repeats: Repeats,
        limits: TimeLimits,
        timeline: Timeline,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._repeats = repeats
        self._limits = limits
        self._timeline = timeline
        self._captures = {0: 0}  # what the timeline calls the capture of a point
        self._schedule = schedule
        self._tree = tree
        self.children: dict[int, Child] = {}
        self._unforked = deque(
            range(schedule.children)
        )  # shards without room, or a point, to start
        self._each = settings.dist == "each"
        self.puts_back = self._each or len(tree) > 1 or not settings.tears_down

    @property
    def has_unforked(self) -> bool:
        """Whether there is work for children that have no machine."""
        return bool(self._unforked and self._schedule.left)

    @property
    def works(self) -> bool:
        return bool(self.children) or self.has_unforked

    def admit(self) -> None:
        """Forks the children that there is room and work for: with a budget one by one."""
        while self._unforked and self._fleet.has_room(self.children, more=1):
            count = len(self._unforked) if self._settings.budget is None else 1
            children = [Child(self._unforked.popleft()) for _ in range(count)]
            for child in children:
                self._fill(child)
            for child in children:  # a second one for each, once each has a first
                if len(child.remaining) == 1:
                    self._fill(child)
            self._fork([child for child in children if child.remaining])
            idle = [child.shard for child in children if not child.remaining]
            if idle:
                self._unforked.extend(idle if self._schedule.left else ())
                break  # until a point is reached

    def _fork(self, children: list[Child]) -> None:
        by_start: dict[int, tuple[Spore, list[Child]]] = {}
        for child in children:
            start = self._set_way(child)
            by_start.setdefault(id(start), (start, []))[1].append(child)
        for start, group in by_start.values():
            shards = [child.shard for child in group]
            members = self._fleet.fork(start, shards, self._schedule.children)
            for member, child in zip(members, group):
                capture = self._captures[self._tree.reached_above(child.point)]
                self._timeline.forked(member.index, child.shard, capture=capture)
                self._start(member, child)

    def _set_way(self, child: Child) -> Spore:
        """The spore from which a machine can do what `child` has to."""
        start, child.reaching = self._tree.way_to(child.point)
        if child.reaching is not None:
            self._tree.reach(child.reaching)
        return start

    def _fill(self, child: Child) -> list[int]:
        """Gives a child more tests, if there are more for it; answers them."""
        if child.remaining:
            taken = [] if self._each else self._schedule.take(child.shard, child.point)
        else:
            closed = self._tree.closed()
            taken = self._schedule.take(child.shard, child.point) or self._schedule.take(
                child.shard, avoid=closed
            )
            if taken:
                child.point = self._tree.point_of[taken[0]]
                self._set_way(child)
        child.remaining.extend(taken)
        return taken

    def _start(self, member: Member, child: Child) -> None:
        self.children[member.index] = child
        child.progressed = child.timed_out = child.waits = False
        child.set_deadline(self._limits)
        if child.reaching is None:
            if len(child.remaining) == 1:  # it runs one when it knows the next
                self._fill(child)
            self._send(member, child, child.remaining)
        else:
            self.order(member, {"type": "reach", "point": child.reaching})

    def _send(self, member: Member, child: Child, tests: Sequence[int]) -> None:
        child.last = self._each or not self._schedule.has_more_for(child.shard, child.point)
        child.furthest = max(child.furthest, *tests, -1)
        follows = None
        if self.puts_back and child.furthest + 1 < len(self._tree.point_of):
            # What is set up at fixture points is torn down once, where the last test that needs it
            # in a run without forks has run: nothing is that the test behind all of these needs.
            follows = self._repeats.test_of(child.furthest + 1)
        order = {
            "type": "run",
            "run": to_ranges(map(self._repeats.test_of, tests)),
            "last": child.last,
            "follows": follows,
            "back": self.puts_back,
        }
        self.order(member, order)

    def order(self, member: Member, order: frames.Message) -> None:
        # One that has ended already says so itself, through its reader.
        with contextlib.suppress(spore.MachineEnded):
            self._fleet.send(member, order)

    def top_up(self, member: Member, child: Child) -> None:
        if child.last or not self._schedule.needs_more(child.remaining):
            return
        self._send(member, child, self._fill(child))

    def go_on(self, member: Member, child: Child) -> None:
        """Puts a machine whose tests are over back for further ones, or ends it."""
        crowded = len(self.children) > 1 and not self._fleet.has_room(self.children, more=0)
        following = Child(child.shard, point=child.point)
        if crowded or not self._fill(following):
            self.retire(member)
            if self._schedule.left:
                self._unforked.append(child.shard)
            return
        self._move(member, following)

    def _move(self, member: Member, child: Child) -> None:
        """Puts a machine to where `child` starts."""
        start = self._set_way(child)
        self._start(self._put_back(member, start, child), child)

    def _put_back(self, member: Member, start: Spore, child: Child) -> Member:
        del self.children[member.index]
        clean = self._fleet.reset(member, start, child.shard, self._schedule.children)
        self._timeline.reset(member.index, clean.index)
        return clean

    def retire(self, member: Member) -> None:
        del self.children[member.index]
        self._fleet.retire(member)
        stats = member.stats
        self._timeline.retired(member.index, stats.private_bytes if stats is not None else None)

    def branch(self, member: Member, child: Child, captured: Spore) -> None:
        """Lets the running test of a child go on in as many machines as it wants."""
        count, child.branching = child.branching, 0
        group = child.branches
        if group is None:
            group = child.branches = Branches(child.calls, 0)
            child.calls, names = [], [str(index) for index in range(count)]
            group.running = count
        else:
            names = [f"{child.branch}.{index}" for index in range(count)]
            group.running += count - 1
        child.branch = names[0]
        others = [
            dataclasses.replace(
                child,
                remaining=deque([child.remaining[0]]),
                calls=list(child.calls),
                phases=list(child.phases),
                errors=bytearray(),
                branch=name,
                extra=True,
                last=True,
            )
            for name in names[1:]
        ]
        members = self._fleet.fork(captured, [child.shard] * len(others), self._schedule.children)
        number = child.remaining[0]
        label = f"checkpoint in {child.running['test']}" if child.running is not None else ""
        above = self._captures[self._tree.reached_above(child.point)]
        capture = self._timeline.captured(label, parent=above)
        own = self._put_back(member, captured, child)
        for other in members:
            self._timeline.forked(other.index, child.shard, capture=capture)
        for index, (one, its_member) in enumerate(zip([child, *others], [own, *members])):
            self._timeline.test_started(its_member.index, number)
            self.children[its_member.index] = one
            one.waits = False
            one.set_deadline(self._limits)
            self.order(its_member, {"type": "branch", "index": index})

    def replace(self, member: Member, child: Child) -> None:
        """Gives what a child that is lost has left to another."""
        if child.extra:
            self.retire(member)
            return
        if self.puts_back and not child.remaining:
            self.go_on(member, child)
            return
        self.retire(member)
        following = Child(child.shard, child.remaining, child.point)
        self._fill(following)
        if following.remaining:
            self._fork([following])

    def reached(self, member: Member, child: Child, captured: Spore) -> None:
        """A child set up a fixture point, and was captured there: its tests can start from it."""
        assert child.reaching is not None
        label = child.reached.name if child.reached is not None else ""
        child.reached = None
        above = self._captures[self._tree.reached_above(child.reaching)]
        self._captures[child.reaching] = self._timeline.captured(label, parent=above)
        self._tree.reached(child.reaching, captured)
        self._move(member, child)
        self.admit()

    def give_up(self, member: Member, child: Child) -> None:
        """A child cannot set up a fixture point: its tests start from the one above."""
        assert child.reaching is not None
        self._schedule.replace_point(child.reaching, self._tree.give_up(child.reaching))
        self.retire(member)
        point = self._tree.point_of[child.remaining[0]]
        self._fork([Child(child.shard, child.remaining, point)])
        self.admit()

    def took(self, test: int, seconds: float) -> None:
        self._schedule.took(test, seconds)

    def finish(self, test: int) -> None:
        """A test is over, and will not run again."""
        self._tree.finish(test)

    def drop_after(self, last: int) -> None:
        """No test after `last` matters any more."""
        self._schedule.drop_after(last)
        for number, idle in list(self.children.items()):
            if idle.remaining and min(idle.remaining) > last:
                if idle.reaching is not None:
                    self._tree.leave(idle.reaching)
                self.retire(self._fleet.member(number))
