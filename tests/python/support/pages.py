"""What the tests of --spore-html need: runs that never happened, and what a page says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from browser import data_of
from spore._pytest import html, summary
from spore._pytest.timeline import OUTCOMES, Timeline

HOSTILE = "</script><img src=x onerror=\"console.error('owned')\"><!--<script>'&amp;\"@@data@@"


def report(outcome: str = "passed", when: str = "call", text: Any = "", **values: Any) -> Any:
    made = pytest.TestReport(
        nodeid="a",
        location=("a", None, "a"),
        keywords={},
        outcome=outcome,  # type: ignore[arg-type]
        longrepr=text or None,
        when=when,  # type: ignore[arg-type]
    )
    for name, value in values.items():
        setattr(made, name, value)
    return made


def timeline_of(tests: list[str], outcomes: list[str], machines: int = 4) -> Timeline:
    """A run of `tests` that ended in turn with each of `outcomes`."""
    timeline = Timeline(detailed=True)
    timeline.did(images=0.1, boot=0.2)
    timeline.captured("fixture point")
    timeline.expect(tests)
    for machine in range(machines):
        timeline.forked(machine, machine)
    for number, test in enumerate(tests):
        machine = number % machines
        timeline.test_started(machine, number)
        outcome = outcomes[number % len(outcomes)]
        timeline.reported(machine, report(outcome, text=f"why {test}" * (outcome == "failed")))
        timeline.test_ended(machine)
    timeline.close()
    return timeline


def page_of(timeline: Timeline, status: int = 0) -> str:
    fleet: Any = SimpleNamespace(
        settings=SimpleNamespace(dist="load"),
        timings=SimpleNamespace(images=0.1, boot=0.2, capture=0.0, fork=0.0),
        images=[],
        engine="double",
        warm=False,
        warmth=None,
        early=None,
        members=[],
        resets=0,
    )
    return html.page(summary.Story(timeline=timeline), fleet, status)


def outcomes_of(page: str) -> dict[str, str]:
    """Outcomes by the names of tests."""
    return {run[0]: OUTCOMES[run[1]] for run in data_of(page)["runs"]}
