"""What the fixture `spore_child` answers."""

from __future__ import annotations

from dataclasses import dataclass

import spore
from spore.guest import GuestGeneration


@dataclass(frozen=True)
class SporeChild:
    """The machine that a test runs in."""

    generation: GuestGeneration

    @property
    def index(self) -> int:
        """From 0 to count - 1; no two machines that run at once have the same."""
        return self.generation.shard_index

    @property
    def count(self) -> int:
        """How many machines may run at once."""
        return self.generation.shard_count


def current() -> SporeChild:
    """The machine that this process is in now; index 0 of 1 outside."""
    return SporeChild(spore.generation())
