"""spore_checkpoint: a machine captured within a test, whose rest runs in several forks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spore._pytest.reports import Call, failed_report

if TYPE_CHECKING:
    from spore._pytest.guest import GuestPlugin

MOST_BRANCHES = 256


@dataclass(frozen=True)
class Branch:
    """Which of the machines that run the rest of a test this is."""

    index: int = 0
    count: int = 1


class Checkpoint:
    """What the fixture gives to a test; `plugin` is None where there are no machines."""

    def __init__(self, plugin: GuestPlugin | None) -> None:
        self._plugin = plugin

    def fork(self, count: int) -> Iterator[Branch]:
        """Captures the machine, and runs the rest of the test in `count` forks of it.

        Each fork gets one branch, its own, so a loop over this runs its body once in each of them;
        what follows the loop runs in all of them too. The test passes if it does so in all. Without
        --spore-fork there is one branch.
        """
        if not 1 <= count <= MOST_BRANCHES:
            raise ValueError(f"a checkpoint can be forked 1 to {MOST_BRANCHES} times, not {count}")
        index = self._plugin.branch(count) if self._plugin is not None and count > 1 else 0
        yield Branch(index, count if self._plugin is not None else 1)


@dataclass
class Branches:
    """The machines that run the rest of one test, as the controller sees them."""

    before: list[Call]  # what the test reported before the checkpoint, and was not told yet
    running: int
    ended: list[tuple[str, list[Call], int]] = field(default_factory=list)

    def end(self, name: str, calls: list[Call], failures: int) -> tuple[list[Call], int] | None:
        """Takes a branch that is over; answers what the test reported when it was the last one.

        That is what the first branch that failed reported, else what the first one did.
        """
        self.running -= 1
        self.ended.append((name, calls, failures))
        if self.running:
            return None
        self.ended.sort(key=lambda one: [int(part) for part in one[0].split(".")])
        failed = [one for one in self.ended if one[2]]
        _, told, count = (failed or self.ended)[0]
        names = ", ".join(name for name, _, _ in failed)
        for call in told:
            report = failed_report(call)
            if report is not None:
                text = f"failed in {len(failed)} of {len(self.ended)} branches: {names}"
                report.sections.append(("Checkpoint", text))
        return [*self.before, *told], count
