"""A machine at work, as the dispatcher sees it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from spore._pytest import frames, reports
from spore._pytest.checkpoint import Branches
from spore._pytest.marks import TimeLimits
from spore._pytest.summary import PointStory


@dataclass
class Child:
    """What a machine still has to do."""

    shard: int
    remaining: deque[int] = field(default_factory=deque)  # given to it; the first one runs
    point: int = 0  # the fixture point that they start from
    reaching: int | None = None  # the point that it sets up, and is to be captured at, before them
    reached: PointStory | None = None  # what it said there
    ended: int | None = None  # the last one that it ran
    furthest: int = -1  # the last in collection order that it was given
    last: bool = False  # it knows that nothing follows them
    running: frames.Message | None = None  # its "start"
    calls: list[reports.Call] = field(default_factory=list)  # of the running test
    phases: list[str] = field(default_factory=list)  # of the running test, that were reported
    failures: int = 0  # of the running test's reports
    seconds: float = 0.0  # that the running test took
    errors: bytearray = field(default_factory=bytearray)  # the end of its standard error
    deadline: float | None = None  # of time.monotonic(), for its next report of a start or an end
    timed_out: bool = False
    failing: str = ""  # the test that has just failed, when its machine is to be kept
    waits: bool = False  # at a fixture point
    kept: str = ""  # where its machine was kept
    progressed: bool = False  # since its machine was forked
    branching: int = 0  # machines that are to run the rest of the test once it is captured
    branches: Branches | None = None  # those machines, this one among them
    branch: str = "0"  # its name among them: 1.0 is the first fork of the second one
    extra: bool = False  # ends with this test, which another child goes on from
    finished: bool = False  # said all that it has to say

    def set_deadline(self, limits: TimeLimits) -> None:
        """For its next report."""
        timeout = limits.seconds(self.remaining[0] if self.remaining else None)
        self.deadline = time.monotonic() + timeout if timeout is not None else None
